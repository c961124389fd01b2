//! Usage that is counted and that nothing bills: looked for every hour, so that a forgotten price or subscription is
//! told (decision 0030).

use std::collections::{HashMap, HashSet, hash_map::Entry};

use accrue_core::id::{CustomerId, MetricId, PlanVersionId, TenantId, UsageEventId};
use sea_orm::DatabaseTransaction;

use super::service::InvoiceError;
use crate::{
    app::{JobContext, JobError},
    catalog,
    metering::{self, Counted, Unmatched},
    subscriptions::{self, Phase, Subscription},
};

/// What the plans are that were asked for: the metrics that each has a price or a limit on.
type Plans = HashMap<PlanVersionId, HashSet<MetricId>>;

/// Counts what a tenant sent since the last look and nothing bills.
pub(super) async fn look(context: &JobContext) -> Result<(), JobError> {
    let (tenant, wall) = (context.tenant, context.app.now());
    let metrics = catalog::service::all_metrics(context.app.db.reader(), tenant).await?;
    let names: HashSet<&str> = metrics.iter().map(|metric| metric.event_name.as_str()).collect();
    let mut plans = Plans::new();
    for name in names {
        loop {
            let tx = context.begin().await?;
            let counted = metering::service::next_counted(&tx, wall, tenant, &metrics, name).await?;
            let Some(counted) = counted else {
                context.commit(tx).await?;
                break;
            };
            let unbilled = unbilled(&tx, tenant, &mut plans, &counted).await?;
            let tally = metering::service::tally(&tx, wall, (tenant, name), unbilled.into_iter()).await?;
            context.commit(tx).await?;
            tally.tell();
        }
    }
    Ok(())
}

/// Those that no subscription bills, and why.
async fn unbilled(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    plans: &mut Plans,
    counted: &[Counted],
) -> Result<Vec<(UsageEventId, Unmatched)>, InvoiceError> {
    let customers: HashSet<CustomerId> = counted.iter().map(|counted| counted.customer_id).collect();
    let found = subscriptions::service::of_customers(tx, tenant, customers.into_iter().collect()).await?;
    let former = subscriptions::service::former_phases(tx, tenant, &found).await?;
    let mut of = HashMap::<CustomerId, Vec<(Subscription, &[Phase])>>::new();
    for subscription in found {
        let former = former.get(&subscription.id).map(Vec::as_slice).unwrap_or_default();
        let had = former.iter().map(|phase| phase.plan_version_id).chain([subscription.plan_version_id]);
        for version in had {
            if let Entry::Vacant(new) = plans.entry(version) {
                new.insert(counted_by(tx, tenant, version).await?);
            }
        }
        of.entry(subscription.customer_id).or_default().push((subscription, former));
    }
    let why = |counted: &Counted| {
        let at = counted.timestamp;
        let theirs = of.get(&counted.customer_id).into_iter().flatten();
        let then = |(subscription, former): &(Subscription, &[Phase])| {
            let phase = former.iter().find(|phase| phase.from <= at && at < phase.until);
            phase.map_or(Some(subscription.plan_version_id), |phase| {
                (!phase.usage_ignored).then_some(phase.plan_version_id)
            })
        };
        let mut covering = theirs
            .filter(|(subscription, _)| subscription.covers(at))
            .filter_map(then)
            .map(|version| &plans[&version])
            .peekable();
        if covering.peek().is_none() {
            return Some(Unmatched::NoSubscription);
        }
        let is_billed = covering.any(|plan| counted.metrics.iter().any(|metric| plan.contains(metric)));
        (!is_billed).then_some(Unmatched::NoPrice)
    };
    Ok(counted.iter().filter_map(|counted| Some((counted.id, why(counted)?))).collect())
}

/// The metrics that a plan has a price or a limit on: what counts against a limit is not forgotten.
async fn counted_by(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    plan: PlanVersionId,
) -> Result<HashSet<MetricId>, InvoiceError> {
    let plan = catalog::service::get_plan_version(tx, tenant, plan).await?;
    let codes: Vec<&str> = plan.features.iter().map(|feature| feature.feature.as_str()).collect();
    let features = catalog::service::features_by_code(tx, tenant, &codes).await?;
    let limited = features.into_iter().filter_map(|feature| feature.metric_id);
    Ok(plan.prices.iter().filter_map(|price| price.metric_id).chain(limited).collect())
}
