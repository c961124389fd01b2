//! Sweeps over HTTP: when each runs, how late it is, and running one by hand for the caller's own things.

use accrue_platform::{
    body::Body,
    page::Page,
    problem::{self, Problem, ProblemBody},
    schedule,
};
use actix_web::{get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, Found, Scope, Sweep, Swept, lag_of},
    auth::{
        caller::{Answer, Read, Write},
        resource,
    },
};

/// What looks for due things and enqueues a job for each.
#[derive(Serialize, utoipa::ToSchema)]
struct SweepBody {
    #[schema(example = "sweep")]
    object: &'static str,
    #[schema(example = "invoices.cycle")]
    name: &'static str,
    /// When it runs by itself, as a cron expression that begins with seconds, in UTC.
    #[schema(example = "0 * * * * *")]
    schedule: &'static str,
    /// When it ran last by itself, for everybody.
    last_run_at: Option<DateTime<Utc>>,
    /// When it runs next by itself; null if it never has, and then it runs at once.
    next_run_at: Option<DateTime<Utc>>,
    /// For how many seconds the oldest of your things is due that is not done. What lives by a test clock does not count.
    #[schema(example = 0)]
    lag_seconds: i64,
}

/// List sweeps: what looks for due things, when, and how late it is.
#[utoipa::path(
    tag = "account",
    responses(
        (status = 200, description = "All sweeps", body = Page<SweepBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/sweeps")]
pub(super) async fn list_sweeps(read: Read<resource::Account>) -> Answer {
    let lag = lag_of(&read.app, read.tenant_id()).await?;
    let ticks = schedule::ticks(read.db()).await?;
    let body = |sweep: &Sweep| {
        let name = sweep.schedule.name;
        let ticks = ticks.get(name);
        SweepBody {
            object: "sweep",
            name,
            schedule: sweep.schedule.cron,
            last_run_at: ticks.and_then(|ticks| ticks.last_at),
            next_run_at: ticks.map(|ticks| ticks.next_at),
            lag_seconds: lag.sweeps.get(name).copied().unwrap_or_default(),
        }
    };
    let data = read.app.work.sweeps().map(body).collect();
    read.answer(&Page { object: "list", data, has_more: false, url: "/v1/sweeps".to_owned() })
}

/// How to run a sweep.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RunSweep {
    /// Only say what would be done: nothing is written.
    #[serde(default)]
    #[schema(example = true)]
    dry_run: bool,
}

/// Something that is due.
#[derive(Serialize, utoipa::ToSchema)]
struct DueBody {
    #[schema(example = "sub_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    id: String,
    /// Since when.
    due_at: DateTime<Utc>,
}

/// What a run of a sweep did, or would do.
#[derive(Serialize, utoipa::ToSchema)]
struct SweepRunBody {
    #[schema(example = "sweep_run")]
    object: &'static str,
    #[schema(example = "invoices.cycle")]
    name: &'static str,
    dry_run: bool,
    /// How many of your things are due.
    found: u64,
    /// For how many of them a job was enqueued; the others have one already. `alerts.review` counts those that have one too:
    /// it runs once more, which changes nothing. None in a dry run.
    enqueued: u64,
    /// The first hundred of those that were found.
    data: Vec<DueBody>,
    /// Were there more?
    has_more: bool,
}

impl SweepRunBody {
    fn new(name: &'static str, dry_run: bool, Swept { found, enqueued, first }: Swept) -> Self {
        let has_more = found > first.len() as u64;
        let due = |Found { object, place: (due_at, _), .. }| DueBody { id: object, due_at };
        let data = first.into_iter().map(due).collect();
        Self { object: "sweep_run", name, dry_run, found, enqueued, data, has_more }
    }
}

/// Run a sweep now, for your own things.
///
/// Running it twice is the same as running it once. What lives by a test clock stays with its clock: move the clock.
#[utoipa::path(
    tag = "account",
    params(("name" = String, Path, description = "The sweep's name")),
    request_body = RunSweep,
    responses(
        (status = 200, description = "What it did, or would do", body = SweepRunBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/sweeps/{name}/run")]
pub(super) async fn run_sweep(
    mut write: Write<resource::Account>,
    name: Path<String>,
    body: Body<RunSweep>,
) -> Answer {
    let sweep = find(&write.app, &name)?;
    let (name, RunSweep { dry_run }) = (sweep.schedule.name, body.0);
    let (app, scope) = (write.app.clone(), Scope::Tenant(write.tenant_id()));
    if dry_run {
        let swept = sweep.look(&app.db, scope, app.now()).await?;
        return write.answer_for_now(StatusCode::OK, &SweepRunBody::new(name, dry_run, swept));
    }
    // Each page of what is due is committed by itself, however many there are.
    let tx = write.begin().await?;
    write.commit_beginning(tx, name).await?;
    let swept = sweep.run(&app.db, scope, app.now()).await?;
    let tx = write.begin().await?;
    write.commit(tx, StatusCode::OK, name, &SweepRunBody::new(name, dry_run, swept)).await
}

fn find(app: &App, name: &str) -> Result<&'static Sweep, Problem> {
    let is_it = |sweep: &&Sweep| sweep.schedule.name == name;
    app.work.sweeps().find(is_it).ok_or_else(|| {
        let names: Vec<_> = app.work.sweeps().map(|sweep| sweep.schedule.name).collect();
        Problem::new(&problem::NOT_FOUND, format!("there is no such sweep; there are {}", names.join(", ")))
    })
}
