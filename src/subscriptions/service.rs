//! The verbs of subscriptions.

use accrue_core::id::{CustomerId, SubscriptionId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::model::{Access, Subscription, Turn};
use crate::app::Scope;
use accrue_core::id::TestClockId;
use accrue_platform::db::Db;

/// Why a subscription cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error("subscription {0} does not exist")]
    NotFound(String),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// By identifier, or by the tenant's own name for it.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Subscription, SubscriptionError> {
    let _ = (db, tenant);
    Err(SubscriptionError::NotFound(reference.to_owned()))
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, SubscriptionError> {
    let _ = (db, tenant);
    Err(SubscriptionError::NotFound(id.to_string()))
}

/// Locks it for the rest of the transaction.
pub async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, SubscriptionError> {
    let _ = (tx, tenant);
    Err(SubscriptionError::NotFound(id.to_string()))
}

/// A customer's subscriptions that are not over at `now`, the oldest first.
pub async fn running_of_customer(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Subscription>, DbErr> {
    let _ = (db, tenant, customer);
    Ok(Vec::new())
}

/// Those whose next turn is due at `now`, of everybody in the scope: (tenant, subscription, due at), a page
/// of at most 500 after the given last one.
pub async fn due(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, SubscriptionId)>,
) -> Result<Vec<(TenantId, SubscriptionId, DateTime<Utc>)>, DbErr> {
    let _ = (db, scope, now, after);
    Ok(Vec::new())
}

/// When the next turn of a test clock's subscriptions is due.
pub async fn next_due(db: &Db, tenant: TenantId, clock: TestClockId) -> Result<Option<DateTime<Utc>>, DbErr> {
    let _ = (db, tenant, clock);
    Ok(None)
}

/// The turn has been billed in this transaction: moves on to the next one and tells what changed.
/// `now` is the customer's time.
pub async fn turn_done(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    subscription: &mut Subscription,
    turn: Turn,
) -> Result<(), SubscriptionError> {
    let _ = (tx, now, subscription, turn);
    Ok(())
}

/// What payment says about it: `PastDue` unless access is full (dunning calls this). Repeating changes nothing.
pub async fn set_access(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
    access: Access,
) -> Result<(), SubscriptionError> {
    let _ = (tx, now, tenant, id, access);
    Ok(())
}

/// Ends it now, for the reason that it was not paid. Repeating changes nothing.
pub async fn cancel_unpaid(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<(), SubscriptionError> {
    let _ = (tx, now, tenant, id);
    Ok(())
}
