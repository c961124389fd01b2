//! Endpoints of payment methods.

use accrue_core::id::PaymentMethodId;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    gateway::GatewayError,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{delete, get, http::StatusCode, post, web::Path};
use serde::Deserialize;

use super::no_answer;
use crate::{
    auth::{Answer, Read, Write, resource},
    clocks, customers,
    payments::{
        body::PaymentMethodBody,
        gateways,
        model::looks_like_a_card_number,
        service::{self, NewMethod, PaymentError},
    },
};

const TOKEN_MAX: usize = 255;

/// A payment method to be kept.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatePaymentMethod {
    /// Whose it is: an identifier or your own name for the customer.
    #[schema(example = "cus_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    customer: String,
    /// What the gateway gave to the customer's browser. Never a card number.
    #[schema(example = "tok_visa")]
    token: String,
    /// Collect invoices by it from now on. The customer's first one is the default anyhow.
    #[serde(default)]
    default: bool,
    #[serde(default)]
    metadata: Metadata,
}

impl CreatePaymentMethod {
    fn check(&self) -> Result<(), Problem> {
        let mut check = Check::new();
        check.text("/token", &self.token, TOKEN_MAX);
        if looks_like_a_card_number(&self.token) {
            check.refuse(
                "/token",
                "card_number",
                "is a card number; send the token that the gateway gave you",
            );
        }
        check.metadata("/metadata", &self.metadata);
        check.finish()
    }
}

/// Keep a payment method.
///
/// The gateway makes the token usable for later charges; the customer's open invoices in dunning are tried
/// at once.
#[utoipa::path(
    tag = "payments",
    request_body = CreatePaymentMethod,
    responses(
        (status = 201, description = "The payment method", body = PaymentMethodBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/payment_methods")]
pub(super) async fn create_payment_method(
    write: Write<resource::Customers>,
    body: Body<CreatePaymentMethod>,
) -> Answer {
    body.0.check()?;
    let CreatePaymentMethod { customer, token, default, metadata } = body.0;
    let (app, tenant) = (write.app.clone(), write.tenant.clone());
    let customer = customers::service::resolve(write.db(), tenant.id, &customer).await;
    let customer =
        customer.map_err(|error| Problem::from(PaymentError::from(error)).named_at("/customer"))?;
    let now = clocks::service::now_of(write.db(), &*app.clock, tenant.id, customer.test_clock_id).await?;

    if tenant.livemode {
        let detail = "the only gateway of this release is the sandbox, which serves test mode";
        return Err(Problem::field("/token", "test_mode_only", detail));
    }
    let saved = gateways::save_method(&app, &customer.id.to_string(), &token, now).await;
    let (gateway, saved) = saved.map_err(not_saved)?;
    let reference_sealed = app.vault.seal(tenant.id, &saved.reference);

    let new = NewMethod { customer: customer.id, gateway, saved, reference_sealed, default, metadata };
    let tx = write.begin().await?;
    let body = service::attach(&tx, &tenant, new, now).await?;
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

fn not_saved(error: GatewayError) -> Problem {
    match error {
        GatewayError::Invalid(why) => Problem::field("/token", "refused", why),
        GatewayError::Unknown | GatewayError::Unavailable => no_answer(&error),
    }
}

/// Which payment methods to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MethodFilter {
    /// Those of one customer.
    customer: Option<String>,
}

/// List payment methods.
///
/// Those that can be charged; detached ones are only found by their identifier.
#[utoipa::path(
    tag = "payments",
    params(MethodFilter, PageQuery),
    responses(
        (status = 200, description = "A page of payment methods", body = Page<PaymentMethodBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/payment_methods")]
pub(super) async fn list_payment_methods(
    read: Read<resource::Customers>,
    filter: Query<MethodFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let customer = match &filter.0.customer {
        Some(customer) => Some(resolve_customer(&read, customer).await?),
        None => None,
    };
    read.list("/v1/payment_methods", page.0, async move |read, page| {
        let methods = service::list_methods(read.db(), &read.tenant, customer, page).await?;
        Ok(methods)
    })
    .await
}

async fn resolve_customer(
    read: &Read<resource::Customers>,
    reference: &str,
) -> Result<accrue_core::id::CustomerId, PaymentError> {
    Ok(customers::service::resolve(read.db(), read.tenant_id(), reference).await?.id)
}

/// One payment method.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The payment method's identifier")),
    responses(
        (status = 200, description = "The payment method", body = PaymentMethodBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/payment_methods/{id}")]
pub(super) async fn get_payment_method(read: Read<resource::Customers>, id: Path<String>) -> Answer {
    let id: PaymentMethodId = id.parse()?;
    read.answer(&service::get_method(read.db(), &read.tenant, id).await?)
}

/// Detach a payment method.
///
/// It is never charged again. If it was the default, the customer has none until another one is made it.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The payment method's identifier")),
    responses(
        (status = 200, description = "The detached payment method", body = PaymentMethodBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/payment_methods/{id}")]
pub(super) async fn detach_payment_method(write: Write<resource::Customers>, id: Path<String>) -> Answer {
    let id: PaymentMethodId = id.parse()?;
    let tx = write.begin().await?;
    let body = service::detach(&tx, &write.tenant, id, &*write.app.clock).await?;
    write.commit(tx, StatusCode::OK, id, &body).await
}
