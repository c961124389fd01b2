//! What happens to a charge after its first answer: the merchant captures or cancels, the customer passes
//! the bank's check or does not, the bank settles. A repeated step is answered as the first.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::query;

use crate::{
    Sandbox, cards, disputes,
    error::SandboxError,
    ledger, lookup,
    model::{Charge, ChargeStatus, Step},
};

impl Sandbox {
    /// Takes all or a part of an authorized amount, once; the rest is released.
    pub async fn capture(
        &self,
        charge: &str,
        amount_minor: i64,
        now: DateTime<Utc>,
    ) -> Result<Charge, SandboxError> {
        let captured = self.step(charge, Step::Capture, Some(amount_minor), now).await;
        self.travel().await;
        captured
    }

    /// Gives up a charge before any money was taken.
    pub async fn cancel(&self, charge: &str, now: DateTime<Utc>) -> Result<Charge, SandboxError> {
        let canceled = self.step(charge, Step::Cancel, None, now).await;
        self.travel().await;
        canceled
    }

    /// The customer passes the bank's check (3-D Secure).
    pub async fn complete_action(&self, charge: &str, now: DateTime<Utc>) -> Result<Charge, SandboxError> {
        self.step(charge, Step::CompleteAction, None, now).await
    }

    /// The customer does not pass the bank's check: declined as `authentication_failed`.
    pub async fn fail_action(&self, charge: &str, now: DateTime<Utc>) -> Result<Charge, SandboxError> {
        self.step(charge, Step::FailAction, None, now).await
    }

    /// The bank decides about a pending charge: it pays, or declines as `insufficient_funds`.
    pub async fn settle(
        &self,
        charge: &str,
        succeed: bool,
        now: DateTime<Utc>,
    ) -> Result<Charge, SandboxError> {
        let step = if succeed { Step::SettlePaid } else { Step::SettleUnpaid };
        self.step(charge, step, None, now).await
    }

    /// `amount_minor`: what is taken if this step takes money; the whole amount if absent.
    async fn step(
        &self,
        reference: &str,
        step: Step,
        amount_minor: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Charge, SandboxError> {
        let mut tx = self.write().await?;
        let charge = lookup::get(&mut tx, reference).await?;
        let status = charge.status.on(step, charge.capture)?;
        let taken_minor = amount_minor.unwrap_or(charge.amount_minor);
        if status == charge.status {
            return repeated(charge, amount_minor);
        }
        if taken_minor <= 0 || taken_minor > charge.amount_minor {
            let limits = format!("1 to {} can be captured, not {taken_minor}", charge.amount_minor);
            return Err(SandboxError::InvalidRequest(limits));
        }

        query("update charges set status = ?, decline_code = ?, updated_at = ? where reference = ?")
            .bind(status.to_string())
            .bind(decline_code(step))
            .bind(now.timestamp_micros())
            .bind(reference)
            .execute(&mut *tx)
            .await?;
        if status == ChargeStatus::Succeeded {
            ledger::take(&mut tx, reference, taken_minor, now).await?;
            disputes::open_if_contested(&mut tx, reference, now).await?;
        }
        let charge = lookup::get(&mut tx, reference).await?;
        tx.commit().await?;
        Ok(charge)
    }
}

/// Capturing again is the same capture only if the amount is.
fn repeated(charge: Charge, amount_minor: Option<i64>) -> Result<Charge, SandboxError> {
    match amount_minor {
        Some(other) if other != charge.captured_minor => {
            let done = format!("{} was captured, not {other}", charge.captured_minor);
            Err(SandboxError::InvalidRequest(done))
        }
        _ => Ok(charge),
    }
}

fn decline_code(step: Step) -> Option<&'static str> {
    match step {
        Step::FailAction => Some(cards::AUTHENTICATION_FAILED),
        Step::SettleUnpaid => Some(cards::INSUFFICIENT_FUNDS),
        Step::CompleteAction | Step::SettlePaid | Step::Capture | Step::Cancel => None,
    }
}
