//! What goes on after a process died while it moved a clock.

use accrue_core::id::{TenantId, TestClockId};
use accrue_platform::{db::Db, schedule::Schedule};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use super::{
    advance::{DriveError, drive},
    deletion,
    model::TestClock,
    service,
};
use crate::app::{
    Found, FoundPage, Job, JobContext, JobError, JobRunner, Sweep, enqueue_found, job_runner, new_job,
};

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

/// Deletes the customers of a clock that was deleted, and everything of theirs.
#[derive(Serialize, Deserialize)]
pub(super) struct DeleteCustomers {
    pub clock: TestClockId,
}

impl Job for DeleteCustomers {
    const NAME: &'static str = "clocks.delete_customers";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        deletion::delete_customers(context, self.clock).await
    }
}

pub const JOBS: &[JobRunner] = &[job_runner::<ResumeAdvance>(), job_runner::<DeleteCustomers>()];

/// Finds clocks whose movement has not arrived.
pub const SWEEPS: &[Sweep] = &[Sweep {
    schedule: Schedule { name: "clocks.resume", cron: "*/5 * * * * *" },
    tenants: |db, now| Box::pin(tenants(db, now)),
    find: |db, scope, now, _| Box::pin(find(db, scope.tenant(), now)),
    enqueue: enqueue_found,
    next_due: None,
}];

async fn tenants(db: &Db, now: DateTime<Utc>) -> Result<Vec<(TenantId, DateTime<Utc>)>, DbErr> {
    let tenants = service::tenants_with_advancing(db.reader()).await?;
    Ok(tenants.into_iter().map(|tenant| (tenant, now)).collect())
}

async fn find(db: &Db, tenant: TenantId, now: DateTime<Utc>) -> Result<FoundPage, DbErr> {
    let clocks = service::advancing(db.reader(), tenant).await?;
    let found = clocks.into_iter().map(|TestClock { id: clock, .. }| Found {
        object: clock.to_string(),
        place: (now, clock.0),
        // The test clock of the job is none: it goes by the wall clock, for it is what moves the other.
        job: new_job(tenant, None, now, clock, &ResumeAdvance { clock }),
    });
    Ok(FoundPage::whole(found.collect()))
}
