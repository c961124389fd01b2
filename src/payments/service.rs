//! The verbs of payments.

use accrue_core::id::{CustomerId, InvoiceId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::model::{Payment, PaymentMethod};

/// The payment of an invoice with its attempts, if one was ever begun.
pub async fn find_of_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Option<Payment>, DbErr> {
    let _ = (db, tenant, invoice);
    Ok(None)
}

/// Has the invoice collected as soon as the transaction has committed, by an automatic attempt. `key` names
/// the reason, so that one reason makes one attempt: `finalized`, `dunning:3`, `method:pm_…`.
pub async fn collect_later(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    invoice: InvoiceId,
    key: &str,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let _ = (tx, tenant, test_clock, invoice, key, at);
    Ok(())
}

/// The customer's default payment method, if there is one.
pub async fn default_method(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Option<PaymentMethod>, DbErr> {
    let _ = (db, tenant, customer);
    Ok(None)
}
