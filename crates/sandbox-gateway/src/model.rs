//! What the gateway shows of its things, and the life of a charge. Nothing here reads or writes.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A card on file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    pub reference: String,
    pub customer: String,
    pub brand: String,
    pub last4: String,
    /// 1 to 12.
    pub exp_month: u8,
    pub exp_year: u16,
}

/// What a merchant asks for when it charges a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRequest {
    /// 1 to 255 characters. One key, one charge, for ever.
    pub idempotency_key: String,
    /// The reference of a [`Method`].
    pub method: String,
    /// Above zero.
    pub amount_minor: i64,
    /// ISO 4217: three capital letters.
    pub currency: String,
    /// Takes the money at once. Otherwise it is only authorized, until captured or canceled.
    pub capture: bool,
    /// The customer is not there to be asked.
    pub off_session: bool,
    pub metadata: BTreeMap<String, String>,
}

/// A charge, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub reference: String,
    pub idempotency_key: String,
    pub customer: String,
    pub method: String,
    pub amount_minor: i64,
    pub currency: String,
    pub capture: bool,
    pub off_session: bool,
    pub status: ChargeStatus,
    /// The bank's reason in the networks' wording, if declined: `insufficient_funds`.
    pub decline_code: Option<String>,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub dispute: Option<Dispute>,
    pub metadata: BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Where a charge is in its life. Refunds and disputes are beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// The customer has to pass the bank's check.
    RequiresAction,
    /// The bank has not decided.
    Pending,
    /// Reserved on the card, not taken.
    Authorized,
    Succeeded,
    Declined,
    Canceled,
}

/// What can happen to a charge after its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    CompleteAction,
    FailAction,
    SettlePaid,
    SettleUnpaid,
    Capture,
    Cancel,
}

/// A step that the charge's status does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{step}` is not possible while the charge is `{status}`")]
pub struct IllegalStep {
    pub status: ChargeStatus,
    pub step: Step,
}

impl ChargeStatus {
    /// The whole life of a charge. A step that has been taken may be repeated: it leads where it led.
    pub fn on(self, step: Step, capture: bool) -> Result<Self, IllegalStep> {
        use ChargeStatus::*;

        match (self, step) {
            (RequiresAction, Step::CompleteAction) | (Pending, Step::SettlePaid) => {
                Ok(Self::approved(capture))
            }
            (RequiresAction, Step::FailAction) | (Pending, Step::SettleUnpaid) => Ok(Declined),
            (Authorized, Step::Capture) => Ok(Succeeded),
            (RequiresAction | Authorized, Step::Cancel) => Ok(Canceled),

            (Authorized | Succeeded, Step::CompleteAction | Step::SettlePaid)
            | (Declined, Step::FailAction | Step::SettleUnpaid)
            | (Succeeded, Step::Capture)
            | (Canceled, Step::Cancel) => Ok(self),

            (status, step) => Err(IllegalStep { status, step }),
        }
    }

    /// Where the bank's consent leads.
    pub(crate) fn approved(capture: bool) -> Self {
        if capture { Self::Succeeded } else { Self::Authorized }
    }
}

/// What a merchant asks for when it gives money back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequest {
    /// 1 to 255 characters, shared with charges: one key, one effect, for ever.
    pub idempotency_key: String,
    /// The reference of a [`Charge`].
    pub charge: String,
    /// Above zero, and no more than is left of the captured amount.
    pub amount_minor: i64,
    pub metadata: BTreeMap<String, String>,
}

/// Money given back, at once and for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub reference: String,
    pub idempotency_key: String,
    pub charge: String,
    pub amount_minor: i64,
    pub currency: String,
    pub metadata: BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
}

/// A cardholder who contests a charge. The money is taken back while the bank decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub reference: String,
    pub amount_minor: i64,
    /// In the networks' wording: `fraudulent`.
    pub reason: String,
    pub status: DisputeStatus,
    pub opened_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    Open,
    /// The merchant was right and has the money again.
    Won,
    Lost,
}

/// One movement of money in the gateway's ledger. Never changed, never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: EntryKind,
    pub charge: String,
    /// For [`EntryKind::Refund`].
    pub refund: Option<String>,
    /// Above zero if the merchant receives it.
    pub amount_minor: i64,
    pub currency: String,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Capture,
    Refund,
    Dispute,
    DisputeWon,
}

/// As on the wire and in the file.
impl fmt::Display for ChargeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// As on the wire and in the file.
impl fmt::Display for DisputeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// As on the wire and in the file.
impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn transition_table() {
        use ChargeStatus::*;
        use Step::*;

        let mut table = String::new();
        for from in [RequiresAction, Pending, Authorized, Succeeded, Declined, Canceled] {
            for step in [CompleteAction, FailAction, SettlePaid, SettleUnpaid, Capture, Cancel] {
                if let (Ok(taken), Ok(held)) = (from.on(step, true), from.on(step, false)) {
                    let to = if taken == held { taken.to_string() } else { format!("{taken} or {held}") };
                    writeln!(table, "{from} --{step}--> {to}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table, @"
        requires_action --complete_action--> succeeded or authorized
        requires_action --fail_action--> declined
        requires_action --cancel--> canceled
        pending --settle_paid--> succeeded or authorized
        pending --settle_unpaid--> declined
        authorized --complete_action--> authorized
        authorized --settle_paid--> authorized
        authorized --capture--> succeeded
        authorized --cancel--> canceled
        succeeded --complete_action--> succeeded
        succeeded --settle_paid--> succeeded
        succeeded --capture--> succeeded
        declined --fail_action--> declined
        declined --settle_unpaid--> declined
        canceled --cancel--> canceled
        ");
    }
}
