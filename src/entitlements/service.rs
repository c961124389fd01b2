//! The verbs of entitlements.

use std::collections::BTreeMap;

use accrue_core::id::{CustomerId, MetricId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use tracing::instrument;

use super::{
    body::EntitlementsBody,
    events,
    model::{Entitlement, Grant, Grantor, Grants, Snapshot, merge},
    store,
};
use crate::{
    auth::{self, service::AuthError},
    catalog::{
        PlanFeature,
        service::{self as catalog, CatalogError},
    },
    metering::service::{self as metering, MeteringError},
    subscriptions::{Subscription, service as subscriptions},
};

/// Why it cannot be told what a customer may use.
#[derive(Debug, thiserror::Error)]
pub enum EntitlementError {
    #[error("the usage cannot be told")]
    Usage(#[from] MeteringError),
    #[error("the catalogue lacks what was granted")]
    Catalog(#[from] CatalogError),
    #[error("the tenant is gone")]
    Tenant(#[from] AuthError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a customer may use, at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlements {
    pub customer: CustomerId,
    pub version: i64,
    pub as_of: DateTime<Utc>,
    /// By the features' codes.
    pub features: BTreeMap<String, Entitlement>,
}

impl Entitlements {
    pub(super) fn body(self, livemode: bool) -> EntitlementsBody {
        let Self { customer, version, as_of, features } = self;
        let features = features.into_iter().map(|(code, entitlement)| (code, entitlement.into())).collect();
        EntitlementsBody { object: "entitlements", livemode, customer, version, as_of, features }
    }
}

/// Everything that a customer may use, with the usage so far. `now` is the customer's time.
pub async fn get_all(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Entitlements, EntitlementError> {
    let found = store::find(db, tenant, customer).await?;
    let snapshot = found.unwrap_or_else(|| Snapshot::nothing(tenant, customer, now));
    with_usage(db, now, snapshot).await
}

/// What a customer may use of one feature, by its code, and the version of the whole; `None` if no running
/// plan has it.
pub async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    feature: &str,
) -> Result<Option<(i64, Entitlement)>, EntitlementError> {
    let Some(snapshot) = store::find(db, tenant, customer).await? else { return Ok(None) };
    let Some(grant) = snapshot.grants.get(feature) else { return Ok(None) };
    Ok(Some((snapshot.version, entitlement(db, tenant, customer, grant.clone()).await?)))
}

/// The metered features that count a metric, with the usage so far.
pub async fn of_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: MetricId,
) -> Result<Vec<Entitlement>, EntitlementError> {
    let grants = store::find(db, tenant, customer).await?.map(|snapshot| snapshot.grants).unwrap_or_default();
    let counts =
        |grant: &Grant| matches!(grant, Grant::Metered { metric: counted, .. } if *counted == metric);
    let mut found = Vec::new();
    for grant in grants.into_values().filter(counts) {
        found.push(entitlement(db, tenant, customer, grant).await?);
    }
    Ok(found)
}

/// Brings the snapshot up to date with the customer's subscriptions. If that changes it, it gets the next
/// version, and that is told once, whoever refreshes at the same time.
#[instrument(skip_all, fields(tenant.id = %tenant, customer.id = %customer))]
pub async fn refresh(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    customer: CustomerId,
    test_clock: Option<TestClockId>,
) -> Result<(), EntitlementError> {
    // Locked before the subscriptions are read: who comes second reads what is true then.
    let before = store::lock(tx, tenant, customer, now).await?;
    let grants = granted(tx, tenant, customer).await?;
    let Some(snapshot) = before.next(grants, now) else { return Ok(()) };
    store::save(tx, &snapshot).await?;
    let livemode = auth::service::get_tenant(tx, tenant).await?.livemode;
    let body = with_usage(tx, now, snapshot).await?.body(livemode);
    Ok(events::updated(tx, now, tenant, test_clock, &body).await?)
}

/// What the customer's subscriptions grant together at this moment.
async fn granted(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Grants, EntitlementError> {
    let mut granting: Vec<(Subscription, Vec<PlanFeature>)> = Vec::new();
    for subscription in subscriptions::running_of_customer(db, tenant, customer).await? {
        let plan = catalog::get_plan_version(db, tenant, subscription.plan_version_id).await?;
        granting.push((subscription, plan.features));
    }
    let grantors: Vec<Grantor> = granting
        .iter()
        .map(|(subscription, features)| Grantor {
            status: subscription.status,
            access: subscription.access,
            period: subscription.period,
            features,
        })
        .collect();
    let codes: Vec<&str> =
        granting.iter().flat_map(|(_, features)| features).map(|granted| granted.feature.as_str()).collect();
    let features = catalog::features_by_code(db, tenant, &codes).await?;
    Ok(merge(&grantors, &features))
}

async fn with_usage(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    snapshot: Snapshot,
) -> Result<Entitlements, EntitlementError> {
    let Snapshot { tenant_id, customer_id, version, grants, as_of: _ } = snapshot;
    let mut features = BTreeMap::new();
    for (code, grant) in grants {
        features.insert(code, entitlement(db, tenant_id, customer_id, grant).await?);
    }
    Ok(Entitlements { customer: customer_id, version, as_of: now, features })
}

async fn entitlement(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    grant: Grant,
) -> Result<Entitlement, EntitlementError> {
    let used = match grant {
        Grant::Switch { .. } | Grant::Limit { .. } | Grant::Config { .. } => Decimal::ZERO,
        Grant::Metered { metric, period, .. } => {
            let metric = catalog::get_metric(db, tenant, metric).await?;
            metering::quantity(db, tenant, customer, &metric, period).await?.max(Decimal::ZERO)
        }
    };
    Ok(Entitlement { grant, used })
}
