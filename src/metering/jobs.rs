//! Building up the hours of a metric from the events that came before they were kept.

use accrue_core::id::{MetricId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{building::Building, model::Build, service::MeteringError};
use crate::{
    app::{Job, JobContext, JobError, JobRunner, enqueue, job_runner},
    catalog,
};

/// The jobs of metering.
pub const JOBS: &[JobRunner] = &[job_runner::<BuildHours>()];

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

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = context.tenant;
        let metric = catalog::service::get_metric(context.app.db.reader(), tenant, self.metric_id).await;
        let metric = metric.map_err(|error| JobError::GiveUp(error.into()))?;

        let tx = context.begin().await?;
        let building = Building::begin(&context.app.db, &tx, tenant, metric, false).await?;
        context.commit(tx).await?;
        let Some(mut building) = building else { return Ok(()) };
        loop {
            let tx = context.begin().await?;
            let events = building.step(&tx).await?;
            context.commit(tx).await?;
            if events == 0 {
                break;
            }
        }
        let tx = context.begin().await?;
        building.end(&tx).await?;
        context.commit(tx).await
    }
}

impl From<MeteringError> for JobError {
    fn from(error: MeteringError) -> Self {
        match error {
            // They will not become smaller.
            MeteringError::Overflow => Self::GiveUp(error.into()),
            _ => Self::Retry(error.into()),
        }
    }
}
