//! What payments tell others.

use accrue_core::id::TestClockId;
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    body::{PaymentBody, PaymentMethodBody, RefundBody},
    model::{Payment, Refund},
};
use crate::auth::Tenant;

pub(super) const CAPTURED: &str = "payment.captured";
pub(super) const FAILED: &str = "payment.failed";
pub(super) const REQUIRES_ACTION: &str = "payment.requires_action";
pub(super) const PENDING: &str = "payment.pending";
pub(super) const CANCELED: &str = "payment.canceled";
pub(super) const REFUNDED: &str = "payment.refunded";
pub(super) const REFUND_FAILED: &str = "refund.failed";
pub(super) const METHOD_ATTACHED: &str = "customer.payment_method_attached";
pub(super) const METHOD_DETACHED: &str = "customer.payment_method_detached";

/// Tells what happened to a payment; `before` is the payment as it was.
pub(super) async fn tell(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    kind: &'static str,
    payment: &Payment,
    before: &Payment,
) -> Result<(), DbErr> {
    let fact = Fact::new(kind, payment.id, &PaymentBody::new(payment, tenant.livemode))
        .of_customer(payment.customer_id, payment.test_clock_id)
        .changed_from(&PaymentBody::new(before, tenant.livemode));
    outbox::append(tx, now, tenant.id, fact).await.map(drop)
}

/// Tells that money did not go back.
pub(super) async fn tell_of_refund(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    refund: &Refund,
    payment: &Payment,
) -> Result<(), DbErr> {
    let fact = Fact::new(REFUND_FAILED, refund.id, &RefundBody::new(refund, tenant.livemode))
        .of_customer(payment.customer_id, payment.test_clock_id);
    outbox::append(tx, now, tenant.id, fact).await.map(drop)
}

/// Tells what happened to a payment method.
pub(super) async fn tell_of_method(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    kind: &'static str,
    method: &PaymentMethodBody,
    test_clock: Option<TestClockId>,
) -> Result<(), DbErr> {
    let fact = Fact::new(kind, method.id, method).of_customer(method.customer, test_clock);
    outbox::append(tx, now, tenant.id, fact).await.map(drop)
}
