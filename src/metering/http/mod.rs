//! Sending usage events, and asking what was used.

mod corrections;
mod sent;
mod unmatched;

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{CustomerId, UsageEventId},
};
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, get,
    http::StatusCode,
    post,
    web::{Data, Path},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub(super) use self::sent::read_line;
use self::sent::{Batch, CloudEventRequest, IngestRequest};
use super::{
    body::UsageEventBody,
    correct,
    deeds::SentBy,
    intake::Intake,
    memory::Expectation,
    model::{
        CorrectionError, Granularity, Ingested, Rejection, Terms, Usage, UsageEvent, Wanted, WindowUsage,
    },
    reading::{self, Question},
    service::{self, MeteringError},
    taking::{self, Sent, Taken},
};
use crate::auth::{Answer, Bring, Interrupt, Read, Write, resource};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(ingest).service(list_events);
    // Before the events, whose names may be anything.
    routes.service(unmatched::list_unmatched).service(get_event).service(get_usage);
    routes.service(corrections::void).service(corrections::amend);
}

/// How events are taken.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct IngestQuery {
    /// Take all events or, if one of them cannot be taken, none.
    #[serde(default)]
    atomic: bool,
    /// Take events from any time in the past, not only from the last days that the account's settings name (35).
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
    /// `period_closed`,
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
/// One event, an array of them, or `{"events": […]}`, up to 1,000; up to 10,000 as NDJSON, one on each line; or
/// as `CloudEvents` 1.0 in structured, batch or binary mode. Bodies may be packed by gzip (`Content-Encoding`).
/// An event is known by its `source` and `event_id`, for ever: sent again it is a duplicate, which is fine; with
/// another body it is a conflict. The answer means that what was accepted is durably stored.
///
/// Each event is judged alone: a refused one stands in `rejected`, and the status is 200 even if it was the
/// only one. Look at `rejected`, or send `atomic=true`: then one refused event refuses all, with 422.
#[utoipa::path(
    tag = "usage",
    params(
        IngestQuery,
        ("ce-specversion" = Option<String>, Header, description = "CloudEvents, binary mode: `1.0`. The body is then the event's `metadata` alone"),
        ("ce-id" = Option<String>, Header, description = "Binary mode: the event's `event_id`"),
        ("ce-source" = Option<String>, Header, description = "Binary mode: the event's `source`"),
        ("ce-type" = Option<String>, Header, description = "Binary mode: the event's `event_name`"),
        ("ce-subject" = Option<String>, Header, description = "Binary mode: the customer's identifier or `external_id`"),
        ("ce-time" = Option<String>, Header, description = "Binary mode: when it happened; unless given, now"),
    ),
    request_body(content(
        (IngestRequest = "application/json", examples(
            ("one" = (summary = "One event", value = json!({
                "event_id": "req_81f", "customer_id": "acme", "event_name": "api.request.completed",
                "timestamp": "2026-02-03T10:00:00Z", "metadata": {"tokens": 1234, "model": "pro"}
            }))),
            ("several" = (summary = "Several", value = json!({"events": [
                {"event_id": "req_81f", "customer_id": "acme", "event_name": "api.request.completed"},
                {"event_id": "req_820", "customer_id": "acme", "event_name": "api.request.completed"}
            ]}))),
            ("binary" = (summary = "The data of a CloudEvent whose attributes are in headers", value = json!(
                {"tokens": 1234, "model": "pro"}
            ))),
        )),
        (String = "application/x-ndjson", examples(
            ("lines" = (summary = "One on each line", value = json!(
                "{\"event_id\":\"req_81f\",\"customer_id\":\"acme\",\"event_name\":\"login\"}\n{\"event_id\":\"req_820\",\"customer_id\":\"acme\",\"event_name\":\"login\"}\n"
            ))),
        )),
        (CloudEventRequest = "application/cloudevents+json", examples(
            ("structured" = (summary = "One CloudEvent", value = json!({
                "specversion": "1.0", "id": "req_81f", "source": "/gateways/eu", "type": "api.request.completed",
                "subject": "acme", "time": "2026-02-03T10:00:00Z", "data": {"tokens": 1234, "model": "pro"}
            }))),
        )),
        (Vec<CloudEventRequest> = "application/cloudevents-batch+json", examples(
            ("batch" = (summary = "Several CloudEvents, up to 1,000", value = json!([{
                "specversion": "1.0", "id": "req_81f", "source": "/gateways/eu", "type": "api.request.completed",
                "subject": "acme", "data": {"tokens": 1234}
            }]))),
        )),
    )),
    responses(
        (status = 200, description = "What became of the events", body = IngestBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/usage_events")]
async fn ingest(
    request: HttpRequest,
    query: Query<IngestQuery>,
    intake: Data<Intake>,
) -> Result<HttpResponse, Interrupt> {
    let IngestQuery { atomic, backfill } = query.0;
    if request.headers().contains_key("idempotency-key") {
        let write = Write::<resource::Usage>::extract(&request).await?;
        // Apart, because it is rare, and what waits for it is large: each request would carry that about.
        return Ok(Box::pin(ingest_once(write, atomic, backfill, &request, &intake)).await?);
    }
    let caller = Bring::<resource::Usage>::extract(&request).await?;
    let (Batch { form, events }, bytes) = sent::read_request(&request)?;
    let request_id = accrue_platform::request::id();
    let by = SentBy { actor: caller.actor, action: "POST /v1/usage_events", request_id };
    let terms = Terms::of(&caller.tenant.settings, backfill);
    let sent = Sent { tenant: caller.tenant.id, events, terms, by: Some(by) };
    let ingested = form.answer(intake.take(sent, atomic, bytes).await?, atomic)?;
    Ok(HttpResponse::Ok().json(IngestBody::from(ingested)))
}

/// With an `Idempotency-Key` the answer is stored with the events, so they have a transaction of their own.
async fn ingest_once(
    write: Write<resource::Usage>,
    atomic: bool,
    backfill: bool,
    request: &HttpRequest,
    intake: &Intake,
) -> Answer {
    let (Batch { form, events }, _) = sent::read_request(request)?;
    let tx = write.begin().await?;
    let terms = Terms::of(&write.tenant.settings, backfill);
    let sent = Sent { tenant: write.tenant_id(), events, terms, by: None };
    let (clock, sent) = (&*write.app.clock, (&[sent][..], None));
    let Taken { outcomes, unmatched, days, .. } =
        taking::ingest(&tx, clock, &intake.memory, sent, Expectation::NOTHING).await?;
    let ingested = outcomes.into_iter().next().expect("an outcome for each request");
    let ingested = form.answer(ingested, atomic)?;
    let object_id = format!("{} usage events", ingested.accepted);
    days.end();
    let answer = write.commit(tx, StatusCode::OK, object_id, &IngestBody::from(ingested)).await?;
    unmatched.tell();
    Ok(answer)
}

/// Which events to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventFilter {
    /// A customer's identifier or `external_id`.
    customer: Option<String>,
    event_name: Option<String>,
    /// Only those that wait for a customer of this `external_id`.
    awaited_customer: Option<String>,
    source: Option<String>,
    /// Only those that happened at this instant or after it.
    start: Option<DateTime<Utc>>,
    /// Only those that happened before this instant.
    end: Option<DateTime<Utc>>,
}

impl EventFilter {
    fn wanted(&self) -> Wanted<'_> {
        let Self { customer, event_name, awaited_customer, source, start, end } = self;
        Wanted {
            customer: customer.as_deref(),
            event_name: event_name.as_deref(),
            awaited_customer: awaited_customer.as_deref(),
            source: source.as_deref(),
            start: *start,
            end: *end,
        }
    }
}

