//! Collecting an invoice: begin, call the gateway outside of any transaction, settle (RULES 43).

use accrue_core::id::{InvoiceId, PaymentAttemptId, PaymentId, PaymentMethodId, TenantId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{PaymentError, methods, refunds};
use crate::{
    app::enqueue,
    auth::Tenant,
    invoices::{self, Invoice, InvoiceStatus},
    ledger::{self, Account, Posting},
    payments::{
        events,
        gateways::{Errand, Order},
        jobs::ResolveAttempt,
        model::{AttemptStatus, Change, Outcome, Payment, PaymentAttempt, PaymentMethod, PaymentStatus},
        store,
    },
};
use accrue_core::money::Money;

/// Why and how an invoice is to be collected.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Try {
    pub invoice: InvoiceId,
    /// One reason makes one attempt.
    pub reason: String,
    pub automatic: bool,
    /// The customer's default unless given.
    pub method: Option<PaymentMethodId>,
}

/// What there is to do once the transaction has committed.
#[derive(Debug)]
pub(in crate::payments) enum Begun {
    /// Go to the gateway, then settle.
    Go(Box<Errand>),
    /// Another attempt's outcome is not known; the gateway is asked at that instant.
    InFlight(DateTime<Utc>),
    /// This reason has had its attempt.
    TriedBefore(Payment),
    /// There is nothing to charge: that is the payment's failure.
    NoMethod,
    /// The invoice is not owed, or nothing of it is left to pay.
    NotOwed(InvoiceStatus, Option<Payment>),
}

/// Writes an attempt down, so that it is known whatever happens during the call. Run again after a crash, it
/// finds its own attempt and has the gateway asked first.
pub(in crate::payments) async fn begin(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    wanted: &Try,
    now: DateTime<Utc>,
) -> Result<Begun, PaymentError> {
    let invoice = invoices::service::get_for_update(tx, tenant.id, wanted.invoice).await?;
    let found = store::payments::find_of_invoice_for_update(tx, tenant.id, invoice.id).await?;
    if let Some(attempt) = found.as_ref().and_then(Payment::in_flight) {
        if attempt.reason != wanted.reason {
            return Ok(Begun::InFlight(attempt.look_up_at.unwrap_or(now)));
        }
        let errand = errand_of(tx, tenant.id, &invoice, attempt).await?;
        return Ok(Begun::Go(Box::new(errand)));
    }
    if let Some(payment) = &found
        && payment.attempt_for(&wanted.reason).is_some()
    {
        return Ok(Begun::TriedBefore(payment.clone()));
    }
    // What was given up may still be paid, but not by our own doing.
    let due = invoice.status == InvoiceStatus::Open || (is_owed(&invoice) && !wanted.automatic);
    if !due || invoice.amount_due().is_zero() {
        return Ok(Begun::NotOwed(invoice.status, found));
    }
    let mut payment = match found {
        Some(payment) => payment,
        None => create(tx, &invoice, now).await?,
    };
    payment.amount = invoice.amount_due();
    match method_for(tx, tenant.id, &invoice, wanted).await? {
        Some(method) => {
            let attempt = PaymentAttemptId::new(now);
            let attempt = payment.begin_attempt(attempt, &method, &wanted.reason, wanted.automatic, now);
            let errand = Errand { method_sealed: method.reference_sealed, ..to_charge(&invoice, attempt) };
            store::payments::attempts::insert(tx, tenant.id, invoice.test_clock_id, attempt).await?;
            store::payments::save(tx, &payment).await?;
            Ok(Begun::Go(Box::new(errand)))
        }
        None if !wanted.automatic => Err(PaymentError::NoMethod),
        None => {
            let before = payment.clone();
            payment.fail_without_method()?;
            store::payments::save(tx, &payment).await?;
            events::tell(tx, now, tenant, events::FAILED, &payment, &before).await?;
            Ok(Begun::NoMethod)
        }
    }
}

fn is_owed(invoice: &Invoice) -> bool {
    matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible)
}

async fn create(tx: &DatabaseTransaction, invoice: &Invoice, now: DateTime<Utc>) -> Result<Payment, DbErr> {
    let payment = Payment {
        tenant_id: invoice.tenant_id,
        id: PaymentId::new(now),
        customer_id: invoice.customer_id,
        test_clock_id: invoice.test_clock_id,
        invoice_id: invoice.id,
        status: PaymentStatus::Initialized,
        amount: invoice.amount_due(),
        refunded: Money::zero(invoice.currency),
        decline_code: None,
        decline_class: None,
        attempts: Vec::new(),
        metadata: Metadata::new(),
        created_at: now,
    };
    store::payments::insert(tx, &payment).await?;
    Ok(payment)
}

async fn method_for(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    invoice: &Invoice,
    wanted: &Try,
) -> Result<Option<PaymentMethod>, PaymentError> {
    let Some(id) = wanted.method else {
        return Ok(methods::default(tx, tenant, invoice.customer_id).await?);
    };
    let method = store::methods::find(tx, tenant, id).await?;
    let usable = method
        .filter(|method| method.customer_id == invoice.customer_id && method.detached_at.is_none())
        .ok_or_else(|| PaymentError::NotFound { what: "payment method", id: id.to_string() })?;
    Ok(Some(usable))
}

