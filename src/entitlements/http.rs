//! What a customer may use, over HTTP.

use accrue_core::decimal::Number;
use accrue_platform::{
    body::Body,
    check::Check,
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, post, web::Path};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{
    body::{EntitlementsBody, FeatureEntitlementBody, VerdictBody},
    model::Verdict,
    service::{self, EntitlementError},
};
use crate::{
    auth::{Answer, Read, resource, service::AuthError},
    catalog::service::{self as catalog, CatalogError},
    clocks,
    customers::{Customer, service as customers},
    metering::service::MeteringError,
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(get_entitlements).service(get_entitlement).service(check_entitlement);
}

/// How much is asked for.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckEntitlement {
    /// Of a metered feature, how much more is to be used; of a limit, how much there would be in all.
    /// 1 unless given; a switch and a config do not look at it.
    quantity: Option<Number>,
}

impl CheckEntitlement {
    fn check(self) -> Result<Decimal, Problem> {
        let quantity = self.quantity.map_or(Decimal::ONE, |quantity| quantity.0);
        let mut check = Check::new();
        if quantity < Decimal::ZERO {
            check.refuse("/quantity", "negative", "must not be negative");
        }
        check.finish()?;
        Ok(quantity)
    }
}

/// Everything that a customer may use.
///
/// Metered features come with their usage so far.
#[utoipa::path(
    tag = "entitlements",
    params(("id" = String, Path, description = "The customer's identifier or external id")),
    responses(
        (status = 200, description = "What the customer may use", body = EntitlementsBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}/entitlements")]
async fn get_entitlements(read: Read<resource::Entitlements>, id: Path<String>) -> Answer {
    let (customer, now) = customer_and_time(&read, &id).await?;
    let entitlements = service::get_all(read.db(), now, read.tenant_id(), customer.id).await?;
    read.answer(&entitlements.body(read.tenant.livemode))
}

/// What a customer may use of one feature.
///
/// Not found if no running plan of the customer has the feature.
#[utoipa::path(
    tag = "entitlements",
    params(
        ("id" = String, Path, description = "The customer's identifier or external id"),
        ("feature" = String, Path, description = "The feature's identifier or code"),
    ),
    responses(
        (status = 200, description = "What the customer may use of it", body = FeatureEntitlementBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}/entitlements/{feature}")]
async fn get_entitlement(read: Read<resource::Entitlements>, path: Path<(String, String)>) -> Answer {
    let (id, feature) = path.into_inner();
    let (customer, now) = customer_and_time(&read, &id).await?;
    let feature = catalog::resolve_feature(read.db(), read.tenant_id(), &feature).await?.code;
    let found = service::find(read.db(), read.tenant_id(), customer.id, &feature).await?;
    let (version, entitlement) = found.ok_or_else(|| Problem::not_found("entitlement"))?;
    read.answer(&FeatureEntitlementBody {
        object: "entitlement",
        livemode: read.tenant.livemode,
        customer: customer.id,
        feature,
        version,
        as_of: now,
        entitlement: entitlement.into(),
    })
}

/// Ask whether a customer may use a feature now.
///
/// Nothing is written or reserved: what was used counts from its usage event on.
#[utoipa::path(
    tag = "entitlements",
    params(
        ("id" = String, Path, description = "The customer's identifier or external id"),
        ("feature" = String, Path, description = "The feature's identifier or code"),
    ),
    request_body = CheckEntitlement,
    responses(
        (status = 200, description = "Whether, and why", body = VerdictBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/customers/{id}/entitlements/{feature}/check")]
async fn check_entitlement(
    read: Read<resource::Entitlements>,
    path: Path<(String, String)>,
    body: Body<CheckEntitlement>,
) -> Answer {
    let (id, feature) = path.into_inner();
    let quantity = body.0.check()?;
    let (customer, _) = customer_and_time(&read, &id).await?;
    let feature = catalog::resolve_feature(read.db(), read.tenant_id(), &feature).await?.code;
    let found = service::find(read.db(), read.tenant_id(), customer.id, &feature).await?;
    let verdict = found.map_or(Verdict::NOT_GRANTED, |(_, entitlement)| entitlement.check(quantity));
    read.answer(&VerdictBody::from(verdict))
}

async fn customer_and_time(
    read: &Read<resource::Entitlements>,
    reference: &str,
) -> Result<(Customer, DateTime<Utc>), Problem> {
    let customer = customers::resolve(read.db(), read.tenant_id(), reference).await?;
    let clock = &*read.app.clock;
    let now = clocks::service::now_of(read.db(), clock, read.tenant_id(), customer.test_clock_id).await?;
    Ok((customer, now))
}

impl From<EntitlementError> for Problem {
    fn from(error: EntitlementError) -> Self {
        match error {
            EntitlementError::Usage(error @ MeteringError::Archived(_)) => error.into(),
            EntitlementError::Database(error)
            | EntitlementError::Usage(MeteringError::Database(error))
            | EntitlementError::Catalog(CatalogError::Database(error))
            | EntitlementError::Tenant(AuthError::Database(error)) => error.into(),
            error => Self::internal(&error),
        }
    }
}
