//! Usage that came, or was corrected, after its period was billed (RULES 18): the next invoice says what was missing; one
//! of its own if there will be none, or if it is to be put right at once and no invoice can be issued anew.

use std::collections::{BTreeMap, HashSet};

use accrue_core::id::{InvoiceId, MetricId, SubscriptionId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    credit_notes, cycle, draft, giving_back,
    model::{InvoiceStatus, Reason},
    past::{Past, Stretch},
    rating::{self, Billed, Charge, Due, Part},
    reissue,
    service::{InvoiceError, issue},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, LateEvents},
    customers::{self, Exemption},
    metering::{self, Closing},
    subscriptions::{self, Subscription},
};

/// The invoices of a subscription, locked, where a look at its usage may change them.
#[derive(Debug, Default)]
pub struct Locked {
    all: Vec<InvoiceId>,
    open: Vec<InvoiceId>,
}

/// What the next invoice has to add to the bills of earlier periods.
pub(super) struct Corrections<'a> {
    pub charges: Vec<Charge<'a>>,
    /// These periods.
    pub checked: Vec<Closing>,
    /// Whether there is something beside it that [`check`] has to give back.
    pub gives_back: bool,
}

/// What has to be added to the bill of a price for a period.
pub(super) struct Missing<'a> {
    pub due: Due<'a>,
    pub corrections: Vec<Charge<'a>>,
}

impl Locked {
    /// Those that are open, and may be issued anew.
    pub fn open(&self) -> &[InvoiceId] {
        &self.open
    }

    /// Leaves these as they are.
    #[must_use]
    pub fn spare(mut self, some: &[InvoiceId]) -> Self {
        self.open.retain(|id| !some.contains(id));
        self
    }
}

/// Locks the invoices that [`check`] may put right; none if it only puts something on the next one. Invoices are locked
/// before their subscription, as everywhere.
pub async fn lock(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Locked, InvoiceError> {
    let seen = subscriptions::service::get(tx, tenant, id).await?;
    let is_put_right = seen.has_ended()
        || has_reissued(tx, &seen).await?
        || !store::exempt_otherwise(tx, &seen, exemption(tx, &seen).await?).await?.is_empty();
    if !is_put_right {
        return Ok(Locked::default());
    }
    let found = store::lock_of_subscription(tx, tenant, id).await?;
    let open = found.iter().filter(|(_, status)| *status == InvoiceStatus::Open);
    Ok(Locked { open: open.map(|(id, _)| *id).collect(), all: found.into_iter().map(|(id, _)| id).collect() })
}

async fn has_reissued(tx: &DatabaseTransaction, subscription: &Subscription) -> Result<bool, InvoiceError> {
    let tenant = subscription.tenant_id;
    let reissued = reissued(tx, tenant).await?;
    if reissued.is_empty() {
        return Ok(false);
    }
    Ok(Past::of(tx, subscription).await?.meters(|metric| reissued.contains(&metric)))
}

/// The metrics whose invoices are issued anew.
async fn reissued(tx: &DatabaseTransaction, tenant: TenantId) -> Result<HashSet<MetricId>, DbErr> {
    let metrics = catalog::service::all_metrics(tx, tenant).await?;
    let reissued = metrics.into_iter().filter(|metric| metric.late_events == LateEvents::Reissue);
    Ok(reissued.map(|metric| metric.id).collect())
}

/// What the customer's next invoice will have.
async fn exemption(tx: &DatabaseTransaction, subscription: &Subscription) -> Result<Exemption, InvoiceError> {
    let customer = customers::service::get(tx, subscription.tenant_id, subscription.customer_id).await?;
    Ok(customers::family::payer(tx, &customer).await?.exemption)
}

/// What the next invoice has to add to the bills of earlier periods.
pub(super) async fn corrections<'a>(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    past: &'a Past,
) -> Result<Corrections<'a>, InvoiceError> {
    let tenant = subscription.tenant_id;
    let mut closings = metering::service::to_check(tx, tenant, subscription.id, None).await?;
    if !closings.is_empty() {
        let reissued = reissued(tx, tenant).await?;
        closings.retain(|closing| !reissued.contains(&closing.metric_id));
    }
    let mut missing = missing(tx, past, &closings).await?;
    let gives_back = !take_out_taxed_otherwise(tx, subscription, &mut missing).await?.is_empty();
    let charges = missing.into_iter().flat_map(|of_price| of_price.corrections).collect();
    Ok(Corrections { charges, checked: closings, gives_back })
}

