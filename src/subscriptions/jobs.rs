//! What happens to subscriptions by themselves: customers hear that their trial ends soon. Turns of the cycle
//! are billed by invoices.

use accrue_core::id::SubscriptionId;
use accrue_platform::{db::Db, due::Place, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use super::{
    service::{self, SubscriptionError},
    store,
};
use crate::app::{
    Found, FoundPage, Job, JobContext, JobError, JobRunner, Scope, Sweep, enqueue_found, job_runner, new_job,
};

/// Every job of subscriptions.
pub const JOBS: &[JobRunner] = &[job_runner::<TellTrialEnd>()];

/// Every sweep of subscriptions.
pub const SWEEPS: &[Sweep] = &[TRIAL_NOTICES];

/// Finds trials that end within three days.
const TRIAL_NOTICES: Sweep = Sweep {
    schedule: Schedule { name: "subscriptions.trial_notices", cron: "0 */5 * * * *" },
    tenants: |db, now| Box::pin(store::TRIAL_NOTICES.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find_trial_notices(db, scope, now, after)),
    enqueue: enqueue_found,
    next_due: Some(|db, scope| Box::pin(store::TRIAL_NOTICES.first(db.reader(), scope))),
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

async fn find_trial_notices(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = store::TRIAL_NOTICES.page(db.reader(), scope, now, after, &[]).await?;
    FoundPage::of(&rows, |row| {
        let subscription = SubscriptionId(row.id);
        let job = TellTrialEnd { subscription };
        let job = new_job(scope.tenant(), scope.test_clock(), now, subscription, &job);
        Ok(Found { object: subscription.to_string(), place: row.place(), job })
    })
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
