//! What others hear of invoices.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::InvoiceBody, model::Invoice};

pub(super) const CREATED: &str = "invoice.created";
pub(super) const FINALIZED: &str = "invoice.finalized";
pub(super) const PAID: &str = "invoice.paid";
pub(super) const VOIDED: &str = "invoice.voided";
pub(super) const UNCOLLECTIBLE: &str = "invoice.uncollectible";

/// Tells that there is an invoice.
pub(super) async fn created(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    invoice: &Invoice,
) -> Result<(), DbErr> {
    append(tx, now, invoice, fact(CREATED, livemode, invoice)).await
}

/// Tells that it moved.
pub(super) async fn moved(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    kind: &'static str,
    livemode: bool,
    (before, after): (&Invoice, &Invoice),
) -> Result<(), DbErr> {
    let fact = fact(kind, livemode, after).changed_from(&InvoiceBody::new(before, livemode));
    append(tx, now, after, fact).await
}

fn fact(kind: &'static str, livemode: bool, invoice: &Invoice) -> Fact {
    Fact::new(kind, invoice.id, &InvoiceBody::new(invoice, livemode))
        .of_customer(invoice.customer_id, invoice.test_clock_id)
}

async fn append(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &Invoice,
    fact: Fact,
) -> Result<(), DbErr> {
    outbox::append(tx, now, invoice.tenant_id, fact).await.map(drop)
}
