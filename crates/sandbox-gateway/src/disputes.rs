//! Disputes: opened by the cardholder's bank, which takes the money back until it has decided.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, SqliteConnection, query, query_as};

use crate::{
    Sandbox,
    cards::{self, Behaviour},
    error::SandboxError,
    ledger, lookup,
    model::{Charge, DisputeStatus, EntryKind},
    new_reference,
};

impl Sandbox {
    /// The bank decides an open dispute: the merchant wins and has the money again, or loses for good.
    ///
    /// A decided dispute stays as it is, whatever is asked.
    pub async fn close_dispute(
        &self,
        charge: &str,
        won: bool,
        now: DateTime<Utc>,
    ) -> Result<Charge, SandboxError> {
        let mut tx = self.write().await?;
        let disputed = lookup::get(&mut tx, charge).await?;
        let Some(dispute) = &disputed.dispute else {
            return Err(SandboxError::not_found("dispute", charge));
        };
        if dispute.status != DisputeStatus::Open {
            return Ok(disputed);
        }

        let status = if won { DisputeStatus::Won } else { DisputeStatus::Lost };
        query("update disputes set status = ? where reference = ?")
            .bind(status.to_string())
            .bind(&dispute.reference)
            .execute(&mut *tx)
            .await?;
        touch(&mut tx, charge, now).await?;
        if won {
            ledger::post(&mut tx, EntryKind::DisputeWon, charge, None, dispute.amount_minor, now).await?;
        }
        let closed = lookup::get(&mut tx, charge).await?;
        tx.commit().await?;
        Ok(closed)
    }
}

/// Contests all that was captured, if the card's holder does that.
pub(crate) async fn open_if_contested(
    tx: &mut SqliteConnection,
    charge: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (token, captured_minor): (String, i64) = query_as(
        "select token, captured_minor from charges join methods on methods.reference = charges.method \
         where charges.reference = ?",
    )
    .bind(charge)
    .fetch_one(&mut *tx)
    .await?;
    if cards::find(&token).is_none_or(|card| card.behaviour != Behaviour::Dispute) {
        return Ok(());
    }

    query(
        "insert into disputes (reference, charge, amount_minor, reason, status, opened_at) \
         values (?, ?, ?, 'fraudulent', ?, ?)",
    )
    .bind(new_reference("dp"))
    .bind(charge)
    .bind(captured_minor)
    .bind(DisputeStatus::Open.to_string())
    .bind(now.timestamp_micros())
    .execute(&mut *tx)
    .await?;
    touch(tx, charge, now).await?;
    ledger::post(tx, EntryKind::Dispute, charge, None, -captured_minor, now).await
}

async fn touch(tx: &mut SqliteConnection, charge: &str, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    query("update charges set updated_at = ? where reference = ?")
        .bind(now.timestamp_micros())
        .bind(charge)
        .execute(tx)
        .await?;
    Ok(())
}
