//! What counts events: a tenant's metrics, and how far the hours of each are built up.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use accrue_core::{
    clock::Clock,
    id::{MetricId, TenantId},
    usage::{Properties, Sample},
};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::{
    jobs,
    model::{Additions, Build, Closing, Grain, Payer, Unmatched, UsageEvent},
    store::{builds, closings},
};
use crate::catalog::{self, Metric};

/// A tenant's metrics, and how far the hours of each are built up.
#[derive(Debug)]
pub(super) struct Tracked {
    metrics: Arc<[Metric]>,
    /// Of each grain of each metric.
    builds: HashMap<MetricId, Vec<Build>>,
}

/// What is to be counted. From the first event that a metric could count, its hours are kept.
pub(super) async fn track(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
) -> Result<Tracked, DbErr> {
    let metrics = catalog::service::all_metrics(tx, tenant).await?;
    Ok(track_metrics(tx, clock, tenant, metrics.into()).await?.0)
}

/// As [`track`], with the tenant's metrics at hand. Says whether hours begin to be kept by this.
pub(super) async fn track_metrics(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    metrics: Arc<[Metric]>,
) -> Result<(Tracked, bool), DbErr> {
    let mut builds = by_metric(builds::all(tx, tenant).await?);
    let is_missing = |grain: &Grain| {
        builds.get(&grain.metric_id).is_none_or(|begun| begun.iter().all(|build| build.grain != *grain))
    };
    let missing: Vec<Grain> = metrics.iter().flat_map(Grain::all_of).filter(is_missing).collect();
    let are_new = !missing.is_empty();
    if are_new {
        for build in missing.into_iter().map(Build::first) {
            if builds::begin(tx, tenant, &build).await? {
                jobs::build_later(tx, clock.now(), tenant, &build).await?;
            }
        }
        // Somebody else may have begun one meanwhile, and be further.
        builds = by_metric(builds::all(tx, tenant).await?);
    }
    Ok((Tracked { metrics, builds }, are_new))
}

fn by_metric(builds: Vec<Build>) -> HashMap<MetricId, Vec<Build>> {
    let mut of = HashMap::<_, Vec<Build>>::new();
    for build in builds {
        of.entry(build.grain.metric_id).or_default().push(build);
    }
    of
}

impl Tracked {
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Whether every event is in the hours of a metric.
    pub fn is_built(&self, metric: &Metric) -> bool {
        self.builds.get(&metric.id).is_some_and(|builds| builds.iter().all(|build| build.is_complete))
    }

    /// Adds an event to the hours of the metrics that count it; tells why, if none does.
    pub fn count(
        &self,
        added: &mut Additions,
        event: &UsageEvent,
        properties: &Properties,
    ) -> Option<Unmatched> {
        let named = self.metrics.iter().filter(|metric| metric.event_name == event.event_name);
        let mut is_counted = false;
        for metric in named.clone() {
            is_counted |= count(added, metric, &self.builds[&metric.id], event, properties);
        }
        (!is_counted).then(|| Unmatched::of(event, properties, named))
    }

    /// Has the closed periods looked at again to which new events of the tenant belong.
    pub async fn note_late<'a>(
        &self,
        tx: &DatabaseTransaction,
        tenant: TenantId,
        new: impl Iterator<Item = &'a UsageEvent> + Clone,
    ) -> Result<(), DbErr> {
        let Some(earliest) = new.clone().map(|event| event.timestamp).min() else { return Ok(()) };
        let closings = closings::ending_after(tx, tenant, earliest).await?;
        let mut late = BTreeMap::<DateTime<Utc>, Vec<Uuid>>::new();
        for closing in closings {
            let Some(metric) = self.metrics.iter().find(|metric| metric.id == closing.metric_id) else {
                continue;
            };
            let mut of_metric = new.clone().filter(|event| event.event_name == metric.event_name);
            if let Some(event) = of_metric.find(|event| closing.holds(event, metric.rules.recurring)) {
                let check_by = Closing::check_by(metric, event.received_at);
                late.entry(check_by).or_default().push(closing.id());
            }
        }
        for (at, ids) in late {
            closings::check_by(tx, tenant, ids, at).await?;
        }
        Ok(())
    }
}

/// Adds an event to its hour in these grains of a metric, if the metric counts it and can be counted by the hour, and
/// says whether the metric counts it. One that waits for its customer is counted when the customer is there.
pub(super) fn count(
    added: &mut Additions,
    metric: &Metric,
    builds: &[Build],
    event: &UsageEvent,
    properties: &Properties,
) -> bool {
    let Payer::Known(customer_id) = event.payer else { return false };
    let arrival = event.id.0.as_u128();
    let Some(sample) = Sample::of(&metric.rules, event.timestamp, arrival, properties) else {
        return false;
    };
    if !metric.rules.aggregation.is_mergeable(false) {
        return true;
    }
    for build in builds {
        let series = build.series(event.tenant_id, customer_id);
        added.push(metric.rules.aggregation, series, build.grain.values_of(properties), &sample);
    }
    true
}
