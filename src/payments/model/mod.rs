//! What payments are, and the life of a payment and its attempts.

mod attempt;
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

pub use attempt::{AttemptStatus, PaymentAttempt};
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

impl Outcome {
    /// Why nothing was taken, if the fault is ours: somebody has to mend it before anything is tried again.
    pub(super) fn our_fault(&self) -> Option<&str> {
        match self {
            Self::Refused(why) => Some(why),
            Self::Verdict(Verdict::Declined { code, .. }) => {
                Some(code.as_str()).filter(|code| decline::classify(code) == DeclineClass::OurFault)
            }
            Self::Verdict(_) | Self::Unknown | Self::NotTaken => None,
        }
    }
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

    /// What of the amount has not gone back.
    pub fn kept(&self) -> Money {
        self.amount.checked_sub(self.refunded).expect("one currency, and no more refunded than taken")
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

    /// The call that was made for this reason and came to nothing because the gateway was out of reach, begun
    /// once more: to be stored and committed like another one.
    pub(super) fn resume_attempt(
        &mut self,
        method: PaymentMethodId,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Option<&PaymentAttempt> {
        let call = (method, self.amount);
        self.attempts.iter_mut().find_map(|attempt| attempt.try_again(reason, call, now).then_some(&*attempt))
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
