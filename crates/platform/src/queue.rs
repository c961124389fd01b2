//! The durable job queue. A job is enqueued in its cause's transaction, delivered at least once, under a
//! lease whose token refuses a worker that lost it.
//!
//! A job of a customer on a test clock is due by that clock. While the clock is being advanced only the
//! one who advances it takes its jobs. What waits because something broke, or was out of reach, comes back by
//! the wall clock too: a clock that stands still does not keep an outage alive.

use accrue_core::id::{JobId, TenantId, TestClockId};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement, Value};

use crate::{
    bulk::{self, Column},
    db::Db,
};

mod claim;
mod lag;
mod row;

pub use claim::{Claim, ClaimedJob, Due, Turn, claim};
pub use lag::{Late, late};
pub use row::{JobRow, JobState, list, page};

/// After so many failures a job is dead: listed, and retried or discarded by a person.
pub const FAILURES_MAX: i32 = 20;

/// Work to be done later, or elsewhere.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub tenant: TenantId,
    pub name: &'static str,
    /// As long as a job with this key waits, runs or lies dead, another one is not enqueued.
    pub key: String,
    /// JSON.
    pub payload: String,
    pub run_at: DateTime<Utc>,
    pub test_clock: Option<TestClockId>,
}

/// When a job that was put back runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// By the clock that it is due by.
    pub run_at: DateTime<Utc>,
    /// By the wall clock, if its own one is a test clock: whichever comes first.
    pub retry_at: Option<DateTime<Utc>>,
}

const ENQUEUE: &str = "
insert into jobs (tenant_id, id, name, unique_key, payload, state, test_clock_id, run_at, runs, failures, lease_token, created_at)
values ($1, $2, $3, $4, $5, 'queued', $6, $7, 0, 0, 0, $8)
on conflict (tenant_id, unique_key) do nothing";

/// Stores a job; it runs after the transaction has committed. Enqueuing it again changes nothing.
pub async fn enqueue(tx: &DatabaseTransaction, now: DateTime<Utc>, job: NewJob) -> Result<(), DbErr> {
    let values: [Value; 8] = [
        job.tenant.into(),
        JobId::new(now).into(),
        job.name.into(),
        job.key.into(),
        job.payload.into(),
        job.test_clock.into(),
        job.run_at.into(),
        now.into(),
    ];
    tx.execute_raw(statement(tx, ENQUEUE, values)).await.map(drop)
}

/// The same for many jobs at once, the first of them first; says how many were not there yet.
pub async fn enqueue_all(tx: &DatabaseTransaction, jobs: Vec<NewJob>) -> Result<u64, DbErr> {
    let mut rows: Vec<_> = jobs.into_iter().map(|job| Row::new(job.run_at, job)).collect();
    // Of two that enqueue the same ones at this moment, one waits for the other and neither for both.
    rows.sort_by(|Row { job: one, .. }, Row { job: other, .. }| {
        (one.tenant, &one.key).cmp(&(other.tenant, &other.key))
    });
    bulk::insert(tx, "jobs", columns(&rows), "tenant_id, unique_key").await
}

/// A job as it is stored.
struct Row {
    id: JobId,
    job: NewJob,
    created_at: DateTime<Utc>,
}

impl Row {
    fn new(created_at: DateTime<Utc>, job: NewJob) -> Self {
        Self { id: JobId::new(created_at), job, created_at }
    }
}

fn columns(rows: &[Row]) -> Vec<Column> {
    let jobs = || rows.iter().map(|row| &row.job);
    vec![
        Column::new("tenant_id", jobs().map(|job| job.tenant.0)),
        Column::new("id", rows.iter().map(|row| row.id.0)),
        Column::new("name", jobs().map(|job| job.name.to_owned())),
        Column::new("unique_key", jobs().map(|job| job.key.clone())),
        Column::new("payload", jobs().map(|job| job.payload.clone())),
        Column::new("state", rows.iter().map(|_| "queued".to_owned())),
        Column::new("test_clock_id", jobs().map(|job| job.test_clock.map(|clock| clock.0))),
        Column::new("run_at", jobs().map(|job| job.run_at)),
        Column::new("runs", rows.iter().map(|_| 0)),
        Column::new("failures", rows.iter().map(|_| 0)),
        Column::new("lease_token", rows.iter().map(|_| 0)),
        Column::new("created_at", rows.iter().map(|row| row.created_at)),
    ]
}

