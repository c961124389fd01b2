//! The endpoints of invoices.

use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{
    HttpResponse, get,
    http::{StatusCode, header::CONTENT_DISPOSITION},
    post,
    web::Path,
};
use serde::Deserialize;

use super::{
    balance,
    body::InvoiceBody,
    documents::{self, DocumentError},
    event::{self, EventExplanation},
    explain::{self, InvoiceExplanation},
    model::{InvoiceStatus, MoveError},
    rating::ChargeError,
    service::{self, InvoiceError, Which},
    usage::{self, SubscriptionUsage},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::service::CatalogError,
    clocks,
    customers::{self, service::CustomerError},
    ledger::service::LedgerError,
    metering::{self, service::MeteringError},
    subscriptions::{self, service::SubscriptionError},
};

/// Mounts the endpoints. The document comes before the invoice, whose address would match it too.
pub fn routes(routes: &mut Routes) {
    balance::routes(routes);
    routes
        .service(list_invoices)
        .service(get_invoice_pdf)
        .service(explain_invoice)
        .service(get_invoice)
        .service(void_invoice)
        .service(mark_invoice_uncollectible)
        .service(get_subscription_usage)
        .service(explain_usage_event);
}

/// Which invoices to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct InvoiceFilter {
    /// Owed by this customer: its identifier, or your own name for it.
    customer: Option<String>,
    /// For this customer, whoever pays for it: its identifier, or your own name for it.
    made_for: Option<String>,
    /// Of this subscription: its identifier, or your own name for it.
    subscription: Option<String>,
    status: Option<InvoiceStatus>,
}

impl InvoiceFilter {
    async fn resolve(self, read: &Read<resource::Invoices>) -> Result<Which, InvoiceError> {
        let (db, tenant) = (read.db(), read.tenant_id());
        let customer = async |named: &Option<String>| match named {
            Some(reference) => customers::service::resolve(db, tenant, reference).await.map(|of| Some(of.id)),
            None => Ok(None),
        };
        let (made_for, customer) = (customer(&self.made_for).await?, customer(&self.customer).await?);
        let subscription = match &self.subscription {
            Some(reference) => Some(subscriptions::service::resolve(db, tenant, reference).await?.id),
            None => None,
        };
        Ok(Which { customer, made_for, subscription, status: self.status })
    }
}

