//! What the running period has cost so far, by the very code that will bill it.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    exact::{Exact, Toward},
    id::{MetricId, PriceId, SubscriptionId},
    money::{Currency, Money},
    price::{Measured, TierCharge},
    proration::Fraction,
    usage::{Aggregation, BucketUsage, Filter},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    cycle,
    model::Bucket,
    past::{Past, Stretch},
    rating::{self, Charge, ChargeError, Due, Part, TRUE_UP},
    service::InvoiceError,
    store,
};
use crate::{
    catalog::{self, Metric, PriceKind},
    subscriptions::Subscription,
};

/// Digits after the point of a projected quantity: it is a guess.
const PROJECTION_DIGITS: i32 = 6;

/// What a subscription's running period has used so far.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SubscriptionUsage {
    #[schema(example = "subscription_usage")]
    object: &'static str,
    livemode: bool,
    subscription: SubscriptionId,
    /// The running period, or the part of it since the plan was changed.
    period: Period,
    as_of: DateTime<Utc>,
    currency: Currency,
    usage: Vec<PriceUsage>,
    /// Σ usage, before tax.
    amount: Money,
    /// What of it is on invoices already, of a subscription with a `progressive_billing_threshold`.
    invoiced_amount: Money,
    projected_amount: Money,
}

/// What one usage price has come to: for a bucket of its usage, or up to its minimum.
#[derive(Serialize, utoipa::ToSchema)]
struct PriceUsage {
    /// `usage` or `true_up`.
    #[schema(example = "usage")]
    kind: &'static str,
    price: PriceId,
    #[schema(example = "api_requests")]
    code: String,
    name: String,
    /// The metric's code.
    #[schema(example = "requests")]
    metric: String,
    /// Of usage that a filter of the price matched: that filter.
    filter: Option<Filter>,
    /// Of usage that the price groups: each property's value, null where events lack it.
    group: BTreeMap<String, Option<String>>,
    /// In priced units.
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
    let (tenant, currency) = (subscription.tenant_id, subscription.currency);
    let plan = catalog::service::get_plan_version(db, tenant, subscription.plan_version_id).await?;
    let running = subscription.usage_period();
    let (mut prices, mut invoiced) = (Vec::new(), Vec::new());
    for price in
        plan.prices.iter().filter(|price| price.kind == PriceKind::Usage && subscription.counts_usage())
    {
        let Some(metric) = price.metric_id else { continue };
        if subscription.progressive_billing_threshold.is_some() {
            let billed = store::billed(db, subscription, price.id, running, None).await?;
            invoiced.extend(billed.into_values().map(|billed| billed.amount));
        }
        let metric = catalog::service::get_metric(db, tenant, metric).await?;
        let due = cycle::due_of(subscription, price, running)?;
        let usage = cycle::usage(db, subscription, due, &metric).await?;
        let so_far = rating::usage_charges(due, &usage, currency)?;
        let at_the_end = project(due, &usage, pace(&metric, running, now), currency)?;
        for (now, then) in so_far.into_iter().zip(at_the_end) {
            prices.push(price_usage(now, &then, &metric, currency)?);
        }
    }
    Ok(SubscriptionUsage {
        object: "subscription_usage",
        livemode,
        subscription: subscription.id,
        period: running,
        as_of: now,
        currency,
        amount: Money::sum(currency, prices.iter().map(|price| price.amount))?,
        invoiced_amount: Money::sum(currency, invoiced)?,
        projected_amount: Money::sum(currency, prices.iter().map(|price| price.projected_amount))?,
        usage: prices,
    })
}

/// What a metric has come to in a period of a subscription, by all prices on it: each line rounded as the invoice
/// would, without what is missing to a minimum, which nobody used.
pub(super) async fn amount(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    metric: MetricId,
    period: Period,
) -> Result<Money, InvoiceError> {
    let currency = subscription.currency;
    let past = Past::of(db, subscription).await?;
    let mut amounts = Vec::new();
    for (stretch, part) in past.within(period) {
        let Stretch { subscription, plan, .. } = stretch;
        for price in plan.prices.iter().filter(|price| price.metric_id == Some(metric)) {
            let due = past.due(stretch, price, part)?;
            let charges = cycle::charges(db, subscription, due).await?;
            let used = charges.into_iter().filter(|charge| charge.part != Part::TrueUp);
            amounts.extend(used.map(|charge| Money::round(charge.exact_amount, currency)));
        }
    }
    Ok(Money::sum(currency, amounts.into_iter().collect::<Result<Vec<_>, _>>()?)?)
}