/// A job that was given up tries again: what it failed on may be another now.
const AGAIN: &str = "again = excluded.again,
    state = case when jobs.state = 'dead' then excluded.state else jobs.state end,
    failures = case when jobs.state = 'dead' then 0 else jobs.failures end,
    retry_at = case when jobs.state = 'dead' then null else jobs.retry_at end,
    run_at = case when jobs.state = 'dead' then excluded.run_at else jobs.run_at end";

/// Stores jobs that look at what is true when they run: one that waits, or runs already, runs once more after these
/// transactions' commits, however many there were. So what `tx` changes is seen by a run.
///
/// The rows are locked until `tx` ends, in the order of the list, which has to be the same for everybody: each key has
/// to come once. Nothing that somebody who holds jobs could wait for may be locked after them.
pub async fn enqueue_again(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    jobs: Vec<NewJob>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = jobs.into_iter().map(|job| Row::new(now, job)).collect();
    let mut columns = columns(&rows);
    columns.push(Column::new("again", rows.iter().map(|_| true)));
    bulk::upsert_by(tx, "jobs", columns, "tenant_id, unique_key", AGAIN).await.map(drop)
}

const HOLD: &str = "update jobs set leased_until = $1 where tenant_id = $2 and id = $3 and lease_token = $4 and state = 'running'";

/// Extends the lease inside the transaction of the job's work; `false` means that the job is somebody
/// else's now and the transaction must be rolled back.
pub async fn hold(tx: &DatabaseTransaction, job: &ClaimedJob, until: DateTime<Utc>) -> Result<bool, DbErr> {
    let values = [until.into(), job.tenant.into(), job.id.into(), job.token.into()];
    Ok(tx.execute_raw(statement(tx, HOLD, values)).await?.rows_affected() == 1)
}

const FINISH: &str =
    "delete from jobs where tenant_id = $1 and id = $2 and lease_token = $3 and again = false";

const QUEUE_AGAIN: &str = "
update jobs set state = 'queued', failures = 0, retry_at = null, leased_until = null,
    run_at = case when test_clock_id is null then $4 else run_at end
where tenant_id = $1 and id = $2 and lease_token = $3 and again = true";

/// Removes a job that is done, unless it was enqueued again since it was claimed: then it waits for its next run.
///
/// It takes its turn at the end of the queue, so that what never stops being enqueued stands in nobody's way.
pub async fn finish(db: &Db, job: &ClaimedJob, wall: DateTime<Utc>) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    let values: [Value; 3] = [job.tenant.into(), job.id.into(), job.token.into()];
    if tx.execute_raw(statement(&tx, FINISH, values.clone())).await?.rows_affected() == 0 {
        let values = values.into_iter().chain([wall.into()]);
        tx.execute_raw(statement(&tx, QUEUE_AGAIN, values)).await?;
    }
    tx.commit().await
}

const PUT_BACK: &str = "
update jobs set state = $1, run_at = $2, last_error = $3, failures = $7, retry_at = $8, leased_until = null
where tenant_id = $4 and id = $5 and lease_token = $6";

/// Puts a job back: to be run again, or among the dead if `None`. Without an error it only waits.
pub async fn put_back(db: &Db, job: &ClaimedJob, again: Option<Again>, error: &str) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    let state = if again.is_some() { JobState::Queued } else { JobState::Dead };
    let failures = job.failures + i32::from(!error.is_empty());
    let values: [Value; 8] = [
        state.into(),
        again.map_or(job.run_at, |again| again.run_at).into(),
        error.into(),
        job.tenant.into(),
        job.id.into(),
        job.token.into(),
        failures.into(),
        again.and_then(|again| again.retry_at).into(),
    ];
    tx.execute_raw(statement(&tx, PUT_BACK, values)).await?;
    tx.commit().await
}

const BURY: &str = "
insert into jobs (tenant_id, id, name, unique_key, payload, state, test_clock_id, run_at, runs, failures, lease_token, last_error, created_at)
values ($1, $2, $3, $4, $5, 'dead', $6, $7, 0, 0, 0, $8, $9)
on conflict (tenant_id, unique_key) do nothing";

/// Stores a job among the dead: work that only a person may start, told in the transaction of its reason.
/// One that is there already stays as it is.
pub async fn bury(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    job: NewJob,
    error: &str,
) -> Result<(), DbErr> {
    let values: [Value; 9] = [
        job.tenant.into(),
        JobId::new(now).into(),
        job.name.into(),
        job.key.into(),
        job.payload.into(),
        job.test_clock.into(),
        job.run_at.into(),
        error.into(),
        now.into(),
    ];
    tx.execute_raw(statement(tx, BURY, values)).await.map(drop)
}

