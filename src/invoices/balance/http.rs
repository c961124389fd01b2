//! The endpoints of balances.

use accrue_core::money::Currency;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, post, web::Path};
use serde::Deserialize;

use super::{
    body::BalanceEntryBody,
    model::BalanceKind,
    service::{self, NewEntry},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    clocks,
    customers::{self, family::FamilyError, service::CustomerError},
    invoices::service::InvoiceError,
};

const DESCRIPTION_MAX: usize = 500;
/// A balance may add up many of them.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create_balance_entry).service(list_balance_entries);
}

/// A change of a balance by hand.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateBalanceEntry {
    /// Positive for the customer, negative for you; not zero.
    #[schema(example = "10.00")]
    amount: String,
    /// The customer's; may be left out if it is set.
    #[schema(example = "USD")]
    currency: Option<String>,
    /// Why.
    #[schema(example = "For the outage in March")]
    description: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateBalanceEntry {
    /// `fixed` is the currency that the customer is billed in, if that is known.
    fn check(self, fixed: Option<Currency>) -> Result<NewEntry, Problem> {
        let mut check = Check::new();
        check.optional_text("/description", self.description.as_deref(), DESCRIPTION_MAX);
        check.metadata("/metadata", &self.metadata);
        let named = self.currency.as_deref().map(|code| check.currency("/currency", code));
        let currency = named.unwrap_or(fixed);
        if named.is_none() && fixed.is_none() {
            check.refuse("/currency", "required", "is required: the customer has none yet");
        }
        let amount = currency.and_then(|currency| check.money("/amount", &self.amount, currency));
        if amount.is_some_and(|amount| amount.is_zero() || amount.minor().abs() > AMOUNT_MAX) {
            check.refuse(
                "/amount",
                "out_of_range",
                format!("is not zero, and at most {AMOUNT_MAX} minor units"),
            );
        }
        check.finish()?;
        let amount = amount.expect("refused otherwise");
        Ok(NewEntry {
            kind: BalanceKind::Adjustment,
            amount,
            invoice: None,
            description: self.description,
            metadata: self.metadata,
        })
    }
}

/// Change a customer's balance.
///
/// What the customer has with you pays the next invoice after credit notes; what the customer owes you is asked for with it.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it")),
    request_body = CreateBalanceEntry,
    responses(
        (status = 201, description = "The entry", body = BalanceEntryBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/customers/{id}/balance_entries")]
async fn create_balance_entry(
    write: Write<resource::Invoices>,
    id: Path<String>,
    body: Body<CreateBalanceEntry>,
) -> Answer {
    let tx = write.begin().await?;
    let customer = customers::service::resolve(&tx, write.tenant_id(), &id).await?;
    let new = body.0.check(customer.currency)?;
    let now =
        clocks::service::now_of(&tx, &*write.app.clock, write.tenant_id(), customer.test_clock_id).await?;
    let entry = service::add(&tx, now, &write.tenant, customer.id, new).await.map_err(refused)?;
    let body = BalanceEntryBody::new(entry, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// The customer, who pays for it, or its issuer is billed in another currency.
fn refused(error: InvoiceError) -> Problem {
    match error {
        InvoiceError::Customer(
            why @ (CustomerError::CurrencyFixed(_)
            | CustomerError::IssuerCurrency(_)
            | CustomerError::Family(FamilyError::Currency(_))),
        ) => Problem::field("/currency", "fixed", why.to_string()),
        InvoiceError::Money(error) => Problem::field("/amount", "out_of_range", error.to_string()),
        error => error.into(),
    }
}

/// List what changed a customer's balance, the newest first.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it"), PageQuery),
    responses(
        (status = 200, description = "A page of entries", body = Page<BalanceEntryBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}/balance_entries")]
async fn list_balance_entries(
    read: Read<resource::Invoices>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Answer {
    let customer = customers::service::resolve(read.db(), read.tenant_id(), &id).await?;
    let url = format!("/v1/customers/{}/balance_entries", customer.id);
    read.list(&url, page.0, async move |read, page| {
        let entries = service::list(read.db(), read.tenant_id(), customer.id, page).await?;
        Ok(entries.into_iter().map(|entry| BalanceEntryBody::new(entry, read.tenant.livemode)).collect())
    })
    .await
}