fn to_charge(invoice: &Invoice, attempt: &PaymentAttempt) -> Errand {
    Errand {
        invoice: invoice.id,
        attempt: attempt.id,
        reason: attempt.reason.clone(),
        automatic: attempt.automatic,
        gateway: attempt.gateway.clone(),
        idempotency_key: attempt.idempotency_key.clone(),
        amount: attempt.amount,
        method_sealed: String::new(),
        order: Order::Charge,
    }
}

/// What is to be asked about an attempt whose outcome is not known; `None` once it is known.
pub(in crate::payments) async fn errand(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    payment: &Payment,
    attempt: PaymentAttemptId,
) -> Result<Option<Errand>, PaymentError> {
    let invoice = invoices::service::get(db, tenant, payment.invoice_id).await?;
    match payment.in_flight().filter(|in_flight| in_flight.id == attempt) {
        Some(attempt) => errand_of(db, tenant, &invoice, attempt).await.map(Some),
        None => Ok(None),
    }
}

/// The gateway is asked. It is charged again, with the same key, only as long as the money is wanted, the
/// method is there, and the gateway has not accepted the charge already.
async fn errand_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: &Invoice,
    attempt: &PaymentAttempt,
) -> Result<Errand, PaymentError> {
    let method = store::methods::find(db, tenant, attempt.payment_method_id).await?;
    let method_sealed = method.map(|method| method.reference_sealed).unwrap_or_default();
    let wanted = is_owed(invoice) && !method_sealed.is_empty();
    let accepted = attempt.status == AttemptStatus::Pending;
    let order = if wanted && !accepted { Order::AskThenCharge } else { Order::Ask };
    Ok(Errand { method_sealed, order, ..to_charge(invoice, attempt) })
}

/// Writes down what became of an attempt, with everything that follows from it.
pub(in crate::payments) async fn settle(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    errand: &Errand,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Result<Payment, PaymentError> {
    let mut invoice = invoices::service::get_for_update(tx, tenant.id, errand.invoice).await?;
    let mut payment = store::payments::find_of_invoice_for_update(tx, tenant.id, invoice.id)
        .await?
        .ok_or_else(|| PaymentError::NotFound { what: "payment", id: errand.attempt.to_string() })?;
    let before = payment.clone();
    let change = payment.settle(errand.attempt, outcome, now)?;
    if change == Change::AlreadyDone {
        return Ok(payment);
    }
    let attempt = payment.attempts.iter().find(|attempt| attempt.id == errand.attempt);
    let attempt = attempt.expect("it has just been settled").clone();
    store::payments::attempts::save(tx, tenant.id, &attempt).await?;
    store::payments::save(tx, &payment).await?;
    metrics::counter!("payment_attempts_total", "status" => format!("{:?}", attempt.status)).increment(1);

    let told = match change {
        Change::Captured => Some(events::CAPTURED),
        Change::Failed => Some(events::FAILED),
        Change::RequiresAction => Some(events::REQUIRES_ACTION),
        Change::Pending => Some(events::PENDING),
        Change::Open | Change::NothingHappened | Change::AlreadyDone => None,
    };
    if let Some(kind) = told {
        events::tell(tx, now, tenant, kind, &payment, &before).await?;
    }
    if change == Change::Captured {
        book(tx, tenant, &mut invoice, &payment, &attempt, now).await?;
    }
    if let Outcome::Refused(why) = outcome {
        tracing::error!(payment.id = %payment.id, reason = %why, "a gateway refuses our request");
    }
    if let Some(at) = attempt.look_up_at {
        let job = ResolveAttempt { attempt: attempt.id, look_ups: attempt.look_ups };
        let key = format!("{}:{}", attempt.id, attempt.look_ups);
        enqueue(tx, tenant.id, payment.test_clock_id, at, key, &job).await?;
    }
    Ok(payment)
}

/// The money is at the gateway: it pays the invoice. If that is not owed any more, it goes back.
async fn book(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: &mut Invoice,
    payment: &Payment,
    attempt: &PaymentAttempt,
    now: DateTime<Utc>,
) -> Result<(), PaymentError> {
    let owed = is_owed(invoice);
    let counterpart = if owed { Account::Receivable } else { Account::CustomerCredit };
    let taken = attempt.amount;
    let posting = Posting {
        fact: "payment.captured",
        object_id: payment.id.to_string(),
        description: format!("payment of invoice {}", invoice.number.as_deref().unwrap_or_default()),
        entries: vec![
            (Account::GatewayCash(attempt.gateway.clone()), taken),
            (counterpart(payment.customer_id), taken.checked_neg().expect("an amount above zero")),
        ],
    };
    ledger::service::post(tx, now, tenant.id, posting).await?;
    if owed {
        invoices::service::record_payment(tx, now, invoice, taken).await?;
        return Ok(());
    }
    refunds::give_back_unowed(tx, payment, now).await?;
    Ok(())
}

/// The invoice is not owed any more: neither is its payment.
pub(in crate::payments) async fn cancel(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: InvoiceId,
    now: DateTime<Utc>,
) -> Result<(), PaymentError> {
    let invoice = invoices::service::get_for_update(tx, tenant.id, invoice).await?;
    if invoice.status != InvoiceStatus::Void {
        return Ok(());
    }
    let found = store::payments::find_of_invoice_for_update(tx, tenant.id, invoice.id).await?;
    let Some(mut payment) = found else { return Ok(()) };
    let before = payment.clone();
    if payment.cancel()? {
        store::payments::save(tx, &payment).await?;
        events::tell(tx, now, tenant, events::CANCELED, &payment, &before).await?;
    }
    Ok(())
}