/// Takes out what was billed too much by invoices of another exemption than the customer has now, and answers with it: the
/// next invoice would give it back with a tax that it never had (RULES 9). What a price's corrections of a period come to
/// counts, so what only moved from one line to another stays.
async fn take_out_taxed_otherwise<'a>(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    missing: &mut [Missing<'a>],
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    let mut taken_out = Vec::new();
    if missing.is_empty() {
        return Ok(taken_out);
    }
    let exemption = exemption(tx, subscription).await?;
    let otherwise = store::exempt_otherwise(tx, subscription, exemption).await?;
    for Missing { due, corrections } in missing {
        let billing = store::invoices_that_bill(tx, subscription, due.price.id, due.period).await?;
        if otherwise.is_disjoint(&billing) {
            continue;
        }
        let left_over = rating::limit_credits(corrections, subscription.currency)?;
        rating::leave_out(corrections, &left_over);
        taken_out.extend(left_over);
    }
    Ok(taken_out)
}

/// What has to be added to the bills of these periods, of each price that the subscription had then and of which it is
/// anything.
///
/// What was billed is what stands on invoices, so nothing is added twice, and what cannot be credited now will
/// still be missing later.
async fn missing<'a>(
    tx: &DatabaseTransaction,
    past: &'a Past,
    closings: &[Closing],
) -> Result<Vec<Missing<'a>>, InvoiceError> {
    let mut missing = Vec::new();
    for closing in closings {
        let stretch = past.at(closing.period.start);
        let Stretch { subscription, plan, .. } = stretch;
        for price in plan.prices.iter().filter(|price| price.metric_id == Some(closing.metric_id)) {
            let due = past.due(stretch, price, closing.period)?;
            let mut billed = store::billed(tx, subscription, price.id, closing.period, None).await?;
            let mut right = cycle::charges(tx, subscription, due).await?;
            add_vanished(&mut right, &billed, due);
            let mut corrections = Vec::new();
            for right in right {
                let before = billed.remove(&right.part);
                let before = before.unwrap_or_else(|| Billed::nothing(subscription.currency));
                let correction = rating::correction(&right, before, subscription.currency)?;
                corrections.extend(correction.map(|correction| Charge { is_late: true, ..correction }));
            }
            if !corrections.is_empty() {
                missing.push(Missing { due, corrections });
            }
        }
    }
    let commitments = missing_to_commitments(tx, past, closings, &missing).await?;
    missing.extend(commitments);
    Ok(missing)
}

/// What has to be added to what these periods were topped up by, to the minimum of the plan that each ended with, once this is
/// corrected. Of the running period nothing: the turn that closes it looks at all of it.
async fn missing_to_commitments<'a>(
    tx: &DatabaseTransaction,
    past: &'a Past,
    closings: &[Closing],
    missing: &[Missing<'a>],
) -> Result<Vec<Missing<'a>>, InvoiceError> {
    let mut closed = BTreeMap::new();
    for closing in closings {
        if let Some((stretch, period)) = past.closed(closing.period)? {
            closed.insert(period.start, (stretch, period));
        }
    }
    let corrections: Vec<Charge<'_>> =
        missing.iter().flat_map(|of_price| of_price.corrections.iter().cloned()).collect();
    let mut commitments = Vec::new();
    for (stretch, period) in closed.into_values() {
        let Stretch { subscription, plan, .. } = stretch;
        let Some(price) = &plan.commitment else { continue };
        let spent = cycle::spent(tx, subscription, period, &corrections).await?;
        let due = cycle::due_of(subscription, price, period)?;
        let right = rating::commitment(due, spent, subscription.timezone)?;
        let mut billed = store::billed(tx, subscription, price.id, period, None).await?;
        let billed = billed.remove(&right.part).unwrap_or_else(|| Billed::nothing(subscription.currency));
        if let Some(correction) = rating::correction(&right, billed, subscription.currency)? {
            commitments.push(Missing { due, corrections: vec![Charge { is_late: true, ..correction }] });
        }
    }
    Ok(commitments)
}

/// Adds what was billed once and is not there any more.
pub(super) fn add_vanished<'a>(right: &mut Vec<Charge<'a>>, billed: &BTreeMap<Part, Billed>, due: Due<'a>) {
    let is_there = |part: &Part| right.iter().any(|right| right.part == *part);
    let vanished: Vec<_> = billed.keys().filter(|part| !is_there(part)).cloned().collect();
    right.extend(vanished.into_iter().map(|part| Charge::nothing(due, part)));
}

