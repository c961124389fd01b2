//! What others may hear of subscriptions.

use accrue_core::id::TenantId;
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::SubscriptionBody, model::Status};

const CREATED: &str = "subscription.created";
const ACTIVATED: &str = "subscription.activated";
const CHANGED: &str = "subscription.changed";
const PAST_DUE: &str = "subscription.past_due";
const PAUSED: &str = "subscription.paused";
const RESUMED: &str = "subscription.resumed";
const CANCELED: &str = "subscription.canceled";
const TRIAL_WILL_END: &str = "subscription.trial_will_end";

/// It was made; if it starts right away without a trial, it is active too.
pub(super) async fn created(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    body: &SubscriptionBody,
) -> Result<(), DbErr> {
    outbox::append(tx, now, tenant, fact(CREATED, body)).await?;
    if body.status == Status::Active {
        outbox::append(tx, now, tenant, fact(ACTIVATED, body)).await?;
    }
    Ok(())
}

/// Something of it that others can see is different now: one fact, named after the most important change.
pub(super) async fn changed(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    before: &SubscriptionBody,
    after: &SubscriptionBody,
) -> Result<(), DbErr> {
    if before == after {
        return Ok(());
    }
    let kind = kind(before.status, after.status);
    outbox::append(tx, now, tenant, fact(kind, after).changed_from(before)).await.map(drop)
}

/// The trial ends in three days or less, and the subscription goes on afterwards.
pub(super) async fn trial_will_end(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    body: &SubscriptionBody,
) -> Result<(), DbErr> {
    outbox::append(tx, now, tenant, fact(TRIAL_WILL_END, body)).await.map(drop)
}

fn fact(kind: &'static str, body: &SubscriptionBody) -> Fact {
    Fact::new(kind, body.id, body).of_customer(body.customer, body.test_clock)
}

fn kind(before: Status, after: Status) -> &'static str {
    match after {
        _ if before == after => CHANGED,
        Status::Pending | Status::Trialing => CHANGED,
        // Where payment failed meanwhile it goes on as past due.
        Status::Active | Status::PastDue if before == Status::Paused => RESUMED,
        Status::Active => ACTIVATED,
        Status::PastDue => PAST_DUE,
        Status::Paused => PAUSED,
        Status::Canceled => CANCELED,
    }
}
