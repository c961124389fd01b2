//! Charging a card: once per idempotency key, with the behaviour of the card's token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, SqliteConnection, query, query_as, query_scalar};

use crate::{
    Sandbox,
    answers::{Asked, to_json},
    cards::{self, Behaviour, Verdict},
    disputes,
    error::SandboxError,
    ledger, lookup,
    model::{Charge, ChargeRequest, ChargeStatus},
    new_reference, pause,
};

/// The card on file that a charge goes to.
struct Target {
    customer: String,
    behaviour: Behaviour,
}

impl Sandbox {
    /// Charges a card. A decline is a result, and is final for its key; a repeated key gets the first answer.
    pub async fn charge(&self, request: &ChargeRequest, now: DateTime<Utc>) -> Result<Charge, SandboxError> {
        let outcome = self.accept(request, now).await;
        match outcome {
            Ok((charge, delay)) => {
                pause(delay).await;
                Ok(charge)
            }
            Err(error) => {
                self.travel().await;
                Err(error)
            }
        }
    }

    /// The answer, and how long it takes to arrive.
    async fn accept(
        &self,
        request: &ChargeRequest,
        now: DateTime<Utc>,
    ) -> Result<(Charge, Duration), SandboxError> {
        validate(request)?;
        let asked = Asked::new("charge", &request.idempotency_key, request)?;

        let mut tx = self.write().await?;
        if let Some(charge) = asked.answered(&mut tx).await? {
            return Ok((charge, self.delay));
        }
        let target = find_target(&mut tx, &request.method).await?;
        refuse(target.behaviour)?;
        if target.behaviour == Behaviour::TimeoutBeforeAccept && asked.is_lost(&mut tx).await? {
            tx.commit().await?;
            return Err(SandboxError::Timeout);
        }

        let reference = insert(&mut tx, request, &target, now).await?;
        let charge = lookup::get(&mut tx, &reference).await?;
        asked.answer(&mut tx, &charge).await?;
        // After the answer, as in life: the merchant learns of a dispute only by looking again.
        if charge.status == ChargeStatus::Succeeded {
            disputes::open_if_contested(&mut tx, &reference, now).await?;
        }
        tx.commit().await?;

        if target.behaviour == Behaviour::TimeoutAfterAccept {
            return Err(SandboxError::Timeout);
        }
        let slow = target.behaviour == Behaviour::Slow;
        Ok((charge, if slow { self.slow_delay.max(self.delay) } else { self.delay }))
    }
}

fn validate(request: &ChargeRequest) -> Result<(), SandboxError> {
    let complaint = if request.amount_minor <= 0 {
        "the amount is not above zero"
    } else if request.currency.len() != 3 || !request.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        "the currency is not three capital letters"
    } else {
        return Ok(());
    };
    Err(SandboxError::InvalidRequest(complaint.to_owned()))
}

/// Cards that never let a charge come about.
fn refuse(behaviour: Behaviour) -> Result<(), SandboxError> {
    match behaviour {
        Behaviour::Unavailable => Err(SandboxError::Unavailable),
        Behaviour::InvalidRequest => {
            Err(SandboxError::InvalidRequest("this card refuses every request".to_owned()))
        }
        Behaviour::Approve
        | Behaviour::Decline(_)
        | Behaviour::DeclineFirst { .. }
        | Behaviour::RequireAction
        | Behaviour::TimeoutAfterAccept
        | Behaviour::TimeoutBeforeAccept
        | Behaviour::Slow
        | Behaviour::Pending
        | Behaviour::Dispute => Ok(()),
    }
}

async fn find_target(tx: &mut SqliteConnection, method: &str) -> Result<Target, SandboxError> {
    let (customer, token): (String, String) =
        query_as("select customer, token from methods where reference = ?")
            .bind(method)
            .fetch_optional(tx)
            .await?
            .ok_or_else(|| SandboxError::not_found("method", method))?;
    let card = cards::find(&token).ok_or(SandboxError::UnknownToken(token))?;
    Ok(Target { customer, behaviour: card.behaviour })
}

/// Counts the attempt: the method's charge number so and so, from 1.
async fn count(tx: &mut SqliteConnection, method: &str) -> Result<i64, sqlx::Error> {
    query_scalar("update methods set attempts = attempts + 1 where reference = ? returning attempts")
        .bind(method)
        .fetch_one(tx)
        .await
}

async fn insert(
    tx: &mut SqliteConnection,
    request: &ChargeRequest,
    target: &Target,
    now: DateTime<Utc>,
) -> Result<String, sqlx::Error> {
    let attempt = count(tx, &request.method).await?;
    let (status, decline_code) = match target.behaviour.verdict(attempt, request.off_session) {
        Verdict::Approve => (ChargeStatus::approved(request.capture), None),
        Verdict::Decline(code) => (ChargeStatus::Declined, Some(code)),
        Verdict::RequireAction => (ChargeStatus::RequiresAction, None),
        Verdict::Pending => (ChargeStatus::Pending, None),
    };
    let reference = new_reference("ch");
    query(
        "insert into charges (reference, idempotency_key, customer, method, amount_minor, currency, capture, \
         off_session, status, decline_code, metadata, created_at, updated_at) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&reference)
    .bind(&request.idempotency_key)
    .bind(&target.customer)
    .bind(&request.method)
    .bind(request.amount_minor)
    .bind(&request.currency)
    .bind(request.capture)
    .bind(request.off_session)
    .bind(status.to_string())
    .bind(decline_code)
    .bind(to_json(&request.metadata))
    .bind(now.timestamp_micros())
    .bind(now.timestamp_micros())
    .execute(&mut *tx)
    .await?;
    if status == ChargeStatus::Succeeded {
        ledger::take(tx, &reference, request.amount_minor, now).await?;
    }
    Ok(reference)
}
