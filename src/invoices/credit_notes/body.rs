//! A credit note as the API and events show it.

use accrue_core::{
    decimal::Number,
    id::{CreditNoteId, CustomerId, InvoiceId, InvoiceLineId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Credit, CreditKind, CreditLine, CreditNote, CreditReason, RefundProgress};
use crate::{
    customers::Exemption,
    invoices::{body::TaxBody, model::Invoice},
};

/// What is taken back of an invoice.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CreditNote)]
pub struct CreditNoteBody {
    pub id: CreditNoteId,
    #[schema(example = "credit_note")]
    pub object: &'static str,
    pub livemode: bool,
    /// Gapless.
    #[schema(example = "CN-000001")]
    pub number: String,
    pub invoice: InvoiceId,
    pub customer: CustomerId,
    pub kind: CreditKind,
    pub reason: CreditReason,
    pub memo: Option<String>,
    #[serde(flatten)]
    pub credit: CreditBody,
    /// What of it can still pay the customer's next invoices.
    pub credit_left: Money,
    /// Of a refund: how far it is. What the gateway refuses is credit instead.
    pub refund_status: Option<RefundProgress>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// What a credit note would take back.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CreditPreview {
    #[schema(example = "credit_note_preview")]
    pub object: &'static str,
    pub livemode: bool,
    pub invoice: InvoiceId,
    pub kind: CreditKind,
    #[serde(flatten)]
    pub credit: CreditBody,
    /// What would be left to credit of the invoice, tax included.
    pub left_to_credit: Money,
}

/// The lines and sums that are taken back.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CreditBody {
    pub currency: Currency,
    pub lines: Vec<CreditLineBody>,
    /// Without tax.
    pub subtotal: Money,
    /// The invoice's.
    pub exemption: Exemption,
    pub taxes: Vec<TaxBody>,
    pub tax_total: Money,
    pub total: Money,
}

/// What is taken back of one line of the invoice.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CreditNoteLine)]
pub struct CreditLineBody {
    /// The line of the invoice.
    pub line: InvoiceLineId,
    pub description: String,
    /// If it was asked for by quantity, or is for usage that was corrected.
    pub quantity: Option<Number>,
    /// Without tax.
    pub amount: Money,
    /// The part of the line's tax that goes with it.
    pub tax: Money,
    /// Of each of the line's taxes.
    pub taxes: Vec<TaxBody>,
}

impl CreditNoteBody {
    /// `livemode` is the tenant's.
    pub fn new(note: &CreditNote, livemode: bool) -> Self {
        Self {
            id: note.id,
            object: "credit_note",
            livemode,
            number: note.number.clone(),
            invoice: note.invoice_id,
            customer: note.customer_id,
            kind: note.kind,
            reason: note.reason,
            memo: note.memo.clone(),
            credit: CreditBody::from(&note.credit),
            credit_left: note.credit_left,
            refund_status: note.refund_status,
            metadata: note.metadata.clone(),
            created_at: note.created_at,
        }
    }
}

impl CreditPreview {
    /// `livemode` is the tenant's.
    pub fn new(invoice: &Invoice, kind: CreditKind, credit: &Credit, livemode: bool) -> Self {
        let left =
            [invoice.credited_total, credit.total].into_iter().try_fold(invoice.total, Money::checked_sub);
        Self {
            object: "credit_note_preview",
            livemode,
            invoice: invoice.id,
            kind,
            credit: CreditBody::from(credit),
            left_to_credit: left.expect("one currency, and never more credited than charged"),
        }
    }
}

impl From<&Credit> for CreditBody {
    fn from(credit: &Credit) -> Self {
        Self {
            currency: credit.currency,
            lines: credit.lines.iter().map(CreditLineBody::from).collect(),
            subtotal: credit.subtotal,
            exemption: credit.exemption,
            taxes: credit.taxes.iter().map(|tax| TaxBody::new(tax, credit.currency)).collect(),
            tax_total: credit.tax_total,
            total: credit.total,
        }
    }
}

impl From<&CreditLine> for CreditLineBody {
    fn from(line: &CreditLine) -> Self {
        Self {
            line: line.invoice_line_id,
            description: line.description.clone(),
            quantity: line.quantity.map(Number),
            amount: line.amount,
            tax: line.tax,
            taxes: line.taxes.iter().map(|tax| TaxBody::new(tax, line.amount.currency())).collect(),
        }
    }
}
