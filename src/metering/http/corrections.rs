//! Correcting usage events.

use std::collections::BTreeMap;

use accrue_platform::{
    body::{Body, Query},
    check::Check,
    problem::{Problem, ProblemBody},
};
use actix_web::{http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{SourceQuery, sent::instant};
use crate::{
    auth::{Answer, Write, resource},
    metering::{
        body::UsageEventBody,
        correct::{self, Corrector},
        model::{Correction, EventMetadata},
    },
};

const REASON_MAX: usize = 500;

/// Why an event is voided.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidRequest {
    #[schema(max_length = 500, example = "sent by a test")]
    reason: Option<String>,
}

/// What an event should say.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AmendRequest {
    /// When it happened; unless given, it stays.
    timestamp: Option<DateTime<Utc>>,
    /// All that it says about itself; unless given, it stays.
    #[schema(value_type = Option<Object>, example = json!({"tokens": 1234, "model": "pro"}))]
    metadata: Option<BTreeMap<String, Box<RawValue>>>,
    #[schema(max_length = 500, example = "counted twice")]
    reason: Option<String>,
}

/// How an event is amended.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AmendQuery {
    /// The event's `source`, if it was sent with one.
    source: Option<String>,
    /// Its new time may lie anywhere in the past, not only in the last 35 days.
    #[serde(default)]
    backfill: bool,
}

/// Void a usage event.
///
/// It does not count any more; what was billed for it is taken off the next invoice. Its `event_id` stays taken:
/// sent again, it is a duplicate. Voiding it twice is the same as once.
#[utoipa::path(
    tag = "usage",
    params(("event_id" = String, Path, description = "The event's `id` or `event_id`"), SourceQuery),
    request_body = VoidRequest,
    responses(
        (status = 200, description = "The event", body = UsageEventBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/usage_events/{event_id}/void")]
pub(super) async fn void(
    write: Write<resource::UsageCorrections>,
    event_id: Path<String>,
    query: Query<SourceQuery>,
    body: Body<VoidRequest>,
) -> Answer {
    let place = (event_id.as_str(), query.0.source.as_deref());
    correct(write, place, Correction::Void, body.0.reason, false).await
}

/// Amend a usage event.
///
/// Changes when it happened, or what it says; what was billed is adjusted on the next invoice. The event is held
/// to the same rules as a new one. What it said before stays in its `history`.
#[utoipa::path(
    tag = "usage",
    params(("event_id" = String, Path, description = "The event's `id` or `event_id`"), AmendQuery),
    request_body = AmendRequest,
    responses(
        (status = 200, description = "The event", body = UsageEventBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/usage_events/{event_id}/amend")]
pub(super) async fn amend(
    write: Write<resource::UsageCorrections>,
    event_id: Path<String>,
    query: Query<AmendQuery>,
    body: Body<AmendRequest>,
) -> Answer {
    let AmendRequest { timestamp, metadata, reason } = body.0;
    if timestamp.is_none() && metadata.is_none() {
        return Err(Problem::field("/timestamp", "required", "give `timestamp`, `metadata`, or both"));
    }
    let invalid = |error| Problem::invalid(vec![error]);
    let timestamp = timestamp.map(instant).transpose().map_err(invalid)?;
    let metadata = metadata.as_ref().map(EventMetadata::try_new).transpose().map_err(invalid)?;
    let place = (event_id.as_str(), query.0.source.as_deref());
    correct(write, place, Correction::Amend { timestamp, metadata }, reason, query.0.backfill).await
}

async fn correct(
    write: Write<resource::UsageCorrections>,
    place: (&str, Option<&str>),
    correction: Correction,
    reason: Option<String>,
    backfill: bool,
) -> Answer {
    let mut check = Check::new();
    check.optional_text("/reason", reason.as_deref(), REASON_MAX);
    check.finish()?;
    let corrector = Corrector { by: write.actor().to_owned(), reason, backfill };
    let tx = write.begin().await?;
    let clock = write.app.clock.clone();
    let corrected = correct::correct(&tx, &*clock, &write.tenant, place, correction, corrector).await?;
    let (event, history) = corrected;
    let body = UsageEventBody::new(event, write.tenant.livemode).with_history(history);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}
