//! The timeline over HTTP.

use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::ProblemBody,
    routes::Routes,
};
use actix_web::{get, web::Path};

use super::{body::EntryBody, service};
use crate::{
    auth::{Answer, Read, resource},
    customers::service as customers,
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(list_timeline);
}

/// List what happened to a customer, in words.
///
/// Everything that the log of events holds of the customer, and the emails, the newest first, each with the addresses of
/// what it was about. It is for people to read: who wants to follow what happens reads `/v1/events`. Needs the scope of
/// that log, `webhooks:read`, and that of emails, `customers:read`.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it"), PageQuery),
    responses(
        (status = 200, description = "A page of the timeline", body = Page<EntryBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}/timeline")]
async fn list_timeline(
    _of_emails: Read<resource::Customers>,
    read: Read<resource::Webhooks>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Answer {
    let customer = customers::resolve(read.db(), read.tenant_id(), &id).await?;
    read.list(&format!("/v1/customers/{}/timeline", customer.id), page.0, async move |read, page| {
        let entries = service::list(read.db(), &read.tenant, &customer, page).await?;
        let body = |entry| EntryBody::new(entry, read.tenant.livemode);
        Ok(entries.into_iter().map(body).collect())
    })
    .await
}
