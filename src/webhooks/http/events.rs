//! The log of what happened over HTTP.

use accrue_platform::{
    body::Query,
    outbox::{self, EventFilter},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, web::Path};
use serde::Deserialize;

use crate::{
    auth::{Answer, Read, resource},
    customers::service::{self as customers, CustomerError},
    webhooks::body::EventBody,
};

pub(super) fn routes(routes: &mut Routes) {
    routes.service(list).service(get);
}

/// Which events to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    #[serde(rename = "type")]
    #[param(rename = "type", example = "invoice.paid")]
    kind: Option<String>,
    /// The identifier of a customer, or your own name for them.
    customer: Option<String>,
    /// The identifier of what it happened to.
    object: Option<String>,
}

/// List what happened.
#[utoipa::path(
    tag = "webhooks",
    params(EventQuery, PageQuery),
    responses(
        (status = 200, description = "A page of events", body = Page<EventBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/events")]
async fn list(read: Read<resource::Webhooks>, filter: Query<EventQuery>, page: Query<PageQuery>) -> Answer {
    let EventQuery { kind, customer, object } = filter.0;
    let customer = match customer {
        Some(reference) => Some(find_customer(&read, &reference).await?),
        None => None,
    };
    let filter = EventFilter { kind, customer, object_id: object, test_clock: None };
    read.list("/v1/events", page.0, async move |read, page| {
        let events = outbox::list(read.db(), read.tenant_id(), filter.clone(), page).await?;
        let body = |event| EventBody::of(event, read.tenant.livemode);
        Ok(events.into_iter().map(body).collect())
    })
    .await
}

async fn find_customer(
    read: &Read<resource::Webhooks>,
    reference: &str,
) -> Result<accrue_core::id::CustomerId, Problem> {
    match customers::resolve(read.db(), read.tenant_id(), reference).await {
        Ok(customer) => Ok(customer.id),
        Err(CustomerError::Database(error)) => Err(error.into()),
        Err(_) => Err(Problem::not_found("customer")),
    }
}

/// An event.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The event's identifier")),
    responses(
        (status = 200, description = "The event, as webhooks carry it", body = EventBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/events/{id}")]
async fn get(read: Read<resource::Webhooks>, id: Path<String>) -> Answer {
    let not_found = || Problem::not_found("event");
    let id = id.parse().map_err(|_| not_found())?;
    let event = outbox::find(read.db(), read.tenant_id(), id).await?.ok_or_else(not_found)?;
    read.answer(&EventBody::of(event, read.tenant.livemode))
}
