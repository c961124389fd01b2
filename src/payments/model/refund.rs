//! Money given back.

use accrue_core::{
    id::{CreditNoteId, PaymentId, RefundId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{IllegalTransition, PATIENCE, Payment};

/// Money of a payment on its way back to the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub tenant_id: TenantId,
    pub id: RefundId,
    pub payment_id: PaymentId,
    pub test_clock_id: Option<TestClockId>,
    pub status: RefundStatus,
    pub amount: Money,
    pub reason: Option<String>,
    /// The `Idempotency-Key` of the request that asked for it: sent again, it finds what it has begun.
    pub request_key: Option<String>,
    /// The credit note that gives it back: what it takes is the customer's credit.
    pub credit_note_id: Option<CreditNoteId>,
    pub gateway_reference: Option<String>,
    /// Why the gateway refused it.
    pub failure: Option<String>,
    /// When the gateway is called again; `None` once the outcome is known.
    pub look_up_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// What became of a refund.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Committed before the gateway is called.
    Started,
    Succeeded,
    /// The gateway refused it; nothing went back.
    Failed,
    /// The gateway did not answer in time: it is called again with the same key.
    Unknown,
}

/// What is known of a refund after the gateway was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::payments) enum RefundOutcome {
    Succeeded { reference: String },
    Refused(String),
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
enum RefundEvent {
    Succeeded,
    Refused,
    Unanswered,
}

impl RefundStatus {
    /// The whole life of a refund.
    fn on(self, event: RefundEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Started | Self::Unknown, RefundEvent::Succeeded) => Ok(Self::Succeeded),
            (Self::Started | Self::Unknown, RefundEvent::Refused) => Ok(Self::Failed),
            (Self::Started | Self::Unknown, RefundEvent::Unanswered) => Ok(Self::Unknown),
            (from, by) => Err(IllegalTransition::new("refund", from, by)),
        }
    }

    /// Is the outcome known?
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl Refund {
    /// The key at the gateway: once for each refund.
    pub(in crate::payments) fn idempotency_key(&self) -> String {
        self.id.to_string()
    }

    /// Notes what became of it; `false` if that was known before.
    pub(in crate::payments) fn settle(
        &mut self,
        outcome: &RefundOutcome,
        now: DateTime<Utc>,
    ) -> Result<bool, IllegalTransition> {
        if self.status.is_settled() {
            return Ok(false);
        }
        let event = match outcome {
            RefundOutcome::Succeeded { reference } => {
                self.gateway_reference = Some(reference.clone());
                RefundEvent::Succeeded
            }
            RefundOutcome::Refused(why) => {
                self.failure = Some(why.clone());
                RefundEvent::Refused
            }
            RefundOutcome::Unanswered => RefundEvent::Unanswered,
        };
        self.status = self.status.on(event)?;
        self.look_up_at = (!self.status.is_settled()).then(|| now + PATIENCE);
        Ok(true)
    }
}

/// How much may still be given back: what was captured, less every refund that has not failed. So several at
/// once never add up to more.
pub(in crate::payments) fn refundable(payment: &Payment, refunds: &[Refund]) -> Money {
    if !payment.is_captured() {
        return Money::zero(payment.amount.currency());
    }
    let standing = refunds.iter().filter(|refund| refund.status != RefundStatus::Failed);
    let taken = Money::sum(payment.amount.currency(), standing.map(|refund| refund.amount));
    taken.and_then(|taken| payment.amount.checked_sub(taken)).expect("one currency, and within the captured")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use accrue_core::money::Currency;
    use sea_orm::Iterable;

    use super::*;
    use crate::payments::model::{PaymentStatus, tests::payment};

    fn now() -> DateTime<Utc> {
        "2026-01-31T10:00:00Z".parse().unwrap()
    }

    fn refund(payment: &Payment, minor: i64) -> Refund {
        Refund {
            tenant_id: payment.tenant_id,
            id: RefundId::new(now()),
            payment_id: payment.id,
            test_clock_id: None,
            status: RefundStatus::Started,
            amount: Money::from_minor(minor, Currency::USD),
            reason: None,
            request_key: None,
            credit_note_id: None,
            gateway_reference: None,
            failure: None,
            look_up_at: Some(now()),
            metadata: Metadata::new(),
            created_at: now(),
        }
    }

    #[test]
    fn the_life_of_a_refund() {
        let mut table = String::new();
        for from in RefundStatus::iter() {
            for by in RefundEvent::iter() {
                if let Ok(to) = from.on(by) {
                    writeln!(table, "{from:?} --{by:?}--> {to:?}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table, @"
        Started --Succeeded--> Succeeded
        Started --Refused--> Failed
        Started --Unanswered--> Unknown
        Unknown --Succeeded--> Succeeded
        Unknown --Refused--> Failed
        Unknown --Unanswered--> Unknown
        ");
    }

    #[test]
    fn refunds_never_add_up_to_more_than_was_captured_and_failed_ones_do_not_count() {
        let mut payment = payment();
        assert_eq!(refundable(&payment, &[]).minor(), 0);
        payment.status = PaymentStatus::Captured;
        let (under_way, mut refused) = (refund(&payment, 300), refund(&payment, 700));
        assert_eq!(refundable(&payment, &[under_way.clone(), refused.clone()]).minor(), 0);
        assert_eq!(refused.settle(&RefundOutcome::Refused("disputed".to_owned()), now()), Ok(true));
        assert_eq!(refundable(&payment, &[under_way, refused]).minor(), 700);
    }

    #[test]
    fn partial_refunds_add_up_to_the_whole() {
        let mut payment = payment();
        payment.status = PaymentStatus::Captured;
        payment.give_back(Money::from_minor(400, Currency::USD)).unwrap();
        assert_eq!(payment.status, PaymentStatus::PartiallyRefunded);
        payment.give_back(Money::from_minor(600, Currency::USD)).unwrap();
        assert_eq!(payment.status, PaymentStatus::Refunded);
    }

    #[test]
    fn a_refund_without_an_answer_is_called_again_and_settles_once() {
        let payment = payment();
        let mut refund = refund(&payment, 300);
        assert_eq!(refund.settle(&RefundOutcome::Unanswered, now()), Ok(true));
        assert_eq!(refund.look_up_at, Some(now() + PATIENCE));
        let succeeded = RefundOutcome::Succeeded { reference: "re_1".to_owned() };
        assert_eq!(refund.settle(&succeeded, now()), Ok(true));
        assert_eq!(refund.settle(&succeeded, now()), Ok(false));
        assert_eq!(refund.look_up_at, None);
    }
}
