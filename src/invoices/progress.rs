//! Progressive billing: usage of the running period is billed as soon as it comes to an amount (RULES 28).
//!
//! Each invoice is price(all that was used so far) less what is on invoices of the period already, part by part; the turn
//! at the end of the period bills the rest. So tiers are crossed once, and all lines together are what one bill would have
//! been, to the cent. What is missing to a minimum is known at the end alone.

use std::collections::BTreeSet;

use accrue_core::{
    id::{CustomerId, InvoiceId, MetricId, SubscriptionId, TenantId},
    money::Money,
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    cycle,
    draft::draft,
    late::add_vanished,
    model::Reason,
    rating::{self, Charge, Due, Part},
    service::{InvoiceError, issue},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, PlanVersion, PriceKind},
    metering::{self, Watched, Watcher},
    subscriptions::{self, Subscription},
};

/// The subscriptions of a customer that have come to their thresholds. `now` is the customer's time.
pub(super) async fn due(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<SubscriptionId>, InvoiceError> {
    let mut due = Vec::new();
    let mut running = subscriptions::service::running_at(db, tenant, customer, now).await?;
    running.retain(|subscription| subscription.progressive_billing_threshold.is_some());
    for subscription in running {
        let plan = catalog::service::get_plan_version(db, tenant, subscription.plan_version_id).await?;
        if !increments(db, now, &subscription, &plan).await?.is_empty() {
            due.push(subscription.id);
        }
    }
    Ok(due)
}

/// Bills what was used since the last invoice of the running period, if it still comes to the threshold. The
/// subscription is locked: run twice, the second finds nothing to bill.
pub(super) async fn bill(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    id: SubscriptionId,
) -> Result<(), InvoiceError> {
    let subscription = subscriptions::service::get_for_update(tx, tenant.id, id).await?;
    let plan = catalog::service::get_plan_version(tx, tenant.id, subscription.plan_version_id).await?;
    let charges = increments(tx, now, &subscription, &plan).await?;
    let period = subscription.usage_period();
    let basis = cycle::basis(tx, tenant, &subscription, vec![&plan], period, Reason::Threshold).await?;
    if let Some(draft) = draft(basis, charges, now)? {
        issue(tx, now, tenant, draft, subscription.net_terms_days).await?;
    }
    Ok(())
}

/// What was used since the last invoice of the running period; nothing below the threshold, or once the turn that ends
/// the period is due.
async fn increments<'a>(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    subscription: &Subscription,
    plan: &'a PlanVersion,
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    let is_counted = subscription.is_open(now) && subscription.counts_usage();
    let Some(threshold) = subscription.progressive_billing_threshold.filter(|_| is_counted) else {
        return Ok(Vec::new());
    };
    let mut charges = Vec::new();
    for price in plan.prices.iter().filter(|price| price.kind == PriceKind::Usage) {
        let due = cycle::due_of(subscription, price, subscription.usage_period())?;
        charges.extend(since_billed(db, subscription, due, None).await?);
    }
    charges.retain(|charge| charge.part != Part::TrueUp);
    let amounts = charges.iter().map(|charge| Money::round(charge.exact_amount, subscription.currency));
    let sum = Money::sum(subscription.currency, amounts.collect::<Result<Vec<_>, _>>()?)?;
    if sum.minor() < threshold.minor() {
        charges.clear();
    }
    Ok(charges)
}

/// What a price costs at the end of a period, less what was billed of it before.
pub(super) async fn rest<'a>(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    due: Due<'a>,
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    if due.price.kind != PriceKind::Usage || subscription.progressive_billing_threshold.is_none() {
        return cycle::charges(db, subscription, due).await;
    }
    since_billed(db, subscription, due, None).await
}

/// What a usage price costs by now for a period, less what was billed of it. What nothing was billed of is there as it
/// would be without: as the first line, of which there is one. `without` is an invoice that is being issued anew.
pub(super) async fn since_billed<'a>(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    due: Due<'a>,
    without: Option<InvoiceId>,
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    let mut billed = store::billed(db, subscription, due.price.id, due.period, without).await?;
    let mut right = cycle::charges(db, subscription, due).await?;
    add_vanished(&mut right, &billed, due);
    let mut missing = Vec::with_capacity(right.len());
    for right in right {
        match billed.remove(&right.part) {
            None => missing.push(right),
            Some(before) => missing.extend(rating::correction(&right, before, subscription.currency)?),
        }
    }
    Ok(missing)
}

/// Has usage that moves looked at from its first turn to its last, by the prices that it has after a turn.
pub(super) async fn watch(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    (before, after): (&Subscription, &Subscription),
) -> Result<(), InvoiceError> {
    if after.progressive_billing_threshold.is_none() {
        return Ok(());
    }
    let tenant = after.tenant_id;
    let wanted = if after.next_due_at.is_some() { watched(tx, after).await? } else { Vec::new() };
    for (by, _) in watched(tx, before).await? {
        if wanted.iter().all(|(wanted, _)| *wanted != by) {
            metering::service::unwatch(tx, tenant, by).await?;
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    Ok(metering::service::watch(tx, wall, tenant, &wanted).await?)
}

/// What a subscription with a threshold watches.
async fn watched(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
) -> Result<Vec<(Uuid, Watched)>, InvoiceError> {
    let tenant = subscription.tenant_id;
    let plan = catalog::service::get_plan_version(tx, tenant, subscription.plan_version_id).await?;
    let metrics: BTreeSet<MetricId> = plan.prices.iter().filter_map(|price| price.metric_id).collect();
    let watched = metrics.into_iter().map(|metric| {
        let customer = subscription.customer_id;
        let (test_clock, watcher) = (subscription.test_clock_id, Watcher::Invoices);
        (watch_id(subscription.id, metric), Watched { tenant, customer, metric, test_clock, watcher })
    });
    Ok(watched.collect())
}

/// A subscription watches a metric once.
fn watch_id(subscription: SubscriptionId, metric: MetricId) -> Uuid {
    let digest = Sha256::new().chain_update(subscription.0.as_bytes()).chain_update(metric.0.as_bytes());
    Uuid::from_slice(&digest.finalize()[..16]).expect("a digest is longer")
}
