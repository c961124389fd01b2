//! The mails that were sent, over HTTP.

use accrue_core::id::EmailId;
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{get, web::Path};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{body::EmailBody, service};
use crate::{
    auth::{Answer, Read, resource},
    customers,
};

/// Mounts the endpoints.
pub fn routes(config: &mut ServiceConfig) {
    config.service(list).service(get_one);
}

/// Which mails to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EmailFilter {
    /// Only those to this customer: identifier, or your own name for it.
    customer: Option<String>,
}

/// List mails.
#[utoipa::path(
    tag = "notifications",
    params(EmailFilter, PageQuery),
    responses(
        (status = 200, description = "A page of mails", body = Page<EmailBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/emails")]
async fn list(read: Read<resource::Customers>, filter: Query<EmailFilter>, page: Query<PageQuery>) -> Answer {
    let customer = match &filter.0.customer {
        Some(reference) => {
            Some(customers::service::resolve(read.db(), read.tenant_id(), reference).await?.id)
        }
        None => None,
    };
    let emails = service::list(read.db(), read.tenant_id(), customer, &page.0).await?;
    let body = |email| EmailBody::new(email, read.tenant.livemode);
    read.answer(&Page::of(&page.0, "/v1/emails", emails, body))
}

/// Get a mail.
#[utoipa::path(
    tag = "notifications",
    params(("id" = String, Path, description = "The mail's identifier")),
    responses(
        (status = 200, description = "The mail", body = EmailBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/emails/{id}")]
async fn get_one(read: Read<resource::Customers>, id: Path<String>) -> Answer {
    let id: EmailId = id.parse()?;
    let email = service::find(read.db(), read.tenant_id(), id).await?;
    let email = email.ok_or_else(|| Problem::not_found("email"))?;
    read.answer(&EmailBody::new(email, read.tenant.livemode))
}
