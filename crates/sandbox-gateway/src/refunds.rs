//! Giving money back: once per idempotency key, never more than was captured.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{query, query_as};

use crate::{
    Sandbox,
    answers::{Asked, to_json},
    error::SandboxError,
    ledger, lookup,
    model::{Charge, DisputeStatus, EntryKind, Refund, RefundRequest},
    new_reference,
};

impl Sandbox {
    /// Gives money back at once. Several partial refunds may add up to the captured amount.
    pub async fn refund(&self, request: &RefundRequest, now: DateTime<Utc>) -> Result<Refund, SandboxError> {
        let refunded = self.give_back(request, now).await;
        self.travel().await;
        refunded
    }

    /// The refund made with this key, if there is one: what to ask after a timeout.
    pub async fn find_refund_by_idempotency_key(&self, key: &str) -> Result<Option<Refund>, SandboxError> {
        let refund = query_as("select * from refunds where idempotency_key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        self.travel().await;
        Ok(refund)
    }

    async fn give_back(&self, request: &RefundRequest, now: DateTime<Utc>) -> Result<Refund, SandboxError> {
        let asked = Asked::new("refund", &request.idempotency_key, request)?;

        let mut tx = self.write().await?;
        if let Some(refund) = asked.answered(&mut tx).await? {
            return Ok(refund);
        }
        let charge = lookup::get(&mut tx, &request.charge).await?;
        check(request, &charge)?;

        let refund: Refund = query_as(
            "insert into refunds (reference, idempotency_key, charge, amount_minor, currency, metadata, created_at) \
             values (?, ?, ?, ?, ?, ?, ?) returning *",
        )
        .bind(new_reference("re"))
        .bind(&request.idempotency_key)
        .bind(&charge.reference)
        .bind(request.amount_minor)
        .bind(&charge.currency)
        .bind(to_json(&request.metadata))
        .bind(now.timestamp_micros())
        .fetch_one(&mut *tx)
        .await?;
        query("update charges set refunded_minor = refunded_minor + ?, updated_at = ? where reference = ?")
            .bind(request.amount_minor)
            .bind(now.timestamp_micros())
            .bind(&charge.reference)
            .execute(&mut *tx)
            .await?;
        let back_minor = -request.amount_minor;
        ledger::post(&mut tx, EntryKind::Refund, &charge.reference, Some(&refund.reference), back_minor, now)
            .await?;
        asked.answer(&mut tx, &refund).await?;
        tx.commit().await?;
        Ok(refund)
    }
}

fn check(request: &RefundRequest, charge: &Charge) -> Result<(), SandboxError> {
    if request.amount_minor <= 0 {
        return Err(SandboxError::InvalidRequest("the amount is not above zero".to_owned()));
    }
    if charge.dispute.as_ref().is_some_and(|dispute| dispute.status != DisputeStatus::Won) {
        return Err(SandboxError::Disputed);
    }
    let available_minor = charge.captured_minor - charge.refunded_minor;
    if request.amount_minor > available_minor {
        return Err(SandboxError::RefundTooLarge { requested_minor: request.amount_minor, available_minor });
    }
    Ok(())
}
