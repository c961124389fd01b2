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
    app::{Job, JobContext, JobError, JobRunner, Listener, Share, Sweep, enqueue, job_runner},
    auth, catalog,
};

/// The jobs of metering.
pub const JOBS: &[JobRunner] =
    &[job_runner::<BuildHours>(), job_runner::<GiveEvents>(), job_runner::<ReportUnmatched>()];

/// The sweeps of metering.
pub const SWEEPS: &[Sweep] = &[PARTITIONS_SWEEP, AWAITED_SWEEP, UNMATCHED_SWEEP, FORGET_SWEEP];

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
const PARTITIONS_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.partitions", cron: "0 23 * * * *" },
    run: |db, _, now| Box::pin(partitions::make_ahead(db, now)),
    next_due: None,
};

/// Finds the customers that are there and that events still wait for: an event that was on its way while its
/// customer appeared.
const AWAITED_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.awaited", cron: "0 43 * * * *" },
    run: |db, _, now| Box::pin(sweep_awaited(db, now)),
    next_due: None,
};

async fn sweep_awaited(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let (mut found, mut last) = (0, None);
    loop {
        let page = awaiting::appeared(db, &mut last).await?;
        let Some(appeared) = page else { return Ok(found) };
        let tx = db.begin().await?;
        for (tenant, customer, test_clock) in &appeared {
            let key = format!("{customer}:{}", now.timestamp_micros());
            let job = GiveEvents { customer: *customer };
            // Due at once by any clock: it is overdue.
            let run_at = if test_clock.is_some() { DateTime::UNIX_EPOCH } else { now };
            enqueue(&tx, *tenant, *test_clock, run_at, key, &job).await?;
        }
        tx.commit().await?;
        found += appeared.len() as u64;
    }
}

/// Finds the tenants that have something to hear about usage that nothing counts.
const UNMATCHED_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.unmatched", cron: "15 * * * * *" },
    run: |db, _, now| Box::pin(unmatched::sweep(db, now)),
    next_due: None,
};

const FORGET_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "metering.forget_unmatched", cron: "0 51 3 * * *" },
    run: |db, _, now| Box::pin(unmatched::forget(db, now)),
    next_due: None,
};

/// Tells a tenant which usage nothing counts.
#[derive(Debug, Serialize, Deserialize)]
struct ReportUnmatched {}

/// Enqueues that a tenant is told in this hour which usage nothing counts.
pub(super) async fn report_later(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    hour: DateTime<Utc>,
) -> Result<(), DbErr> {
    enqueue(tx, tenant, None, now, hour.timestamp(), &ReportUnmatched {}).await
}

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
