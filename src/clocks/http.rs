//! Test clocks over HTTP.

use std::time::Duration;

use accrue_core::id::TestClockId;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    outbox,
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    advance::{DriveError, drive},
    body::{DeletedTestClock, TestClockBody},
    model::Advance,
    service::{self, ClockError},
};
use crate::{
    app::{App, tell_all},
    auth::{Answer, Read, Write, resource},
};

/// A longer movement goes on after the answer, which then says `advancing`.
const ANSWER_WITHIN: Duration = Duration::from_secs(50);
const TIMELINE_MAX: usize = 1000;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create).service(list).service(get_one).service(advance).service(remove);
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateTestClock {
    /// Where it stands at first.
    now: DateTime<Utc>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    metadata: Metadata,
}

/// Where to move the clock.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AdvanceTestClock {
    to: DateTime<Utc>,
}

fn check_instant(check: &mut Check, pointer: &str, at: DateTime<Utc>) {
    if !(1970..=9000).contains(&at.year()) {
        check.refuse(pointer, "out_of_range", "lies between the years 1970 and 9000");
    }
}

/// As both databases hold it; a leap second counts as the one after it.
fn to_the_microsecond(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

/// Create a test clock.
#[utoipa::path(
    tag = "test clocks",
    request_body = CreateTestClock,
    responses(
        (status = 201, description = "The clock", body = TestClockBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/test_clocks")]
async fn create(write: Write<resource::Clocks>, body: Body<CreateTestClock>) -> Answer {
    let CreateTestClock { now, name, metadata } = body.0;
    let mut check = Check::new();
    check_instant(&mut check, "/now", now);
    check.metadata("/metadata", &metadata);
    check.finish()?;

    let tx = write.begin().await?;
    let now = to_the_microsecond(now);
    let clock = service::create(&tx, write.app.now(), &write.tenant, name, now, metadata).await?;
    let body = TestClockBody::from(clock);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List test clocks.
#[utoipa::path(
    tag = "test clocks",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of clocks", body = Page<TestClockBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/test_clocks")]
async fn list(read: Read<resource::Clocks>, page: Query<PageQuery>) -> Answer {
    read.list("/v1/test_clocks", page.0, async move |read, page| {
        let clocks = service::list(read.db(), read.tenant_id(), page).await?;
        Ok(clocks.into_iter().map(TestClockBody::from).collect())
    })
    .await
}

/// Get a test clock.
#[utoipa::path(
    tag = "test clocks",
    params(("id" = String, Path, description = "The clock's identifier")),
    responses(
        (status = 200, description = "The clock", body = TestClockBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/test_clocks/{id}")]
async fn get_one(read: Read<resource::Clocks>, id: Path<String>) -> Answer {
    let clock = service::get(read.db(), read.tenant_id(), id.parse()?).await?;
    read.answer(&TestClockBody::from(clock))
}

/// Move a test clock forward.
///
/// Everything that falls due on the way is done, in order: renewals, invoices, charges, dunning, mails,
/// webhooks. The answer tells what happened. A movement of more than 50 seconds goes on after the answer,
/// whose status is then 202: ask again with the same `to`, or read the clock until it is `ready`.
#[utoipa::path(
    tag = "test clocks",
    params(("id" = String, Path, description = "The clock's identifier")),
    request_body = AdvanceTestClock,
    responses(
        (status = 200, description = "The clock has arrived, and what happened on the way", body = TestClockBody),
        (status = 202, description = "The clock is still on its way", body = TestClockBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/test_clocks/{id}/advance")]
async fn advance(
    mut write: Write<resource::Clocks>,
    id: Path<String>,
    body: Body<AdvanceTestClock>,
) -> Answer {
    let id: TestClockId = id.parse()?;
    let mut check = Check::new();
    check_instant(&mut check, "/to", body.0.to);
    check.finish()?;

    // What happened before is told before: the timeline begins after it.
    tell_all(&write.app, write.tenant_id()).await?;
    let tx = write.begin().await?;
    let movement = service::begin_advance(&tx, write.tenant_id(), id, to_the_microsecond(body.0.to)).await?;
    write.commit_beginning(tx, id).await?;

    let arrived = arrive(&write.app, &write, id).await?;
    let clock = service::get(write.db(), write.tenant_id(), id).await?;
    let body = TestClockBody::from(clock).with_timeline(happened(&write, id, movement).await?, TIMELINE_MAX);
    if !arrived {
        return write.answer_for_now(StatusCode::ACCEPTED, &body);
    }
    let tx = write.begin().await?;
    write.commit(tx, StatusCode::OK, id, &body).await
}

/// Delete a test clock, with its customers and everything of theirs.
///
/// The clock is gone at once. Its customers, their subscriptions, usage, invoices, payments, mails, events and entries in
/// the books follow within moments, customer by customer; numbers of their invoices are not given again. A clock that is
/// being advanced cannot be deleted. Deleting twice is the same as deleting once.
#[utoipa::path(
    tag = "test clocks",
    params(("id" = String, Path, description = "The clock's identifier")),
    responses(
        (status = 200, description = "The clock is gone", body = DeletedTestClock),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/test_clocks/{id}")]
async fn remove(write: Write<resource::Clocks>, id: Path<String>) -> Answer {
    let id: TestClockId = id.parse()?;
    let tx = write.begin().await?;
    service::delete(&tx, write.app.now(), write.tenant_id(), id).await?;
    write.commit(tx, StatusCode::OK, id, &DeletedTestClock { id, object: "test_clock", deleted: true }).await
}

/// Drives the clock, or waits for whoever does; `false` if it is still under way.
async fn arrive(app: &App, write: &Write<resource::Clocks>, id: TestClockId) -> Result<bool, Problem> {
    let tenant = write.tenant_id();
    let arriving = async {
        loop {
            let driver = app.clone();
            // A task of its own, because it goes on when the client hangs up. Waiting does not: else each client
            // that hangs up and asks again would leave somebody behind who wants the lease.
            match tokio::spawn(async move { drive(&driver, tenant, id).await }).await {
                Ok(Err(DriveError::Elsewhere)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(ended) => return ended.map_err(Problem::from),
                Err(panicked) => return Err(Problem::internal(&panicked)),
            }
        }
    };
    match timeout(ANSWER_WITHIN, arriving).await {
        Ok(ended) => ended.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn happened(
    write: &Write<resource::Clocks>,
    id: TestClockId,
    movement: Advance,
) -> Result<Vec<outbox::Event>, Problem> {
    let one_more = TIMELINE_MAX as u64 + 1;
    Ok(outbox::of_test_clock(write.db(), write.tenant_id(), id, movement.since, one_more).await?)
}

impl From<ClockError> for Problem {
    fn from(error: ClockError) -> Self {
        match error {
            ClockError::NotFound(_) => Self::not_found("test clock"),
            ClockError::LiveMode => Self::field("/test_clock", "test_mode_only", error.to_string()),
            ClockError::Advance(_) | ClockError::Moving(_) => {
                Self::new(&problem::ILLEGAL_TRANSITION, error.to_string())
            }
            ClockError::Database(error) => error.into(),
        }
    }
}

impl From<DriveError> for Problem {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Clock(error) => error.into(),
            DriveError::Database(error) => error.into(),
            DriveError::Elsewhere | DriveError::Stuck { .. } => {
                Self::new(&problem::CONFLICT, error.to_string())
            }
        }
    }
}
