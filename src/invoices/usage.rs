//! What the running period has cost so far, by the very code that will bill it.

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{PriceId, SubscriptionId},
    money::{Currency, Money},
    price::TierCharge,
    proration::Fraction,
    usage::Aggregation,
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    cycle,
    rating::{self, Due},
    service::InvoiceError,
};
use crate::{
    catalog::{self, Metric, Price, PriceKind},
    subscriptions::Subscription,
};

/// Digits after the point of a projected quantity: it is a guess.
const PROJECTION_DIGITS: u32 = 6;

/// What a subscription's running period has used so far.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SubscriptionUsage {
    #[schema(example = "subscription_usage")]
    object: &'static str,
    livemode: bool,
    subscription: SubscriptionId,
    /// The running period.
    period: Period,
    as_of: DateTime<Utc>,
    currency: Currency,
    usage: Vec<PriceUsage>,
    /// Σ usage, before tax.
    amount: Money,
    projected_amount: Money,
}

/// What one usage price has come to.
#[derive(Serialize, utoipa::ToSchema)]
struct PriceUsage {
    price: PriceId,
    #[schema(example = "api_requests")]
    code: String,
    name: String,
    /// The metric's code.
    #[schema(example = "requests")]
    metric: String,
    quantity: Number,
    exact_amount: Number,
    /// Rounded as the invoice would.
    amount: Money,
    tiers: Vec<TierCharge>,
    /// If usage goes on at this pace; metrics that do not grow with time stay as they are.
    projected_quantity: Number,
    projected_amount: Money,
}

/// Rates what was used in the running period. `now` is the customer's time.
pub(super) async fn so_far(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    livemode: bool,
    subscription: &Subscription,
) -> Result<SubscriptionUsage, InvoiceError> {
    let tenant = subscription.tenant_id;
    let plan = catalog::service::get_plan_version(db, tenant, subscription.plan_version_id).await?;
    let mut prices = Vec::new();
    for price in plan.prices.iter().filter(|price| price.kind == PriceKind::Usage) {
        let Some(metric) = price.metric_id else { continue };
        let metric = catalog::service::get_metric(db, tenant, metric).await?;
        let due = Due { price, period: subscription.period, full: subscription.period };
        let quantity = cycle::quantity(db, subscription, &due).await?;
        let projected = project(quantity, metric.aggregation, subscription.period, now);
        prices.push(price_usage(subscription, price, &metric, quantity, projected)?);
    }
    let currency = subscription.currency;
    Ok(SubscriptionUsage {
        object: "subscription_usage",
        livemode,
        subscription: subscription.id,
        period: subscription.period,
        as_of: now,
        currency,
        amount: Money::sum(currency, prices.iter().map(|price| price.amount))?,
        projected_amount: Money::sum(currency, prices.iter().map(|price| price.projected_amount))?,
        usage: prices,
    })
}

fn price_usage(
    subscription: &Subscription,
    price: &Price,
    metric: &Metric,
    quantity: Decimal,
    projected: Decimal,
) -> Result<PriceUsage, InvoiceError> {
    let due = Due { price, period: subscription.period, full: subscription.period };
    let now = rating::charge(due, quantity, subscription.timezone)?;
    let then = rating::charge(due, projected, subscription.timezone)?;
    Ok(PriceUsage {
        price: price.id,
        code: price.code.clone(),
        name: price.name.clone(),
        metric: metric.code.clone(),
        quantity: Number(now.quantity),
        exact_amount: Number(now.exact_amount),
        amount: Money::round(now.exact_amount, subscription.currency)?,
        tiers: now.tiers,
        projected_quantity: Number(projected),
        projected_amount: Money::round(then.exact_amount, subscription.currency)?,
    })
}

/// The quantity at the end of the period at the pace so far.
fn project(quantity: Decimal, aggregation: Aggregation, period: Period, now: DateTime<Utc>) -> Decimal {
    let grows = matches!(aggregation, Aggregation::Count | Aggregation::Sum);
    let elapsed = (now - period.start).num_seconds();
    if !grows || elapsed <= 0 || now >= period.end {
        return quantity;
    }
    let pace = Fraction { numerator: period.seconds(), denominator: elapsed };
    pace.of(quantity).map_or(quantity, |projected| projected.round_dp(PROJECTION_DIGITS).normalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoices::samples::{at, period};

    #[test]
    fn counts_and_sums_are_projected_by_their_pace_and_nothing_else_is() {
        let april = period("2026-04-01", "2026-05-01");
        let tenth = at("2026-04-11T00:00:00Z");
        let of = |aggregation, now| project(50.into(), aggregation, april, now);
        assert_eq!(of(Aggregation::Count, tenth), 150.into());
        assert_eq!(of(Aggregation::Sum, tenth), 150.into());
        assert_eq!(of(Aggregation::Max, tenth), 50.into());
        assert_eq!(of(Aggregation::Sum, april.start), 50.into());
        assert_eq!(of(Aggregation::Sum, april.end), 50.into());
    }
}
