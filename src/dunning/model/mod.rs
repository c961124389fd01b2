//! The ladder: which steps follow a failed payment, and when. Pure.

use accrue_core::{
    id::{CustomerId, DunningId, InvoiceId, PaymentMethodId, SubscriptionId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use crate::{
    payments::{AttemptStatus, DeclineClass, Payment, PaymentAttempt, decline},
    subscriptions::Access,
};

/// What is done about a payment that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// After the last one has failed too, it is over.
    steps: &'static [Step],
    /// What may be used from the first failure on.
    access: Access,
    /// A step that comes late keeps the next one this far away.
    distance: TimeDelta,
}

/// One rung: another try, and what may be used from then on.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Since the first failure.
    after: TimeDelta,
    access: Access,
}

/// Four more tries in a week; everything works for three days; at the end the subscription is canceled.
pub(super) const DEFAULT: Policy = Policy {
    steps: &[
        Step { after: TimeDelta::days(1), access: Access::Grace },
        Step { after: TimeDelta::days(3), access: Access::Restricted },
        Step { after: TimeDelta::days(5), access: Access::Restricted },
        Step { after: TimeDelta::days(7), access: Access::Restricted },
    ],
    access: Access::Grace,
    distance: TimeDelta::days(1),
};

/// If nobody tells what became of a step's try, it is looked for after so long: whoever was to try or to tell
/// may have died, or been discarded.
const LOOKS_AGAIN_AFTER: TimeDelta = TimeDelta::hours(6);

/// The chase of one unpaid invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dunning {
    pub tenant_id: TenantId,
    pub id: DunningId,
    pub customer_id: CustomerId,
    pub invoice_id: InvoiceId,
    pub subscription_id: Option<SubscriptionId>,
    pub test_clock_id: Option<TestClockId>,
    pub status: DunningStatus,
    /// What this debt leaves of the customer's access.
    pub access: Access,
    /// Trying again cannot help until the method changes, or the customer acts; steps only remind.
    pub retries_stopped: bool,
    /// The last step that was taken; 0 for none.
    pub step: i32,
    /// `None` while the outcome of a step's try is awaited, and when it is over.
    pub next_step_at: Option<DateTime<Utc>>,
    /// When the outcome that is awaited is looked for; only while one is.
    pub look_again_at: Option<DateTime<Utc>>,
    pub invoice_number: Option<String>,
    /// What was due when it began.
    pub amount: Money,
    pub failure: Failure,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// The last failure, as far as others may want to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How often it was tried automatically by then.
    pub attempts: u32,
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// The card that was tried; `None` if there was none.
    pub brand: Option<String>,
    pub last4: Option<String>,
}

/// Where a dunning is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DunningStatus {
    Running,
    /// The debt is gone.
    Recovered,
    /// The last step has failed.
    Exhausted,
}

/// What follows for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// Nothing to tell: the schedule stands, or an outcome is awaited.
    Wait,
    /// The invoice is tried again now; what follows is decided by the outcome.
    Retry,
    /// A step is over without success; the next one has its time.
    Stepped,
    /// That was the last one.
    Exhausted,
}

impl Policy {
    /// When the step after `step` is due, counted from the first failure; `None` after the last one.
    fn due_after(&self, step: i32, started_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.steps.get(usize::try_from(step).unwrap_or(0))?;
        Some((started_at + next.after).max(now + self.distance))
    }

    fn access_at(&self, step: i32) -> Access {
        let taken = usize::try_from(step).ok().and_then(|step| step.checked_sub(1));
        taken.and_then(|at| self.steps.get(at)).map_or(self.access, |step| step.access)
    }
}

/// Why a step tries: one try for each step of an invoice.
pub(super) fn reason(step: i32) -> String {
    format!("dunning:{step}")
}

/// The last step whose try is on record. The position on the ladder never comes from how often somebody was
/// told of a failure (RULES 46).
fn tried(payment: &Payment) -> i32 {
    let counted = payment.attempts.iter().filter(|attempt| attempt.counts() && attempt.status.is_settled());
    let steps = counted.filter_map(|attempt| attempt.reason.strip_prefix("dunning:")?.parse().ok());
    steps.max().unwrap_or(0)
}

/// Does a failure of this payment start or move a dunning? Not while its outcome is open, not for what is
/// our own fault, and not because somebody tried by hand: the last try of our own decides. `without_method`: it
/// came to nothing because there was nothing to charge.
pub(super) fn is_dunned(payment: &Payment, without_method: bool) -> bool {
    let own = payment.attempts.iter().rfind(|attempt| attempt.automatic && attempt.counts());
    let declined = own.is_some_and(|attempt| attempt.status == AttemptStatus::Declined);
    let failed = declined || without_method || has_no_method(payment);
    failed && payment.in_flight().is_none() && !payment.is_captured()
}

