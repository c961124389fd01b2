//! The endpoints of dunning: for people who want to see what is being done.

use accrue_core::id::DunningId;
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, web::Path};
use serde::Deserialize;

use super::{
    body::DunningBody,
    model::{Dunning, DunningStatus},
    service::{self, DunningError, DunningFilter},
};
use crate::{
    auth::{Answer, Read, resource},
    customers::{self, service::CustomerError},
    invoices,
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(list_dunnings).service(get_dunning);
}

/// Which dunnings to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Those of one customer.
    customer: Option<String>,
    /// The one of an invoice, by its identifier or number.
    invoice: Option<String>,
    status: Option<DunningStatus>,
}

impl ListFilter {
    async fn resolve(self, read: &Read<resource::Payments>) -> Result<DunningFilter, Problem> {
        let (db, tenant) = (read.db(), read.tenant_id());
        let customer = match &self.customer {
            Some(customer) => {
                Some(customers::service::resolve(db, tenant, customer).await.map_err(no_customer)?.id)
            }
            None => None,
        };
        let invoice = match &self.invoice {
            Some(invoice) => Some(invoices::service::resolve(db, tenant, invoice).await?.id),
            None => None,
        };
        Ok(DunningFilter { customer, invoice, status: self.status })
    }
}

/// List dunnings.
#[utoipa::path(
    tag = "payments",
    params(ListFilter, PageQuery),
    responses(
        (status = 200, description = "A page of dunnings", body = Page<DunningBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/dunnings")]
async fn list_dunnings(
    read: Read<resource::Payments>,
    filter: Query<ListFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let filter = filter.0.resolve(&read).await?;
    read.list("/v1/dunnings", page.0, async move |read, page| {
        let dunnings = service::list(read.db(), read.tenant_id(), filter.clone(), page).await?;
        let body = |dunning: Dunning| DunningBody::new(&dunning, read.tenant.livemode);
        Ok(dunnings.into_iter().map(body).collect())
    })
    .await
}

/// One dunning.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The dunning's identifier")),
    responses(
        (status = 200, description = "The dunning", body = DunningBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/dunnings/{id}")]
async fn get_dunning(read: Read<resource::Payments>, id: Path<String>) -> Answer {
    let id: DunningId = id.parse()?;
    let dunning = service::get(read.db(), read.tenant_id(), id).await?;
    read.answer(&DunningBody::new(&dunning, read.tenant.livemode))
}

fn no_customer(error: CustomerError) -> Problem {
    match error {
        CustomerError::NotFound(_) => Problem::not_found("customer"),
        CustomerError::Database(error) => error.into(),
        error => Problem::internal(&error),
    }
}

impl From<DunningError> for Problem {
    fn from(error: DunningError) -> Self {
        match error {
            DunningError::NotFound(_) => Self::not_found("dunning"),
            DunningError::Invoice(error) => error.into(),
            DunningError::Database(error) => error.into(),
            DunningError::Subscription(_) => Self::internal(&error),
        }
    }
}
