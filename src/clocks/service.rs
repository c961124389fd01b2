//! The verbs of test clocks.

use accrue_core::{
    clock::Clock,
    id::{TenantId, TestClockId},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr};

/// What time it is for somebody who may hang on a test clock.
pub async fn now_of(
    db: &impl ConnectionTrait,
    clock: &dyn Clock,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
) -> Result<DateTime<Utc>, DbErr> {
    let _ = (db, tenant, test_clock);
    Ok(clock.now())
}
