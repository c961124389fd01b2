//! The billing cycle: turn by turn, each in one transaction with its invoice.

use accrue_core::{
    calendar::{CalendarError, Period},
    id::SubscriptionId,
    money::Money,
    price::Measured,
    usage::{BucketUsage, Filter, Scope, Split},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::{
    draft::{self, Basis},
    late,
    model::{Invoice, PartyCopy, Reason},
    progress,
    rating::{self, Charge, ChargeError, Due},
    service::{InvoiceError, issue},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric, PlanVersion, Price, PriceKind},
    customers, metering,
    subscriptions::{self, Subscription, Turn},
};

/// Bills the next turn of a subscription that is due at `now`, the customer's time; `false` if none is. `wall` is
/// everybody's time.
///
/// The subscription stays locked until the turn is done, and moves on in the same transaction: killed
/// anywhere, nothing has happened, and run twice, the second finds nothing due (P1).
pub(super) async fn bill_next_turn(
    tx: &DatabaseTransaction,
    (now, wall): (DateTime<Utc>, DateTime<Utc>),
    tenant: &Tenant,
    id: SubscriptionId,
) -> Result<bool, InvoiceError> {
    let mut subscription = subscriptions::service::get_for_update(tx, tenant.id, id).await?;
    let Some(turn) = subscription.due(now)? else { return Ok(false) };
    if let Some(draft) = draft_of(tx, now, tenant, &subscription, &turn).await? {
        issue(tx, now, tenant, draft, subscription.net_terms_days).await?;
    }
    subscriptions::service::turn_done(tx, now, &mut subscription, turn).await?;
    progress::watch(tx, wall, &subscription).await?;
    Ok(true)
}

async fn draft_of(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    subscription: &Subscription,
    turn: &Turn,
) -> Result<Option<Invoice>, InvoiceError> {
    let plan = catalog::service::get_plan_version(tx, tenant.id, subscription.plan_version_id).await?;
    let due = rating::due(&plan, turn);
    let mut charges = Vec::new();
    for due in &due {
        charges.extend(progress::rest(tx, subscription, *due).await?);
    }
    let missing = missing_to_commitment(tx, subscription, &plan, turn, &charges).await?;
    let corrections = late::corrections(tx, subscription, &plan).await?;
    charges.extend(corrections.charges.into_iter().chain(missing));
    // An invoice is known by its period, so a turn that only closes one is known by that (P1).
    let Some(period) = turn.opens.or(turn.closes) else { return Ok(None) };
    let basis = basis(tx, tenant, subscription, &plan, period, Reason::of(turn)).await?;
    let left_over = draft::limit_credits(&basis, &mut charges)?;
    // What credit notes give back needs invoices locked, and they are before their subscription: so it comes after the turn.
    let next = turn.opens.filter(|_| !corrections.gives_back).map_or(now, |period| period.end);
    let check_again_at = (corrections.gives_back || !left_over.is_empty()).then_some(next);
    metering::service::check_again(tx, &corrections.checked, check_again_at).await?;
    late::close(tx, now, subscription, &due).await?;
    Ok(draft::draft(basis, charges, now)?)
}

/// What is missing to the plan's minimum for the period that closes, beside what was billed of it and what is billed now.
async fn missing_to_commitment<'a>(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    plan: &'a PlanVersion,
    turn: &Turn,
    charges: &[Charge<'_>],
) -> Result<Option<Charge<'a>>, InvoiceError> {
    let (Some(price), Some(period)) = (&plan.commitment, turn.closes) else { return Ok(None) };
    let due = Due { price, period, full: turn.closes_full.unwrap_or(period), trial: turn.closes_trial };
    let spent = spent(db, subscription, period, charges).await?;
    Ok(Some(rating::commitment(due, spent, subscription.timezone)?))
}

/// What a period comes to by its invoices, with these charges.
pub(super) async fn spent(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    period: Period,
    charges: &[Charge<'_>],
) -> Result<Money, InvoiceError> {
    let currency = subscription.currency;
    let billed = store::billed_of_period(db, subscription, period).await?;
    let counts = |charge: &&Charge<'_>| {
        (period.start..period.end).contains(&charge.period.start)
            && rating::counts_for_commitment(charge.price.kind)
    };
    let now = charges.iter().filter(counts).map(|charge| Money::round(charge.exact_amount, currency));
    Ok(billed.checked_add(Money::sum(currency, now.collect::<Result<Vec<_>, _>>()?)?)?)
}

/// What an invoice of a subscription is made from, beside its charges.
pub(super) async fn basis<'a>(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    subscription: &'a Subscription,
    plan: &'a PlanVersion,
    period: Period,
    reason: Reason,
) -> Result<Basis<'a>, InvoiceError> {
    let customer = customers::service::get(tx, tenant.id, subscription.customer_id).await?;
    Ok(Basis {
        subscription,
        plan,
        period,
        reason,
        taxes: catalog::service::tax_table(tx, tenant.id).await?,
        tax_rounding: tenant.settings.tax_rounding,
        exemption: customer.exemption,
        issuer: PartyCopy::issuer(tenant),
        customer: PartyCopy::customer(&customer, subscription.timezone),
    })
}

/// A usage price and one of the subscription's periods.
pub(super) fn due_of<'a>(
    subscription: &Subscription,
    price: &'a Price,
    period: Period,
) -> Result<Due<'a>, CalendarError> {
    let full = subscription.full(period)?;
    Ok(Due { price, period, full, trial: subscription.is_trial(period) })
}

/// What a price costs for a period, by what was agreed or measured.
pub(super) async fn charges<'a>(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    due: Due<'a>,
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    if let Some(agreed) = rating::agreed_quantity(due.price, subscription) {
        return Ok(vec![rating::charge(due, agreed, subscription.timezone)?]);
    }
    debug_assert_eq!(due.price.kind, PriceKind::Usage);
    let Some(metric) = due.price.metric_id else { return Ok(Vec::new()) };
    let metric = catalog::service::get_metric(db, subscription.tenant_id, metric).await?;
    let usage = usage(db, subscription, due, &metric).await?;
    Ok(rating::usage_charges(due, &usage, subscription.currency)?)
}

/// What was measured for a price in a period, as the price splits and sees it.
pub(super) async fn usage(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    due: Due<'_>,
    metric: &Metric,
) -> Result<Vec<BucketUsage>, InvoiceError> {
    let Due { price, period, full, .. } = due;
    let scope = Scope {
        aggregation: metric.rules.aggregation,
        recurring: metric.rules.recurring,
        prorated: price.prorate,
        period,
        full,
        zone: subscription.timezone,
    };
    let filters: Vec<Filter> = price.filters.iter().map(|filter| filter.r#where.clone()).collect();
    let split = Split { filters: &filters, group_by: &price.group_by, by_event: price.prices_events() };
    let (tenant, customer) = (subscription.tenant_id, subscription.customer_id);
    let mut usage = metering::service::usage_by_bucket(db, tenant, customer, metric, scope, split).await?;
    for used in &mut usage {
        // A bucket whose own model looks at no event has its quantity rounded and converted as a whole.
        if split.by_event && !price.model_of(used.key.filter).prices_events() {
            let units = metric.rules.convert(&used.quantity).map_err(ChargeError::from)?;
            used.measured = Measured::Units(units);
        }
    }
    Ok(usage)
}
