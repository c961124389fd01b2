//! What was used in the running period, as alerts compare it: by the code that bills, and by the code that grants.

use accrue_core::id::{CustomerId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;

use super::{
    model::{Kind, Measured, Reading},
    service::AlertError,
};
use crate::{
    auth,
    catalog::{self, Metric},
    customers,
    entitlements::{self, Grant},
    invoices, metering,
    subscriptions::{self, Subscription},
};

/// What a customer used of a metric in the running period; `None` where the kind of alert has nothing to compare:
/// no subscription bills it, or no plan grants it. `now` is the customer's time.
pub(super) async fn read(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    (tenant, customer, metric): (TenantId, CustomerId, &Metric),
    kind: Kind,
) -> Result<Option<Reading>, AlertError> {
    if kind == Kind::PercentOfLimit {
        return of_limit(db, now, (tenant, customer, metric)).await;
    }
    let Some(billing) = billing(db, now, (tenant, customer, metric)).await? else {
        return if kind == Kind::Amount {
            Ok(None)
        } else {
            of_month(db, now, (tenant, customer, metric)).await
        };
    };
    let period = billing.period_at(now)?;
    let measured = if kind == Kind::Amount {
        Measured::Amount(invoices::service::usage_amount(db, &billing, metric.id, period).await?)
    } else {
        Measured::Quantity(metering::service::quantity(db, tenant, customer, metric, period).await?)
    };
    Ok(Some(Reading { subscription: Some(billing.id), period, measured }))
}

/// The subscription that bills the metric; there is at most one (decision 0014).
async fn billing(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    (tenant, customer, metric): (TenantId, CustomerId, &Metric),
) -> Result<Option<Subscription>, AlertError> {
    for subscription in subscriptions::service::running_at(db, tenant, customer, now).await? {
        let plan = catalog::service::get_plan_version(db, tenant, subscription.plan_version_id).await?;
        if plan.prices.iter().any(|price| price.metric_id == Some(metric.id)) {
            return Ok(Some(subscription));
        }
    }
    Ok(None)
}

/// What nobody bills is counted by the calendar month where the customer lives.
async fn of_month(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    (tenant, customer, metric): (TenantId, CustomerId, &Metric),
) -> Result<Option<Reading>, AlertError> {
    let owner = auth::service::get_tenant(db, tenant).await?;
    let of = customers::service::get(db, tenant, customer).await?;
    let billed_by = customers::service::billed_by(db, &owner, &of).await?;
    let period = metering::service::month_of(&of, &billed_by, now)?;
    let quantity = metering::service::quantity(db, tenant, customer, metric, period).await?;
    Ok(Some(Reading { subscription: None, period, measured: Measured::Quantity(quantity) }))
}

/// Of several features that count the metric, the one whose limit is reached first.
async fn of_limit(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    (tenant, customer, metric): (TenantId, CustomerId, &Metric),
) -> Result<Option<Reading>, AlertError> {
    let granted = entitlements::service::of_metric(db, tenant, customer, metric.id).await?;
    let readings = granted.into_iter().filter_map(|entitlement| match entitlement.grant {
        Grant::Metered { limit, period, .. } => {
            let measured = Measured::OfLimit { used: entitlement.used, limit: limit.0 };
            Some((limit, Reading { subscription: None, period, measured }))
        }
        Grant::Switch { .. } | Grant::Limit { .. } | Grant::Config { .. } => None,
    });
    // A period that is over is followed by the next one in a moment, and entitlements tell that.
    let running = readings.filter(|(_, reading)| now < reading.period.end);
    Ok(running.min_by_key(|(limit, _)| *limit).map(|(_, reading)| reading))
}
