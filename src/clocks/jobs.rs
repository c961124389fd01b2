//! What goes on after a process died while it moved a clock.

use accrue_core::id::TestClockId;
use accrue_platform::{db::Db, schedule::Schedule};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use super::{
    advance::{DriveError, drive},
    service,
};
use crate::app::{Job, JobContext, JobError, JobRunner, Scope, Sweep, enqueue, job_runner};

/// Brings a clock to where it was going.
#[derive(Serialize, Deserialize)]
pub struct ResumeAdvance {
    clock: TestClockId,
}

impl Job for ResumeAdvance {
    const NAME: &'static str = "clocks.resume";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        match drive(&context.app, context.tenant, self.clock).await {
            Ok(()) => Ok(()),
            Err(DriveError::Elsewhere) => Err(JobError::NotBefore(context.now + TimeDelta::seconds(5))),
            Err(error @ DriveError::Stuck { .. }) => Err(JobError::GiveUp(error.into())),
            Err(error) => Err(JobError::Retry(error.into())),
        }
    }
}

pub const JOBS: &[JobRunner] = &[job_runner::<ResumeAdvance>()];

/// Finds clocks whose movement has not arrived.
pub const SWEEPS: &[Sweep] = &[Sweep {
    schedule: Schedule { name: "clocks.resume", cron: "*/5 * * * * *" },
    run: |db, scope, now| Box::pin(resume_all(db, scope, now)),
    next_due: None,
}];

async fn resume_all(db: &Db, _: Scope, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let clocks = service::advancing_in_all_tenants(db.reader()).await?;
    if clocks.is_empty() {
        return Ok(0);
    }
    let tx = db.begin().await?;
    for clock in &clocks {
        // The test clock of the job is none: it goes by the wall clock, for it is what moves the other.
        enqueue(&tx, clock.tenant_id, None, now, clock.id, &ResumeAdvance { clock: clock.id }).await?;
    }
    tx.commit().await?;
    Ok(clocks.len() as u64)
}
