//! What happens to subscriptions by themselves: customers hear that their trial ends soon. Turns of the cycle
//! are billed by invoices.

use accrue_core::id::{SubscriptionId, TenantId, TestClockId};
use accrue_platform::{db::Db, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use super::{
    service::{self, SubscriptionError},
    store,
};
use crate::app::{Job, JobContext, JobError, JobRunner, Scope, Sweep, enqueue, job_runner};

/// Every job of subscriptions.
pub const JOBS: &[JobRunner] = &[job_runner::<TellTrialEnd>()];

/// Every sweep of subscriptions.
pub const SWEEPS: &[Sweep] = &[TRIAL_NOTICES];

/// Finds trials that end within three days.
const TRIAL_NOTICES: Sweep = Sweep {
    schedule: Schedule { name: "subscriptions.trial_notices", cron: "0 */5 * * * *" },
    run: |db, scope, now| Box::pin(sweep_trial_notices(db, scope, now)),
    next_due: Some(|db, tenant, clock| Box::pin(next_trial_notice(db, tenant, clock))),
};

/// Tells that a trial ends soon. The second run finds that it is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellTrialEnd {
    pub subscription: SubscriptionId,
}

impl Job for TellTrialEnd {
    const NAME: &'static str = "subscriptions.tell_trial_end";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tx = context.begin().await?;
        service::tell_trial_end(&tx, context.now, context.tenant, self.subscription).await?;
        context.commit(tx).await
    }
}

async fn sweep_trial_notices(db: &Db, scope: Scope, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let test_clock = match scope {
        Scope::WallClock => None,
        Scope::TestClock(_, clock) => Some(clock),
    };
    let (mut found, mut after) = (0, None);
    loop {
        let page = store::due_trial_notices(db.reader(), scope, now, after).await?;
        let Some((_, last, at)) = page.last() else { return Ok(found) };
        after = Some((*at, *last));
        found += page.len() as u64;

        let tx = db.begin().await?;
        for (tenant, subscription, _) in page {
            let job = TellTrialEnd { subscription };
            enqueue(&tx, tenant, test_clock, now, subscription, &job).await?;
        }
        tx.commit().await?;
    }
}

async fn next_trial_notice(
    db: &Db,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    store::next_trial_notice(db.reader(), tenant, clock).await
}

impl From<SubscriptionError> for JobError {
    fn from(error: SubscriptionError) -> Self {
        match error {
            SubscriptionError::Database(error) => error.into(),
            SubscriptionError::NotFound(_)
            | SubscriptionError::Broken(_)
            | SubscriptionError::Calendar(_) => Self::GiveUp(error.into()),
            _ => Self::Retry(error.into()),
        }
    }
}
