//! The gateway's own ledger: every movement of money, and what tests count. No merchant can write here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, SqliteConnection, query, query_as};

use crate::{
    Sandbox,
    error::SandboxError,
    model::{Charge, Entry, EntryKind},
};

impl Sandbox {
    /// What the gateway holds for the merchant, in minor units per currency.
    pub async fn balances(&self) -> Result<BTreeMap<String, i64>, SandboxError> {
        let balances: Vec<(String, i64)> =
            query_as("select currency, sum(amount_minor) from entries group by currency")
                .fetch_all(&self.readers)
                .await?;
        Ok(balances.into_iter().collect())
    }

    /// All charges that took money, oldest first, also those since refunded or disputed.
    pub async fn succeeded(&self) -> Result<Vec<Charge>, SandboxError> {
        let charges = query_as("select * from charge_facts where status = 'succeeded' order by id")
            .fetch_all(&self.readers)
            .await?;
        Ok(charges)
    }

    /// The movements of money in [`since`, `until`), oldest first: what a settlement report says.
    pub async fn entries(
        &self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Entry>, SandboxError> {
        let entries = query_as(
            "select * from entries where created_at >= ? and created_at < ? order by created_at, id",
        )
        .bind(since.timestamp_micros())
        .bind(until.timestamp_micros())
        .fetch_all(&self.readers)
        .await?;
        Ok(entries)
    }
}

/// Takes the money of a charge: on the charge and in the ledger, together.
pub(crate) async fn take(
    tx: &mut SqliteConnection,
    charge: &str,
    amount_minor: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    query("update charges set captured_minor = ? where reference = ?")
        .bind(amount_minor)
        .bind(charge)
        .execute(&mut *tx)
        .await?;
    post(tx, EntryKind::Capture, charge, None, amount_minor, now).await
}

/// Writes one entry, in the charge's currency. `amount_minor` is above zero if the merchant receives it.
pub(crate) async fn post(
    tx: &mut SqliteConnection,
    kind: EntryKind,
    charge: &str,
    refund: Option<&str>,
    amount_minor: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    query(
        "insert into entries (kind, charge, refund, amount_minor, currency, created_at) \
         select ?, reference, ?, ?, currency, ? from charges where reference = ?",
    )
    .bind(kind.to_string())
    .bind(refund)
    .bind(amount_minor)
    .bind(now.timestamp_micros())
    .bind(charge)
    .execute(tx)
    .await?;
    Ok(())
}
