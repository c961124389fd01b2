//! Archiving in the background: a job for each tenant and day, and one for each month that has left.

use accrue_core::id::TenantId;
use accrue_platform::{db::Db, schedule::Schedule};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{
    service::{self, ArchiveError},
    writing,
};
use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Sweep, enqueue, enqueue_found, job_runner,
        new_job,
    },
    auth::{self, service::AuthError},
    metering::{self, Month},
};

/// By then the other tenants' archives of the day are made, and the month's partition can be dropped whole.
const REMOVE_AFTER: TimeDelta = TimeDelta::hours(1);

/// The jobs of archives.
pub const JOBS: &[JobRunner] = &[job_runner::<ArchiveUsage>(), job_runner::<RemoveArchived>()];

/// The sweeps of archives.
pub const SWEEPS: &[Sweep] = &[Sweep {
    schedule: Schedule { name: "archives.usage", cron: "0 37 2 * * *" },
    tenants: |db, now| Box::pin(tenants(db, now)),
    find: |db, scope, now, _| Box::pin(find(db, scope.tenant(), now)),
    enqueue: enqueue_found,
    next_due: None,
}];

/// Everybody in live mode. Test mode lives by clocks of its own, so its usage is never over.
async fn tenants(db: &Db, now: DateTime<Utc>) -> Result<Vec<(TenantId, DateTime<Utc>)>, DbErr> {
    let tenants = auth::service::all_tenants(db.reader()).await?;
    Ok(tenants.into_iter().filter(|tenant| tenant.livemode).map(|tenant| (tenant.id, now)).collect())
}

async fn find(db: &Db, tenant: TenantId, now: DateTime<Utc>) -> Result<FoundPage, DbErr> {
    let livemode = match auth::service::get_tenant(db.reader(), tenant).await {
        Ok(tenant) => tenant.livemode,
        Err(AuthError::Database(error)) => return Err(error),
        Err(_) => false,
    };
    let key = format!("{tenant}:{}", now.date_naive());
    let job = new_job(tenant, None, now, key, &ArchiveUsage {});
    let found = livemode.then(|| Found { object: tenant.to_string(), place: (now, tenant.0), job });
    Ok(FoundPage::whole(found.into_iter().collect()))
}

/// Archives the months of a tenant that are older than the installation keeps.
#[derive(Debug, Serialize, Deserialize)]
struct ArchiveUsage {}

impl Job for ArchiveUsage {
    const NAME: &'static str = "archives.usage";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let (db, clock, config) = (&context.app.db, &*context.app.clock, &context.app.config);
        let Some(kept) = config.usage_retention_months else { return Ok(()) };
        let tenant = auth::service::get_tenant(db.reader(), context.tenant).await;
        let tenant = tenant.map_err(|error| JobError::Retry(error.into()))?;
        let end = Month::of(context.now).minus(kept.get());
        for month in metering::archive::months_before(db, tenant.id, end).await? {
            let tx = context.begin().await?;
            let held = service::hold(&tx, clock, &tenant, month).await?;
            context.commit(tx).await?;
            if let Some(why) = held {
                tracing::info!(%month, %why, "usage is older than it is to be kept, and stays");
                break;
            }
            let folder = &config.usage_archive_dir;
            let written = writing::write(db, clock, folder, (&tenant, month), |_| ()).await?;
            let tx = context.begin().await?;
            match service::note(&tx, clock, &tenant, written).await? {
                Ok(archive) => {
                    remove_later(&tx, context.now, tenant.id, month).await?;
                    context.commit(tx).await?;
                    let (events, file) = (archive.contents.events, archive.file);
                    tracing::info!(%month, events, file, "usage is archived");
                }
                Err(why) => {
                    tx.rollback().await?;
                    tracing::info!(%month, %why, "usage is older than it is to be kept, and stays");
                    break;
                }
            }
        }
        Ok(())
    }
}

async fn remove_later(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    month: Month,
) -> Result<(), DbErr> {
    let job = RemoveArchived { month: month.to_string() };
    enqueue(tx, tenant, None, now + REMOVE_AFTER, format!("{tenant}:{month}"), &job).await
}

/// Takes the events of an archived month out of the database.
#[derive(Debug, Serialize, Deserialize)]
struct RemoveArchived {
    month: String,
}

impl Job for RemoveArchived {
    const NAME: &'static str = "archives.remove";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let month = self.month.parse().map_err(|error: metering::NoMonth| JobError::GiveUp(error.into()))?;
        let archive = metering::archive::find(context.app.db.reader(), context.tenant, month).await?;
        let Some(archive) = archive else { return Ok(()) };
        let folder = &context.app.config.usage_archive_dir;
        writing::check(folder, &archive).await?;
        loop {
            let tx = context.begin().await?;
            let removed = metering::archive::remove(&tx, &archive, context.now).await?;
            context.commit(tx).await?;
            if removed == 0 {
                break;
            }
        }
        Ok(writing::tidy(folder, &archive).await?)
    }
}

impl From<ArchiveError> for JobError {
    fn from(error: ArchiveError) -> Self {
        Self::Retry(error.into())
    }
}
