//! The verbs of invoices.

use accrue_core::{
    id::{CustomerId, InvoiceId, TenantId},
    money::Money,
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::model::Invoice;

/// Why an invoice cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("invoice {0} does not exist")]
    NotFound(String),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// By identifier, or by number.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Invoice, InvoiceError> {
    let _ = (db, tenant);
    Err(InvoiceError::NotFound(reference.to_owned()))
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Invoice, InvoiceError> {
    let _ = (db, tenant);
    Err(InvoiceError::NotFound(id.to_string()))
}

/// Locks it for the rest of the transaction.
pub async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Invoice, InvoiceError> {
    let _ = (tx, tenant);
    Err(InvoiceError::NotFound(id.to_string()))
}

/// A customer's open invoices, the oldest first.
pub async fn open_of_customer(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Invoice>, DbErr> {
    let _ = (db, tenant, customer);
    Ok(Vec::new())
}

/// `amount` of the locked invoice has been paid; paid in full it is `paid`, and says so. The ledger entry of
/// the money is the caller's (payments).
pub async fn record_payment(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &mut Invoice,
    amount: Money,
) -> Result<(), InvoiceError> {
    let _ = (tx, now, invoice, amount);
    Ok(())
}
