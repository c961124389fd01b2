//! Sending usage events, and asking what was used.

mod sent;

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{CustomerId, UsageEventId},
};
use accrue_platform::{
    body::{JsonText, Query},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, get,
    http::StatusCode,
    post,
    web::{Data, Path},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa_actix_web::service_config::ServiceConfig;

use self::sent::{Batch, IngestRequest};
use super::{
    intake::Intake,
    model::{Granularity, Ingested, Rejection, Usage, UsageEvent, WindowUsage},
    reading::{self, Question},
    service::{self, MeteringError, Sent},
};
use crate::auth::{Answer, Bring, Interrupt, Read, Write, resource};

/// Mounts the endpoints.
pub fn routes(config: &mut ServiceConfig) {
    config.service(ingest).service(list_events).service(get_event).service(get_usage);
}

/// How events are taken.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct IngestQuery {
    /// Take all events or, if one of them cannot be taken, none.
    #[serde(default)]
    atomic: bool,
    /// Take events from any time in the past, not only from the last 35 days.
    #[serde(default)]
    backfill: bool,
}

/// What became of the events. Those that were accepted are durably stored.
#[derive(Serialize, utoipa::ToSchema)]
struct IngestBody {
    #[schema(example = "usage_ingest")]
    object: &'static str,
    accepted: usize,
    /// Known already, with the same body; they count once.
    duplicates: usize,
    rejected: Vec<RejectionBody>,
}

/// An event that was not taken.
#[derive(Serialize, utoipa::ToSchema)]
struct RejectionBody {
    /// Its place in the request, from 0.
    index: usize,
    event_id: Option<String>,
    /// `unknown_customer`, `timestamp_out_of_window`, `malformed_number`, `metadata_too_large`, `conflict`,
    /// or what is wrong with a field: `required`, `malformed`, `unknown_field`, `blank`, `too_long`.
    #[schema(example = "unknown_customer")]
    code: String,
    /// Where in the event, as a JSON pointer.
    #[schema(example = "/customer_id")]
    pointer: String,
    #[schema(example = "there is no customer acme")]
    detail: String,
}

impl From<Rejection> for RejectionBody {
    fn from(rejection: Rejection) -> Self {
        let Rejection { index, event_id, error } = rejection;
        Self { index, event_id, code: error.code, pointer: error.pointer, detail: error.detail }
    }
}

impl From<Ingested> for IngestBody {
    fn from(ingested: Ingested) -> Self {
        let Ingested { accepted, duplicates, rejected } = ingested;
        let rejected = rejected.into_iter().map(Into::into).collect();
        Self { object: "usage_ingest", accepted, duplicates, rejected }
    }
}

