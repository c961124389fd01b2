//! The endpoints of credit notes.

use accrue_core::{
    decimal::Number,
    id::InvoiceLineId,
    money::{Currency, Money},
};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, post, web::Path};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::service::{self, CreditNoteError};
use crate::{
    auth::{Answer, Read, Write, resource},
    clocks, customers,
    invoices::{
        self,
        credit_notes::{
            CreditError, CreditKind, CreditNote, CreditNoteBody, CreditPreview, CreditReason, LineError,
            Share, Wanted,
            service::{self as notes, CreditNoteFilter, NewCreditNote},
        },
        service::InvoiceError,
    },
};

const MEMO_MAX: usize = 500;

/// Lines that one request may name.
const LINES_MAX: usize = 500;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(create_credit_note)
        .service(preview_credit_note)
        .service(list_credit_notes)
        .service(get_credit_note);
}

/// What is to be taken back: `lines`, `amount` or `total`, or everything that is left if none is given.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateCreditNote {
    /// The invoice's identifier, or its number.
    #[schema(example = "INV-000001")]
    invoice: String,
    kind: CreditKind,
    /// These lines of the invoice.
    lines: Option<Vec<CreateLine>>,
    /// So much without tax, over all lines by what is left of them. Their tax comes back with it.
    #[schema(example = "10.00")]
    amount: Option<String>,
    /// So much with tax, over all lines by what is left of them.
    #[schema(example = "12.00")]
    total: Option<String>,
    #[serde(default)]
    reason: CreditReason,
    /// A word to the customer.
    memo: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

/// A line to be credited: all that is left of it, or so much.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateLine {
    /// The line of the invoice.
    #[schema(example = "lin_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    line: String,
    /// Without tax.
    #[schema(example = "10.00")]
    amount: Option<String>,
    /// So many of its units.
    #[schema(value_type = String, example = "2")]
    quantity: Option<Number>,
}

impl CreateCreditNote {
    fn check(self, currency: Currency) -> Result<NewCreditNote, Problem> {
        let Self { invoice: _, kind, lines, amount, total, reason, memo, metadata } = self;
        let mut check = Check::new();
        let ways = [("/lines", lines.is_some()), ("/amount", amount.is_some()), ("/total", total.is_some())];
        for (pointer, _) in ways.iter().filter(|(_, given)| *given).skip(1) {
            check.refuse(*pointer, "conflict", "give one of lines, amount and total");
        }
        let amount = amount.and_then(|text| above_zero(&mut check, "/amount", &text, currency));
        let total = total.and_then(|text| above_zero(&mut check, "/total", &text, currency));
        let wanted = match (lines, amount, total) {
            (Some(lines), ..) => Wanted::Lines(check_lines(&mut check, lines, currency)),
            (None, Some(amount), _) => Wanted::Net(amount),
            (None, None, Some(total)) => Wanted::Gross(total),
            (None, None, None) => Wanted::Rest,
        };
        if matches!(reason, CreditReason::UsageCorrection | CreditReason::Unused) {
            check.refuse("/reason", "reserved", "is given by Accrue itself");
        }
        check.optional_text("/memo", memo.as_deref(), MEMO_MAX);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        Ok(NewCreditNote { kind, reason, cause: None, memo, wanted, metadata })
    }
}

fn check_lines(check: &mut Check, lines: Vec<CreateLine>, currency: Currency) -> Vec<(InvoiceLineId, Share)> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        check.refuse("/lines", "out_of_range", format!("has 1 to {LINES_MAX} lines"));
        return Vec::new();
    }
    let line = |(at, line): (usize, CreateLine)| {
        let of_line = |field: &str| format!("/lines/{at}/{field}");
        let id = line.line.parse();
        let id = id.map_err(|error: accrue_core::id::InvalidId| {
            check.refuse(of_line("line"), "malformed", error.to_string());
        });
        let share = match (line.amount, line.quantity) {
            (None, None) => Some(Share::Rest),
            (Some(text), None) => above_zero(check, &of_line("amount"), &text, currency).map(Share::Net),
            (None, Some(Number(quantity))) if quantity > Decimal::ZERO => Some(Share::Quantity(quantity)),
            (None, Some(_)) => {
                check.refuse(of_line("quantity"), "out_of_range", "must be above zero");
                None
            }
            (Some(_), Some(_)) => {
                check.refuse(of_line("quantity"), "conflict", "give one of amount and quantity");
                None
            }
        };
        Some((id.ok()?, share?))
    };
    lines.into_iter().enumerate().filter_map(line).collect()
}

fn above_zero(check: &mut Check, pointer: &str, text: &str, currency: Currency) -> Option<Money> {
    let amount = check.money(pointer, text, currency)?;
    if amount.minor() <= 0 {
        check.refuse(pointer, "out_of_range", "must be above zero");
        return None;
    }
    Some(amount)
}

