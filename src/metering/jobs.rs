//! Building up the hours of a metric from the events that came before they were kept.

use accrue_core::id::{MetricId, TenantId};
use accrue_platform::gate::Gate;
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{
    model::{Additions, Build},
    service::{self, MeteringError},
    store::{builds, events, rollups},
};
use crate::{
    app::{Job, JobContext, JobError, JobRunner, enqueue, job_runner},
    catalog,
};

/// The jobs of metering.
pub const JOBS: &[JobRunner] = &[job_runner::<BuildHours>()];

/// Events that are added to hours in one transaction.
const EVENTS_AT_ONCE: u64 = 5000;

/// Enqueues the building up of a metric's hours.
pub(super) async fn build_later(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    build: Build,
) -> Result<(), DbErr> {
    let job = BuildHours { metric_id: build.metric_id };
    let key = format!("{}:{}", build.metric_id, build.number);
    enqueue(tx, tenant, None, now, key, &job).await
}

/// Builds up the hours of a metric.
#[derive(Debug, Serialize, Deserialize)]
struct BuildHours {
    metric_id: MetricId,
}

impl Job for BuildHours {
    const NAME: &'static str = "metering.build_hours";

    /// Starts anew with a number of its own, so that it may die anywhere. The gate is closed for a moment:
    /// what was committed before is read from a snapshot, what comes after is counted as it comes.
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = context.tenant;
        let metric = catalog::service::get_metric(context.app.db.reader(), tenant, self.metric_id).await;
        let metric = metric.map_err(|error| JobError::GiveUp(error.into()))?;

        let tx = context.begin().await?;
        Gate::Usage.close(&tx, tenant).await?;
        let before = builds::find_for_update(&tx, tenant, metric.id).await?;
        let Some(before) = before.filter(|build| !build.is_complete) else { return Ok(()) };
        let build = Build { number: before.number + 1, ..before };
        builds::save(&tx, tenant, build).await?;
        let snapshot = context.app.db.snapshot().await?;
        context.commit(tx).await?;

        let mut last = None;
        loop {
            let events =
                events::next_named(&snapshot, tenant, &metric.event_name, last, EVENTS_AT_ONCE).await?;
            let mut added = Additions::default();
            for (event, properties) in &events {
                service::count(&mut added, &metric, build, event, properties)
                    .map_err(|error| JobError::GiveUp(error.into()))?;
            }
            let tx = context.begin().await?;
            rollups::add(&tx, &added).await.map_err(|error| JobError::Retry(error.into()))?;
            context.commit(tx).await?;
            match events.last() {
                Some((event, _)) => last = Some(event.id),
                None => break,
            }
        }
        snapshot.rollback().await?;

        let tx = context.begin().await?;
        let held = builds::find_for_update(&tx, tenant, metric.id).await?;
        if held == Some(build) {
            builds::save(&tx, tenant, Build { is_complete: true, ..build }).await?;
            rollups::delete_others(&tx, tenant, build).await?;
        }
        context.commit(tx).await
    }
}

impl From<MeteringError> for JobError {
    fn from(error: MeteringError) -> Self {
        Self::Retry(error.into())
    }
}
