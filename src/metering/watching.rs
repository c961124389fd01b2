//! Who wants to know when usage moves. Metering does not know why: whoever does stands above it, and runs the job.
//!
//! The transaction that moves usage enqueues the job, so it is lost with it or not at all. The intake remembers in which
//! tenants nobody watches.

use std::collections::{BTreeSet, HashMap, HashSet};

use accrue_core::id::{CustomerId, MetricId, TenantId, TestClockId};
use accrue_platform::gate::Gate;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{model::UsageEvent, store::watches};
use crate::{app::enqueue_again, catalog::Metric, customers};

/// Who watches, and so which job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Watcher {
    /// Thresholds of usage that are told.
    Alerts,
    /// Thresholds of amounts that are billed.
    Invoices,
}

impl Watcher {
    /// The name of its job.
    pub const fn job(self) -> &'static str {
        match self {
            Self::Alerts => "alerts.usage_moved",
            Self::Invoices => "invoices.usage_moved",
        }
    }
}

/// What the jobs of watchers hold: usage of a metric by a customer may be another one than before. They look at what is
/// true when they run, and run after every change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UsageMoved {
    pub customer: CustomerId,
    pub metric: MetricId,
}

/// What somebody wants to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    pub tenant: TenantId,
    pub customer: CustomerId,
    pub metric: MetricId,
    /// The customer's.
    pub test_clock: Option<TestClockId>,
    pub watcher: Watcher,
}

/// From now on the watchers' jobs run whenever this usage moves, and once now. Each comes with whoever wants it: twice is
/// once.
pub async fn watch(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    wanted: &[(Uuid, Watched)],
) -> Result<(), DbErr> {
    let known = watches::known(tx, tenant, wanted.iter().map(|(by, _)| *by).collect()).await?;
    let new: Vec<_> = wanted.iter().filter(|(by, _)| !known.contains(by)).collect();
    if !new.is_empty() {
        // Whoever takes events at this moment does not see the watch: they end first, and are seen by the job.
        Gate::Usage.close(tx, tenant).await?;
    }
    for (by, watched) in new {
        watches::insert(tx, *by, *watched).await?;
    }
    look_again(tx, wall, wanted.iter().map(|(_, watched)| *watched)).await
}

/// From now on the watcher's job runs for every customer whose usage of a metric moves. Nobody is looked at now.
pub async fn watch_all(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    by: Uuid,
    metric: MetricId,
    watcher: Watcher,
) -> Result<(), DbErr> {
    // As above: what is taken at this moment is seen by whoever looks afterwards.
    Gate::Usage.close(tx, tenant).await?;
    watches::insert_for_all(tx, tenant, by, (metric, watcher)).await
}

/// Nobody of this name watches any more.
pub async fn unwatch(tx: &DatabaseTransaction, tenant: TenantId, by: Uuid) -> Result<(), DbErr> {
    watches::delete(tx, tenant, by).await
}

/// Runs the job although no usage moved: what it is compared with did.
pub async fn look_again(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    watched: impl IntoIterator<Item = Watched>,
) -> Result<(), DbErr> {
    // All lock these jobs in the same order.
    let watched: BTreeSet<Watched> = watched.into_iter().collect();
    let jobs = watched.into_iter().map(|Watched { tenant, customer, metric, test_clock, watcher }| {
        let key = format!("{customer}:{metric}");
        (watcher.job(), tenant, test_clock, key, UsageMoved { customer, metric })
    });
    enqueue_again(tx, wall, jobs).await
}

/// What a watcher wants to know of a customer.
pub async fn watched_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    by: Watcher,
) -> Result<Vec<Watched>, DbErr> {
    let mut found = of_customers(db, tenant, &[customer]).await?;
    found.retain(|watched| watched.watcher == by);
    Ok(found)
}

/// What somebody wants to know of these customers, or of everybody and so of them.
async fn of_customers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[CustomerId],
) -> Result<Vec<Watched>, DbErr> {
    let (of_some, of_all) = watches::of_customers(db, tenant, customers).await?;
    let watched =
        |(customer, metric, test_clock, watcher)| Watched { tenant, customer, metric, test_clock, watcher };
    let mut found: Vec<Watched> = of_some.into_iter().map(watched).collect();
    if !of_all.is_empty() {
        let clocks = customers::service::test_clocks_of(db, tenant, customers).await?;
        for customer in customers {
            let of_customer = |(metric, watcher)| (*customer, metric, clocks.get(customer).copied(), watcher);
            found.extend(of_all.iter().copied().map(of_customer).map(watched));
        }
    }
    Ok(found)
}

/// Runs the jobs of whoever watches what these new or changed events may count for. Called last of all that locks
/// something: a job's row is locked until the transaction ends.
pub(super) async fn moved<'a>(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    metrics: &[(TenantId, &[Metric])],
    events: impl Iterator<Item = &'a UsageEvent> + Clone,
) -> Result<(), DbErr> {
    if events.clone().next().is_none() {
        return Ok(());
    }
    let mut moved = Vec::new();
    for (tenant, metrics) in metrics {
        let mut names = HashMap::<CustomerId, HashSet<&str>>::new();
        for event in events.clone().filter(|event| event.tenant_id == *tenant) {
            if let Some(customer) = event.payer.customer() {
                names.entry(customer).or_default().insert(&event.event_name);
            }
        }
        let touched: Vec<CustomerId> = names.keys().copied().collect();
        let mut watched = of_customers(tx, *tenant, &touched).await?;
        watched.retain(|watched| {
            let metric = metrics.iter().find(|metric| metric.id == watched.metric);
            metric.is_some_and(|metric| names[&watched.customer].contains(metric.event_name.as_str()))
        });
        moved.extend(watched);
    }
    look_again(tx, wall, moved).await
}
