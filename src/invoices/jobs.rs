//! The cycle in the background.

use std::future;

use accrue_core::id::{SubscriptionId, TenantId};
use accrue_platform::{db::Db, due::Place, outbox::Event, schedule::Schedule};
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
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Listener, Scope, Share, Sweep, enqueue,
        enqueue_found, job_runner, new_job,
    },
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
    tenants: |db, now| Box::pin(tenants(db, now)),
    find: |_, scope, now, _| Box::pin(future::ready(Ok(look_for_unbilled(scope.tenant(), now)))),
    enqueue: enqueue_found,
    next_due: None,
};

async fn tenants(db: &Db, now: DateTime<Utc>) -> Result<Vec<(TenantId, DateTime<Utc>)>, DbErr> {
    let tenants = auth::service::all_tenants(db.reader()).await?;
    Ok(tenants.into_iter().map(|tenant| (tenant.id, now)).collect())
}

fn look_for_unbilled(tenant: TenantId, now: DateTime<Utc>) -> FoundPage {
    let key = format!("{tenant}:{}", now.format("%Y-%m-%dT%H"));
    let job = new_job(tenant, None, now, key, &LookForUnbilled {});
    FoundPage::whole(vec![Found { object: tenant.to_string(), place: (now, tenant.0), job }])
}

/// Everything that invoices hear of.
pub const LISTENERS: &[Listener] = &[CYCLE_LISTENER];

/// Finds the subscriptions whose next turn is due: whatever was missed, the next sweep repairs.
const CYCLE_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "invoices.cycle", cron: "0 * * * * *" },
    tenants: |db, now| Box::pin(subscriptions::service::TURNS.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find_turns(db, scope, now, after)),
    enqueue: enqueue_found,
    next_due: Some(|db, scope| Box::pin(subscriptions::service::TURNS.first(db.reader(), scope))),
};

async fn find_turns(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = subscriptions::service::TURNS.page(db.reader(), scope, now, after, &[]).await?;
    FoundPage::of(&rows, |row| {
        let subscription = SubscriptionId(row.id);
        let key = format!("{subscription}:{}", row.at.timestamp_micros());
        let job = new_job(scope.tenant(), scope.test_clock(), row.at, key, &Cycle { subscription });
        Ok(Found { object: subscription.to_string(), place: row.place(), job })
    })
}

/// Bills at once what begins or ends at once.
const CYCLE_LISTENER: Listener =
    Listener { name: "invoices.cycle", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if !matches!(event.kind.as_str(), "subscription.created" | "subscription.canceled") {
        return Ok(());
    }
    let id: SubscriptionId = event.object_id.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
    let (key, job) = (format!("{id}:{}", event.id), Cycle { subscription: id });
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, key, &job).await
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
            Catalog(_) | Customer(_) | Ledger(_) | Metering(_) | Subscription(_) | Busy | Database(_) => {
                Self::Retry(error.into())
            }
        }
    }
}
