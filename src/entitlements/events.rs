//! What others may know of entitlements.

use accrue_core::id::{TenantId, TestClockId};
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::body::EntitlementsBody;

/// What is granted is different now: everything that is, with its version (RULES 42).
pub(super) async fn updated(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    body: &EntitlementsBody,
) -> Result<(), DbErr> {
    let fact = Fact::new("entitlements.updated", body.customer, body).of_customer(body.customer, test_clock);
    outbox::append(tx, now, tenant, fact).await.map(drop)
}
