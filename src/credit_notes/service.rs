//! The verb of making credit notes.

use accrue_core::id::{InvoiceId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use crate::{
    auth::Tenant,
    invoices::{
        self, Invoice,
        credit_notes::{CreditKind, CreditNote, service::NewCreditNote},
        service::InvoiceError,
    },
    payments::{self, service::PaymentError},
};

/// Why a credit note cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreditNoteError {
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Payment(#[from] PaymentError),
}

/// Makes a credit note of an invoice. `now` is the customer's time.
pub(super) async fn create(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: InvoiceId,
    new: NewCreditNote,
) -> Result<CreditNote, CreditNoteError> {
    let mut invoice = invoices::service::get_for_update(tx, tenant.id, invoice).await?;
    match new.kind {
        CreditKind::Credit => {
            Ok(invoices::credit_notes::service::issue(tx, now, tenant, &mut invoice, new).await?)
        }
        CreditKind::Offset => {
            nothing_in_flight(tx, tenant.id, &invoice).await?;
            Ok(invoices::credit_notes::service::issue(tx, now, tenant, &mut invoice, new).await?)
        }
        CreditKind::Refund => {
            let payment = payments::service::lock_of_invoice(tx, tenant.id, invoice.id).await?;
            let note = invoices::credit_notes::service::issue(tx, now, tenant, &mut invoice, new).await?;
            payments::service::refund_credit_note(tx, now, payment, &note).await?;
            Ok(note)
        }
    }
}

/// What a payment under way brings may be all that was due when it began. The invoice's lock keeps another one from
/// beginning.
async fn nothing_in_flight(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    invoice: &Invoice,
) -> Result<(), CreditNoteError> {
    let payment = payments::service::find_of_invoice(tx, tenant, invoice.id).await;
    match payment.map_err(PaymentError::from)? {
        Some(payment) if payment.in_flight().is_some() => Err(PaymentError::InFlight.into()),
        _ => Ok(()),
    }
}
