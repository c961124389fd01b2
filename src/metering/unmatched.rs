//! Telling what nothing counts: at most once an hour, so that a product that sends what it should not does not flood
//! anybody.

use accrue_core::id::TenantId;
use accrue_platform::{db::Db, gate::Gate};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{events as facts, model::start_of_hour, store::unmatched};
use crate::auth::Tenant;

/// Of the names, those with the most events are told first; the others in the next hours.
const TOLD_AT_ONCE: u64 = 100;
/// What was not seen for so long is forgotten.
const KEPT: TimeDelta = TimeDelta::days(90);

/// Tells a tenant what nothing counted since it was told last, unless it was told in this hour.
pub(super) async fn report(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
) -> Result<(), DbErr> {
    // Writers add to these counters: they end first, and none begins meanwhile.
    Gate::Usage.close(tx, tenant.id).await?;
    if !unmatched::begin_report(tx, tenant.id, start_of_hour(now)).await? {
        return Ok(());
    }
    let news = unmatched::take_untold(tx, tenant.id, TOLD_AT_ONCE).await?;
    facts::unmatched(tx, now, tenant, news).await
}

/// The tenants that have something to hear.
pub(super) async fn to_tell(db: &Db, now: DateTime<Utc>) -> Result<Vec<TenantId>, DbErr> {
    unmatched::due_reports(db.reader(), start_of_hour(now)).await
}

/// The hour in which a tenant is told what it has to hear, if there is something.
pub(super) async fn hour_to_tell(
    db: &Db,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let hour = start_of_hour(now);
    Ok(unmatched::is_report_due(db.reader(), tenant, hour).await?.then_some(hour))
}

/// Forgets what was not seen for long: names may be anything.
pub(super) async fn forget(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let tx = db.begin().await?;
    let forgotten = unmatched::forget(&tx, now - KEPT).await?;
    tx.commit().await?;
    Ok(forgotten)
}
