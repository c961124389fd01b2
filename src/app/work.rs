//! The three kinds of work that outlive a request: jobs, sweeps that start them, listeners to events.

use std::{pin::Pin, time::Duration};

use accrue_core::id::{JobId, TenantId, TestClockId};
use accrue_platform::{
    outbox::Event,
    problem::Problem,
    queue::{self, ClaimedJob, NewJob},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use serde::{Serialize, de::DeserializeOwned};

use super::{App, Belongings, Sweep, Upkeep};

/// A future as tables of functions need it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Work that outlives a request. The queue delivers it at least once, so it is idempotent by identity: its
/// keys are chosen when it is enqueued, not when it runs.
pub trait Job: Serialize + DeserializeOwned + Send + Sync {
    /// Stored in the queue: never change it, add a new one.
    const NAME: &'static str;

    /// How many of a process's workers such jobs may have at once.
    const SHARE: Share = Share::All;

    fn run(&self, context: &JobContext) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// Of a process's workers, those that jobs of some kinds may have together, so that the other kinds go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    All,
    /// What waits for servers that we know nothing of: all of them may hang.
    Half,
    /// What reads all events there ever were: many at once may be asked for.
    Quarter,
}

impl Share {
    /// Those that are less than all.
    pub(super) const PARTS: [Self; 2] = [Self::Half, Self::Quarter];

    /// At least one, or the jobs would never run.
    pub(super) fn of(self, workers: usize) -> usize {
        let part = match self {
            Self::All => workers,
            Self::Half => workers / 2,
            Self::Quarter => workers / 4,
        };
        part.max(1)
    }
}

/// Why a job failed; answers one question: can trying again help?
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("will be tried again")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no retry can help")]
    GiveUp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// To be done later, which is no failure: the outcome it waits for is not there yet. By the customer's time.
    #[error("not before {0}")]
    NotBefore(DateTime<Utc>),
    /// Somebody else is out of reach, which is no failure of ours, however long it lasts. By the wall clock, or
    /// by the customer's test clock if that is moved first.
    #[error("again after {0}")]
    Outage(TimeDelta),
    /// Another worker has it now.
    #[error("the lease is lost")]
    LeaseLost,
}

impl From<DbErr> for JobError {
    fn from(error: DbErr) -> Self {
        Self::Retry(error.into())
    }
}

impl From<Problem> for JobError {
    fn from(problem: Problem) -> Self {
        Self::Retry(problem.into())
    }
}

/// What a running job has.
pub struct JobContext {
    pub app: App,
    pub tenant: TenantId,
    /// The time of the customer whose job it is: a test clock's, or the wall clock's.
    pub now: DateTime<Utc>,
    pub test_clock: Option<TestClockId>,
    pub(super) job: ClaimedJob,
}

impl JobContext {
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// How often the job was started, this time included.
    pub fn runs(&self) -> i32 {
        self.job.runs
    }

    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.app.db.begin().await
    }

    /// Commits, unless another worker has taken the job over: a process that was paused and wakes up
    /// changes nothing.
    pub async fn commit(&self, tx: DatabaseTransaction) -> Result<(), JobError> {
        let until = self.app.now() + self.app.config.job_lease();
        if !queue::hold(&tx, &self.job, until).await? {
            tx.rollback().await?;
            return Err(JobError::LeaseLost);
        }
        tx.commit().await?;
        self.app.wake.notify_one();
        Ok(())
    }
}

/// Enqueues a job in its cause's transaction. `key` names the piece of work: a second one is not enqueued.
pub async fn enqueue<J: Job>(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    run_at: DateTime<Utc>,
    key: impl std::fmt::Display,
    job: &J,
) -> Result<(), DbErr> {
    queue::enqueue(tx, run_at, new_job(tenant, test_clock, run_at, key, job)).await
}

