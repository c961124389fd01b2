//! Looking at billed usage, in the background.

use accrue_core::id::SubscriptionId;
use accrue_platform::{db::Db, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use crate::{
    app::{Job, JobContext, JobError, JobRunner, Scope, Sweep, enqueue, job_runner},
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
    run: |db, scope, now| Box::pin(sweep(db, scope, now)),
    next_due: Some(|db, tenant, clock| Box::pin(metering::service::next_check(db, tenant, clock))),
};

async fn sweep(db: &Db, scope: Scope, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let test_clock = match scope {
        Scope::WallClock => None,
        Scope::TestClock(_, clock) => Some(clock),
    };
    let (mut found, mut after) = (0, None);
    loop {
        let page = metering::service::due_checks(db, scope, now, after).await?;
        let Some(&(_, last)) = page.last() else { return Ok(found) };
        let tx = db.begin().await?;
        for &(tenant, subscription) in &page {
            let key = format!("{subscription}:{}", now.timestamp_micros());
            enqueue(&tx, tenant, test_clock, now, key, &CheckUsage { subscription }).await?;
        }
        tx.commit().await?;
        found += page.len() as u64;
        after = Some(last);
    }
}
