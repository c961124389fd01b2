//! The verbs of credit notes.

use std::collections::HashMap;

use accrue_core::{
    id::{CreditNoteId, CustomerId, InvoiceLineId, TenantId},
    invoice as arithmetic,
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    counter,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    events,
    model::{
        self, Credit, CreditError, CreditKind, CreditNote, CreditReason, RefundProgress, Wanted, credit,
    },
    postings, store,
};
use crate::{
    auth::Tenant,
    invoices::{
        model::{Invoice, InvoiceStatus},
        service::{self as invoices, InvoiceError},
    },
    issuers, ledger,
};

pub use super::store::CreditNoteFilter;

/// What the counters of credit notes' numbers are called, before the prefix of the numbers.
pub(super) const NUMBERS: &str = "credit_note_number:";

/// A credit note to be made.
#[derive(Clone, Debug)]
pub struct NewCreditNote {
    pub kind: CreditKind,
    pub reason: CreditReason,
    pub cause: Option<String>,
    pub memo: Option<String>,
    pub wanted: Wanted,
    pub metadata: Metadata,
}

/// By identifier, or by number.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<CreditNote>, DbErr> {
    match reference.parse() {
        Ok(id) => store::find(db, tenant, id).await,
        Err(_) => store::find_by_number(db, tenant, reference).await,
    }
}

/// A page of credit notes.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: CreditNoteFilter,
    page: &PageQuery,
) -> Result<Vec<CreditNote>, PageError> {
    store::list(db, tenant, filter, page).await
}

/// What a credit note would take back of an invoice.
pub async fn preview(
    db: &impl ConnectionTrait,
    invoice: &Invoice,
    kind: CreditKind,
    wanted: &Wanted,
) -> Result<Credit, InvoiceError> {
    let before = store::lines_of_invoice(db, invoice.tenant_id, invoice.id, invoice.currency).await?;
    Ok(credit(invoice, &before, kind, wanted)?)
}

/// What is left to correct of each line that charges something, in the terms of its amount.
pub(in crate::invoices) async fn left_of_lines(
    db: &impl ConnectionTrait,
    invoice: &Invoice,
) -> Result<HashMap<InvoiceLineId, Money>, InvoiceError> {
    let before = store::lines_of_invoice(db, invoice.tenant_id, invoice.id, invoice.currency).await?;
    Ok(model::left_of_lines(invoice, &before)?)
}

/// Which credit notes take back what of an invoice, the oldest first.
pub(in crate::invoices) async fn of_invoice(
    db: &impl ConnectionTrait,
    invoice: &Invoice,
) -> Result<Vec<CreditNote>, DbErr> {
    store::of_invoice(db, invoice.tenant_id, invoice.id).await
}

/// Makes a credit note of the locked invoice, with its number, its entry in the books and its event. The lock lets
/// several at once never take back more than was charged (RULES 33). `now` is the customer's time.
pub async fn issue(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &mut Invoice,
    new: NewCreditNote,
) -> Result<CreditNote, InvoiceError> {
    let NewCreditNote { kind, reason, cause, memo, wanted, metadata } = new;
    let credit = preview(tx, invoice, kind, &wanted).await?;
    // It takes back what that issuer charged, whoever bills the customer now.
    let issuer = issuers::service::in_name_of(tx, tenant, invoice.issuer_id).await?;
    let prefix = &issuer.settings.credit_note_prefix;
    let position = counter::take(tx, tenant.id, &format!("{NUMBERS}{prefix}"), 1).await?;
    let note = CreditNote {
        tenant_id: tenant.id,
        id: CreditNoteId::new(now),
        invoice_id: invoice.id,
        customer_id: invoice.customer_id,
        test_clock_id: invoice.test_clock_id,
        number: format!("{prefix}-{position:06}"),
        kind,
        reason,
        cause,
        memo,
        credit_left: if kind == CreditKind::Credit { credit.total } else { Money::zero(credit.currency) },
        refund_status: (kind == CreditKind::Refund).then_some(RefundProgress::Pending),
        credit,
        metadata,
        created_at: now,
    };
    store::insert(tx, &note).await?;
    ledger::service::post(tx, now, tenant.id, postings::created(&note)?).await?;
    events::created(tx, now, tenant.livemode, &note).await?;
    invoices::record_credit(tx, now, tenant.livemode, invoice, &note).await?;
    Ok(note)
}