/// Compares what was billed with what was used. A subscription that goes on has it on its next invoice. What one that has
/// ended is missing, and what is to be issued anew, is put right now, as far as `locked` says. `now` is the customer's
/// time.
pub async fn check(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    id: SubscriptionId,
    locked: &Locked,
) -> Result<(), InvoiceError> {
    let subscription = subscriptions::service::get_for_update(tx, tenant.id, id).await?;
    let past = Past::of(tx, &subscription).await?;
    let closings = metering::service::to_check(tx, tenant.id, id, Some(now)).await?;
    let reissued = reissued(tx, tenant.id).await?;
    let (at_once, later): (Vec<_>, Vec<_>) = closings
        .into_iter()
        .partition(|closing| subscription.has_ended() || reissued.contains(&closing.metric_id));
    if !later.is_empty() {
        leave_to_next(tx, now, tenant, (&subscription, &past), &later, locked).await?;
    }
    if at_once.is_empty() {
        return Ok(());
    }
    if store::ids_of_subscription(tx, &subscription).await? != locked.all {
        // It ended, or was billed, before it was locked: another look locks its invoices first.
        return Ok(metering::service::check_again(tx, &at_once, Some(now)).await?);
    }
    let missing = missing(tx, &past, &at_once).await?;
    if !missing.is_empty() {
        // Several invoices may be paid by them, and give them back: all before the first one takes its number.
        lock_credit(tx, &subscription).await?;
        let is_reissued =
            |of_price: &Missing<'_>| of_price.due.price.metric_id.is_some_and(|id| reissued.contains(&id));
        let (anew, mut beside): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_reissued);
        let both = (&subscription, &past);
        beside.extend(Box::pin(reissue::reissue(tx, now, tenant, both, anew, locked.open())).await?);
        settle(tx, now, tenant, both, beside).await?;
    }
    Ok(metering::service::check_again(tx, &at_once, None).await?)
}

/// Locks everybody who pays, or paid, for a subscription, and then their credit notes.
async fn lock_credit(tx: &DatabaseTransaction, subscription: &Subscription) -> Result<(), InvoiceError> {
    let tenant = subscription.tenant_id;
    let customer = customers::service::get(tx, tenant, subscription.customer_id).await?;
    let mut payers = store::payers_of_subscription(tx, subscription).await?;
    payers.insert(customers::family::payer(tx, &customer).await?.id);
    for payer in &payers {
        customers::service::get_for_update(tx, tenant, *payer).await?;
    }
    for payer in payers {
        credit_notes::service::lock_of_customer(tx, tenant, payer).await?;
    }
    Ok(())
}

/// Has the next invoice look at these periods, if it has to add something to them. What it cannot give back with the tax
/// that it had, credit notes give back now.
async fn leave_to_next(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (subscription, past): (&Subscription, &Past),
    later: &[Closing],
    locked: &Locked,
) -> Result<(), InvoiceError> {
    let mut missing = missing(tx, past, later).await?;
    let taxed_otherwise = take_out_taxed_otherwise(tx, subscription, &mut missing).await?;
    let is_any_left = missing.iter().any(|of_price| !of_price.corrections.is_empty());
    let mut next = is_any_left.then(|| subscription.period.end.max(now));
    if !taxed_otherwise.is_empty() {
        if store::ids_of_subscription(tx, subscription).await? == locked.all {
            lock_credit(tx, subscription).await?;
            giving_back::give_back(tx, now, tenant, subscription, &taxed_otherwise).await?;
        } else {
            next = Some(now);
        }
    }
    Ok(metering::service::check_again(tx, later, next).await?)
}

/// Bills what is missing on an invoice of its own, and gives back by credit notes what was billed too much.
async fn settle(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (subscription, past): (&Subscription, &Past),
    mut missing: Vec<Missing<'_>>,
) -> Result<(), InvoiceError> {
    let taxed_otherwise = take_out_taxed_otherwise(tx, subscription, &mut missing).await?;
    let mut charges = missing.into_iter().flat_map(|of_price| of_price.corrections).collect::<Vec<_>>();
    let mut left_over = taxed_otherwise;
    if let Some(first) = charges.iter().find(|charge| !charge.is_nothing()) {
        let period = first.period;
        let plans = past.plans();
        let mut basis = cycle::basis(tx, tenant, subscription, plans, period, Reason::Adjustment).await?;
        let too_much = draft::limit_credits(&basis, &mut charges)?;
        rating::leave_out(&mut charges, &too_much);
        left_over.extend(too_much);
        basis.period =
            charges.iter().find(|charge| !charge.is_nothing()).map_or(period, |first| first.period);
        if let Some(draft) = draft::draft(basis, charges, now)? {
            issue(tx, now, tenant, draft, subscription.net_terms_days).await?;
        }
    }
    giving_back::give_back(tx, now, tenant, subscription, &left_over).await
}

/// Closes the periods of usage that a turn bills.
pub(super) async fn close(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    subscription: &Subscription,
    due: &[Due<'_>],
) -> Result<(), InvoiceError> {
    for (metric_id, period) in due.iter().filter_map(|due| Some((due.price.metric_id?, due.period))) {
        let closing = Closing {
            tenant_id: subscription.tenant_id,
            subscription_id: subscription.id,
            customer_id: subscription.customer_id,
            test_clock_id: subscription.test_clock_id,
            metric_id,
            period,
        };
        metering::service::close(tx, now, closing).await?;
    }
    Ok(())
}
