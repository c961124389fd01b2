//! Usage that came, or was corrected, after its period was billed (RULES 18): the next invoice, or one of its own
//! if there will be none, says what was missing.

use std::collections::BTreeMap;

use accrue_core::id::SubscriptionId;
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use super::{
    cycle, giving_back,
    model::Reason,
    rating::{self, Billed, Charge, Due, Part},
    service::{InvoiceError, issue},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, PlanVersion},
    metering::{self, Closing},
    subscriptions::{self, Subscription},
};

/// What has to be added to the bills of earlier periods, and these periods.
///
/// What was billed is what stands on invoices, so nothing is added twice, and what cannot be credited now will
/// still be missing later.
pub(super) async fn corrections<'a>(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    plan: &'a PlanVersion,
) -> Result<(Vec<Charge<'a>>, Vec<Closing>), InvoiceError> {
    let tenant = subscription.tenant_id;
    let closings = metering::service::to_check(tx, tenant, subscription.id).await?;
    let mut corrections = Vec::new();
    for closing in &closings {
        for price in plan.prices.iter().filter(|price| price.metric_id == Some(closing.metric_id)) {
            let due = cycle::due_of(subscription, price, closing.period)?;
            let mut billed = store::billed(tx, subscription, price.id, closing.period).await?;
            let mut right = cycle::charges(tx, subscription, due).await?;
            add_vanished(&mut right, &billed, due);
            for right in right {
                let before = billed.remove(&right.part);
                let before = before.unwrap_or_else(|| Billed::nothing(subscription.currency));
                let correction = rating::correction(&right, before, subscription.currency)?;
                corrections.extend(correction.map(|correction| Charge { is_late: true, ..correction }));
            }
        }
    }
    Ok((corrections, closings))
}

/// Adds what was billed once and is not there any more.
pub(super) fn add_vanished<'a>(right: &mut Vec<Charge<'a>>, billed: &BTreeMap<Part, Billed>, due: Due<'a>) {
    let is_there = |part: &Part| right.iter().any(|right| right.part == *part);
    let vanished: Vec<_> = billed.keys().filter(|part| !is_there(part)).cloned().collect();
    right.extend(vanished.into_iter().map(|part| Charge::nothing(due, part)));
}

/// Compares what was billed with what was used. A subscription that goes on has it on its next invoice; one that
/// has ended gets an invoice now, and credit notes for what it was billed too much. `now` is the customer's time.
///
/// Invoices are locked before their subscription, as everywhere.
pub(super) async fn check(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    id: SubscriptionId,
) -> Result<(), InvoiceError> {
    let seen = subscriptions::service::get(tx, tenant.id, id).await?;
    if seen.has_ended() {
        store::lock_of_subscription(tx, tenant.id, id).await?;
    }
    let subscription = subscriptions::service::get_for_update(tx, tenant.id, id).await?;
    let plan = catalog::service::get_plan_version(tx, tenant.id, subscription.plan_version_id).await?;
    let (mut charges, closings) = corrections(tx, &subscription, &plan).await?;
    if !charges.is_empty() && !subscription.has_ended() {
        let next = subscription.period.end.max(now);
        return Ok(metering::service::check_again(tx, &closings, Some(next)).await?);
    }
    if !seen.has_ended() && subscription.has_ended() {
        return Ok(metering::service::check_again(tx, &closings, Some(now)).await?);
    }
    let left_over = rating::limit_credits(&mut charges, subscription.currency)?;
    charges.retain(|charge| !charge.exact_amount.is_zero() || !left_over.iter().any(|of| of.is_of(charge)));
    if let Some(first) = charges.iter().find(|charge| !charge.is_nothing()) {
        let period = first.period;
        let basis = cycle::basis(tx, tenant, &subscription, &plan, period, Reason::Adjustment).await?;
        if let Some(draft) = super::draft::draft(basis, charges, now)? {
            issue(tx, now, tenant, draft, subscription.net_terms_days).await?;
        }
    }
    giving_back::give_back(tx, now, tenant, &subscription, &left_over).await?;
    Ok(metering::service::check_again(tx, &closings, None).await?)
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
