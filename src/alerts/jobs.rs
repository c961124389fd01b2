//! Alerts in the background: looking at them when usage moves, when a period ends, and when what they are compared
//! with changes.

use accrue_core::id::{CustomerId, UsageAlertId};
use accrue_platform::{db::Db, due::Place, outbox::Event, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::{
    checking,
    model::Alert,
    service::{self, AlertError},
    store,
};
use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Listener, Scope, Sweep, enqueue,
        enqueue_again, enqueue_found_again, job_runner, new_job,
    },
    customers,
    metering::{self, UsageMoved, Watcher},
};

/// What alerts do in the background.
pub const JOBS: &[JobRunner] =
    &[job_runner::<Check>(), job_runner::<Review>(), job_runner::<LookAtEverybody>()];

/// Customers who are looked at in one transaction.
const CUSTOMERS_AT_ONCE: u64 = 500;

/// Every sweep of alerts.
pub const SWEEPS: &[Sweep] = &[REVIEW_SWEEP];

/// What alerts hear of.
pub const LISTENERS: &[Listener] = &[LISTENER];

/// Compares usage with thresholds. Metering enqueues it (`metering/watching.rs`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Check(UsageMoved);

impl Job for Check {
    const NAME: &'static str = Watcher::Alerts.job();

    #[instrument(name = "job.alerts.usage_moved", skip_all, fields(customer.id = %self.0.customer, metric.id = %self.0.metric))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        checking::check(context, self.0.customer, self.0.metric).await
    }
}

/// Has all alerts of a customer looked at again.
#[derive(Debug, Serialize, Deserialize)]
struct Review {
    customer: CustomerId,
}

impl Job for Review {
    const NAME: &'static str = "alerts.review";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tx = context.begin().await?;
        let watched =
            metering::service::watched_of(&tx, context.tenant, self.customer, Watcher::Alerts).await?;
        metering::service::look_again(&tx, context.app.now(), watched).await?;
        context.commit(tx).await
    }
}

/// Has every customer's usage compared with an alert that holds for all.
#[derive(Debug, Serialize, Deserialize)]
struct LookAtEverybody {
    alert: UsageAlertId,
}

impl Job for LookAtEverybody {
    const NAME: &'static str = "alerts.look_at_everybody";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let (tenant, mut last) = (context.tenant, None);
        loop {
            let tx = context.begin().await?;
            let Some(alert) = store::find(&tx, tenant, self.alert).await? else { return Ok(()) };
            let page = customers::service::next(&tx, tenant, last, CUSTOMERS_AT_ONCE).await?;
            let watched = |(customer, clock): &(_, _)| service::watched(&alert, Some(*customer), *clock);
            metering::service::look_again(&tx, context.app.now(), page.iter().filter_map(watched)).await?;
            context.commit(tx).await?;
            let Some((customer, _)) = page.last() else { return Ok(()) };
            last = Some(*customer);
        }
    }
}

/// Enqueues that every customer's usage is compared with an alert that holds for all.
pub(super) async fn look_at_everybody_later(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    alert: &Alert,
) -> Result<(), DbErr> {
    let job = LookAtEverybody { alert: alert.id };
    let key = alert.id.to_string();
    enqueue_again(tx, wall, [(LookAtEverybody::NAME, alert.tenant_id, None, key, job)]).await
}

/// A subscription moves periods and prices, entitlements move limits.
const LISTENER: Listener = Listener { name: "alerts", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    let is_about = event.kind.starts_with("subscription.") || event.kind == "entitlements.updated";
    let Some(customer) = event.customer_id.filter(|_| is_about) else { return Ok(()) };
    if metering::service::watched_of(tx, event.tenant_id, customer, Watcher::Alerts).await?.is_empty() {
        return Ok(());
    }
    let job = Review { customer };
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, event.id, &job).await
}

/// Finds the alerts whose period has ended.
const REVIEW_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "alerts.review", cron: "5 * * * * *" },
    tenants: |db, now| Box::pin(store::REVIEWS.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find(db, scope, now, after)),
    enqueue: enqueue_found_again,
    next_due: Some(|db, scope| Box::pin(store::REVIEWS.first(db.reader(), scope))),
};

async fn find(db: &Db, scope: Scope, now: DateTime<Utc>, after: Option<Place>) -> Result<FoundPage, DbErr> {
    let rows = store::REVIEWS.page(db.reader(), scope, now, after, &["customer_id", "metric_id"]).await?;
    FoundPage::of(&rows, |row| {
        let (customer, metric) = (row.get("customer_id")?, row.get("metric_id")?);
        let job = Check(UsageMoved { customer, metric });
        // Due at once by any clock.
        let run_at = scope.test_clock().map_or(now, |_| DateTime::UNIX_EPOCH);
        let key = format!("{customer}:{metric}");
        let job = new_job(scope.tenant(), scope.test_clock(), run_at, key, &job);
        Ok(Found { object: UsageAlertId(row.id).to_string(), place: row.place(), job })
    })
}

impl From<AlertError> for JobError {
    fn from(error: AlertError) -> Self {
        match error {
            // As billing would: what cannot be counted today cannot be counted tomorrow.
            AlertError::Invoice(error) => error.into(),
            AlertError::Metering(error) => error.into(),
            AlertError::Calendar(_) => Self::GiveUp(error.into()),
            _ => Self::Retry(error.into()),
        }
    }
}
