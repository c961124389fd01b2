//! Health, metrics, problem pages.

use std::{collections::BTreeMap, fmt::Write, sync::LazyLock, time::Duration};

use accrue_platform::{
    addresses::Addresses,
    problem::{self, Problem},
    routes::Routes,
    telemetry,
};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError, get,
    http::{StatusCode, header},
    web::{Data, Path},
};
use chrono::{DateTime, TimeDelta, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use serde::Serialize;
use tokio::time::timeout;

use crate::app::{self, App};

/// Longer without a leader, and nothing scheduled would happen.
const LEADERLESS_MAX: TimeDelta = TimeDelta::seconds(30);

/// What is counted is told whether the database answers or not.
const LAG_WAIT: Duration = Duration::from_secs(2);

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    LazyLock::force(&METRICS);
    routes.service(healthz).service(readyz).service(metrics).service(problem_page).service(openapi);
}

static METRICS: LazyLock<Option<PrometheusHandle>> = LazyLock::new(telemetry::init_metrics);

/// Is the process alive?
#[utoipa::path(tag = "system", responses((status = 200, description = "It is", body = String, content_type = "text/plain")))]
#[get("/healthz")]
async fn healthz() -> &'static str {
    "ok\n"
}

/// What the process needs, and whether it has it.
#[derive(Serialize, utoipa::ToSchema)]
struct Readiness {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// Each part: `ok`, or what is wrong.
    checks: BTreeMap<&'static str, String>,
}

/// Can the process serve? Database, migrations, age of the scheduler's lease.
#[utoipa::path(
    tag = "system",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot, and why", body = Readiness),
    ),
)]
#[get("/readyz")]
async fn readyz(app: Data<App>) -> HttpResponse {
    let checks = BTreeMap::from([
        ("database", check(database(&app).await)),
        ("migrations", check(migrations(&app).await)),
        ("scheduler", check(scheduler(&app).await)),
    ]);
    let ready = checks.values().all(|state| state == "ok");
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    HttpResponse::build(status).json(Readiness { status: word, checks })
}

fn check(outcome: Result<Option<String>, DbErr>) -> String {
    match outcome {
        Ok(None) => "ok".to_owned(),
        Ok(Some(wrong)) => wrong,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            "the database cannot be reached".to_owned()
        }
    }
}

async fn database(app: &App) -> Result<Option<String>, DbErr> {
    app.db.reader().execute_unprepared("select 1").await?;
    Ok(None)
}

async fn migrations(app: &App) -> Result<Option<String>, DbErr> {
    let pending = app.db.pending_migrations().await?.len();
    Ok((pending > 0).then(|| format!("{pending} migrations are missing: run `accrue migrate up`")))
}

async fn scheduler(app: &App) -> Result<Option<String>, DbErr> {
    let db = app.db.reader();
    let sql = "select expires_at from leases where name = 'scheduler'";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let expires_at: Option<DateTime<Utc>> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    let led = expires_at.is_some_and(|end| app.now() < end + LEADERLESS_MAX);
    Ok((!led)
        .then(|| "no process leads the scheduler: is one running with the role all or worker?".to_owned()))
}

/// Metrics as Prometheus reads them: what this process counts, and how late everybody's work is.
#[utoipa::path(tag = "system", responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
#[get("/metrics")]
async fn metrics(app: Data<App>) -> HttpResponse {
    let mut text = METRICS.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    match timeout(LAG_WAIT, app::lag(&app)).await {
        Ok(Ok(lag)) => write!(text, "{lag}").expect("a string takes it"),
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "lag cannot be read"),
        Err(_) => tracing::warn!("the database took too long to say how late work is"),
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}

/// What a kind of problem means, and what to do.
#[utoipa::path(
    tag = "system",
    params(("code" = String, Path, description = "The problem's code")),
    responses(
        (status = 200, description = "A page for people", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such kind of problem", body = String, content_type = "text/html"),
    ),
)]
#[get("/problems/{code}")]
async fn problem_page(code: Path<String>) -> HttpResponse {
    let kind = problem::ALL.iter().find(|kind| kind.code == code.as_str());
    let (status, title, help) = match kind {
        Some(kind) => (StatusCode::OK, format!("{} · {}", kind.status, kind.title), kind.help),
        None => (
            StatusCode::NOT_FOUND,
            "No such problem".to_owned(),
            "There is no kind of problem with this code.",
        ),
    };
    let mut all = String::new();
    for kind in problem::ALL {
        write!(all, "<li><a href=\"/problems/{0}\">{0}</a> — {1}</li>", kind.code, kind.title)
            .expect("a string takes it");
    }
    let page = include_str!("../../templates/pages/problem.html")
        .replace("{title}", &title)
        .replace("{help}", help)
        .replace("{all}", &all);
    HttpResponse::build(status).content_type("text/html; charset=utf-8").body(page)
}

/// The OpenAPI document.
#[utoipa::path(
    tag = "system",
    responses((status = 200, description = "What this service can be asked, as OpenAPI 3.1", body = Object)),
)]
#[get("/openapi.json")]
async fn openapi(addresses: Data<Addresses>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(addresses.document())
}

/// Where there is no route: 405 if the address exists for another method, 404 otherwise.
pub async fn not_routed(request: HttpRequest, app: Data<App>, addresses: Data<Addresses>) -> HttpResponse {
    let allowed = addresses.methods_of(request.path());
    if !app.has_api() && allowed.contains(&request.method().as_str()) {
        let detail = "this process has the role `worker`: ask one whose role is `api` or `all`";
        return Problem::new(&problem::NOT_FOUND, detail).error_response();
    }
    if allowed.is_empty() {
        let detail = format!("there is no address {}; /docs lists those there are", request.path());
        return Problem::new(&problem::NOT_FOUND, detail).error_response();
    }
    let allowed = allowed.join(", ");
    let detail = format!("it takes {allowed}");
    let mut answer = Problem::new(&problem::METHOD_NOT_ALLOWED, detail).error_response();
    if let Ok(value) = header::HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}
