//! What happens to usage later: the hours of a metric are built up from the events that came before they were kept,
//! and events that waited for their customer are given to it.

use accrue_core::id::{CustomerId, MetricId, TenantId};
use accrue_platform::{db::Db, outbox::Event, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    awaiting,
    building::Building,
    model::{Build, Grain},
    partitions,
    service::MeteringError,
    unmatched,
};
use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Listener, Share, Sweep, Upkeep, enqueue,
        enqueue_found, job_runner, new_job,
    },
    auth, catalog,
};

/// The jobs of metering.
pub const JOBS: &[JobRunner] =
    &[job_runner::<BuildHours>(), job_runner::<GiveEvents>(), job_runner::<ReportUnmatched>()];

/// The sweeps of metering.
pub const SWEEPS: &[Sweep] = &[AWAITED_SWEEP, UNMATCHED_SWEEP];

/// What metering does for the installation.
pub const UPKEEP: &[Upkeep] = &[PARTITIONS, FORGET];

/// What metering hears of.
pub const LISTENERS: &[Listener] = &[CUSTOMER_LISTENER];

/// Enqueues the building up of a grain's hours.
pub(super) async fn build_later(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    build: &Build,
) -> Result<(), DbErr> {
    let Grain { metric_id, properties } = build.grain.clone();
    let key = format!("{}:{}", build.grain.id(), build.number);
    let job = BuildHours { metric_id, properties };
    enqueue(tx, tenant, None, now, key, &job).await
}

/// Builds up the hours of a metric in one grain.
#[derive(Debug, Serialize, Deserialize)]
struct BuildHours {
    metric_id: MetricId,
    properties: Vec<String>,
}

impl Job for BuildHours {
    const NAME: &'static str = "metering.build_hours";
    const SHARE: Share = Share::Quarter;

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = context.tenant;
        let metric = catalog::service::get_metric(context.app.db.reader(), tenant, self.metric_id).await;
        let metric = metric.map_err(|error| JobError::GiveUp(error.into()))?;

        let tx = context.begin().await?;
        let grain = Grain { metric_id: self.metric_id, properties: self.properties.clone() };
        let building = Building::begin(&context.app.db, &tx, tenant, metric, grain, false).await?;
        context.commit(tx).await?;
        let Some(mut building) = building else { return Ok(()) };
        while let Some(portion) = building.read().await? {
            let tx = context.begin().await?;
            portion.add(&tx).await?;
            context.commit(tx).await?;
        }
        let tx = context.begin().await?;
        building.end(&tx).await?;
        context.commit(tx).await
    }
}

/// Gives a customer the events that waited for it.
#[derive(Debug, Serialize, Deserialize)]
struct GiveEvents {
    customer: CustomerId,
}

impl Job for GiveEvents {
    const NAME: &'static str = "metering.give_events";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        loop {
            let tx = context.begin().await?;
            let clock = &*context.app.clock;
            if awaiting::give(&tx, clock, context.tenant, self.customer, context.now).await? == 0 {
                return Ok(tx.rollback().await?);
            }
            context.commit(tx).await?;
        }
    }
}

/// A customer that has got a name may be one that events wait for.
const CUSTOMER_LISTENER: Listener =
    Listener { name: "metering.customers", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    #[derive(Deserialize)]
    struct Named {
        external_id: Option<String>,
    }

    #[derive(Deserialize)]
    struct Data {
        object: Named,
        previous: Option<Map<String, Value>>,
    }

    if !matches!(event.kind.as_str(), "customer.created" | "customer.updated") {
        return Ok(());
    }
    let read = |error: serde_json::Error| DbErr::Custom(error.to_string());
    let Data { object, previous } = serde_json::from_str(&event.data).map_err(read)?;
    let is_new = previous.is_none_or(|changed| changed.contains_key("external_id"));
    let Some(customer) = event.customer_id.filter(|_| is_new && object.external_id.is_some()) else {
        return Ok(());
    };
    let job = GiveEvents { customer };
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, event.id, &job).await
}

/// Makes the partitions of the months to come.
const PARTITIONS: Upkeep = Upkeep {
    schedule: Schedule { name: "metering.partitions", cron: "0 23 * * * *" },
    run: |db, now| Box::pin(partitions::make_ahead(db, now)),
};

/// Forgets what nothing counted long ago.
const FORGET: Upkeep = Upkeep {
    schedule: Schedule { name: "metering.forget_unmatched", cron: "0 51 3 * * *" },
    run: |db, now| Box::pin(unmatched::forget(db, now)),
};

/// Finds the customers that are there and that events still wait for: an event that was on its way while its
/// customer appeared.
const AWAITED_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.awaited", cron: "0 43 * * * *" },
    tenants: |db, now| Box::pin(async move { Ok(at_once(awaiting::tenants_waiting(db).await?, now)) }),
    find: |db, scope, now, _| Box::pin(find_awaited(db, scope.tenant(), now)),
    enqueue: enqueue_found,
    next_due: None,
};

fn at_once(tenants: Vec<TenantId>, now: DateTime<Utc>) -> Vec<(TenantId, DateTime<Utc>)> {
    tenants.into_iter().map(|tenant| (tenant, now)).collect()
}

async fn find_awaited(db: &Db, tenant: TenantId, now: DateTime<Utc>) -> Result<FoundPage, DbErr> {
    let appeared = awaiting::appeared(db, tenant).await?;
    let found = appeared.into_iter().map(|(customer, test_clock)| {
        // Due at once by any clock: it is overdue.
        let run_at = test_clock.map_or(now, |_| DateTime::UNIX_EPOCH);
        let job = new_job(tenant, test_clock, run_at, customer, &GiveEvents { customer });
        Found { object: customer.to_string(), place: (now, customer.0), job }
    });
    Ok(FoundPage::whole(found.collect()))
}

/// Finds the tenants that have something to hear about usage that nothing counts.
const UNMATCHED_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.unmatched", cron: "15 * * * * *" },
    tenants: |db, now| Box::pin(async move { Ok(at_once(unmatched::to_tell(db, now).await?, now)) }),
    find: |db, scope, now, _| Box::pin(find_unmatched(db, scope.tenant(), now)),
    enqueue: enqueue_found,
    next_due: None,
};

async fn find_unmatched(db: &Db, tenant: TenantId, now: DateTime<Utc>) -> Result<FoundPage, DbErr> {
    let hour = unmatched::hour_to_tell(db, tenant, now).await?;
    let found = hour.map(|hour| {
        let job = new_job(tenant, None, now, hour.timestamp(), &ReportUnmatched {});
        Found { object: tenant.to_string(), place: (now, tenant.0), job }
    });
    Ok(FoundPage::whole(found.into_iter().collect()))
}

/// Tells a tenant which usage nothing counts.
#[derive(Debug, Serialize, Deserialize)]
struct ReportUnmatched {}

impl Job for ReportUnmatched {
    const NAME: &'static str = "metering.report_unmatched";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tx = context.begin().await?;
        let tenant = auth::service::get_tenant(&tx, context.tenant).await;
        let tenant = tenant.map_err(|error| JobError::Retry(error.into()))?;
        unmatched::report(&tx, context.now, &tenant).await?;
        context.commit(tx).await
    }
}

impl From<MeteringError> for JobError {
    fn from(error: MeteringError) -> Self {
        match error {
            // They will not become smaller, and archived events do not come back.
            MeteringError::Overflow | MeteringError::Archived(_) => Self::GiveUp(error.into()),
            _ => Self::Retry(error.into()),
        }
    }
}