/// Searches until a page is full, or everything was searched.
async fn full_page(
    read: &Read<resource::Usage>,
    wanted: Wanted<'_>,
    page: &PageQuery,
) -> Result<Vec<UsageEvent>, Problem> {
    let (mut events, mut page) = (Vec::new(), page.clone());
    let limit = page.limit()?;
    loop {
        let found = service::list_events(read.db(), read.tenant_id(), wanted, &page).await?;
        events.extend(found.events);
        match found.searched_to {
            Some(place) if (events.len() as u64) <= limit => {
                page.limit = Some((limit - events.len() as u64).max(1));
                page.starting_after = Some(place.to_string());
            }
            _ => return Ok(events),
        }
    }
}

/// A page of events.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageEventPage)]
struct EventPage {
    #[serde(flatten)]
    page: Page<UsageEventBody>,
    /// If the search ended before the page was full: it goes on with this as `starting_after` (or as `ending_before`,
    /// if that was given), and `has_more` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_to: Option<UsageEventId>,
}

/// List usage events.
///
/// There is no index by all of these filters. A search ends after some thousands of stored rows: the page then has fewer
/// events than asked for, or none, and says in `searched_to` where to go on.
#[utoipa::path(
    tag = "usage",
    params(EventFilter, PageQuery),
    responses(
        (status = 200, description = "A page of events, the last to arrive first", body = EventPage),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_events")]
async fn list_events(
    read: Read<resource::Usage>,
    filter: Query<EventFilter>,
    page: Query<PageQuery>,
) -> Answer {
    if read.is_export() {
        return read
            .list("/v1/usage_events", page.0, async move |read, page| {
                let events = full_page(read, filter.0.wanted(), page).await?;
                Ok(events.into_iter().map(|event| UsageEventBody::new(event, read.tenant.livemode)).collect())
            })
            .await;
    }
    let found = service::list_events(read.db(), read.tenant_id(), filter.0.wanted(), &page.0).await?;
    let body = |event| UsageEventBody::new(event, read.tenant.livemode);
    let mut page = Page::of(&page.0, "/v1/usage_events", found.events, body);
    page.has_more |= found.searched_to.is_some();
    read.answer(&EventPage { page, searched_to: found.searched_to })
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
    let (event, history) = correct::get_with_history(read.db(), event).await?;
    read.answer(&UsageEventBody::new(event, read.tenant.livemode).with_history(history))
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
    #[param(inline)]
    granularity: Option<Granularity>,
    /// Tells the usage of each value of this property as well; several properties with commas between them, at most 5.
    /// All windows together may have at most 100,000 groups.
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
async fn get_usage(
    read: Read<resource::Usage>,
    id: Path<String>,
    query: Query<UsageQuery>,
    intake: Data<Intake>,
) -> Answer {
    let period = query.0.period()?;
    let group_by = query.0.group_by()?;
    let question = Question {
        customer: &id,
        metric: &query.0.metric,
        period,
        granularity: query.0.granularity,
        group_by: &group_by,
    };
    let (clock, memory) = (&*read.app.clock, &intake.memory);
    let usage = reading::usage(read.db(), clock, memory, &read.tenant, question).await?;
    read.answer(&UsageBody::new(usage, &group_by, read.tenant.livemode))
}

impl From<MeteringError> for Problem {
    fn from(error: MeteringError) -> Self {
        let detail = error.to_string();
        match error {
            MeteringError::NoSuchEvent(_) => Self::not_found("usage event"),
            MeteringError::Correction(CorrectionError::Voided) => {
                Self::new(&problem::ILLEGAL_TRANSITION, detail)
            }
            MeteringError::Correction(CorrectionError::Refused(error)) => Self::invalid(vec![error]),
            MeteringError::Customer(error) => error.into(),
            MeteringError::Catalog(error) => error.into(),
            MeteringError::Period(_) => Self::field("end", "out_of_range", detail),
            MeteringError::TooManyWindows(_) => Self::field("granularity", "too_many", detail),
            MeteringError::TooMuchToTell(_) => Self::field("group_by", "too_many", detail),
            MeteringError::Archived(_) | MeteringError::Final(_) | MeteringError::EventArchived(..) => {
                Self::new(&problem::USAGE_ARCHIVED, detail)
            }
            MeteringError::Rebuilt => Self::new(&problem::UNAVAILABLE, detail),
            MeteringError::Overflow => Self::new(&problem::USAGE_TOO_LARGE, detail),
            MeteringError::Panicked => Self::internal(&error),
            MeteringError::Page(error) => error.into(),
            MeteringError::Database(error) => error.into(),
        }
    }
}