/// Enqueues jobs that look at what is true when they run, in the transaction that changes it: each runs once more
/// after it, also where one waits or runs already. They are given by name, in an order that everybody keeps, each once.
pub async fn enqueue_again(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    jobs: impl IntoIterator<Item = (&'static str, TenantId, Option<TestClockId>, String, impl Serialize)>,
) -> Result<(), DbErr> {
    let job = |(name, tenant, test_clock, key, job): (_, _, Option<TestClockId>, String, _)| {
        let payload = serde_json::to_string(&job).expect("jobs are plain data");
        // Due at once by any clock.
        let run_at = test_clock.map_or(now, |_| DateTime::UNIX_EPOCH);
        NewJob { tenant, name, key: format!("{name}:{key}"), payload, run_at, test_clock }
    };
    queue::enqueue_again(tx, now, jobs.into_iter().map(job).collect()).await
}

/// Puts a job among the dead, in its cause's transaction: its work is due, and waits for a person, who is told
/// why. If a job with this key is there already, it stays as it is.
pub async fn bury<J: Job>(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    run_at: DateTime<Utc>,
    key: impl std::fmt::Display,
    (job, error): (&J, &str),
) -> Result<(), DbErr> {
    queue::bury(tx, run_at, new_job(tenant, test_clock, run_at, key, job), error).await
}

/// A job as it is enqueued. `key` names the piece of work: a second one is not enqueued.
pub fn new_job<J: Job>(
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    run_at: DateTime<Utc>,
    key: impl std::fmt::Display,
    job: &J,
) -> NewJob {
    let payload = serde_json::to_string(job).expect("jobs are plain data");
    NewJob { tenant, name: J::NAME, key: format!("{}:{key}", J::NAME), payload, run_at, test_clock }
}

/// A job's name, and how to run it from its stored form.
pub struct JobRunner {
    pub name: &'static str,
    pub share: Share,
    pub run: for<'a> fn(&'a JobContext, &'a str) -> Boxed<'a, Result<(), JobError>>,
}

/// The entry of a job in the table of jobs.
pub const fn job_runner<J: Job>() -> JobRunner {
    JobRunner {
        name: J::NAME,
        share: J::SHARE,
        run: |context, payload| {
            Box::pin(async move {
                let job: J = serde_json::from_str(payload).map_err(|error| JobError::GiveUp(error.into()))?;
                job.run(context).await
            })
        },
    }
}

/// Hears of events, in the transaction that numbers them: it enqueues jobs and does nothing else.
pub struct Listener {
    pub name: &'static str,
    pub hear: for<'a> fn(&'a DatabaseTransaction, &'a Event) -> Boxed<'a, Result<(), DbErr>>,
}

/// Everything that the program does in the background.
///
/// Each list holds the lists of the capabilities.
pub struct Work {
    pub jobs: &'static [&'static [JobRunner]],
    pub sweeps: &'static [&'static [Sweep]],
    pub upkeep: &'static [&'static [Upkeep]],
    pub listeners: &'static [&'static [Listener]],
    /// What customers have, in the order in which it is deleted with them.
    pub belongings: &'static [&'static Belongings],
    /// Statements that lock the rows of a customer, `$2`, of a tenant, `$1`, in the order of all locks.
    pub customer_locks: &'static [&'static str],
}

impl Work {
    pub(super) fn runner(&self, name: &str) -> Option<&'static JobRunner> {
        self.jobs.iter().copied().flatten().find(|runner| runner.name == name)
    }

    /// The names of the jobs that have a share together.
    pub(super) fn sharing(&self, share: Share) -> Vec<&'static str> {
        let runners = self.jobs.iter().copied().flatten();
        runners.filter(|runner| runner.share == share).map(|runner| runner.name).collect()
    }

    /// The names of all jobs.
    pub fn job_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.jobs.iter().copied().flatten().map(|runner| runner.name)
    }

    pub fn sweeps(&self) -> impl Iterator<Item = &'static Sweep> + use<> {
        self.sweeps.iter().copied().flatten()
    }

    pub(super) fn upkeep(&self) -> impl Iterator<Item = &'static Upkeep> + use<> {
        self.upkeep.iter().copied().flatten()
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = &'static Listener> + use<> {
        self.listeners.iter().copied().flatten()
    }
}

const CLOCK_NOW: &str = "select now_at from test_clocks where tenant_id = $1 and id = $2";

/// What time it is for a job.
pub(super) async fn now_of(app: &App, job: &ClaimedJob) -> Result<DateTime<Utc>, DbErr> {
    let Some(clock) = job.test_clock else { return Ok(app.now()) };
    let db = app.db.reader();
    let values = [job.tenant.into(), clock.into()];
    let statement = sea_orm::Statement::from_sql_and_values(db.get_database_backend(), CLOCK_NOW, values);
    let row = db.query_one_raw(statement).await?;
    row.map_or(Ok(app.now()), |row| row.try_get_by_index(0))
}

/// How often a running job's lease is renewed.
pub(super) fn heartbeat(lease: Duration) -> Duration {
    lease / 3
}
