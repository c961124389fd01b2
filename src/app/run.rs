//! The loops of a worker: tell events, run jobs, tick schedules while leading.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use accrue_core::id::{TenantId, TestClockId};
use accrue_platform::{
    lease::Lease,
    outbox,
    queue::{self, Again, Claim, ClaimedJob, Due, Turn},
    request,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use sea_orm::DbErr;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::Instrument;

use super::{
    App,
    sweeps::{Scope, duties},
    work::{JobContext, JobError, Share, heartbeat, now_of},
};

const POLL: Duration = Duration::from_millis(250);
const EVENTS_AT_A_TIME: u64 = 200;
const LEADER: &str = "scheduler";
const LEADER_TTL: Duration = Duration::from_secs(15);

/// The running loops. Dropping it leaves them running; [`WorkerHandle::stop`] ends them.
pub struct WorkerHandle {
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
}

impl WorkerHandle {
    /// Takes no new work and waits until what runs has ended, at most `patience`.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let ended = timeout(patience, async { while self.loops.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("work was still running when the time to stop was over; its leases will expire");
        }
    }
}

/// Starts the loops of this process.
pub fn start_workers(app: &App) -> WorkerHandle {
    let (stop, stopped) = watch::channel(false);
    let mut loops = JoinSet::new();
    loops.spawn(tell_events(app.clone(), stopped.clone()));
    loops.spawn(run_jobs(app.clone(), stopped.clone()));
    loops.spawn(lead(app.clone(), stopped));
    WorkerHandle { stop, loops }
}

async fn tell_events(app: App, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match tell_all_waiting(&app).await {
            Ok(0) => pause(&app, &mut stopped).await,
            Ok(_) => app.wake.notify_waiters(),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "events could not be told");
                pause(&app, &mut stopped).await;
            }
        }
    }
}

/// Waits until somebody rings, the next poll, or the end.
async fn pause(app: &App, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = app.wake.notified() => {}
        () = tokio::time::sleep(POLL) => {}
        _ = stopped.changed() => {}
    }
}

async fn tell_all_waiting(app: &App) -> Result<usize, DbErr> {
    let mut told = 0;
    for tenant in outbox::tenants_waiting(app.db.reader()).await? {
        // One tenant's trouble is not the others'.
        match tell(app, tenant).await {
            Ok(count) => told += count,
            Err(error) => {
                tracing::error!(tenant.id = %tenant, error = &error as &dyn std::error::Error, "events could not be told");
            }
        }
    }
    Ok(told)
}

/// Tells a tenant's waiting events until none is left.
pub async fn tell_all(app: &App, tenant: TenantId) -> Result<(), DbErr> {
    while tell(app, tenant).await? > 0 {}
    Ok(())
}

/// Numbers a tenant's waiting events and lets every listener hear them, in one transaction.
async fn tell(app: &App, tenant: TenantId) -> Result<usize, DbErr> {
    let tx = app.db.begin().await?;
    let events = outbox::take(&tx, tenant, EVENTS_AT_A_TIME).await?;
    for event in &events {
        for listener in app.work.listeners() {
            (listener.hear)(&tx, event).await.inspect_err(|error| {
                tracing::error!(listener = listener.name, event.id = %event.id, %error, "a listener failed");
            })?;
        }
    }
    tx.commit().await?;
    metrics::counter!("events_told_total").increment(events.len() as u64);
    Ok(events.len())
}

/// Of the slots for jobs, those that jobs of some kinds may have together.
struct Lent {
    names: Vec<&'static str>,
    slots: Arc<Semaphore>,
}

impl Lent {
    fn all_of(app: &App) -> Vec<Self> {
        let of = |share: Share| {
            let slots = Arc::new(Semaphore::new(share.of(app.config.workers)));
            Self { names: app.work.sharing(share), slots }
        };
        Share::PARTS.map(of).into()
    }
}

