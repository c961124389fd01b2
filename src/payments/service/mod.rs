//! The verbs of payments.

mod collect;
mod methods;
mod refunds;

use accrue_core::{
    id::{CustomerId, InvoiceId, PaymentAttemptId, PaymentId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::page::{PageError, PageQuery};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    jobs::CollectPayment,
    model::{IllegalTransition, Payment, PaymentMethod},
    store,
};
use crate::{
    app::{bury, enqueue},
    customers::service::CustomerError,
    invoices::InvoiceStatus,
    invoices::service::InvoiceError,
    ledger::service::LedgerError,
};

pub(super) use collect::{Begun, Try, begin, cancel, errand, settle};
pub(super) use methods::{NewMethod, attach, detach, get_method, list_methods};
pub(super) use refunds::{NewRefund, Parcel, begin_refund, get_refund, list_refunds, parcel, settle_refund};
pub use refunds::{refund_credit_note, refundable_of};
pub(super) use store::payments::PaymentFilter;

/// A statement has an end.
const INVOICES_AT_ONCE: usize = 500;

/// Why money cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// `what` is `payment`, `payment method` or `refund`.
    #[error("{what} {id} does not exist")]
    NotFound { what: &'static str, id: String },
    #[error("the outcome of an earlier attempt is not known yet")]
    InFlight,
    #[error("the customer has no payment method")]
    NoMethod,
    #[error("the invoice is {0:?}: it cannot be paid")]
    NotOwed(InvoiceStatus),
    #[error("at most {0} can be refunded")]
    RefundTooLarge(Money),
    #[error("nothing was taken that could be refunded")]
    NothingToRefund,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error("the books refuse it")]
    Ledger(#[from] LedgerError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl PaymentError {
    fn no_payment(id: PaymentId) -> Self {
        Self::NotFound { what: "payment", id: id.to_string() }
    }
}

/// The payment of an invoice with its attempts, if one was ever begun.
pub async fn find_of_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Option<Payment>, DbErr> {
    store::payments::find_of_invoice(db, tenant, invoice).await
}

/// The payment of an invoice, locked for the rest of the transaction: what it took can be given back.
pub async fn lock_of_invoice(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Payment, PaymentError> {
    let payment = store::payments::find_of_invoice_for_update(tx, tenant, invoice).await?;
    payment.filter(Payment::is_captured).ok_or(PaymentError::NothingToRefund)
}

/// Those of these invoices whose collection has begun, whatever came of it. Lock the invoices, and none begins.
pub async fn begun_for(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoices: &[InvoiceId],
) -> Result<Vec<InvoiceId>, DbErr> {
    let mut begun = Vec::new();
    for some in invoices.chunks(INVOICES_AT_ONCE) {
        let payments = store::payments::of_invoices(db, tenant, some).await?;
        begun.extend(payments.iter().map(|payment| payment.invoice_id));
    }
    Ok(begun)
}

/// What was taken for these invoices and has not gone back yet, payment by payment.
pub async fn taken_for(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoices: &[InvoiceId],
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    let mut taken = Vec::new();
    for some in invoices.chunks(INVOICES_AT_ONCE) {
        let payments = store::payments::of_invoices(db, tenant, some).await?;
        let captured = payments.iter().filter(|payment| payment.is_captured());
        taken.extend(captured.map(|payment| (payment.customer_id, payment.kept())));
    }
    Ok(taken)
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PaymentId,
) -> Result<Payment, PaymentError> {
    store::payments::find(db, tenant, id).await?.ok_or_else(|| PaymentError::no_payment(id))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: PaymentFilter,
    page: &PageQuery,
) -> Result<Vec<Payment>, PageError> {
    store::payments::list(db, tenant, filter, page).await
}

pub(super) async fn find_of_attempt(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    attempt: PaymentAttemptId,
) -> Result<Option<Payment>, DbErr> {
    store::payments::find_of_attempt(db, tenant, attempt).await
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
    let job = CollectPayment { invoice, reason: key.to_owned() };
    enqueue(tx, tenant, test_clock, at, format!("{invoice}:{key}"), &job).await
}

/// Has the invoice collected once somebody has mended what kept us from it, and says so: the job lies among the
/// dead with the reason.
async fn collect_by_hand(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    invoice: InvoiceId,
    (key, why): (&str, &str),
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let job = CollectPayment { invoice, reason: key.to_owned() };
    let error = format!("no retry can help: the gateway refuses the request: {why}");
    bury(tx, tenant, test_clock, at, format!("{invoice}:{key}"), (&job, &error)).await
}

/// The customer's default payment method, if there is one.
pub async fn default_method(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Option<PaymentMethod>, DbErr> {
    methods::default(db, tenant, customer).await
}
