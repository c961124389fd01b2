//! The log of deliveries over HTTP.

use accrue_core::id::DeliveryId;
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, post, web::Path};
use serde::Deserialize;

use crate::{
    auth::{Answer, Read, Write, resource},
    webhooks::{
        body::DeliveryBody,
        model::DeliveryStatus,
        service::{self, DeliveryFilter},
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes.service(list).service(get).service(retry);
}

/// Which deliveries to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// Those to this endpoint.
    endpoint: Option<String>,
    /// Those of this event.
    event: Option<String>,
    status: Option<DeliveryStatus>,
}

impl DeliveryQuery {
    fn read(self) -> Result<DeliveryFilter, Problem> {
        let Self { endpoint, event, status } = self;
        Ok(DeliveryFilter {
            endpoint: endpoint.map(|id| id.parse()).transpose()?,
            event: event.map(|id| id.parse()).transpose()?,
            status,
        })
    }
}

/// List the deliveries of events to endpoints.
#[utoipa::path(
    tag = "webhooks",
    params(DeliveryQuery, PageQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Page<DeliveryBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/webhook_deliveries")]
async fn list(
    read: Read<resource::Webhooks>,
    filter: Query<DeliveryQuery>,
    page: Query<PageQuery>,
) -> Answer {
    let filter = filter.0.read()?;
    read.list("/v1/webhook_deliveries", page.0, async move |read, page| {
        let deliveries = service::list_deliveries(read.db(), read.tenant_id(), &filter, page).await?;
        let body = |delivery| DeliveryBody::of(delivery, None, read.tenant.livemode);
        Ok(deliveries.into_iter().map(body).collect())
    })
    .await
}

/// A delivery with its attempts.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The delivery's identifier")),
    responses(
        (status = 200, description = "The delivery", body = DeliveryBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/webhook_deliveries/{id}")]
async fn get(read: Read<resource::Webhooks>, id: Path<String>) -> Answer {
    let delivery = service::get_delivery(read.db(), read.tenant_id(), parse(&id)?).await?;
    let attempts = service::attempts_of(read.db(), &delivery).await?;
    read.answer(&DeliveryBody::of(delivery, Some(attempts), read.tenant.livemode))
}

/// Deliver it once more, now.
///
/// Also what was delivered already, and what waits for its next attempt.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The delivery's identifier")),
    responses(
        (status = 200, description = "The delivery waits for its attempt", body = DeliveryBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/webhook_deliveries/{id}/retry")]
async fn retry(write: Write<resource::Webhooks>, id: Path<String>) -> Answer {
    let (id, tenant) = (parse(&id)?, write.tenant_id());
    let tx = write.begin().await?;
    let delivery = service::retry_delivery(&tx, write.app.now(), tenant, id).await?;
    let body = DeliveryBody::of(delivery, None, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, id, &body).await
}

/// What is not an identifier names nothing.
fn parse(text: &str) -> Result<DeliveryId, Problem> {
    text.parse().map_err(|_| Problem::not_found("webhook delivery"))
}
