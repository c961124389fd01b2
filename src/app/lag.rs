//! How late work is. It is read from the database when somebody asks, so every process says the same, also one that does no
//! work, and no figure stands still when a process does.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::{Duration, Instant},
};

use accrue_core::id::TenantId;
use accrue_platform::{
    queue,
    schedule::{self, Ticks},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::DbErr;
use tokio::sync::Mutex;

use super::{
    App,
    sweeps::{Duty, Scope, Sweep, duties},
};

/// How late jobs of a name are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobLag {
    /// For how long the first of them could have run.
    pub seconds: i64,
    /// How many of them could run.
    pub waiting: i64,
}

/// How late work is, by the wall clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// By the name of a sweep: for how many seconds the oldest thing is due that is not done.
    pub sweeps: BTreeMap<&'static str, i64>,
    /// By the name of a job.
    pub jobs: BTreeMap<String, JobLag>,
}

/// How late everybody's work was when somebody asked last. Whoever asks soon after is told the same, and of those who ask
/// at once one reads: anybody may ask, and it costs most when the database has most to do.
#[derive(Debug)]
pub struct LastLag {
    kept_for: Duration,
    last: Mutex<Option<(Instant, Lag)>>,
}

impl LastLag {
    /// For how long a reading holds, by a clock that nobody sets.
    pub const KEPT_FOR: Duration = Duration::from_secs(5);

    pub fn new(kept_for: Duration) -> Self {
        Self { kept_for, last: Mutex::new(None) }
    }
}

/// How late everybody's work is, or was a moment ago: every sweep and every job, also those that are not late.
pub async fn lag(app: &App) -> Result<Lag, DbErr> {
    let LastLag { kept_for, last } = &*app.last_lag;
    let mut last = last.lock().await;
    if let Some((_, lag)) = last.as_ref().filter(|(read_at, _)| read_at.elapsed() < *kept_for) {
        return Ok(lag.clone());
    }
    let mut lag = read(app, None).await?;
    for name in app.work.job_names() {
        lag.jobs.entry(name.to_owned()).or_default();
    }
    *last = Some((Instant::now(), lag.clone()));
    Ok(lag)
}

/// How late a tenant's work is: its sweeps, and those of its jobs that wait.
pub async fn lag_of(app: &App, tenant: TenantId) -> Result<Lag, DbErr> {
    read(app, Some(tenant)).await
}

async fn read(app: &App, tenant: Option<TenantId>) -> Result<Lag, DbErr> {
    let now = app.now();
    let ticks = schedule::ticks(app.db.reader()).await?;
    let mut lag = Lag::default();
    for duty in duties(app) {
        let name = duty.schedule().name;
        let late = match (duty, tenant) {
            (Duty::Upkeep(_), Some(_)) => continue,
            (Duty::Upkeep(_), None) => ticks.get(name).map(|ticks| ticks.next_at),
            (Duty::Sweep(sweep), tenant) => oldest_due(app, sweep, tenant, ticks.get(name)).await?,
        };
        lag.sweeps.insert(name, seconds(now, late));
    }
    for late in queue::late(app.db.reader(), tenant, now).await? {
        let job = JobLag { seconds: seconds(now, Some(late.since)), waiting: late.count };
        lag.jobs.insert(late.name, job);
    }
    Ok(lag)
}

/// Since when the oldest thing is due that a sweep looks for; an instant to come if there is none. What has no instant of
/// its own is due when the schedule is.
async fn oldest_due(
    app: &App,
    sweep: &Sweep,
    tenant: Option<TenantId>,
    ticks: Option<&Ticks>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    match sweep.next_due {
        Some(next_due) => next_due(&app.db, tenant.map(Scope::Tenant)).await,
        None => Ok(ticks.map(|ticks| ticks.next_at)),
    }
}

fn seconds(now: DateTime<Utc>, since: Option<DateTime<Utc>>) -> i64 {
    since.map_or(TimeDelta::zero(), |since| now - since).num_seconds().max(0)
}

/// As Prometheus reads it.
impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sweeps = self.sweeps.iter().map(|(name, seconds)| (*name, *seconds));
        gauge(f, "sweep_lag_seconds", sweeps)?;
        let jobs = || self.jobs.iter().map(|(name, lag)| (name.as_str(), lag));
        gauge(f, "job_lag_seconds", jobs().map(|(name, lag)| (name, lag.seconds)))?;
        gauge(f, "jobs_waiting", jobs().map(|(name, lag)| (name, lag.waiting)))
    }
}

fn gauge<'a>(
    f: &mut fmt::Formatter<'_>,
    metric: &str,
    values: impl Iterator<Item = (&'a str, i64)>,
) -> fmt::Result {
    writeln!(f, "# TYPE {metric} gauge")?;
    for (name, value) in values {
        writeln!(f, "{metric}{{name=\"{name}\"}} {value}")?;
    }
    f.write_char('\n')
}