/// Take back what an invoice charged.
///
/// All of it, some lines, or an amount that is spread over the lines; always with the tax that was charged on it.
/// However many credit notes an invoice has, they never come to more than it. `credit` pays the customer's next
/// invoices, `offset` lowers what is left to pay of this one, `refund` gives back money that was paid.
#[utoipa::path(
    tag = "invoices",
    request_body = CreateCreditNote,
    responses(
        (status = 201, description = "The credit note", body = CreditNoteBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/credit_notes")]
async fn create_credit_note(write: Write<resource::Invoices>, body: Body<CreateCreditNote>) -> Answer {
    let (tenant, clock) = (&write.tenant, &*write.app.clock);
    let invoice = invoices::service::resolve(write.db(), tenant.id, &body.0.invoice).await;
    let invoice = invoice.map_err(|error| Problem::from(error).named_at("/invoice"))?;
    let new = body.0.check(invoice.currency)?;
    let by_total = matches!(new.wanted, Wanted::Gross(_));

    let tx = write.begin().await?;
    let now = clocks::service::now_of(&tx, clock, tenant.id, invoice.test_clock_id).await?;
    let note = service::create(&tx, now, tenant, invoice.id, new).await;
    let note = note.map_err(|error| problem_of(error, by_total))?;
    let body = CreditNoteBody::new(&note, tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// Preview a credit note.
///
/// The same body as for making one. Nothing is written, and no number is taken.
#[utoipa::path(
    tag = "invoices",
    request_body = CreateCreditNote,
    responses(
        (status = 200, description = "What it would take back", body = CreditPreview),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/credit_notes/preview")]
async fn preview_credit_note(read: Read<resource::Invoices>, body: Body<CreateCreditNote>) -> Answer {
    let invoice = invoices::service::resolve(read.db(), read.tenant_id(), &body.0.invoice).await;
    let invoice = invoice.map_err(|error| Problem::from(error).named_at("/invoice"))?;
    let NewCreditNote { kind, wanted, .. } = body.0.check(invoice.currency)?;
    let by_total = matches!(wanted, Wanted::Gross(_));
    let credit = notes::preview(read.db(), &invoice, kind, &wanted).await;
    let credit = credit.map_err(|error| problem_of(error.into(), by_total))?;
    read.answer(&CreditPreview::new(&invoice, kind, &credit, read.tenant.livemode))
}

/// Which credit notes to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CreditNoteQuery {
    /// Of this customer: its identifier, or your own name for it.
    customer: Option<String>,
    /// Of this invoice: its identifier, or its number.
    invoice: Option<String>,
}

impl CreditNoteQuery {
    async fn resolve(self, read: &Read<resource::Invoices>) -> Result<CreditNoteFilter, Problem> {
        let (db, tenant) = (read.db(), read.tenant_id());
        let customer = match &self.customer {
            Some(reference) => Some(customers::service::resolve(db, tenant, reference).await?.id),
            None => None,
        };
        let invoice = match &self.invoice {
            Some(reference) => Some(invoices::service::resolve(db, tenant, reference).await?.id),
            None => None,
        };
        Ok(CreditNoteFilter { customer, invoice })
    }
}

/// List credit notes, the newest first.
#[utoipa::path(
    tag = "invoices",
    params(CreditNoteQuery, PageQuery),
    responses(
        (status = 200, description = "A page of credit notes", body = Page<CreditNoteBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/credit_notes")]
async fn list_credit_notes(
    read: Read<resource::Invoices>,
    query: Query<CreditNoteQuery>,
    page: Query<PageQuery>,
) -> Answer {
    let filter = query.0.resolve(&read).await?;
    read.list("/v1/credit_notes", page.0, async move |read, page| {
        let found = notes::list(read.db(), read.tenant_id(), filter, page).await?;
        let body = |note: CreditNote| CreditNoteBody::new(&note, read.tenant.livemode);
        Ok(found.into_iter().map(body).collect())
    })
    .await
}

/// One credit note.
#[utoipa::path(
    tag = "invoices",
    params(("id" = String, Path, description = "The credit note's identifier, or its number")),
    responses(
        (status = 200, description = "The credit note", body = CreditNoteBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/credit_notes/{id}")]
async fn get_credit_note(read: Read<resource::Invoices>, id: Path<String>) -> Answer {
    let note = notes::resolve(read.db(), read.tenant_id(), &id).await?;
    let note = note.ok_or_else(|| Problem::not_found("credit note"))?;
    read.answer(&CreditNoteBody::new(&note, read.tenant.livemode))
}

/// A problem that names the field which asked for too much.
fn problem_of(error: CreditNoteError, by_total: bool) -> Problem {
    let amount = if by_total { "/total" } else { "/amount" };
    let error = match error {
        CreditNoteError::Invoice(InvoiceError::Credit(error)) => error,
        CreditNoteError::Invoice(error) => return error.into(),
        CreditNoteError::Payment(error) => return error.into(),
    };
    let detail = error.to_string();
    match error {
        CreditError::TooMuch { .. } | CreditError::MoreThanDue { .. } => {
            Problem::field(amount, "out_of_range", detail)
        }
        CreditError::Line(at, why) => {
            let (field, code) = match why {
                LineError::Unknown => ("line", "unknown"),
                LineError::Repeated => ("line", "repeated"),
                LineError::TooMuch { .. } => ("amount", "out_of_range"),
                LineError::TooMany { .. } => ("quantity", "out_of_range"),
            };
            Problem::field(format!("/lines/{at}/{field}"), code, why.to_string())
        }
        CreditError::State(_) | CreditError::Nothing => Problem::new(&problem::ILLEGAL_TRANSITION, detail),
        CreditError::Move(_) | CreditError::Money(_) | CreditError::Overflow(_) => Problem::internal(&error),
    }
}