/// Send usage events.
///
/// One event, an array of them, or `{"events": […]}`; up to 1,000. An event is known by its `source` and
/// `event_id`, for ever: sent again it is a duplicate, which is fine; with another body it is a conflict.
/// The answer means that what was accepted is durably stored.
///
/// Each event is judged alone: a refused one stands in `rejected`, and the status is 200 even if it was the
/// only one. Look at `rejected`, or send `atomic=true`: then one refused event refuses all, with 422.
#[utoipa::path(
    tag = "usage",
    params(IngestQuery),
    request_body = IngestRequest,
    responses(
        (status = 200, description = "What became of the events", body = IngestBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/usage_events")]
async fn ingest(
    request: HttpRequest,
    query: Query<IngestQuery>,
    text: JsonText,
    intake: Data<Intake>,
) -> Result<HttpResponse, Interrupt> {
    let IngestQuery { atomic, backfill } = query.0;
    if request.headers().contains_key("idempotency-key") {
        let write = Write::<resource::Usage>::extract(&request).await?;
        return Ok(ingest_once(write, atomic, backfill, &text.0).await?);
    }
    let caller = Bring::<resource::Usage>::extract(&request).await?;
    let Batch { place, events } = sent::read(&text.0)?;
    let sent = Sent { tenant: caller.tenant_id, events, backfill };
    let ingested = intake.take(sent, atomic, text.0.len()).await?;
    place.allow(&ingested, atomic)?;
    caller.app.wake.notify_one();
    Ok(HttpResponse::Ok().json(IngestBody::from(ingested)))
}

/// With an `Idempotency-Key` the answer is stored with the events, so they have a transaction of their own.
async fn ingest_once(write: Write<resource::Usage>, atomic: bool, backfill: bool, text: &str) -> Answer {
    let Batch { place, events } = sent::read(text)?;
    let tx = write.begin().await?;
    let sent = Sent { tenant: write.tenant_id(), events, backfill };
    let ingested = service::ingest(&tx, &*write.app.clock, vec![sent]).await?;
    let ingested = ingested.into_iter().next().expect("an outcome for each request");
    place.allow(&ingested, atomic)?;
    let object_id = format!("{} usage events", ingested.accepted);
    write.commit(tx, StatusCode::OK, object_id, &IngestBody::from(ingested)).await
}

/// A usage event.
#[derive(Serialize, utoipa::ToSchema)]
struct UsageEventBody {
    id: UsageEventId,
    #[schema(example = "usage_event")]
    object: &'static str,
    livemode: bool,
    #[schema(example = "req_81f")]
    event_id: String,
    source: Option<String>,
    #[schema(example = "api.request.completed")]
    event_name: String,
    customer_id: CustomerId,
    timestamp: DateTime<Utc>,
    /// As it was sent, with every digit.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// When it arrived.
    created_at: DateTime<Utc>,
}

impl UsageEventBody {
    fn new(event: UsageEvent, livemode: bool) -> Self {
        let UsageEvent {
            id,
            event_id,
            source,
            event_name,
            customer_id,
            timestamp,
            metadata,
            received_at,
            tenant_id: _,
        } = event;
        Self {
            id,
            object: "usage_event",
            livemode,
            event_id,
            source: Some(source).filter(|source| !source.is_empty()),
            event_name,
            customer_id,
            timestamp,
            metadata: RawValue::from_string(metadata).expect("made from JSON"),
            created_at: received_at,
        }
    }
}

/// Which events to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventFilter {
    /// A customer's identifier or `external_id`.
    customer: Option<String>,
    event_name: Option<String>,
}

/// List usage events.
#[utoipa::path(
    tag = "usage",
    params(EventFilter, PageQuery),
    responses(
        (status = 200, description = "A page of events, the last to arrive first", body = Page<UsageEventBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_events")]
async fn list_events(
    read: Read<resource::Usage>,
    filter: Query<EventFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let EventFilter { customer, event_name } = filter.0;
    let (customer, event_name) = (customer.as_deref(), event_name.as_deref());
    let events = service::list_events(read.db(), read.tenant_id(), customer, event_name, &page.0).await?;
    let body = |event| UsageEventBody::new(event, read.tenant.livemode);
    read.answer(&Page::of(&page.0, "/v1/usage_events", events, body))
}

/// Whose event is meant.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SourceQuery {
    /// The event's `source`, if it was sent with one.
    source: Option<String>,
}

/// A usage event.
#[utoipa::path(
    tag = "usage",
    params(("event_id" = String, Path, description = "The event's `id` or `event_id`"), SourceQuery),
    responses(
        (status = 200, description = "The event", body = UsageEventBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_events/{event_id}")]
async fn get_event(read: Read<resource::Usage>, event_id: Path<String>, query: Query<SourceQuery>) -> Answer {
    let source = query.0.source.as_deref();
    let event = service::get_event(read.db(), read.tenant_id(), &event_id, source).await?;
    read.answer(&UsageEventBody::new(event, read.tenant.livemode))
}

/// What usage to tell.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// A metric's identifier or code.
    metric: String,
    /// The first instant that counts. Unless given, the start of the customer's calendar month.
    start: Option<DateTime<Utc>>,
    /// The first instant that does not count any more; needed with `start`.
    end: Option<DateTime<Utc>>,
    /// Tells the usage of each hour, day or month as well, as they begin where the customer lives; at most 1,000 of
    /// them.
    granularity: Option<Granularity>,
    /// Tells the usage of each value of this property as well; several properties with commas between them, at most 5.
    group_by: Option<String>,
}

/// More properties than anybody groups by.
const GROUP_BY_MAX: usize = 5;

impl UsageQuery {
    fn period(&self) -> Result<Option<Period>, Problem> {
        let missing = |field| Problem::field(field, "required", "give both `start` and `end`, or neither");
        match (self.start, self.end) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(missing("start")),
            (Some(_), None) => Err(missing("end")),
            (Some(start), Some(end)) => {
                let period = Period::try_new(start, end).map_err(MeteringError::Period)?;
                Ok(Some(period))
            }
        }
    }

    fn group_by(&self) -> Result<Vec<String>, Problem> {
        let properties: Vec<String> = self
            .group_by
            .iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_owned())
            .collect();
        if properties.len() > GROUP_BY_MAX {
            let detail = format!("usage is grouped by at most {GROUP_BY_MAX} properties");
            return Err(Problem::field("group_by", "too_many", detail));
        }
        if properties.iter().any(String::is_empty) {
            return Err(Problem::field("group_by", "blank", "names a property"));
        }
        Ok(properties)
    }
}

/// How much of a metric a customer used.
#[derive(Serialize, utoipa::ToSchema)]
struct UsageBody {
    #[schema(example = "usage")]
    object: &'static str,
    livemode: bool,
    customer: CustomerId,
    /// The metric's code.
    #[schema(example = "tokens")]
    metric: String,
    period: Period,
    /// Of the whole period.
    quantity: Number,
    /// With `granularity` or `group_by`: the usage of each window, in order, and of each group that has any in it.
    data: Vec<WindowBody>,
}

/// How much was used in a part of the period.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageWindow)]
struct WindowBody {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    quantity: Number,
    /// With `group_by`: each property's value; null where events lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<BTreeMap<String, Option<String>>>,
}

impl UsageBody {
    fn new(usage: Usage, group_by: &[String], livemode: bool) -> Self {
        let Usage { customer, metric, period, quantity, windows } = usage;
        let window = |window: WindowUsage| WindowBody {
            start: window.period.start,
            end: window.period.end,
            quantity: Number(window.quantity),
            key: (!group_by.is_empty()).then(|| group_by.iter().cloned().zip(window.group).collect()),
        };
        Self {
            object: "usage",
            livemode,
            customer,
            metric: metric.code,
            period,
            quantity: Number(quantity),
            data: windows.into_iter().map(window).collect(),
        }
    }
}

/// How much a customer used.
///
/// The quantity as measured, rounded as its metric says, before a price is applied. Of a recurring metric, what was
/// there before counts.
#[utoipa::path(
    tag = "usage",
    params(("id" = String, Path, description = "The customer's `id` or `external_id`"), UsageQuery),
    responses(
        (status = 200, description = "The quantity in the period", body = UsageBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}/usage")]
async fn get_usage(read: Read<resource::Usage>, id: Path<String>, query: Query<UsageQuery>) -> Answer {
    let period = query.0.period()?;
    let group_by = query.0.group_by()?;
    let question = Question {
        customer: &id,
        metric: &query.0.metric,
        period,
        granularity: query.0.granularity,
        group_by: &group_by,
    };
    let usage = reading::usage(read.db(), &*read.app.clock, &read.tenant, question).await?;
    read.answer(&UsageBody::new(usage, &group_by, read.tenant.livemode))
}

impl From<MeteringError> for Problem {
    fn from(error: MeteringError) -> Self {
        let detail = error.to_string();
        match error {
            MeteringError::NoSuchEvent(_) => Self::not_found("usage event"),
            MeteringError::Customer(error) => error.into(),
            MeteringError::Catalog(error) => error.into(),
            MeteringError::Period(_) => Self::field("end", "out_of_range", detail),
            MeteringError::TooManyWindows(_) => Self::field("granularity", "too_many", detail),
            MeteringError::Overflow => Self::new(&problem::INVALID, detail),
            MeteringError::Page(error) => error.into(),
            MeteringError::Database(error) => error.into(),
        }
    }
}
