//! The account's jobs over HTTP: those that died can be retried or forgotten.

use std::collections::BTreeMap;

use accrue_core::id::JobId;
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    queue::{self, JobRow, JobState},
};
use actix_web::{delete, get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    app::{JobLag, Lag, lag_of},
    auth::{
        caller::{Answer, Read, Write},
        resource,
    },
};

/// Which jobs to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct JobFilter {
    /// `dead` unless given.
    state: Option<JobState>,
}

/// A durable piece of work.
#[derive(Serialize, utoipa::ToSchema)]
struct JobBody {
    id: JobId,
    #[schema(example = "job")]
    object: &'static str,
    name: String,
    state: JobState,
    unique_key: String,
    run_at: DateTime<Utc>,
    runs: i32,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<JobRow> for JobBody {
    fn from(row: JobRow) -> Self {
        let JobRow { id, name, state, unique_key, run_at, runs, last_error, created_at, .. } = row;
        Self { id, object: "job", name, state, unique_key, run_at, runs, last_error, created_at }
    }
}

/// How late your work is. What lives by a test clock does not count.
#[derive(Serialize, utoipa::ToSchema)]
struct LagBody {
    /// By the name of a sweep: for how many seconds the oldest thing is due that is not done.
    #[schema(example = json!({"invoices.cycle": 0}))]
    sweeps: BTreeMap<&'static str, i64>,
    /// By the name of a job, those of which some could run.
    jobs: BTreeMap<String, JobLagBody>,
}

/// How late the jobs of a name are.
#[derive(Serialize, utoipa::ToSchema)]
struct JobLagBody {
    /// For how many seconds the first of them could have run.
    #[schema(example = 12)]
    lag_seconds: i64,
    /// How many of them could run.
    #[schema(example = 3)]
    waiting: i64,
}

impl From<Lag> for LagBody {
    fn from(Lag { sweeps, jobs }: Lag) -> Self {
        let job = |(name, JobLag { seconds, waiting })| (name, JobLagBody { lag_seconds: seconds, waiting });
        Self { sweeps, jobs: jobs.into_iter().map(job).collect() }
    }
}

/// A page of jobs, and how late work is.
#[derive(Serialize, utoipa::ToSchema)]
struct JobPage {
    #[serde(flatten)]
    page: Page<JobBody>,
    lag: LagBody,
}

/// List jobs, those that died unless told otherwise, and say how late work is.
#[utoipa::path(
    tag = "account",
    params(JobFilter, PageQuery),
    responses(
        (status = 200, description = "A page of jobs", body = JobPage),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/jobs")]
pub(super) async fn list_jobs(
    read: Read<resource::Account>,
    filter: Query<JobFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let state = filter.0.state.unwrap_or(JobState::Dead);
    if read.is_export() {
        let jobs = async move |read: &Read<_>, page: &PageQuery| {
            let jobs = queue::page(read.db(), read.tenant_id(), state, page).await?;
            Ok(jobs.into_iter().map(JobBody::from).collect())
        };
        return read.list("/v1/jobs", page.0, jobs).await;
    }
    let jobs = queue::page(read.db(), read.tenant_id(), state, &page.0).await?;
    let page = Page::of(&page.0, "/v1/jobs", jobs, JobBody::from);
    let lag = lag_of(&read.app, read.tenant_id()).await?.into();
    read.answer(&JobPage { page, lag })
}

/// The job that was moved.
#[derive(Serialize, utoipa::ToSchema)]
struct MovedJob {
    id: JobId,
    #[schema(example = "job")]
    object: &'static str,
    #[schema(example = "queued")]
    state: &'static str,
}

/// Let a dead job run again.
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The job's identifier")),
    responses(
        (status = 200, description = "The job waits to run", body = MovedJob),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/jobs/{id}/retry")]
pub(super) async fn retry_job(write: Write<resource::Account>, id: Path<String>) -> Answer {
    let id: JobId = id.parse()?;
    let tx = write.begin().await?;
    let moved = queue::revive(&tx, write.app.now(), write.tenant_id(), id).await?;
    dead_job_was(moved)?;
    write.commit(tx, StatusCode::OK, id, &MovedJob { id, object: "job", state: "queued" }).await
}

/// Forget a dead job.
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The job's identifier")),
    responses(
        (status = 200, description = "The job is gone", body = MovedJob),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/jobs/{id}")]
pub(super) async fn discard_job(write: Write<resource::Account>, id: Path<String>) -> Answer {
    let id: JobId = id.parse()?;
    let tx = write.begin().await?;
    let moved = queue::discard(&tx, write.tenant_id(), id).await?;
    dead_job_was(moved)?;
    write.commit(tx, StatusCode::OK, id, &MovedJob { id, object: "job", state: "discarded" }).await
}

fn dead_job_was(found: bool) -> Result<(), Problem> {
    if found { Ok(()) } else { Err(Problem::not_found("dead job")) }
}
