//! The life of a delivery: one event on its way to one endpoint.

use accrue_core::id::{DeliveryAttemptId, DeliveryId, EventId, TenantId, WebhookEndpointId};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is waited before each attempt after the first one: 75 hours in all.
pub(super) const WAITS: [TimeDelta; 9] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(14),
    TimeDelta::hours(20),
    TimeDelta::hours(24),
];

/// A receiver may ask to be left alone for so long, and no longer.
const RETRY_AFTER_MAX: TimeDelta = TimeDelta::days(1);

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::webhooks) struct Delivery {
    pub tenant_id: TenantId,
    pub id: DeliveryId,
    pub endpoint_id: WebhookEndpointId,
    pub event_id: EventId,
    pub event_type: String,
    pub status: DeliveryStatus,
    /// How many attempts have been made.
    pub attempts: i32,
    /// By the real time, but for the first attempt for somebody on a test clock; only while it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Where a delivery is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(in crate::webhooks) enum DeliveryStatus {
    /// An attempt is due, now or later.
    Pending,
    /// The endpoint answered 2xx.
    Succeeded,
    /// Every attempt failed.
    Exhausted,
    /// The endpoint was disabled or deleted, or is gone.
    Canceled,
}

/// What can happen to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub(in crate::webhooks) enum Happening {
    Delivered,
    /// And more attempts are left.
    Failed,
    FailedForTheLastTime,
    EndpointOff,
    /// Somebody asks for one more attempt.
    Retried,
}

/// A delivery in this state cannot do that.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from:?} takes no {by:?}")]
pub(in crate::webhooks) struct IllegalTransition {
    pub from: DeliveryStatus,
    pub by: Happening,
}

/// One attempt, as it went. Attempts are made in the real world: their times are the wall clock's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::webhooks) struct Attempt {
    pub id: DeliveryAttemptId,
    pub answered: Option<Answered>,
    /// Why there was no answer, in words for the tenant.
    pub error: Option<String>,
    pub duration_ms: i64,
    pub created_at: DateTime<Utc>,
}

/// What the endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::webhooks) struct Answered {
    pub status: u16,
    /// Its beginning.
    pub body: String,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<TimeDelta>,
}

/// What an attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::webhooks) enum Verdict {
    Success,
    Failure,
    /// The endpoint does not want to hear anything any more.
    Gone,
}

impl Attempt {
    /// 2xx is success; a redirect is a failure, since nobody checked where it leads.
    pub fn verdict(&self) -> Verdict {
        match self.answered.as_ref().map(|answered| answered.status) {
            Some(200..=299) => Verdict::Success,
            Some(410) => Verdict::Gone,
            _ => Verdict::Failure,
        }
    }
}

impl DeliveryStatus {
    /// The whole life of a delivery. Every arrow is in the snapshot below.
    pub fn on(self, happening: Happening) -> Result<Self, IllegalTransition> {
        use DeliveryStatus::*;

        match (self, happening) {
            (Pending, Happening::Delivered) => Ok(Succeeded),
            (Pending, Happening::FailedForTheLastTime) => Ok(Exhausted),
            (Pending, Happening::EndpointOff) => Ok(Canceled),
            (Pending, Happening::Failed)
            | (Pending | Succeeded | Exhausted | Canceled, Happening::Retried) => Ok(Pending),
            (from, by) => Err(IllegalTransition { from, by }),
        }
    }
}

impl Delivery {
    /// The number that the next attempt will have; the first has 1.
    pub fn next_position(&self) -> i32 {
        self.attempts + 1
    }

    /// Counts an attempt and decides what follows. Attempts are repeated by the real time, whoever's they are.
    pub fn attempted(&mut self, attempt: &Attempt, wall: DateTime<Utc>) -> Result<(), IllegalTransition> {
        self.attempts += 1;
        let wait = wait_after(self.id, self.attempts);
        let happening = match (attempt.verdict(), wait) {
            (Verdict::Success, _) => Happening::Delivered,
            (Verdict::Gone, _) => Happening::EndpointOff,
            (Verdict::Failure, Some(_)) => Happening::Failed,
            (Verdict::Failure, None) => Happening::FailedForTheLastTime,
        };
        self.status = self.status.on(happening)?;
        let asked = attempt.answered.as_ref().and_then(|answered| answered.retry_after);
        self.next_attempt_at =
            wait.filter(|_| self.status == DeliveryStatus::Pending).map(|wait| wall + at_least(wait, asked));
        Ok(())
    }

    /// Nothing more is sent.
    pub fn cancel(&mut self) -> Result<(), IllegalTransition> {
        self.status = self.status.on(Happening::EndpointOff)?;
        self.next_attempt_at = None;
        Ok(())
    }

    /// One more attempt, now: also of what was delivered already.
    pub fn retry(&mut self, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
        self.status = self.status.on(Happening::Retried)?;
        self.next_attempt_at = Some(now);
        Ok(())
    }
}

/// The longer of our wait and what the endpoint asked for within bounds.
fn at_least(wait: TimeDelta, asked: Option<TimeDelta>) -> TimeDelta {
    asked.map_or(wait, |asked| wait.max(asked.min(RETRY_AFTER_MAX)))
}

/// What is waited after so many failed attempts, give or take 20 %; `None` after the last.
///
/// The deliveries that failed together do not come back together; one delivery's waits never change.
pub(super) fn wait_after(delivery: DeliveryId, attempts: i32) -> Option<TimeDelta> {
    let step = usize::try_from(attempts - 1).ok()?;
    let wait = WAITS.get(step)?;
    let digest = Sha256::new().chain_update(delivery.0).chain_update(attempts.to_be_bytes()).finalize();
    let chance = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let per_mille = 800 + chance * 400 / i64::from(u16::MAX);
    Some(TimeDelta::milliseconds(wait.num_milliseconds() * per_mille / 1000))
}
