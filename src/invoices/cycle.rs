//! The billing cycle: turn by turn, each in one transaction with its invoice.

use std::collections::HashSet;

use accrue_core::{
    calendar::{CalendarError, Period},
    id::{SubscriptionId, TenantId},
    money::Money,
    price::Measured,
    proration::Basis as Proration,
    usage::{BucketUsage, Filter, Scope, Split},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::{
    credit_notes::CreditNote,
    draft::{self, Basis},
    late,
    model::{Invoice, Letterhead, MadeFor, PartyCopy, Reason},
    past::Past,
    progress,
    rating::{self, Charge, ChargeError, Due},
    service::{InvoiceError, issue},
    store, unused,
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric, PlanVersion, Price, PriceKind, Timing},
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
    times: (DateTime<Utc>, DateTime<Utc>),
    tenant: &Tenant,
    id: SubscriptionId,
) -> Result<bool, InvoiceError> {
    let mut subscription = lock(tx, times.0, tenant.id, id).await?;
    let before = subscription.clone();
    let billed = bill_turn(tx, times, tenant, &before, &mut subscription).await?;
    Ok(billed.is_some())
}

/// Locks a subscription whose turns are to be billed, and before it its invoices if a turn gives something back of them:
/// that is the order everywhere.
async fn lock(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, InvoiceError> {
    let seen = subscriptions::service::get(tx, tenant, id).await?;
    if seen.due(now)?.is_none_or(|turn| turn.unused.is_none()) {
        let locked = subscriptions::service::get_for_update(tx, tenant, id).await?;
        let gives_back = locked.due(now)?.is_some_and(|turn| turn.unused.is_some());
        return if gives_back { Err(InvoiceError::Busy) } else { Ok(locked) };
    }
    lock_with_invoices(tx, tenant, id).await
}

/// Locks a subscription's invoices, and then the subscription.
pub(super) async fn lock_with_invoices(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, InvoiceError> {
    let invoices = store::lock_of_subscription(tx, tenant, id).await?;
    let subscription = subscriptions::service::get_for_update(tx, tenant, id).await?;
    let locked = invoices.into_iter().map(|(id, _)| id);
    if !locked.eq(store::ids_of_subscription(tx, &subscription).await?) {
        // It was billed between the two: another try locks that invoice, too.
        return Err(InvoiceError::Busy);
    }
    Ok(subscription)
}

/// What turns were billed by.
#[derive(Debug, Default)]
pub struct Billed {
    /// Whether more turns are due than are billed at once.
    pub has_more: bool,
    pub invoices: Vec<Invoice>,
    pub credit_notes: Vec<CreditNote>,
}

/// Bills the next turn of the locked subscription that is due, which leaves it as it is after that; `None` if none is due.
/// `before` is what is stored of it.
pub(super) async fn bill_turn(
    tx: &DatabaseTransaction,
    (now, wall): (DateTime<Utc>, DateTime<Utc>),
    tenant: &Tenant,
    before: &Subscription,
    subscription: &mut Subscription,
) -> Result<Option<Billed>, InvoiceError> {
    let Some(turn) = subscription.due(now)? else { return Ok(None) };
    let mut after = subscription.clone();
    after.apply(turn)?;
    let mut billed = Billed::default();
    if let Some(unused) = turn.unused {
        billed.credit_notes = unused::give_back(tx, now, tenant, subscription, unused, turn.change).await?;
    }
    let draft = Box::pin(draft_of(tx, now, tenant, (subscription, &after), &turn)).await?;
    if let Some(draft) = draft {
        billed.invoices.push(issue(tx, now, tenant, draft, subscription.net_terms_days).await?);
    }
    subscriptions::service::keep(tx, now, before, &after).await?;
    progress::watch(tx, wall, (subscription, &after)).await?;
    *subscription = after;
    Ok(Some(billed))
}

/// What closes is billed as the subscription was before the turn, what opens as it is after it.
async fn draft_of(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (before, after): (&Subscription, &Subscription),
    turn: &Turn,
) -> Result<Option<Invoice>, InvoiceError> {
    let past = Past::of(tx, before).await?;
    let old = &past.at(turn.at).plan;
    let changed = before.plan_version_id != after.plan_version_id;
    let new = if changed {
        Some(catalog::service::get_plan_version(tx, tenant.id, after.plan_version_id).await?)
    } else {
        None
    };
    let new = new.as_ref().unwrap_or(old);
    let mut due = rating::due((old, new), turn);
    if turn.closes.is_some_and(|part| part.before.is_some()) {
        leave_out_carried(tx, &mut due, new).await?;
    }
    let mut charges = Vec::new();
    for due in &due {
        let opens = turn.opens.is_some_and(|part| part.fees == Some(due.period));
        let is_after = opens && due.price.timing == Timing::Advance && due.price.kind != PriceKind::Usage;
        charges.extend(progress::rest(tx, if is_after { after } else { before }, *due).await?);
    }
    let corrections = late::corrections(tx, before, &past).await?;
    charges.extend(corrections.charges);
    let missing = missing_to_commitment(tx, before, old, turn, &charges).await?;
    charges.extend(missing);
    // An invoice is known by its period, so a turn that only closes one is known by that (P1); a change is known by itself.
    let opens = turn.opens.map(|part| part.period);
    // One that splits nothing is known by the rest of its period: what came late is billed by it, too.
    let rest = Period { start: turn.at, end: after.period.end };
    let period = opens.or(turn.closes.map(|part| part.period)).unwrap_or(rest);
    let mut plans = past.plans();
    plans.push(new);
    let basis = basis(tx, tenant, after, plans, period, Reason::of(turn)).await?;
    let basis = Basis { change: turn.change, ..basis };
    let left_over = draft::limit_credits(&basis, &mut charges)?;
    // What credit notes give back needs invoices locked, and they are before their subscription: so it comes after the turn.
    let next = opens.filter(|_| !corrections.gives_back).map_or(now, |period| period.end);
    let check_again_at = (corrections.gives_back || !left_over.is_empty()).then_some(next);
    metering::service::check_again(tx, &corrections.checked, check_again_at).await?;
    late::close(tx, now, before, &due).await?;
    Ok(draft::draft(basis, charges, now)?)
}

/// A stateful metric carries its value over a change: it is billed once, at the end of the period, by the plan that it has
/// then, unless that does not price it (RULES 14). What is prorated is billed for the days of each.
async fn leave_out_carried(
    tx: &DatabaseTransaction,
    due: &mut Vec<Due<'_>>,
    new: &PlanVersion,
) -> Result<(), InvoiceError> {
    let mut carried = HashSet::new();
    for metric in due.iter().filter(|due| !due.price.prorate).filter_map(|due| due.price.metric_id) {
        let goes_on = new.prices.iter().any(|price| price.metric_id == Some(metric));
        if goes_on && catalog::service::get_metric(tx, new.tenant_id, metric).await?.rules.recurring {
            carried.insert(metric);
        }
    }
    due.retain(|due| {
        due.price.prorate || due.price.metric_id.is_none_or(|metric| !carried.contains(&metric))
    });
    Ok(())
}

/// What is missing to the plan's minimum for the period that closes, beside what was billed of it and what is billed now: by
/// the plan that it has at its end. A change that the period outlives tops nothing up, and one that ends in a pause without
/// usage has no minimum.
async fn missing_to_commitment<'a>(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    plan: &'a PlanVersion,
    turn: &Turn,
    charges: &[Charge<'_>],
) -> Result<Option<Charge<'a>>, InvoiceError> {
    let closed = turn.closes.filter(|part| part.before.is_none() && part.usage.is_some());
    let (Some(price), Some(part)) = (&plan.commitment, closed) else { return Ok(None) };
    let spent = spent(db, subscription, part.period, charges).await?;
    Ok(Some(rating::commitment(due_of(subscription, price, part.period)?, spent, subscription.timezone)?))
}

/// What a period comes to by its invoices, with these charges: those of its parts, too, if something was changed within it.
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
    plans: Vec<&'a PlanVersion>,
    period: Period,
    reason: Reason,
) -> Result<Basis<'a>, InvoiceError> {
    let customer = customers::service::get(tx, tenant.id, subscription.customer_id).await?;
    let billed_by = customers::service::billed_by(tx, tenant, &customer).await?;
    let payer = customers::family::payer(tx, &customer).await?;
    let made_for =
        (payer.id != customer.id).then(|| MadeFor { customer: customer.id, name: customer.name.clone() });
    Ok(Basis {
        subscription,
        plans,
        period,
        reason,
        change: 0,
        taxes: catalog::service::tax_table(tx, tenant.id).await?,
        tax_rounding: tenant.settings.tax_rounding,
        exemption: payer.exemption,
        payer: payer.id,
        made_for,
        issuer_id: payer.issuer_id,
        issuer: PartyCopy::issuer(&billed_by),
        customer: PartyCopy::customer(&payer, subscription.timezone),
        letterhead: Letterhead::of(&billed_by),
    })
}

/// A usage price and one of the subscription's periods.
pub(super) fn due_of<'a>(
    subscription: &Subscription,
    price: &'a Price,
    period: Period,
) -> Result<Due<'a>, CalendarError> {
    let full = subscription.full(period)?;
    let has_no_minimum = subscription.is_trial(period);
    Ok(Due { price, period, full, has_no_minimum, basis: Proration::Day, before: None })
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