async fn run_jobs(app: App, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(app.config.workers));
    let lent = Lent::all_of(&app);
    let resting = Arc::new(Semaphore::new(app.config.workers));
    let (mut running, mut turns) = (JoinSet::new(), Turns::default());
    while !*stopped.borrow() {
        while running.try_join_next().is_some() {}
        // All that is claimed starts at once, so no more is claimed than may start, whatever it is.
        let (mut limit, mut except) = (slots.available_permits(), Vec::new());
        for Lent { names, slots } in &lent {
            match slots.available_permits() {
                0 => except.extend_from_slice(names),
                few => limit = limit.min(few),
            }
        }
        turns.of_test_clocks = app.config.workers - resting.available_permits();
        let jobs = match limit {
            0 => Vec::new(),
            _ => claim_any(&app, limit as u64, &except, &mut turns).await,
        };
        if jobs.is_empty() {
            pause(&app, &mut stopped).await;
            continue;
        }
        for job in jobs {
            let app = app.clone();
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            let lender = lent.iter().find(|lent| lent.names.contains(&job.name.as_str()));
            let loan = lender.and_then(|lent| lent.slots.clone().try_acquire_owned().ok());
            let rests = job.test_clock.and_then(|_| resting.clone().try_acquire_owned().ok());
            running.spawn(async move {
                run_job(&app, job).await;
                drop((slot, loan, rests));
                app.wake.notify_one();
            });
        }
    }
    while running.join_next().await.is_some() {}
}

/// Whose turn it is: of tenants, and of the two kinds of clocks, so that neither waits until the other has nothing to do.
#[derive(Default)]
struct Turns {
    tenants: Turn,
    test_clocks_first: bool,
    /// How many jobs of test clocks this process runs.
    of_test_clocks: usize,
}

async fn claim_any(app: &App, limit: u64, except: &[&'static str], turns: &mut Turns) -> Vec<ClaimedJob> {
    let lease = app.config.job_lease();
    // What nobody waits for in earnest has a quarter of the workers for certain, and more if nothing else waits.
    let certain = Share::Quarter.of(app.config.workers).saturating_sub(turns.of_test_clocks) as u64;
    let mut clocks = vec![(Due::ByWallClock, limit), (Due::ByRestingTestClocks, limit)];
    if turns.test_clocks_first && certain > 0 {
        clocks.insert(0, (Due::ByRestingTestClocks, limit.min(certain)));
    }
    turns.test_clocks_first = !turns.test_clocks_first;
    for (due, limit) in clocks {
        let claim = Claim { due, except, limit, lease };
        match queue::claim(&app.db, app.now(), claim, &mut turns.tenants).await {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(jobs) => return jobs,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be claimed");
            }
        }
    }
    Vec::new()
}

/// Runs one job to its end and writes down how it ended.
async fn run_job(app: &App, job: ClaimedJob) {
    let span = tracing::info_span!("job", job.id = %job.id, job.name = %job.name, tenant.id = %job.tenant);
    let cause = format!("job {} {}", job.name, job.id);
    let renewal = keep_lease(app.clone(), job.clone());
    let work = request::caused_by(job.id.to_string(), cause, attempt(app, &job)).instrument(span.clone());
    // A bug in one job is a failure of that job: its lease must end like any other's.
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    renewal.abort();
    let outcome = outcome.unwrap_or_else(|_| Err(JobError::Retry("the job panicked".into())));

    let label = if outcome.is_ok() { "done" } else { "failed" };
    metrics::counter!("jobs_total", "name" => job.name.clone(), "outcome" => label).increment(1);
    let written = match outcome {
        Ok(()) => queue::finish(&app.db, &job, app.now()).await,
        Err(JobError::LeaseLost) => Ok(()),
        Err(JobError::NotBefore(run_at)) => {
            queue::put_back(&app.db, &job, Some(Again { run_at, retry_at: None }), "").await
        }
        Err(JobError::Outage(wait)) => wait_out(app, &job, wait).await,
        Err(error) => span.in_scope(|| put_back(app, &job, error)).await,
    };
    if let Err(error) = written {
        tracing::error!(parent: &span, error = &error as &dyn std::error::Error, "the job's end could not be written; it will run again");
    }
}

async fn attempt(app: &App, job: &ClaimedJob) -> Result<(), JobError> {
    let runner = app.work.runner(&job.name).ok_or_else(|| JobError::GiveUp("there is no such job".into()))?;
    let now = now_of(app, job).await?;
    let context = JobContext {
        app: app.clone(),
        tenant: job.tenant,
        now,
        test_clock: job.test_clock,
        job: job.clone(),
    };
    (runner.run)(&context, &job.payload).await
}

async fn wait_out(app: &App, job: &ClaimedJob, wait: TimeDelta) -> Result<(), DbErr> {
    queue::put_back(&app.db, job, Some(again_after(app, job, wait).await?), "").await
}

/// What broke is tried again after real time. A test clock that is moved meanwhile comes first, so that
/// advancing it does not have to wait.
async fn again_after(app: &App, job: &ClaimedJob, wait: TimeDelta) -> Result<Again, DbErr> {
    let retry_at = job.test_clock.map(|_| app.now() + wait);
    Ok(Again { run_at: now_of(app, job).await? + wait, retry_at })
}

