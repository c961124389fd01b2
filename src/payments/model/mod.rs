//! What payments are, and the life of a payment and its attempts.

mod card;
mod refund;

use accrue_core::{
    id::{CustomerId, InvoiceId, PaymentAttemptId, PaymentId, PaymentMethodId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::{check::Metadata, gateway::Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::decline;

pub(super) use card::looks_like_a_card_number;
pub use refund::{Refund, RefundStatus};
pub(super) use refund::{RefundOutcome, refundable};

/// Who begins an attempt has this long to finish it, before somebody else asks the gateway.
pub(super) const PATIENCE: TimeDelta = TimeDelta::minutes(1);

/// The intent to collect one invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub tenant_id: TenantId,
    pub id: PaymentId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub invoice_id: InvoiceId,
    pub status: PaymentStatus,
    pub amount: Money,
    pub refunded: Money,
    /// Of the last failure; `None` again once it is paid.
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// In the order in which they were made.
    pub attempts: Vec<PaymentAttempt>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

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

/// How a customer pays: a gateway's token, never a card number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMethod {
    pub tenant_id: TenantId,
    pub id: PaymentMethodId,
    pub customer_id: CustomerId,
    pub gateway: String,
    pub reference_sealed: String,
    pub brand: String,
    pub last4: String,
    /// `2031-04`.
    pub expires_on: Option<String>,
    /// From then on it is never charged.
    pub detached_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Where a payment is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Initialized,
    RequiresAction,
    Pending,
    Captured,
    Failed,
    Canceled,
    PartiallyRefunded,
    Refunded,
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

/// What a decline means for what comes next (RULES 45).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DeclineClass {
    /// Stop until the method changes.
    Hard,
    /// Wait and retry.
    Soft,
    /// The customer must do something.
    NeedsAction,
    /// Alert us; no dunning step is used.
    OurFault,
}

/// A move that the table of a state machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {object} that is {from} cannot be {by}")]
pub struct IllegalTransition {
    object: &'static str,
    from: String,
    by: String,
}

impl IllegalTransition {
    fn new(object: &'static str, from: impl std::fmt::Debug, by: impl std::fmt::Debug) -> Self {
        Self { object, from: format!("{from:?}"), by: format!("{by:?}") }
    }
}

/// What is known of an attempt after the gateway was called, or asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Verdict(Verdict),
    /// It may have happened.
    Unknown,
    /// Nothing happened, and trying again may help.
    NotTaken,
    /// Nothing happened, and trying again as we did cannot help.
    Refused(String),
}

/// What an outcome changed, for those who tell others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Change {
    /// The outcome was known before.
    AlreadyDone,
    Captured,
    Failed,
    RequiresAction,
    /// Accepted; the outcome comes later.
    Pending,
    /// Still not known.
    Open,
    /// The attempt is over and the payment is where it was.
    NothingHappened,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
enum AttemptEvent {
    Succeeded,
    Declined,
    Accepted,
    Unanswered,
    NotTaken,
}

impl AttemptStatus {
    /// The whole life of an attempt. Once it is settled nothing moves it.
    fn on(self, event: AttemptEvent) -> Result<Self, IllegalTransition> {
        use AttemptStatus::*;

        match (self, event) {
            (Started | Unknown | Pending, AttemptEvent::Succeeded) => Ok(Succeeded),
            (Started | Unknown | Pending, AttemptEvent::Declined) => Ok(Declined),
            (Started | Unknown | Pending, AttemptEvent::Accepted) | (Pending, AttemptEvent::Unanswered) => {
                Ok(Pending)
            }
            (Started | Unknown, AttemptEvent::Unanswered) => Ok(Unknown),
            (Started | Unknown, AttemptEvent::NotTaken) => Ok(Error),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
enum PaymentEvent {
    Captured,
    Failed,
    ActionNeeded,
    Accepted,
    Canceled,
    PartlyRefunded,
    Refunded,
}

impl PaymentStatus {
    /// The whole life of a payment.
    fn on(self, event: PaymentEvent) -> Result<Self, IllegalTransition> {
        use PaymentStatus::*;

        match (self, event) {
            (Initialized | RequiresAction | Pending | Failed, PaymentEvent::Captured) => Ok(Captured),
            (Initialized | RequiresAction | Pending | Failed, PaymentEvent::Failed) => Ok(Failed),
            (Initialized | RequiresAction | Pending | Failed, PaymentEvent::ActionNeeded) => {
                Ok(RequiresAction)
            }
            (Initialized | RequiresAction | Pending | Failed, PaymentEvent::Accepted) => Ok(Pending),
            (Initialized | RequiresAction | Failed, PaymentEvent::Canceled) => Ok(Canceled),
            (Captured | PartiallyRefunded, PaymentEvent::PartlyRefunded) => Ok(PartiallyRefunded),
            (Captured | PartiallyRefunded, PaymentEvent::Refunded) => Ok(Refunded),
            (from, by) => Err(IllegalTransition::new("payment", from, by)),
        }
    }
}

impl PaymentAttempt {
    /// Does it use up its reason? One in which nothing happened, or that failed by our fault, does not.
    pub fn counts(&self) -> bool {
        self.status != AttemptStatus::Error && self.decline_class != Some(DeclineClass::OurFault)
    }

    fn note(&mut self, outcome: &Outcome, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
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

impl Payment {
    /// The attempt whose outcome is not known. There is at most one, and nothing is tried beside it.
    pub fn in_flight(&self) -> Option<&PaymentAttempt> {
        self.attempts.iter().find(|attempt| !attempt.status.is_settled())
    }

    /// The last attempt that uses up `reason`.
    pub fn attempt_for(&self, reason: &str) -> Option<&PaymentAttempt> {
        self.attempts.iter().rev().find(|attempt| attempt.reason == reason && attempt.counts())
    }

    /// The attempt that took the money.
    pub fn captured_by(&self) -> Option<&PaymentAttempt> {
        self.attempts.iter().find(|attempt| attempt.status == AttemptStatus::Succeeded)
    }

    /// Was the money taken, whatever was given back since?
    pub fn is_captured(&self) -> bool {
        matches!(
            self.status,
            PaymentStatus::Captured | PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded
        )
    }

    /// Another try: to be stored and committed before the gateway is called (RULES 43).
    pub(super) fn begin_attempt(
        &mut self,
        id: PaymentAttemptId,
        method: &PaymentMethod,
        reason: &str,
        automatic: bool,
        now: DateTime<Utc>,
    ) -> &PaymentAttempt {
        let position = i32::try_from(self.attempts.len()).expect("attempts are few") + 1;
        self.attempts.push(PaymentAttempt {
            id,
            payment_id: self.id,
            payment_method_id: method.id,
            position,
            reason: reason.to_owned(),
            automatic,
            gateway: method.gateway.clone(),
            brand: method.brand.clone(),
            last4: method.last4.clone(),
            status: AttemptStatus::Started,
            amount: self.amount,
            idempotency_key: id.to_string(),
            gateway_reference: None,
            decline_code: None,
            decline_class: None,
            look_ups: 0,
            look_up_at: Some(now + PATIENCE),
            created_at: now,
            updated_at: now,
        });
        self.attempts.last().expect("just pushed")
    }

    /// Notes what became of an attempt. What is known already stays as it is.
    pub(super) fn settle(
        &mut self,
        id: PaymentAttemptId,
        outcome: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<Change, IllegalTransition> {
        let found = self.attempts.iter_mut().find(|attempt| attempt.id == id);
        let attempt = found.ok_or_else(|| IllegalTransition::new("payment", self.status, id))?;
        if attempt.status.is_settled() {
            return Ok(Change::AlreadyDone);
        }
        attempt.note(outcome, now)?;

        let (code, class) = (attempt.decline_code.clone(), attempt.decline_class);
        let needs_action = class == Some(DeclineClass::NeedsAction);
        let (event, change) = match outcome {
            Outcome::Unknown => return Ok(Change::Open),
            Outcome::NotTaken => return Ok(Change::NothingHappened),
            Outcome::Verdict(Verdict::Succeeded { .. }) => (PaymentEvent::Captured, Change::Captured),
            Outcome::Verdict(Verdict::Pending { .. }) => (PaymentEvent::Accepted, Change::Pending),
            Outcome::Verdict(Verdict::NeedsAction { .. }) => {
                (PaymentEvent::ActionNeeded, Change::RequiresAction)
            }
            Outcome::Verdict(Verdict::Declined { .. }) if needs_action => {
                (PaymentEvent::ActionNeeded, Change::RequiresAction)
            }
            Outcome::Verdict(Verdict::Declined { .. }) | Outcome::Refused(_) => {
                (PaymentEvent::Failed, Change::Failed)
            }
        };
        let before = self.status;
        self.status = self.status.on(event)?;
        (self.decline_code, self.decline_class) = (code, class);
        // Asking again about what is under way is no news.
        let is_news = self.status != before || matches!(change, Change::Captured | Change::Failed);
        Ok(if is_news || self.in_flight().is_none() { change } else { Change::Open })
    }

    /// There is nothing to charge: it fails without an attempt.
    pub(super) fn fail_without_method(&mut self) -> Result<(), IllegalTransition> {
        self.status = self.status.on(PaymentEvent::Failed)?;
        self.decline_code = Some(decline::NO_PAYMENT_METHOD.to_owned());
        self.decline_class = Some(decline::classify(decline::NO_PAYMENT_METHOD));
        Ok(())
    }

    /// The invoice is not owed any more; `false` if there is nothing to cancel. What is in flight or paid is
    /// left to its own end.
    pub(super) fn cancel(&mut self) -> Result<bool, IllegalTransition> {
        if self.status == PaymentStatus::Canceled || self.is_captured() || self.in_flight().is_some() {
            return Ok(false);
        }
        self.status = self.status.on(PaymentEvent::Canceled)?;
        Ok(true)
    }

    /// `amount` went back to the customer, no more than was left.
    pub(super) fn give_back(&mut self, amount: Money) -> Result<(), IllegalTransition> {
        let refunded = self.refunded.checked_add(amount).expect("one currency, and less than was captured");
        let whole = refunded == self.amount;
        self.status =
            self.status.on(if whole { PaymentEvent::Refunded } else { PaymentEvent::PartlyRefunded })?;
        self.refunded = refunded;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
