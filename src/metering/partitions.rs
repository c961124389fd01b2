//! Partitions for the months to come, so that events never wait for one (decision 0024).

use accrue_platform::db::Db;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use super::{model::Month, store::partitions};

/// How many months after the current one have a partition.
const AHEAD: u32 = 3;

/// Makes the partitions of this month and of the next ones that are missing, and says how many these were.
///
/// Each has a transaction of its own, because it stops readers of the default partition while it is being made.
pub async fn make_ahead(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let missing = partitions::missing(db, months(now, AHEAD)).await?;
    for month in &missing {
        let tx = db.begin_alone().await?;
        partitions::make(&tx, *month, *month <= Month::of(now)).await?;
        tx.commit().await?;
    }
    Ok(missing.len() as u64)
}

/// The months among this one and the next that have no partition.
pub async fn missing(db: &Db, now: DateTime<Utc>) -> Result<Vec<Month>, DbErr> {
    partitions::missing(db, months(now, 1)).await
}

fn months(now: DateTime<Utc>, ahead: u32) -> Vec<Month> {
    (0..=ahead).map(|months| Month::of(now).plus(months)).collect()
}
