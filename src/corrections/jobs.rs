//! Looking at billed usage, in the background.

use accrue_core::id::SubscriptionId;
use accrue_platform::{
    db::Db,
    due::{PAGE, Place},
    schedule::Schedule,
};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Scope, Sweep, enqueue_found, job_runner,
        new_job,
    },
    auth, invoices, metering, payments,
};

/// Looks whether more, or less, was used in a subscription's closed periods than was billed.
#[derive(Debug, Serialize, Deserialize)]
struct CheckUsage {
    subscription: SubscriptionId,
}

impl Job for CheckUsage {
    const NAME: &'static str = "corrections.check_usage";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let (id, now) = (context.tenant, context.now);
        let tenant = auth::service::get_tenant(context.app.db.reader(), id).await;
        let tenant = tenant.map_err(|error| JobError::Retry(error.into()))?;
        let tx = context.begin().await?;
        let locked = invoices::service::lock_billed(&tx, id, self.subscription).await?;
        // What is being paid, or chased, goes its way.
        let begun = payments::service::begun_for(&tx, id, locked.open()).await?;
        let locked = locked.spare(&begun);
        invoices::service::check_usage(&tx, now, &tenant, self.subscription, &locked).await?;
        context.commit(tx).await
    }
}

/// Every job of corrections.
pub const JOBS: &[JobRunner] = &[job_runner::<CheckUsage>()];

/// Every sweep of corrections.
pub const SWEEPS: &[Sweep] = &[USAGE_SWEEP];

/// Finds the subscriptions with closed periods for which something came later.
const USAGE_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "corrections.check_usage", cron: "30 * * * * *" },
    tenants: |db, now| Box::pin(metering::service::CHECKS.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find(db, scope, now, after)),
    enqueue: enqueue_found,
    next_due: Some(|db, scope| Box::pin(metering::service::CHECKS.first(db.reader(), scope))),
};

async fn find(db: &Db, scope: Scope, now: DateTime<Utc>, after: Option<Place>) -> Result<FoundPage, DbErr> {
    let due = metering::service::due_checks(db, scope, now, after.map(|(_, id)| SubscriptionId(id))).await?;
    let next = due.get(PAGE - 1).map(|&(subscription, at)| (at, subscription.0));
    let found = due.into_iter().map(|(subscription, at)| {
        let key = format!("{subscription}:{}", at.timestamp_micros());
        let job = new_job(scope.tenant(), scope.test_clock(), now, key, &CheckUsage { subscription });
        Found { object: subscription.to_string(), place: (at, subscription.0), job }
    });
    Ok(FoundPage { found: found.collect(), next })
}