fn price_usage(
    now: Charge<'_>,
    then: &Charge<'_>,
    metric: &Metric,
    currency: Currency,
) -> Result<PriceUsage, InvoiceError> {
    let (kind, Bucket { filter, group }) = match now.part {
        Part::Bucket(bucket) => ("usage", bucket),
        Part::TrueUp => (TRUE_UP, Bucket::default()),
    };
    Ok(PriceUsage {
        kind,
        price: now.price.id,
        code: now.price.code.clone(),
        name: now.price.name.clone(),
        metric: metric.code.clone(),
        filter,
        group,
        quantity: Number(now.quantity),
        exact_amount: Number(now.exact_amount),
        amount: Money::round(now.exact_amount, currency)?,
        tiers: now.tiers,
        projected_quantity: Number(then.quantity),
        projected_amount: Money::round(then.exact_amount, currency)?,
    })
}

/// How much longer the period is than what is over of it; none for what does not grow with time.
fn pace(metric: &Metric, period: Period, now: DateTime<Utc>) -> Option<Fraction> {
    let grows = matches!(metric.rules.aggregation, Aggregation::Count | Aggregation::Sum);
    let elapsed = (now - period.start).num_seconds();
    let goes_on = grows && !metric.rules.recurring && elapsed > 0 && now < period.end;
    goes_on.then_some(Fraction { numerator: period.seconds(), denominator: elapsed })
}

/// The charges at the end of the period at the pace so far: of units, what so many will cost; of events that are
/// priced one by one, as many times what they cost.
fn project<'a>(
    due: Due<'a>,
    usage: &[BucketUsage],
    pace: Option<Fraction>,
    currency: Currency,
) -> Result<Vec<Charge<'a>>, ChargeError> {
    let grown = |quantity: Exact| -> Result<Exact, ChargeError> {
        let Some(pace) = pace else { return Ok(quantity) };
        Ok(pace.of(quantity)?.round(PROJECTION_DIGITS, Toward::Nearest))
    };
    let mut later = usage.to_vec();
    for used in &mut later {
        if let Measured::Units(units) = &mut used.measured {
            *units = grown(units.clone())?;
        }
    }
    let mut charges = rating::usage_charges(due, &later, currency)?;
    if !due.price.prices_events() {
        return Ok(charges);
    }
    let mut left = due.price.maximum_amount.map(Money::to_decimal);
    let mut spent = Decimal::ZERO;
    for (charge, used) in charges.iter_mut().zip(&later) {
        if let Measured::Events(_) = used.measured {
            charge.quantity = grown(charge.quantity.into())?.to_decimal()?;
            charge.exact_amount = grown(charge.exact_amount.into())?.to_decimal()?;
        }
        charge.exact_amount = left.map_or(charge.exact_amount, |left| left.min(charge.exact_amount));
        left = left.map(|left| left - charge.exact_amount);
        spent += charge.exact_amount;
    }
    if let Some(minimum) = charges.iter_mut().find(|charge| charge.part == Part::TrueUp) {
        let least = due.price.minimum_amount.map_or(Decimal::ZERO, Money::to_decimal);
        minimum.exact_amount = (least - spent).max(Decimal::ZERO);
    }
    Ok(charges)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use accrue_core::id::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::invoices::samples::{at, period};

    fn metric(rules: &str) -> Metric {
        let rules: accrue_core::usage::RawMetric = serde_json::from_str(rules).unwrap();
        Metric {
            tenant_id: TenantId(Uuid::nil()),
            id: MetricId(Uuid::nil()),
            code: "m".into(),
            name: "M".into(),
            event_name: "e".into(),
            rules: rules.check().unwrap(),
            late_events: catalog::LateEvents::default(),
            splits: BTreeSet::new(),
            metadata: accrue_platform::check::Metadata::new(),
            created_at: at("2026-01-01T00:00:00Z"),
            archived_at: None,
        }
    }

    #[test]
    fn counts_and_sums_are_projected_by_their_pace_and_nothing_else_is() {
        let april = period("2026-04-01", "2026-05-01");
        let tenth = at("2026-04-11T00:00:00Z");
        let of =
            |rules: &str, now| pace(&metric(rules), april, now).map(|pace| pace.numerator / pace.denominator);
        assert_eq!(of(r#"{"aggregation":"count"}"#, tenth), Some(3));
        let sum = r#"{"aggregation":"sum","property":"n"}"#;
        assert_eq!(of(sum, tenth), Some(3));
        assert_eq!(of(r#"{"aggregation":"max","property":"n"}"#, tenth), None);
        assert_eq!(of(r#"{"aggregation":"sum","property":"n","recurring":true}"#, tenth), None);
        assert_eq!(of(sum, april.start), None);
        assert_eq!(of(sum, april.end), None);
    }
}
