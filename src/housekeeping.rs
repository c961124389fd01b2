//! What grows is cut back: answers of old requests.

use accrue_platform::{db::Db, idempotency, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::app::Upkeep;

/// Forgets answers that were kept for their Idempotency-Key long enough.
pub const UPKEEP: &[Upkeep] = &[Upkeep {
    schedule: Schedule { name: "housekeeping.answers", cron: "0 17 * * * *" },
    run: |db, now| Box::pin(forget_answers(db, now)),
}];

async fn forget_answers(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let tx = db.begin().await?;
    let forgotten = idempotency::purge(&tx, now).await?;
    tx.commit().await?;
    Ok(forgotten)
}
