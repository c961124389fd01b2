//! Telling what nothing counts: at most once an hour, so that a product that sends what it should not does not flood
//! anybody.

use accrue_platform::{db::Db, gate::Gate};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{events as facts, jobs, model::start_of_hour, store::unmatched};
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

/// Finds the tenants that have something to hear.
pub(super) async fn sweep(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let hour = start_of_hour(now);
    let due = unmatched::due_reports(db.reader(), hour).await?;
    let tx = db.begin().await?;
    for tenant in &due {
        jobs::report_later(&tx, now, *tenant, hour).await?;
    }
    tx.commit().await?;
    Ok(due.len() as u64)
}

/// Forgets what was not seen for long: names may be anything.
pub(super) async fn forget(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let tx = db.begin().await?;
    let forgotten = unmatched::forget(&tx, now - KEPT).await?;
    tx.commit().await?;
    Ok(forgotten)
}
