//! One try at a gateway, and its life.

use accrue_core::{
    id::{PaymentAttemptId, PaymentId, PaymentMethodId},
    money::Money,
};
use accrue_platform::gateway::Verdict;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{DeclineClass, IllegalTransition, Outcome, PATIENCE};
use crate::payments::decline;

/// One try at a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentAttempt {
    pub id: PaymentAttemptId,
    pub payment_id: PaymentId,
    pub payment_method_id: PaymentMethodId,
    /// 1 for the payment's first.
    pub position: i32,
    /// Why it was made: `finalized`, `dunning:3`, `method:pm_…`, `request:…`. One reason makes one attempt;
    /// one in which nothing happened does not count.
    pub reason: String,
    /// Did the program try by itself? Only such attempts move the position in dunning (RULES 46).
    pub automatic: bool,
    pub gateway: String,
    /// The card as it was then.
    pub brand: String,
    pub last4: String,
    pub status: AttemptStatus,
    pub amount: Money,
    pub idempotency_key: String,
    pub gateway_reference: Option<String>,
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// How often the gateway was asked for the outcome.
    pub look_ups: i32,
    /// When the gateway is asked next; `None` once the outcome is known.
    pub look_up_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What became of an attempt.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Committed before the gateway is called.
    Started,
    Succeeded,
    Declined,
    Pending,
    /// The gateway did not answer in time: it is asked before anything else is tried (RULES 43).
    Unknown,
    /// The gateway refused our request, or was out of reach: nothing happened.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub(super) enum AttemptEvent {
    Succeeded,
    Declined,
    Accepted,
    Unanswered,
    NotTaken,
    /// It came to nothing, and its call is made once more.
    TriedAgain,
}

impl AttemptStatus {
    /// The whole life of an attempt. Once money was taken or refused nothing moves it.
    pub(super) fn on(self, event: AttemptEvent) -> Result<Self, IllegalTransition> {
        use AttemptStatus::*;

        match (self, event) {
            (Started | Unknown | Pending, AttemptEvent::Succeeded) => Ok(Succeeded),
            (Started | Unknown | Pending, AttemptEvent::Declined) => Ok(Declined),
            (Started | Unknown | Pending, AttemptEvent::Accepted) | (Pending, AttemptEvent::Unanswered) => {
                Ok(Pending)
            }
            (Started | Unknown, AttemptEvent::Unanswered) => Ok(Unknown),
            (Started | Unknown, AttemptEvent::NotTaken) => Ok(Error),
            (Error, AttemptEvent::TriedAgain) => Ok(Started),
            (from, by) => Err(IllegalTransition::new("payment attempt", from, by)),
        }
    }

    /// Is the outcome known?
    pub fn is_settled(self) -> bool {
        match self {
            Self::Started | Self::Pending | Self::Unknown => false,
            Self::Succeeded | Self::Declined | Self::Error => true,
        }
    }
}

impl PaymentAttempt {
    /// Does it use up its reason? One in which nothing happened, or that failed by our fault, does not.
    pub fn counts(&self) -> bool {
        self.status != AttemptStatus::Error && self.decline_class != Some(DeclineClass::OurFault)
    }

    /// Did nothing happen because the gateway was out of reach? Then the same call, with the same key, is made
    /// again: an outage leaves one attempt, however long it lasts.
    fn waits_for_the_gateway(&self) -> bool {
        self.status == AttemptStatus::Error && self.decline_class.is_none()
    }

    /// Is it the call that `reason` would make by this method? Begins it once more if it came to nothing.
    pub(super) fn try_again(
        &mut self,
        reason: &str,
        (method, amount): (PaymentMethodId, Money),
        now: DateTime<Utc>,
    ) -> bool {
        let same = self.reason == reason && self.payment_method_id == method && self.amount == amount;
        if !same || !self.waits_for_the_gateway() {
            return false;
        }
        self.status = self.status.on(AttemptEvent::TriedAgain).expect("it came to nothing");
        self.look_ups = 0;
        self.look_up_at = Some(now + PATIENCE);
        self.updated_at = now;
        true
    }

    pub(super) fn note(&mut self, outcome: &Outcome, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
        let (event, reference, code) = match outcome {
            Outcome::Verdict(Verdict::Succeeded { reference }) => {
                (AttemptEvent::Succeeded, Some(reference), None)
            }
            Outcome::Verdict(Verdict::Declined { reference, code }) => {
                (AttemptEvent::Declined, Some(reference), Some(code.as_str()))
            }
            Outcome::Verdict(Verdict::NeedsAction { reference }) => {
                (AttemptEvent::Accepted, Some(reference), Some(decline::AUTHENTICATION_REQUIRED))
            }
            Outcome::Verdict(Verdict::Pending { reference }) => {
                (AttemptEvent::Accepted, Some(reference), None)
            }
            Outcome::Unknown => (AttemptEvent::Unanswered, None, None),
            Outcome::NotTaken => (AttemptEvent::NotTaken, None, None),
            Outcome::Refused(_) => (AttemptEvent::NotTaken, None, Some(decline::INVALID_REQUEST)),
        };
        if self.status != AttemptStatus::Started {
            self.look_ups += 1;
        }
        self.status = self.status.on(event)?;
        self.gateway_reference = reference.cloned().or_else(|| self.gateway_reference.take());
        if event != AttemptEvent::Unanswered {
            self.decline_code = code.map(str::to_owned);
            self.decline_class = code.map(decline::classify);
        }
        self.look_up_at = (!self.status.is_settled()).then(|| now + until_look_up(self.look_ups));
        self.updated_at = now;
        Ok(())
    }
}

/// How long to wait before the gateway is asked again (RULES 43).
fn until_look_up(look_ups: i32) -> TimeDelta {
    match look_ups {
        ..=0 => TimeDelta::seconds(5),
        1 => TimeDelta::minutes(1),
        2 => TimeDelta::minutes(5),
        _ => TimeDelta::hours(1),
    }
}