/// Does trying again wait for another method, or for the customer (RULES 45)? What is known of the method that
/// would be charged decides: from tries of our own, or from a hard decline, whoever tried. What somebody tries
/// by hand with another card says nothing about it.
fn waits_for_the_customer(payment: &Payment, charged: Option<PaymentMethodId>) -> bool {
    let Some(method) = charged else { return true };
    let is_hard = |attempt: &PaymentAttempt| attempt.decline_class == Some(DeclineClass::Hard);
    let tells = |attempt: &&PaymentAttempt| {
        attempt.payment_method_id == method && attempt.counts() && (attempt.automatic || is_hard(attempt))
    };
    match payment.attempts.iter().rfind(tells).and_then(|attempt| attempt.decline_class) {
        Some(DeclineClass::Hard | DeclineClass::NeedsAction) => true,
        Some(DeclineClass::Soft | DeclineClass::OurFault) | None => false,
    }
}

/// Was the method ever charged for this by ourselves?
pub(super) fn has_tried(payment: &Payment, method: PaymentMethodId) -> bool {
    payment.attempts.iter().any(|attempt| attempt.automatic && attempt.payment_method_id == method)
}

fn has_no_method(payment: &Payment) -> bool {
    payment.decline_code.as_deref() == Some(decline::NO_PAYMENT_METHOD)
}

/// The worst of what several debts leave.
pub(super) fn worst(accesses: impl IntoIterator<Item = Access>) -> Access {
    let severity = |access: &Access| match access {
        Access::Full => 0,
        Access::Grace => 1,
        Access::Restricted => 2,
    };
    accesses.into_iter().max_by_key(severity).unwrap_or(Access::Full)
}

impl Failure {
    pub(super) fn of(payment: &Payment) -> Self {
        let automatic = payment.attempts.iter().filter(|attempt| attempt.automatic && attempt.counts());
        let card = payment.attempts.last().filter(|_| !has_no_method(payment));
        Self {
            attempts: u32::try_from(automatic.count()).expect("attempts are few"),
            decline_code: payment.decline_code.clone(),
            decline_class: payment.decline_class,
            brand: card.map(|attempt| attempt.brand.clone()),
            last4: card.map(|attempt| attempt.last4.clone()),
        }
    }
}

impl Dunning {
    /// The first failure: `self` has everything but its course. `charged` is the method that a try would use.
    pub(super) fn start(&mut self, policy: &Policy, payment: &Payment, charged: Option<PaymentMethodId>) {
        self.status = DunningStatus::Running;
        self.access = policy.access_at(0);
        self.retries_stopped = waits_for_the_customer(payment, charged);
        self.next_step_at = policy.due_after(0, self.started_at, self.started_at);
    }

    /// Another failure. The ladder moves only if it is the awaited outcome of the present step's try.
    pub(super) fn fail(
        &mut self,
        policy: &Policy,
        payment: &Payment,
        charged: Option<PaymentMethodId>,
        now: DateTime<Utc>,
    ) -> Next {
        self.failure = Failure::of(payment);
        // A credit note may have lowered it since.
        self.amount = payment.amount;
        self.retries_stopped = waits_for_the_customer(payment, charged);
        let is_known = tried(payment) >= self.step || has_no_method(payment);
        if self.look_again_at.is_some() && is_known { self.end_step(policy, now) } else { Next::Wait }
    }

    /// The awaited outcome is still not known.
    pub(super) fn wait_on(&mut self, now: DateTime<Utc>) {
        self.look_again_at = Some(now + LOOKS_AGAIN_AFTER);
    }

    /// The next step's time has come.
    pub(super) fn take_step(&mut self, policy: &Policy, now: DateTime<Utc>) -> Next {
        self.step += 1;
        self.access = worst([self.access, policy.access_at(self.step)]);
        if self.retries_stopped {
            return self.end_step(policy, now);
        }
        self.next_step_at = None;
        self.wait_on(now);
        Next::Retry
    }

    fn end_step(&mut self, policy: &Policy, now: DateTime<Utc>) -> Next {
        self.look_again_at = None;
        self.next_step_at = policy.due_after(self.step, self.started_at, now);
        if self.next_step_at.is_some() {
            return Next::Stepped;
        }
        self.end(DunningStatus::Exhausted, now);
        Next::Exhausted
    }

    /// The debt is gone; `false` if it was over before.
    pub(super) fn recover(&mut self, now: DateTime<Utc>) -> bool {
        if self.status != DunningStatus::Running {
            return false;
        }
        self.access = Access::Full;
        self.end(DunningStatus::Recovered, now);
        true
    }

    fn end(&mut self, status: DunningStatus, now: DateTime<Utc>) {
        self.status = status;
        self.next_step_at = None;
        self.look_again_at = None;
        self.ended_at = Some(now);
    }

    /// When the program tries by itself next, if it does.
    pub fn next_try_at(&self) -> Option<DateTime<Utc>> {
        self.next_step_at.filter(|_| !self.retries_stopped)
    }

    /// When access will be restricted, unless it is already.
    pub(super) fn restricts_at(&self, policy: &Policy) -> Option<DateTime<Utc>> {
        let restricts = policy.steps.iter().find(|step| step.access == Access::Restricted)?;
        let running = self.status == DunningStatus::Running && self.access != Access::Restricted;
        running.then(|| self.started_at + restricts.after)
    }
}

#[cfg(test)]
mod tests;
