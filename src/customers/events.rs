//! What others may know of customers.

use accrue_core::id::EventId;
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::CustomerBody, model::Customer};

pub(super) async fn created(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    customer: &Customer,
    livemode: bool,
) -> Result<EventId, DbErr> {
    let body = CustomerBody::new(customer.clone(), livemode);
    let fact =
        Fact::new("customer.created", customer.id, &body).of_customer(customer.id, customer.test_clock_id);
    outbox::append(tx, now, customer.tenant_id, fact).await
}

pub(super) async fn updated(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    before: &Customer,
    after: &Customer,
    livemode: bool,
) -> Result<EventId, DbErr> {
    let body = CustomerBody::new(after.clone(), livemode);
    let fact = Fact::new("customer.updated", after.id, &body)
        .of_customer(after.id, after.test_clock_id)
        .changed_from(&CustomerBody::new(before.clone(), livemode));
    outbox::append(tx, now, after.tenant_id, fact).await
}