/// List invoices, the newest first.
#[utoipa::path(
    tag = "invoices",
    params(InvoiceFilter, PageQuery),
    responses(
        (status = 200, description = "A page of invoices", body = Page<InvoiceBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/invoices")]
async fn list_invoices(
    read: Read<resource::Invoices>,
    filter: Query<InvoiceFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let which = filter.0.resolve(&read).await?;
    read.list("/v1/invoices", page.0, async move |read, page| {
        let invoices = service::list(read.db(), read.tenant_id(), which, page).await?;
        let body = |invoice| InvoiceBody::new(&invoice, read.tenant.livemode);
        Ok(invoices.into_iter().map(body).collect())
    })
    .await
}

/// One invoice.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The invoice's identifier, or its number")),
    responses(
        (status = 200, description = "The invoice", body = InvoiceBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/invoices/{id}")]
async fn get_invoice(read: Read<resource::Invoices>, id: Path<String>) -> Answer {
    let invoice = service::resolve(read.db(), read.tenant_id(), &id).await?;
    read.answer(&InvoiceBody::new(&invoice, read.tenant.livemode))
}

/// One invoice as PDF.
///
/// Printed once for each state of the invoice, then always the same bytes.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The invoice's identifier, or its number")),
    responses(
        (status = 200, description = "The document", body = Vec<u8>, content_type = "application/pdf"),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
        (status = 501, description = "Built without documents", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/invoices/{id}.pdf")]
async fn get_invoice_pdf(read: Read<resource::Invoices>, id: Path<String>) -> Answer {
    let invoice = service::resolve(read.db(), read.tenant_id(), &id).await?;
    let name = invoice.number.clone().unwrap_or_else(|| invoice.id.to_string());
    let content = documents::pdf_of(&read.app, invoice).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/pdf")
        .insert_header((CONTENT_DISPOSITION, format!("inline; filename=\"{name}.pdf\"")))
        .body(content))
}

/// Explain an invoice.
///
/// For each line: its price, what was counted, what each tier came to, the part of the period, and the one
/// rounding.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The invoice's identifier, or its number")),
    responses(
        (status = 200, description = "How the invoice came about", body = InvoiceExplanation),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/invoices/{id}/explain")]
async fn explain_invoice(read: Read<resource::Invoices>, id: Path<String>) -> Answer {
    let invoice = service::resolve(read.db(), read.tenant_id(), &id).await?;
    let explanation = explain::explain(read.db(), read.tenant.livemode, invoice).await?;
    read.answer(&explanation)
}

/// Void an invoice.
///
/// It is owed no more and keeps its number. Only an open invoice of which nothing is paid can be voided.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The invoice's identifier, or its number")),
    responses(
        (status = 200, description = "The void invoice", body = InvoiceBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/invoices/{id}/void")]
async fn void_invoice(write: Write<resource::Invoices>, id: Path<String>) -> Answer {
    let (tenant, clock) = (&write.tenant, &*write.app.clock);
    let tx = write.begin().await?;
    let invoice = service::resolve_for_update(&tx, tenant.id, &id).await?;
    let now = clocks::service::now_of(&tx, clock, tenant.id, invoice.test_clock_id).await?;
    let voided = service::void(&tx, now, tenant, invoice).await?;
    let body = InvoiceBody::new(&voided, tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Mark an invoice uncollectible.
///
/// What is left to pay becomes a loss in the books. It may still be paid.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The invoice's identifier, or its number")),
    responses(
        (status = 200, description = "The uncollectible invoice", body = InvoiceBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/invoices/{id}/mark_uncollectible")]
async fn mark_invoice_uncollectible(write: Write<resource::Invoices>, id: Path<String>) -> Answer {
    let (tenant, clock) = (&write.tenant, &*write.app.clock);
    let tx = write.begin().await?;
    let invoice = service::resolve_for_update(&tx, tenant.id, &id).await?;
    let now = clocks::service::now_of(&tx, clock, tenant.id, invoice.test_clock_id).await?;
    let given_up = service::mark_uncollectible(&tx, now, tenant, invoice).await?;
    let body = InvoiceBody::new(&given_up, tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Usage of a subscription's running period.
///
/// For each usage price: quantity and amount so far, and projected to the period's end. Rated by the code
/// that will bill it.
#[utoipa::path(
    tag = "usage",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    responses(
        (status = 200, description = "Usage so far", body = SubscriptionUsage),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/subscriptions/{id}/usage")]
async fn get_subscription_usage(read: Read<resource::Usage>, id: Path<String>) -> Answer {
    let (db, tenant) = (read.db(), &read.tenant);
    let subscription =
        subscriptions::service::resolve(db, tenant.id, &id).await.map_err(InvoiceError::from)?;
    let clock = subscription.test_clock_id;
    let now = clocks::service::now_of(db, &*read.app.clock, tenant.id, clock).await?;
    let usage = usage::so_far(db, now, tenant.livemode, &subscription).await?;
    read.answer(&usage)
}

/// Whose event is meant.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SourceQuery {
    /// The event's `source`, if it was sent with one.
    source: Option<String>,
}

/// Explain a usage event.
///
/// Which metrics count it, which subscription, price and invoice line it landed on, or why on none.
#[utoipa::path(
    tag = "usage",
    params(("event_id" = String, Path, description = "The event's `id` or `event_id`"), SourceQuery),
    responses(
        (status = 200, description = "What came of the event", body = EventExplanation),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_events/{event_id}/explain")]
async fn explain_usage_event(
    read: Read<resource::Usage>,
    event_id: Path<String>,
    query: Query<SourceQuery>,
) -> Answer {
    let (db, tenant) = (read.db(), &read.tenant);
    let source = query.0.source.as_deref();
    let event = metering::service::get_event(db, tenant.id, &event_id, source).await?;
    let explanation = event::explain(db, tenant.livemode, event).await?;
    read.answer(&explanation)
}

impl From<InvoiceError> for Problem {
    fn from(error: InvoiceError) -> Self {
        use InvoiceError::*;

        match error {
            NotFound(_) => Self::not_found("invoice"),
            Customer(CustomerError::NotFound(_)) => Self::not_found("customer"),
            Subscription(SubscriptionError::NotFound(_)) => Self::not_found("subscription"),
            Move(MoveError::Illegal(..) | MoveError::PartlyPaid | MoveError::Credited) => {
                Self::new(&problem::ILLEGAL_TRANSITION, error.to_string())
            }
            Charge(error @ (ChargeError::TooMuch | ChargeError::Overflow(_) | ChargeError::Rating(_))) => {
                Self::new(&problem::USAGE_TOO_LARGE, error.to_string())
            }
            Metering(error @ (MeteringError::Overflow | MeteringError::Archived(_))) => error.into(),
            Busy => Self::new(&problem::UNAVAILABLE, error.to_string()),
            Database(error)
            | Catalog(CatalogError::Database(error))
            | Customer(CustomerError::Database(error))
            | Ledger(LedgerError::Database(error))
            | Metering(MeteringError::Database(error))
            | Subscription(SubscriptionError::Database(error)) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::NotBuiltIn => Self::new(&problem::NOT_BUILT_IN, error.to_string()),
            DocumentError::Invoice(error) => error.into(),
            DocumentError::Database(error) => error.into(),
            error @ DocumentError::Print(_) => Self::internal(&error),
        }
    }
}
