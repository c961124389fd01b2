//! Customers over HTTP.

use std::collections::HashSet;

use accrue_core::id::{CustomerId, IssuerId, TenantId, TestClockId};
use accrue_platform::{
    body::{Body, Query},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, patch, post, web::Path};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde::Deserialize;

use super::{
    body::CustomerAnswer,
    family::{self, FamilyError},
    model::Customer,
    request::{CreateCustomer, UpdateCustomer},
    service::{self, CustomerError, Which},
};
use crate::{
    auth::{Answer, Read, Tenant, Write, resource},
    clocks,
    issuers::{self, Issuer},
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create).service(list).service(get_one).service(update);
}

/// Create a customer.
#[utoipa::path(
    tag = "customers",
    request_body = CreateCustomer,
    responses(
        (status = 201, description = "The customer", body = CustomerAnswer),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/customers")]
async fn create(write: Write<resource::Customers>, mut body: Body<CreateCustomer>) -> Answer {
    let (test_clock, issuer, parent) = (body.0.test_clock.take(), body.0.issuer.take(), body.0.parent.take());
    let mut new = body.0.check()?;

    let tx = write.begin().await?;
    new.parent = parent_of(&tx, write.tenant_id(), parent.as_deref()).await?;
    new.test_clock = clocks::service::resolve(&tx, &write.tenant, test_clock.as_deref())
        .await
        .map_err(|error| Problem::from(error).named_at("/test_clock"))?;
    let now = clocks::service::now_of(&tx, &*write.app.clock, write.tenant_id(), new.test_clock).await?;
    let issuer = issuer_of(&tx, write.tenant_id(), None, issuer.as_deref()).await?;
    new.issuer = issuer.as_ref().map(|issuer| issuer.id);
    let customer = service::create(&tx, now, &write.tenant, new).await?;
    let body = answer(&tx, &write.tenant, customer).await?;
    write.commit(tx, StatusCode::CREATED, body.customer.id, &body).await
}

/// The issuer that a body names, if it does.
pub(super) async fn issuer_of(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    present: Option<IssuerId>,
    named: Option<&str>,
) -> Result<Option<Issuer>, Problem> {
    let Some(named) = named else { return Ok(None) };
    let found = issuers::service::to_bill(tx, tenant, present, named).await;
    found.map(Some).map_err(|error| Problem::from(error).named_at("/issuer"))
}

/// The parent that a body names, if it does. Nobody else changes who pays for whom from then on.
pub(super) async fn parent_of(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    named: Option<&str>,
) -> Result<Option<CustomerId>, Problem> {
    let Some(named) = named else { return Ok(None) };
    family::take_turns(tx, tenant).await?;
    let found = service::resolve(tx, tenant, named).await;
    found.map(|parent| Some(parent.id)).map_err(|error| Problem::from(error).named_at("/parent"))
}

/// A customer with the settings in force for it.
async fn answer(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    customer: Customer,
) -> Result<CustomerAnswer, Problem> {
    Ok(answers(db, tenant, vec![customer]).await?.remove(0))
}

/// Several of them, in their order.
async fn answers(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    customers: Vec<Customer>,
) -> Result<Vec<CustomerAnswer>, Problem> {
    let payers = family::payers(db, tenant.id, &customers).await?;
    let paying = customers.iter().map(|customer| payers.get(&customer.id).unwrap_or(customer));
    let ids: HashSet<IssuerId> = paying.filter_map(|payer| payer.issuer_id).collect();
    let issuers = issuers::service::all_of(db, tenant.id, ids).await?;
    let answer = |customer: Customer| {
        let payer = payers.get(&customer.id);
        let issuer = payer.map_or(customer.issuer_id, |payer| payer.issuer_id);
        CustomerAnswer::of(customer, tenant, payer, issuer.and_then(|id| issuers.get(&id)))
    };
    Ok(customers.into_iter().map(answer).collect())
}

/// Which customers to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CustomerFilter {
    /// Only those that hang on this test clock.
    test_clock: Option<String>,
    /// Only those that are given to this issuer, by identifier or code.
    issuer: Option<String>,
    /// Only those whose parent this is, by identifier or your own name.
    parent: Option<String>,
}

