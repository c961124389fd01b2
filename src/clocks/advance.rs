//! Moves a clock, stopping at every instant at which something falls due, and has it done there.

use std::time::Duration;

use accrue_core::id::{RequestId, TenantId, TestClockId};
use accrue_platform::{lease::Lease, outbox, queue};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use super::service::{self, ClockError};
use crate::app::{App, Scope, drain_test_clock};

const PATIENCE: Duration = Duration::from_millis(100);

/// Why a movement did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    #[error("another process moves the clock")]
    Elsewhere,
    #[error("something that was due at {at} could not be done: {hint}, then advance again")]
    Stuck { at: DateTime<Utc>, hint: String },
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Brings a clock to where it is going. Safe to be killed anywhere, and to be called again.
///
/// What falls due at one instant may take longer than the lease, and then another process drives too. Nothing
/// is done twice: every job has a lease of its own. And nothing is left out: only who holds the clock's lease
/// in that very transaction moves the hands, after having found by itself that nothing more is due.
pub(super) async fn drive(app: &App, tenant: TenantId, id: TestClockId) -> Result<(), DriveError> {
    let name = format!("test_clock:{id}");
    let holder = RequestId::new(app.now()).to_string();
    let lease = Lease::take(&app.db, &name, &holder, app.now(), app.config.job_lease()).await?;
    let lease = lease.ok_or(DriveError::Elsewhere)?;
    let driven = drive_leased(app, tenant, id, &lease).await;
    lease.release(&app.db, app.now()).await?;
    driven
}

async fn drive_leased(app: &App, tenant: TenantId, id: TestClockId, lease: &Lease) -> Result<(), DriveError> {
    loop {
        if !lease.renew(&app.db, app.now(), app.config.job_lease()).await? {
            return Err(DriveError::Elsewhere);
        }
        let clock = service::get(app.db.reader(), tenant, id).await?;
        let Some(advance) = clock.advancing else { return Ok(()) };
        drain_test_clock(app, tenant, id, clock.now_at).await?;

        let job_due = queue::next_due(app.db.reader(), tenant, id).await?;
        if job_due.is_some_and(|at| at <= clock.now_at) {
            // Another process holds it, or died with it: its lease ends.
            tokio::time::sleep(PATIENCE).await;
            continue;
        }
        // A job that another process had begun before may have told something since.
        if outbox::untold_of_test_clock(app.db.reader(), tenant, id).await? {
            continue;
        }
        let next = [job_due, next_of_sweeps(app, tenant, id).await?].into_iter().flatten().min();
        let tx = app.db.begin().await?;
        if !lease.fence(&tx).await? {
            return Err(DriveError::Elsewhere);
        }
        match next {
            Some(at) if at <= clock.now_at => {
                tx.rollback().await?;
                return Err(DriveError::Stuck { at, hint: hint(app, tenant, id).await? });
            }
            Some(at) if at <= advance.to => service::set_now(&tx, tenant, id, at).await?,
            _ => {
                service::set_now(&tx, tenant, id, advance.to).await?;
                service::end_advance(&tx, tenant, id).await?;
            }
        }
        tx.commit().await?;
    }
}

/// Which job stands in the way, where it is shown, and what to do.
async fn hint(app: &App, tenant: TenantId, id: TestClockId) -> Result<String, DbErr> {
    let failed = queue::failed_of_test_clock(app.db.reader(), tenant, id).await?;
    Ok(match failed {
        Some((job, name, state)) if state == "dead" => {
            format!("{job} ({name}) is dead, and GET /v1/jobs tells why; POST /v1/jobs/{job}/retry")
        }
        Some((job, name, state)) => {
            format!(
                "{job} ({name}) is {state}, and GET /v1/jobs?state={state} tells why; wait until it has run"
            )
        }
        None => "no job has failed, and GET /v1/jobs?state=running shows what is under way; wait for it"
            .to_owned(),
    })
}

async fn next_of_sweeps(
    app: &App,
    tenant: TenantId,
    id: TestClockId,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let mut soonest = None;
    for next_due in app.work.sweeps().filter_map(|sweep| sweep.next_due) {
        let due = next_due(&app.db, Some(Scope::TestClock(tenant, id))).await?;
        soonest = [soonest, due].into_iter().flatten().min();
    }
    Ok(soonest)
}
