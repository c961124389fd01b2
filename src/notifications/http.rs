//! The log of emails over HTTP.

use accrue_core::id::CustomerId;
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, web::Path};
use serde::Deserialize;

use super::{
    body::EmailBody,
    service::{self, NotificationError},
};
use crate::{
    auth::{Answer, Read, resource},
    customers,
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(list).service(get_one);
}

/// Which emails to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EmailQuery {
    /// The identifier of a customer, or your own name for them.
    customer: Option<String>,
}

/// List the emails to customers.
#[utoipa::path(
    tag = "notifications",
    params(EmailQuery, PageQuery),
    responses(
        (status = 200, description = "A page of emails", body = Page<EmailBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/emails")]
async fn list(read: Read<resource::Customers>, filter: Query<EmailQuery>, page: Query<PageQuery>) -> Answer {
    let customer: Option<CustomerId> = match filter.0.customer {
        Some(reference) => {
            Some(customers::service::resolve(read.db(), read.tenant_id(), &reference).await?.id)
        }
        None => None,
    };
    read.list("/v1/emails", page.0, async move |read, page| {
        let emails = service::list(read.db(), &read.tenant, customer, page).await?;
        let body = |email| EmailBody::new(email, read.tenant.livemode);
        Ok(emails.into_iter().map(body).collect())
    })
    .await
}

/// An email to a customer.
#[utoipa::path(
    tag = "notifications",
    params(("id" = String, Path, description = "The email's identifier")),
    responses(
        (status = 200, description = "The email", body = EmailBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/emails/{id}")]
async fn get_one(read: Read<resource::Customers>, id: Path<String>) -> Answer {
    let id = id.parse().map_err(|_| Problem::not_found("email"))?;
    let email = service::get(read.db(), read.tenant_id(), id).await?;
    read.answer(&EmailBody::new(email, read.tenant.livemode))
}

impl From<NotificationError> for Problem {
    fn from(error: NotificationError) -> Self {
        match error {
            NotificationError::NotFound(_) => Self::not_found("email"),
            NotificationError::Database(error) => error.into(),
            NotificationError::Missing(_) => Self::internal(&error),
        }
    }
}