/// List customers.
#[utoipa::path(
    tag = "customers",
    params(CustomerFilter, PageQuery),
    responses(
        (status = 200, description = "A page of customers", body = Page<CustomerAnswer>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers")]
async fn list(
    read: Read<resource::Customers>,
    filter: Query<CustomerFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let CustomerFilter { test_clock, issuer, parent } = filter.0;
    let test_clock = test_clock.as_deref().map(str::parse::<TestClockId>).transpose()?;
    let issuer = match issuer {
        Some(issuer) => Some(issuers::service::resolve(read.db(), read.tenant_id(), &issuer).await?.id),
        None => None,
    };
    let parent = match parent {
        Some(parent) => Some(service::resolve(read.db(), read.tenant_id(), &parent).await?.id),
        None => None,
    };
    let which = Which { test_clock, issuer, parent };
    read.list("/v1/customers", page.0, async move |read, page| {
        let customers = service::list(read.db(), read.tenant_id(), which, page).await?;
        answers(read.db(), &read.tenant, customers).await
    })
    .await
}

/// Get a customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it")),
    responses(
        (status = 200, description = "The customer", body = CustomerAnswer),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}")]
async fn get_one(read: Read<resource::Customers>, id: Path<String>) -> Answer {
    let customer = service::resolve(read.db(), read.tenant_id(), &id).await?;
    read.answer(&answer(read.db(), &read.tenant, customer).await?)
}

/// Change a customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it")),
    request_body = UpdateCustomer,
    responses(
        (status = 200, description = "The customer as it is now", body = CustomerAnswer),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/customers/{id}")]
async fn update(
    write: Write<resource::Customers>,
    id: Path<String>,
    mut body: Body<UpdateCustomer>,
) -> Answer {
    let (issuer, parent) = (std::mem::take(&mut body.0.issuer), std::mem::take(&mut body.0.parent));
    let change = body.0.check()?;

    let tx = write.begin().await?;
    let above = parent_of(&tx, write.tenant_id(), parent.value().map(String::as_str)).await?;
    let parent = parent.try_map(|_| above.ok_or(())).unwrap_or_default();
    let found = service::resolve(&tx, write.tenant_id(), &id).await?;
    let now = clocks::service::now_of(&tx, &*write.app.clock, write.tenant_id(), found.test_clock_id).await?;
    let named = issuer.value().map(String::as_str);
    let named = issuer_of(&tx, write.tenant_id(), found.issuer_id, named).await?;
    // A name that was found is one; of none, the change says whether the account itself was meant.
    let issuer = issuer.try_map(|_| named.map(|issuer| issuer.id).ok_or(())).unwrap_or_default();
    let change = |customer: &mut Customer| {
        change(customer);
        issuer.apply(&mut customer.issuer_id);
        parent.apply(&mut customer.parent_id);
    };
    let customer = service::update(&tx, now, &write.tenant, found.id, change).await?;
    let body = answer(&tx, &write.tenant, customer).await?;
    write.commit(tx, StatusCode::OK, body.customer.id, &body).await
}

impl From<CustomerError> for Problem {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::NotFound(_) => Self::not_found("customer"),
            CustomerError::NoSuchMethod(_) => Self::not_found("payment method"),
            CustomerError::ExternalIdTaken(_) => Self::new(&problem::CONFLICT, error.to_string()),
            CustomerError::CurrencyFixed(_) | CustomerError::IssuerCurrency(_) => {
                Self::field("/currency", "fixed", error.to_string())
            }
            CustomerError::Family(why) => {
                let (pointer, code) = match why {
                    FamilyError::Circle => ("/parent", "circle"),
                    FamilyError::TooDeep => ("/parent", "too_deep"),
                    FamilyError::OtherClock => ("/parent", "other_clock"),
                    FamilyError::OwnIssuer => ("/issuer", "of_parent"),
                    FamilyError::Currency(_) => ("/parent", "currency_mismatch"),
                };
                Self::field(pointer, code, CustomerError::Family(why).to_string())
            }
            CustomerError::Database(error) => error.into(),
        }
    }
}