/// Notes what became of a credit note's refund. What the gateway refused is the customer's credit instead.
pub async fn refund_settled(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    id: CreditNoteId,
    succeeded: bool,
) -> Result<(), DbErr> {
    for before in store::find_for_update(tx, tenant.id, &[id]).await? {
        let mut note = before.clone();
        if note.refunded(succeeded) {
            store::save(tx, &note).await?;
            events::updated(tx, now, tenant.livemode, (&before, &note)).await?;
        }
    }
    Ok(())
}

/// Locks a customer's credit notes for the rest of the transaction, the oldest first.
pub(in crate::invoices) async fn lock_of_customer(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<(), DbErr> {
    store::lock_of_customer(tx, tenant, customer).await
}

/// What the customer's credit notes pay of an invoice that is being finalized, the oldest note first (RULES 31). They
/// are locked from here on, so no credit is spent twice (RULES 41).
pub(in crate::invoices) async fn take(
    tx: &DatabaseTransaction,
    invoice: &Invoice,
) -> Result<Vec<(CreditNote, Money)>, InvoiceError> {
    if invoice.total.is_zero() {
        return Ok(Vec::new());
    }
    let (tenant, customer, currency) = (invoice.tenant_id, invoice.customer_id, invoice.currency);
    let notes = store::with_credit_for_update(tx, tenant, customer, currency).await?;
    let left: Vec<Money> = notes.iter().map(|note| note.credit_left).collect();
    let (paid, _) = arithmetic::pay(invoice.total, &left)?;
    Ok(notes.into_iter().zip(paid).filter(|(_, paid)| !paid.is_zero()).collect())
}

/// Notes what they paid of the stored invoice.
pub(in crate::invoices) async fn spend(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    invoice: &Invoice,
    taken: Vec<(CreditNote, Money)>,
) -> Result<(), InvoiceError> {
    for (before, paid) in taken {
        let mut note = before.clone();
        note.spend(paid)?;
        store::save(tx, &note).await?;
        store::apply(tx, now, &note, invoice.id, paid).await?;
        events::updated(tx, now, livemode, (&before, &note)).await?;
    }
    Ok(ledger::service::post(tx, now, invoice.tenant_id, postings::applied(invoice)?).await?)
}

/// What paid the voided invoice is credit again.
pub(in crate::invoices) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    invoice: &Invoice,
) -> Result<(), InvoiceError> {
    debug_assert_eq!(invoice.status, InvoiceStatus::Void);
    let applied = store::applied_to(tx, invoice).await?;
    let ids: Vec<CreditNoteId> = applied.iter().map(|(id, _)| *id).collect();
    // Both are sorted by the notes' identifiers.
    for (before, (_, amount)) in
        store::find_for_update(tx, invoice.tenant_id, &ids).await?.into_iter().zip(applied)
    {
        let mut note = before.clone();
        note.regain(amount)?;
        store::save(tx, &note).await?;
        events::updated(tx, now, livemode, (&before, &note)).await?;
    }
    store::give_back(tx, now, invoice).await?;
    Ok(ledger::service::post(tx, now, invoice.tenant_id, postings::returned(invoice)?).await?)
}

/// Which credit notes pay what of an invoice, the oldest first.
pub(in crate::invoices) async fn applied_to(
    db: &impl ConnectionTrait,
    invoice: &Invoice,
) -> Result<Vec<(CreditNote, Money)>, DbErr> {
    let mut applied = Vec::new();
    for (id, amount) in store::applied_to(db, invoice).await? {
        let note = store::find(db, invoice.tenant_id, id).await?;
        applied.push((note.ok_or(DbErr::RecordNotFound(id.to_string()))?, amount));
    }
    Ok(applied)
}

/// What customers have with us by credit notes, in each currency: what is left of them, and what is on its way back.
pub async fn credit_left(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    store::credit_left(db, tenant).await
}

impl From<CreditError> for InvoiceError {
    fn from(error: CreditError) -> Self {
        match error {
            CreditError::Move(error) => Self::Move(error),
            CreditError::Money(error) => Self::Money(error),
            error => Self::Credit(error),
        }
    }
}
