//! The verbs of test clocks.

use accrue_core::{
    clock::Clock,
    id::{TenantId, TestClockId},
};
use accrue_platform::{
    check::Metadata,
    outbox,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    jobs::DeleteCustomers,
    model::{Advance, AdvanceError, Moving, TestClock},
    store,
};
use crate::{app::enqueue, auth::Tenant};

/// Why a test clock cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error("test clock {0} does not exist")]
    NotFound(String),
    #[error("live mode goes by the real time")]
    LiveMode,
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    #[error(transparent)]
    Moving(#[from] Moving),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What time it is for somebody who may hang on a test clock.
pub async fn now_of(
    db: &impl ConnectionTrait,
    clock: &dyn Clock,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
) -> Result<DateTime<Utc>, DbErr> {
    let Some(id) = test_clock else { return Ok(clock.now()) };
    let found = store::find(db, tenant, id).await?;
    found.map(|clock| clock.now_at).ok_or_else(|| DbErr::RecordNotFound(id.to_string()))
}

/// The test clock that a body names, if it names one, for a customer to hang on: it stays until the transaction ends.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    reference: Option<&str>,
) -> Result<Option<TestClockId>, ClockError> {
    let Some(reference) = reference else { return Ok(None) };
    if tenant.livemode {
        return Err(ClockError::LiveMode);
    }
    let not_found = || ClockError::NotFound(reference.to_owned());
    let id = reference.parse().map_err(|_| not_found())?;
    let found = store::find_to_hang_on(db, tenant.id, id).await?;
    found.filter(|clock| clock.deleted_at.is_none()).map(|clock| Some(clock.id)).ok_or_else(not_found)
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: TestClockId,
) -> Result<TestClock, ClockError> {
    let found = store::find(db, tenant, id).await?.filter(|clock| clock.deleted_at.is_none());
    found.ok_or_else(|| ClockError::NotFound(id.to_string()))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<TestClock>, PageError> {
    store::list(db, tenant, page).await
}

/// Makes a clock that stands at `now_at`; `wall` is the real time.
pub(super) async fn create(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: &Tenant,
    name: String,
    now_at: DateTime<Utc>,
    metadata: Metadata,
) -> Result<TestClock, ClockError> {
    if tenant.livemode {
        return Err(ClockError::LiveMode);
    }
    let id = TestClockId::new(wall);
    let clock = TestClock {
        tenant_id: tenant.id,
        id,
        name,
        now_at,
        advancing: None,
        metadata,
        created_at: wall,
        deleted_at: None,
    };
    store::insert(tx, &clock).await?;
    Ok(clock)
}

/// The clock is gone from now on; its customers are deleted by a job. Deleting twice is the same as deleting once.
pub(super) async fn delete(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    id: TestClockId,
) -> Result<(), ClockError> {
    let found = store::find_for_update(tx, tenant, id).await?;
    let mut clock = found.ok_or_else(|| ClockError::NotFound(id.to_string()))?;
    if clock.delete(wall)? {
        store::save(tx, &clock).await?;
        enqueue(tx, tenant, None, wall, id, &DeleteCustomers { clock: id }).await?;
    }
    Ok(())
}

/// Begins a movement, or joins the one that is under way.
pub(super) async fn begin_advance(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
    to: DateTime<Utc>,
) -> Result<Advance, ClockError> {
    let since = outbox::next_sequence(tx, tenant).await?;
    let mut clock = get_for_update(tx, tenant, id).await?;
    let advance = clock.begin(to, since)?;
    store::save(tx, &clock).await?;
    Ok(advance)
}

/// Moves the hands. Never backwards: another process may have been further.
pub(super) async fn set_now(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
    now: DateTime<Utc>,
) -> Result<(), ClockError> {
    let mut clock = get_for_update(tx, tenant, id).await?;
    clock.now_at = clock.now_at.max(now);
    Ok(store::save(tx, &clock).await?)
}

/// The movement has arrived: the clock rests.
pub(super) async fn end_advance(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
) -> Result<(), ClockError> {
    let mut clock = get_for_update(tx, tenant, id).await?;
    if let Some(advance) = clock.advancing.take() {
        clock.now_at = clock.now_at.max(advance.to);
        store::save(tx, &clock).await?;
    }
    Ok(())
}

/// The tenants with clocks whose movement has not arrived.
pub(super) async fn tenants_with_advancing(db: &impl ConnectionTrait) -> Result<Vec<TenantId>, DbErr> {
    store::tenants_with_advancing(db).await
}

/// A tenant's clocks whose movement has not arrived.
pub(super) async fn advancing(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<TestClock>, DbErr> {
    store::advancing(db, tenant).await
}

async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
) -> Result<TestClock, ClockError> {
    let found = store::find_for_update(tx, tenant, id).await?.filter(|clock| clock.deleted_at.is_none());
    found.ok_or_else(|| ClockError::NotFound(id.to_string()))
}
