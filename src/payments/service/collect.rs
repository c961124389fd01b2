//! Collecting an invoice: begin, call the gateway outside of any transaction, settle (RULES 43).

use accrue_core::id::{InvoiceId, PaymentAttemptId, PaymentId, PaymentMethodId, TenantId};
use accrue_platform::{check::Metadata, gateway::Verdict};
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

/// A gateway that has never heard of an attempt is believed when it is asked for the third time, six minutes
/// after the call: until then the call may be on its way, or its list behind.
const LOOK_UPS_BELIEVED: i32 = 2;

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
            let attempt = write_down(tx, &mut payment, &method, wanted, now).await?;
            store::payments::save(tx, &payment).await?;
            let errand = Errand { method_sealed: method.reference_sealed, ..to_charge(&invoice, &attempt) };
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

/// The call that came to nothing in an outage, once more, or another one.
async fn write_down(
    tx: &DatabaseTransaction,
    payment: &mut Payment,
    method: &PaymentMethod,
    wanted: &Try,
    now: DateTime<Utc>,
) -> Result<PaymentAttempt, DbErr> {
    let (tenant, test_clock) = (payment.tenant_id, payment.test_clock_id);
    if let Some(attempt) = payment.resume_attempt(method.id, &wanted.reason, now) {
        store::payments::attempts::save(tx, tenant, attempt).await?;
        return Ok(attempt.clone());
    }
    let id = PaymentAttemptId::new(now);
    let attempt = payment.begin_attempt(id, method, &wanted.reason, wanted.automatic, now);
    store::payments::attempts::insert(tx, tenant, test_clock, attempt).await?;
    Ok(attempt.clone())
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
        no_is_final: false,
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
    // What was accepted once has been heard of: whatever the gateway says of it now, it is not "never".
    let no_is_final = !accepted && attempt.look_ups >= LOOK_UPS_BELIEVED;
    Ok(Errand { method_sealed, order, no_is_final, ..to_charge(invoice, attempt) })
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
        cry_if_lost(&payment, errand, outcome);
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
    if errand.automatic {
        go_on(tx, &payment, errand, outcome, now).await?;
    }
    if invoice.status == InvoiceStatus::Void {
        // What was left to its own end when the invoice was voided has come to it.
        end_unowed(tx, tenant, payment.clone(), now).await?;
    }
    if let Some(at) = attempt.look_up_at {
        let job = ResolveAttempt { attempt: attempt.id, look_ups: attempt.look_ups };
        // The one that is running may have counted no look-up: its key must not be taken for the next one's.
        let key = format!("{}:{}:{}", attempt.id, attempt.look_ups, at.timestamp_micros());
        enqueue(tx, tenant.id, payment.test_clock_id, at, key, &job).await?;
    }
    Ok(payment)
}

/// What follows for a reason whose attempt took nothing, in the transaction that says so: dying after it loses
/// nothing. An attempt that came to nothing is followed by another one (its method may be gone); one that
/// failed by our own fault waits among the dead jobs for a person.
async fn go_on(
    tx: &DatabaseTransaction,
    payment: &Payment,
    errand: &Errand,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let Payment { id, tenant_id: tenant, test_clock_id: clock, .. } = payment;
    let Errand { invoice, reason, .. } = errand;
    if *outcome == Outcome::NotTaken {
        super::collect_later(tx, *tenant, *clock, *invoice, reason, now).await?;
    }
    if let Some(why) = outcome.our_fault() {
        tracing::error!(payment.id = %id, reason = %why, "a payment failed by our own fault");
        super::collect_by_hand(tx, *tenant, *clock, *invoice, (reason, why), now).await?;
    }
    Ok(())
}

/// What is known of an attempt stays. If the gateway says that it took money after all, somebody must know.
fn cry_if_lost(payment: &Payment, errand: &Errand, outcome: &Outcome) {
    let taken = matches!(outcome, Outcome::Verdict(Verdict::Succeeded { .. }));
    let known = payment.attempts.iter().find(|attempt| attempt.id == errand.attempt);
    if taken && known.is_some_and(|attempt| attempt.status != AttemptStatus::Succeeded) {
        tracing::error!(
            payment.id = %payment.id,
            payment_attempt.id = %errand.attempt,
            "the gateway took money by an attempt that was over: give it back there"
        );
    }
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
    if !matches!(invoice.status, InvoiceStatus::Void | InvoiceStatus::Paid) {
        return Ok(());
    }
    match store::payments::find_of_invoice_for_update(tx, tenant.id, invoice.id).await? {
        Some(payment) => end_unowed(tx, tenant, payment, now).await,
        None => Ok(()),
    }
}

async fn end_unowed(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    mut payment: Payment,
    now: DateTime<Utc>,
) -> Result<(), PaymentError> {
    let before = payment.clone();
    if payment.cancel()? {
        store::payments::save(tx, &payment).await?;
        events::tell(tx, now, tenant, events::CANCELED, &payment, &before).await?;
    }
    Ok(())
}
