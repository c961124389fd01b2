//! The cycle in the background.

use accrue_core::id::{SubscriptionId, TenantId, TestClockId};
use accrue_platform::{db::Db, outbox::Event, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{
    cycle::bill_next_turn,
    progress,
    service::{InvoiceError, get_tenant},
    unbilled,
};
use crate::{
    app::{Job, JobContext, JobError, JobRunner, Listener, Scope, Share, Sweep, enqueue, job_runner},
    auth,
    metering::{UsageMoved, Watcher, service::MeteringError},
    subscriptions,
};

/// Bills every turn of a subscription that is due, in order (RULES 7).
#[derive(Debug, Serialize, Deserialize)]
pub struct Cycle {
    pub subscription: SubscriptionId,
}

impl Job for Cycle {
    const NAME: &'static str = "invoices.cycle";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let times = (context.now, context.app.now());
        loop {
            let tx = context.begin().await?;
            let tenant = get_tenant(&tx, context.tenant).await?;
            if !bill_next_turn(&tx, times, &tenant, self.subscription).await? {
                tx.rollback().await?;
                return Ok(());
            }
            context.commit(tx).await?;
        }
    }
}

/// Bills what was used in the running period if it came to a threshold. Metering enqueues it (decision 0023).
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct BillProgress(UsageMoved);

impl Job for BillProgress {
    const NAME: &'static str = Watcher::Invoices.job();

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let (tenant, now, db) = (context.tenant, context.now, context.app.db.reader());
        for subscription in progress::due(db, now, tenant, self.0.customer).await? {
            let tx = context.begin().await?;
            let tenant = get_tenant(&tx, tenant).await?;
            progress::bill(&tx, now, &tenant, subscription).await?;
            context.commit(tx).await?;
        }
        Ok(())
    }
}

/// Counts what was used and nothing bills.
#[derive(Debug, Serialize, Deserialize)]
struct LookForUnbilled {}

impl Job for LookForUnbilled {
    const NAME: &'static str = "invoices.unbilled";
    const SHARE: Share = Share::Quarter;

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        unbilled::look(context).await
    }
}

/// Every job of invoices.
pub const JOBS: &[JobRunner] =
    &[job_runner::<Cycle>(), job_runner::<BillProgress>(), job_runner::<LookForUnbilled>()];

/// Every sweep of invoices.
pub const SWEEPS: &[Sweep] = &[CYCLE_SWEEP, UNBILLED_SWEEP];

/// Has everybody's usage of the last hour looked at: by the real time, as it came in.
const UNBILLED_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "invoices.unbilled", cron: "0 7 * * * *" },
    run: |db, _, now| Box::pin(sweep_unbilled(db, now)),
    next_due: None,
};

async fn sweep_unbilled(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let tenants = auth::service::all_tenants(db.reader()).await?;
    let tx = db.begin().await?;
    for tenant in &tenants {
        let key = format!("{}:{}", tenant.id, now.timestamp());
        enqueue(&tx, tenant.id, None, now, key, &LookForUnbilled {}).await?;
    }
    tx.commit().await?;
    Ok(tenants.len() as u64)
}

/// Everything that invoices hear of.
pub const LISTENERS: &[Listener] = &[CYCLE_LISTENER];

/// Finds the subscriptions whose next turn is due: whatever was missed, the next sweep repairs.
const CYCLE_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "invoices.cycle", cron: "0 * * * * *" },
    run: |db, scope, now| Box::pin(sweep(db, scope, now)),
    next_due: Some(|db, tenant, clock| Box::pin(subscriptions::service::next_due(db, tenant, clock))),
};

/// Enqueues one job for each due subscription, a page in a transaction.
async fn sweep(db: &Db, scope: Scope, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let test_clock = match scope {
        Scope::WallClock => None,
        Scope::TestClock(_, clock) => Some(clock),
    };
    let (mut found, mut after) = (0, None);
    loop {
        let page = subscriptions::service::due(db, scope, now, after).await?;
        let Some(&(_, last, last_due_at)) = page.last() else { return Ok(found) };
        let tx = db.begin().await?;
        for &(tenant, subscription, due_at) in &page {
            let key = format!("{subscription}:{}", due_at.timestamp_micros());
            enqueue_cycle(&tx, tenant, test_clock, due_at, key, subscription).await?;
        }
        tx.commit().await?;
        found += page.len() as u64;
        after = Some((last_due_at, last));
    }
}

/// Bills at once what begins or ends at once.
const CYCLE_LISTENER: Listener =
    Listener { name: "invoices.cycle", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if !matches!(event.kind.as_str(), "subscription.created" | "subscription.canceled") {
        return Ok(());
    }
    let id: SubscriptionId = event.object_id.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
    let key = format!("{id}:{}", event.id);
    enqueue_cycle(tx, event.tenant_id, event.test_clock_id, event.created_at, key, id).await
}

async fn enqueue_cycle(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    run_at: DateTime<Utc>,
    key: String,
    subscription: SubscriptionId,
) -> Result<(), DbErr> {
    enqueue(tx, tenant, test_clock, run_at, key, &Cycle { subscription }).await
}

/// What cannot be counted today cannot be counted tomorrow; the rest may be better then.
impl From<InvoiceError> for JobError {
    fn from(error: InvoiceError) -> Self {
        use InvoiceError::*;

        match error {
            NotFound(_)
            | NoSuchTenant(_)
            | Move(_)
            | Credit(_)
            | Charge(_)
            | Arithmetic(_)
            | Money(_)
            | Calendar(_)
            | Metering(MeteringError::Archived(_)) => Self::GiveUp(error.into()),
            Catalog(_) | Customer(_) | Ledger(_) | Metering(_) | Subscription(_) | Database(_) => {
                Self::Retry(error.into())
            }
        }
    }
}