async fn put_back(app: &App, job: &ClaimedJob, error: JobError) -> Result<(), DbErr> {
    let text = chain(&error);
    let failures = job.failures + 1;
    let hopeless = matches!(error, JobError::GiveUp(_)) || failures >= queue::FAILURES_MAX;
    if hopeless {
        tracing::error!(error = %text, job.failures = failures, "the job is dead");
        return queue::put_back(&app.db, job, None, &text).await;
    }
    tracing::warn!(error = %text, job.failures = failures, "the job will be tried again");
    let again = again_after(app, job, queue::backoff(failures)).await?;
    queue::put_back(&app.db, job, Some(again), &text).await
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// Renews a running job's lease until it is aborted.
fn keep_lease(app: App, job: ClaimedJob) -> JoinHandle<()> {
    tokio::spawn(async move {
        let lease = app.config.job_lease();
        loop {
            tokio::time::sleep(heartbeat(lease)).await;
            let renewed = async {
                let tx = app.db.begin().await?;
                let held = queue::hold(&tx, &job, app.now() + lease).await?;
                tx.commit().await?;
                Ok::<_, DbErr>(held)
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "a job's lease could not be renewed"),
            }
        }
    })
}

/// Ticks the schedules as long as this process holds the leader's lease, and tries to get it otherwise.
async fn lead(app: App, mut stopped: watch::Receiver<bool>) {
    let holder = accrue_core::id::RequestId::new(app.now()).to_string();
    let mut lease: Option<Lease> = None;
    while !*stopped.borrow() {
        match lead_once(&app, &holder, lease.take()).await {
            Ok(held) => lease = held,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the scheduler failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = stopped.changed() => {}
        }
    }
    if let Some(lease) = lease
        && let Err(error) = lease.release(&app.db, app.now()).await
    {
        tracing::warn!(%error, "the scheduler's lease could not be released");
    }
}

async fn lead_once(app: &App, holder: &str, lease: Option<Lease>) -> Result<Option<Lease>, DbErr> {
    let now = app.now();
    let lease = match lease {
        Some(lease) => lease.renew(&app.db, now, LEADER_TTL).await?.then_some(lease),
        None => Lease::take(&app.db, LEADER, holder, now, LEADER_TTL).await?,
    };
    let Some(lease) = lease else { return Ok(None) };
    metrics::gauge!("scheduler_leader").set(1);
    for duty in duties(app) {
        let tx = app.db.begin().await?;
        if !lease.fence(&tx).await? {
            return Ok(None);
        }
        let due = duty.schedule().tick(&tx, now).await?;
        tx.commit().await?;
        if due {
            duty.do_once(app, now).await;
        }
    }
    Ok(Some(lease))
}

/// Does what is due by the wall clock and by resting test clocks, until nothing is left. Sweeps are not run.
pub async fn work_until_idle(app: &App) -> Result<(), DbErr> {
    let mut turns = Turns::default();
    loop {
        let told = tell_all_waiting(app).await?;
        let jobs = claim_any(app, app.config.workers as u64, &[], &mut turns).await;
        if told == 0 && jobs.is_empty() {
            return Ok(());
        }
        let mut running = JoinSet::new();
        for job in jobs {
            let app = app.clone();
            running.spawn(async move { run_job(&app, job).await });
        }
        while running.join_next().await.is_some() {}
    }
}

/// Does everything of a test clock that is due at `now`: tells its tenant's events, runs its sweeps and
/// its jobs, until nothing is left.
pub async fn drain_test_clock(
    app: &App,
    tenant: TenantId,
    clock: TestClockId,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let scope = Scope::TestClock(tenant, clock);
    loop {
        let mut did = tell(app, tenant).await? as u64;
        for sweep in app.work.sweeps().filter(|sweep| sweep.next_due.is_some()) {
            sweep.run(&app.db, scope, now).await?;
        }
        let due = Due::ByTestClock { tenant, clock, now };
        let (limit, lease) = (app.config.workers as u64, app.config.job_lease());
        let claim = Claim { due, except: &[], limit, lease };
        let jobs = queue::claim(&app.db, app.now(), claim, &mut Turn::default()).await?;
        did += jobs.len() as u64;
        let mut running = JoinSet::new();
        for job in jobs {
            let app = app.clone();
            running.spawn(async move { run_job(&app, job).await });
        }
        while running.join_next().await.is_some() {}
        if did == 0 {
            return Ok(());
        }
    }
}
