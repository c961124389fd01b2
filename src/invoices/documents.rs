//! Invoices on paper. Each state of an invoice is printed once and then kept, so that everybody gets the same
//! bytes.

#[cfg(feature = "documents")]
mod layout;
#[cfg(feature = "documents")]
mod tax_ids;

use accrue_core::id::{InvoiceId, TenantId};
use sea_orm::DbErr;

use super::{
    model::Invoice,
    service::{self, InvoiceError},
    store,
};
use crate::{app::App, issuers};

/// What is printed of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Invoice,
    /// The proof that it was paid.
    Receipt,
}

impl Sort {
    fn file(self) -> &'static str {
        match self {
            Self::Invoice => "invoice.pdf",
            Self::Receipt => "receipt.pdf",
        }
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error("this program was built without the feature `documents`")]
    NotBuiltIn,
    #[error("the document cannot be printed")]
    Print(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// An invoice as PDF. Reads and keeps it in transactions of its own: not to be called inside of one.
pub async fn pdf(app: &App, tenant: TenantId, invoice: InvoiceId) -> Result<Vec<u8>, DocumentError> {
    let invoice = service::get(app.db.reader(), tenant, invoice).await?;
    pdf_of(app, invoice).await
}

/// The receipt of an invoice as PDF; the invoice itself as long as it is not paid. See [`pdf`].
pub async fn receipt(app: &App, tenant: TenantId, invoice: InvoiceId) -> Result<Vec<u8>, DocumentError> {
    let invoice = service::get(app.db.reader(), tenant, invoice).await?;
    let sort = if invoice.paid_at.is_some() { Sort::Receipt } else { Sort::Invoice };
    kept(app, invoice, sort).await
}

/// An invoice that was just read, as PDF.
pub(super) async fn pdf_of(app: &App, invoice: Invoice) -> Result<Vec<u8>, DocumentError> {
    kept(app, invoice, Sort::Invoice).await
}

async fn kept(app: &App, invoice: Invoice, sort: Sort) -> Result<Vec<u8>, DocumentError> {
    let state = state(&invoice);
    let kept =
        store::find_document(app.db.reader(), invoice.tenant_id, invoice.id, sort.file(), &state).await?;
    if let Some(content) = kept {
        return Ok(content);
    }
    let tenant = service::get_tenant(app.db.reader(), invoice.tenant_id).await?;
    let replaces = match invoice.replaces {
        Some(id) => service::get(app.db.reader(), invoice.tenant_id, id).await?.number,
        None => None,
    };
    let margin = Margin {
        replaces,
        logo: issuers::service::logo(app.db.reader(), invoice.tenant_id, invoice.letterhead.logo).await?,
        notes: (!tenant.livemode).then(|| TEST_NOTE.to_owned()),
    };
    let content = print(invoice.clone(), margin, sort).await?;

    let tx = app.db.begin().await?;
    store::keep_document(&tx, app.now(), &invoice, (sort.file(), &state), content.clone()).await?;
    tx.commit().await?;
    Ok(content)
}

/// What is printed around an invoice and is not its own.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "documents"), expect(dead_code, reason = "nothing is printed"))]
pub(super) struct Margin {
    /// The number of the invoice that it replaces.
    pub(super) replaces: Option<String>,
    /// A picture, as PNG.
    pub(super) logo: Option<Vec<u8>>,
    pub(super) notes: Option<String>,
}

/// Printed on every document of test mode, so that none is taken for a real one.
const TEST_NOTE: &str =
    "TEST MODE: this document is a rehearsal. Nobody owes anything by it, and nothing was paid.";

/// What of an invoice may still change, and is printed.
fn state(invoice: &Invoice) -> String {
    let Invoice { status, offset_total, amount_paid, .. } = invoice;
    format!("{status}:{offset_total}:{amount_paid}")
}

#[cfg(feature = "documents")]
async fn print(invoice: Invoice, margin: Margin, sort: Sort) -> Result<Vec<u8>, DocumentError> {
    let printed = tokio::task::spawn_blocking(move || render(&invoice, margin, sort)).await;
    printed.map_err(|error| DocumentError::Print(error.into()))?
}

/// Prints an invoice. Takes some 25 ms of processor time: call it where blocking is fine.
#[cfg(feature = "documents")]
fn render(invoice: &Invoice, margin: Margin, sort: Sort) -> Result<Vec<u8>, DocumentError> {
    let document = layout::document(invoice, margin, sort);
    accrue_documents::invoice_pdf(&document).map_err(|error| DocumentError::Print(error.into()))
}

#[cfg(not(feature = "documents"))]
async fn print(_: Invoice, _: Margin, _: Sort) -> Result<Vec<u8>, DocumentError> {
    Err(DocumentError::NotBuiltIn)
}
