//! Giving money back: write it down, call the gateway outside of any transaction, settle.

use accrue_core::{
    id::{CreditNoteId, PaymentId, RefundId, TenantId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::PaymentError;
use crate::{
    app::enqueue,
    auth::Tenant,
    invoices::{self, InvoiceStatus, credit_notes::CreditNote},
    ledger::{self, Account, Posting},
    payments::{
        events,
        jobs::SendRefund,
        model::{PATIENCE, Payment, Refund, RefundOutcome, RefundStatus, refundable},
        store,
    },
};

/// Money to be given back.
#[derive(Clone, Debug)]
pub(in crate::payments) struct NewRefund {
    pub payment: PaymentId,
    /// In major units, of the payment's currency; all that is left unless given.
    pub amount: Option<Money>,
    pub reason: Option<String>,
    pub request_key: Option<String>,
    pub credit_note: Option<CreditNoteId>,
    pub metadata: Metadata,
}

/// What the gateway is to be told about a refund.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Parcel {
    pub refund: RefundId,
    pub gateway: String,
    pub charge_reference: String,
    pub idempotency_key: String,
    pub amount: Money,
}

/// Writes a refund down. The payment's lock lets several at once never add up to more than was captured.
/// The same request again finds the refund that it has begun.
pub(in crate::payments) async fn begin_refund(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    new: NewRefund,
    now: DateTime<Utc>,
) -> Result<Refund, PaymentError> {
    let payment = store::payments::find_for_update(tx, tenant, new.payment).await?;
    let payment = payment.ok_or_else(|| PaymentError::no_payment(new.payment))?;
    let refunds = store::refunds::of_payment(tx, tenant, payment.id).await?;
    let same = |refund: &&Refund| new.request_key.is_some() && refund.request_key == new.request_key;
    if let Some(refund) = refunds.iter().find(same) {
        return Ok(refund.clone());
    }
    if !payment.is_captured() {
        return Err(PaymentError::NothingToRefund);
    }
    let left = refundable(&payment, &refunds);
    let amount = new.amount.unwrap_or(left);
    if amount.is_zero() || amount.minor() > left.minor() {
        return Err(PaymentError::RefundTooLarge(left));
    }
    let refund = Refund {
        tenant_id: tenant,
        id: RefundId::new(now),
        payment_id: payment.id,
        test_clock_id: payment.test_clock_id,
        status: RefundStatus::Started,
        amount,
        reason: new.reason,
        request_key: new.request_key,
        credit_note_id: new.credit_note,
        gateway_reference: None,
        failure: None,
        look_up_at: Some(now + PATIENCE),
        metadata: new.metadata,
        created_at: now,
    };
    store::refunds::insert(tx, &refund).await?;
    Ok(refund)
}

/// Money came for an invoice that was not owed any more: it goes back by itself.
pub(super) async fn give_back_unowed(
    tx: &DatabaseTransaction,
    payment: &Payment,
    now: DateTime<Utc>,
) -> Result<(), PaymentError> {
    let new = NewRefund {
        payment: payment.id,
        amount: None,
        reason: Some("the invoice was not owed any more".to_owned()),
        request_key: None,
        credit_note: None,
        metadata: Metadata::new(),
    };
    let refund = begin_refund(tx, payment.tenant_id, new, now).await?;
    Ok(send_later(tx, &refund, now).await?)
}

/// Gives back what a credit note takes back of a paid invoice, as soon as the transaction has committed.
pub async fn refund_credit_note(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    payment: Payment,
    note: &CreditNote,
) -> Result<(), PaymentError> {
    let new = NewRefund {
        payment: payment.id,
        amount: Some(note.credit.total),
        reason: Some(format!("credit note {}", note.number)),
        request_key: None,
        credit_note: Some(note.id),
        metadata: Metadata::new(),
    };
    let refund = begin_refund(tx, payment.tenant_id, new, now).await?;
    Ok(send_later(tx, &refund, now).await?)
}

/// What can still be refunded of a payment.
pub async fn refundable_of(tx: &DatabaseTransaction, payment: &Payment) -> Result<Money, PaymentError> {
    let refunds = store::refunds::of_payment(tx, payment.tenant_id, payment.id).await?;
    Ok(refundable(payment, &refunds))
}

/// What to tell the gateway; `None` once the outcome is known.
pub(in crate::payments) async fn parcel(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    refund: &Refund,
) -> Result<Option<Parcel>, PaymentError> {
    if refund.status.is_settled() {
        return Ok(None);
    }
    let payment = super::get(db, tenant, refund.payment_id).await?;
    let attempt = payment.captured_by().ok_or(PaymentError::NothingToRefund)?;
    Ok(Some(Parcel {
        refund: refund.id,
        gateway: attempt.gateway.clone(),
        charge_reference: attempt.gateway_reference.clone().unwrap_or_default(),
        idempotency_key: refund.idempotency_key(),
        amount: refund.amount,
    }))
}

/// Writes down what became of a refund, with everything that follows from it.
pub(in crate::payments) async fn settle_refund(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    parcel: &Parcel,
    outcome: &RefundOutcome,
    now: DateTime<Utc>,
) -> Result<Refund, PaymentError> {
    let refund = get_refund(tx, tenant.id, parcel.refund).await?;
    let payment = store::payments::find_for_update(tx, tenant.id, refund.payment_id).await?;
    let mut payment = payment.ok_or_else(|| PaymentError::no_payment(refund.payment_id))?;
    let refund = store::refunds::find_for_update(tx, tenant.id, parcel.refund).await?;
    let mut refund = refund.ok_or_else(|| no_refund(parcel.refund))?;
    if !refund.settle(outcome, now)? {
        return Ok(refund);
    }
    store::refunds::save(tx, &refund).await?;
    if let Some(note) = refund.credit_note_id.filter(|_| refund.status.is_settled()) {
        let succeeded = refund.status == RefundStatus::Succeeded;
        invoices::credit_notes::service::refund_settled(tx, now, tenant, note, succeeded).await?;
    }
    if refund.status == RefundStatus::Succeeded {
        let before = payment.clone();
        payment.give_back(refund.amount)?;
        store::payments::save(tx, &payment).await?;
        book(tx, &payment, &refund, parcel, now).await?;
        events::tell(tx, now, tenant, events::REFUNDED, &payment, &before).await?;
    }
    if refund.status == RefundStatus::Failed {
        let reason = refund.failure.as_deref().unwrap_or_default();
        tracing::error!(refund.id = %refund.id, reason, "a refund failed");
        events::tell_of_refund(tx, now, tenant, &refund, &payment).await?;
    }
    if let Some(at) = refund.look_up_at {
        send_later(tx, &refund, at).await?;
    }
    Ok(refund)
}

/// Has it sent, again if need be, by a job. There is one at a time.
async fn send_later(tx: &DatabaseTransaction, refund: &Refund, at: DateTime<Utc>) -> Result<(), DbErr> {
    let job = SendRefund { refund: refund.id };
    enqueue(tx, refund.tenant_id, refund.test_clock_id, at, refund.id, &job).await
}

/// What was never owed, or was credited, is taken from the customer's credit; the rest is ours to bear.
async fn book(
    tx: &DatabaseTransaction,
    payment: &Payment,
    refund: &Refund,
    parcel: &Parcel,
    now: DateTime<Utc>,
) -> Result<(), PaymentError> {
    let invoice = invoices::service::get(tx, payment.tenant_id, payment.invoice_id).await?;
    let ours = invoice.status == InvoiceStatus::Paid && refund.credit_note_id.is_none();
    let borne_by = if ours { Account::Refunds } else { Account::CustomerCredit(payment.customer_id) };
    let posting = Posting {
        fact: "payment.refunded",
        object_id: refund.id.to_string(),
        description: format!("refund of invoice {}", invoice.number.as_deref().unwrap_or_default()),
        entries: vec![
            (borne_by, refund.amount),
            (
                Account::GatewayCash(parcel.gateway.clone()),
                refund.amount.checked_neg().expect("an amount above zero"),
            ),
        ],
    };
    Ok(ledger::service::post(tx, now, payment.tenant_id, posting).await?)
}

pub(in crate::payments) async fn get_refund(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: RefundId,
) -> Result<Refund, PaymentError> {
    store::refunds::find(db, tenant, id).await?.ok_or_else(|| no_refund(id))
}

pub(in crate::payments) async fn list_refunds(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    payment: Option<PaymentId>,
    page: &PageQuery,
) -> Result<Vec<Refund>, PageError> {
    store::refunds::list(db, tenant, payment, page).await
}

fn no_refund(id: RefundId) -> PaymentError {
    PaymentError::NotFound { what: "refund", id: id.to_string() }
}