/// How long a job waits after its n-th failure, or its n-th look in vain: 5 s, doubling, at most an hour.
pub fn backoff(times: i32) -> TimeDelta {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(0).min(10);
    TimeDelta::seconds((5 << doublings).min(3600))
}

const NEXT_DUE: &str = "
select min(run_at) as at from jobs where tenant_id = $1 and test_clock_id = $2 and state <> 'dead'";

/// When the next job of a test clock is due.
pub async fn next_due(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), NEXT_DUE, [tenant.into(), clock.into()]);
    db.query_one_raw(statement).await?.map_or(Ok(None), |row| row.try_get("", "at"))
}

const STUCK: &str = "
select id, name, run_at from jobs where tenant_id = $1 and (
    (state = 'queued' and test_clock_id is null and run_at < $2) or (state = 'running' and leased_until < $2))
order by run_at, id";

/// A tenant's jobs that should have run, or whose worker should have ended or renewed its lease, before an instant.
pub async fn stuck(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    before: DateTime<Utc>,
) -> Result<Vec<(JobId, String, DateTime<Utc>)>, DbErr> {
    let values = [tenant.into(), before.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), STUCK, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("", "id")?, row.try_get("", "name")?, row.try_get("", "run_at")?)))
        .collect()
}

const FAILED: &str = "
select id, name, state from jobs
where tenant_id = $1 and test_clock_id = $2 and state <> 'running' and failures > 0
order by run_at, id limit 1";

/// The first job of a test clock that failed and has not been done since.
pub async fn failed_of_test_clock(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<Option<(JobId, String, String)>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), FAILED, [tenant.into(), clock.into()]);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| Ok((row.try_get("", "id")?, row.try_get("", "name")?, row.try_get("", "state")?)))
        .transpose()
}

const REVIVE: &str = "
update jobs set state = 'queued', runs = 0, failures = 0, retry_at = null, run_at = coalesce((
    select c.now_at from test_clocks c where c.tenant_id = jobs.tenant_id and c.id = jobs.test_clock_id), $1)
where tenant_id = $2 and id = $3 and state = 'dead'";

/// Lets a dead job run again; `false` if there is no such dead job.
pub async fn revive(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: JobId,
) -> Result<bool, DbErr> {
    let values = [now.into(), tenant.into(), id.into()];
    Ok(tx.execute_raw(statement(tx, REVIVE, values)).await?.rows_affected() == 1)
}

const DELETE_WAITING: &str =
    "delete from jobs where tenant_id = $1 and test_clock_id = $2 and state <> 'running'";

/// Deletes the jobs of a test clock that nobody runs now.
pub async fn delete_waiting(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<(), DbErr> {
    tx.execute_raw(statement(tx, DELETE_WAITING, [tenant.into(), clock.into()])).await.map(drop)
}

const DELETE_ALL: &str = "delete from jobs where tenant_id = $1 and test_clock_id = $2";

/// Deletes all jobs of a test clock: who runs one has lost it.
pub async fn delete_of_test_clock(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<(), DbErr> {
    tx.execute_raw(statement(tx, DELETE_ALL, [tenant.into(), clock.into()])).await.map(drop)
}

const DISCARD: &str = "delete from jobs where tenant_id = $1 and id = $2 and state = 'dead'";

/// Forgets a dead job; `false` if there is no such dead job.
pub async fn discard(tx: &DatabaseTransaction, tenant: TenantId, id: JobId) -> Result<bool, DbErr> {
    let values = [tenant.into(), id.into()];
    Ok(tx.execute_raw(statement(tx, DISCARD, values)).await?.rows_affected() == 1)
}

const RELEASE_ALL: &str = "update jobs set leased_until = $1 where state = 'running'";

/// Ends every lease. Only for a process that knows it is alone: SQLite's, when it starts.
pub async fn release_all(db: &Db, wall: DateTime<Utc>) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    tx.execute_raw(statement(&tx, RELEASE_ALL, [wall.into()])).await?;
    tx.commit().await
}

fn statement(tx: &DatabaseTransaction, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(tx.get_database_backend(), sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_job_waits_longer_each_time_up_to_an_hour() {
        let waits: Vec<_> = (1..=12).map(|runs| backoff(runs).num_seconds()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
    }
}
