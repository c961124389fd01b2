//! What an invoice is, and how it moves.

mod party;
mod wording;

use std::{collections::BTreeMap, fmt};

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, InvoiceLineId, IssuerId, PriceId, SubscriptionId, TenantId, TestClockId},
    invoice::TaxRounding,
    money::{Currency, Money, MoneyError},
    price::TierCharge,
    usage::Filter,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use party::{Letterhead, PartyCopy};

use crate::{
    catalog::Tax,
    customers::Exemption,
    subscriptions::{Collection, Turn},
};

/// What is owed. Immutable once it is open, but for what is paid (RULES 36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    pub tenant_id: TenantId,
    pub id: InvoiceId,
    /// Who owes it.
    pub customer_id: CustomerId,
    /// Whose subscription it bills, if somebody else pays for them.
    pub made_for: Option<MadeFor>,
    pub test_clock_id: Option<TestClockId>,
    pub subscription_id: Option<SubscriptionId>,
    pub number: Option<String>,
    pub status: InvoiceStatus,
    pub reason: Reason,
    /// Of a change within a period: the how-manieth of its subscription; else 0 (P1).
    pub change: i32,
    pub collection: Collection,
    pub currency: Currency,
    pub period: Period,
    pub lines: Vec<Line>,
    pub subtotal: Money,
    pub discount_total: Money,
    pub tax_total: Money,
    pub total: Money,
    /// What credit notes of earlier invoices paid of it when it was finalized (RULES 31).
    pub credits_applied: Money,
    /// What the customer's balance paid of it when it was finalized; negative for a debt that it asks for (RULES 31).
    pub balance_applied: Money,
    /// What it came to below zero, and left to the customer's balance (RULES 34).
    pub balance_credited: Money,
    /// What credit notes of its own took off what is left to pay.
    pub offset_total: Money,
    /// What all credit notes of its own came to, of whatever kind (RULES 33).
    pub credited_total: Money,
    pub amount_paid: Money,
    /// In whose name it was issued; the account's own unless given. Its numbers, and those of its credit notes, are of that
    /// issuer's series.
    pub issuer_id: Option<IssuerId>,
    /// Copies taken when it was finalized.
    pub issuer: PartyCopy,
    pub customer: PartyCopy,
    pub letterhead: Letterhead,
    /// Why it has no tax, if that is so (RULES 32).
    pub exemption: Exemption,
    pub tax_rounding: TaxRounding,
    pub taxes: Vec<TaxRow>,
    pub issued_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub paid_at: Option<DateTime<Utc>>,
    pub voided_at: Option<DateTime<Utc>>,
    /// The invoice that was voided for it: it says the same turn again (RULES 36).
    pub replaces: Option<InvoiceId>,
    /// The invoice for which it was voided.
    pub replaced_by: Option<InvoiceId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// A customer for whom another one pays, as they were called then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MadeFor {
    pub customer: CustomerId,
    #[schema(example = "Globex Berlin")]
    pub name: String,
}

/// A line of an invoice: one price in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: InvoiceLineId,
    pub subscription_id: Option<SubscriptionId>,
    pub price_id: Option<PriceId>,
    /// `fixed`, `seat`, `one_time`, `usage`, `usage_adjustment`, `true_up`, `minimum_commitment`.
    pub kind: String,
    pub description: String,
    pub period: Period,
    pub quantity: Decimal,
    /// Of prices that have just one.
    pub unit_price: Option<Decimal>,
    /// Before its one rounding (RULES 29).
    pub exact_amount: Decimal,
    /// With its taxes, where these are inclusive.
    pub amount: Money,
    /// What discounts left of it, without taxes.
    pub taxable: Money,
    /// Σ taxes.
    pub tax: Money,
    /// Its share of each tax that it has.
    pub taxes: Vec<TaxRow>,
    /// `{"numerator":15,"denominator":30}` of a short period.
    pub proration: Option<accrue_core::proration::Fraction>,
    /// How the amount came about, tier by tier.
    pub tiers: Vec<TierCharge>,
    /// How many lines of the same kind there were before for the period: 0 for the bill itself, more for what continues
    /// or corrects it.
    pub adjustment: i32,
    /// What of the price's usage it is.
    pub bucket: Bucket,
}

/// Usage that is priced apart: what a filter of its price matched, of one group. Nothing of both is everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bucket {
    pub filter: Option<Filter>,
    /// The values of the properties by which the price groups usage; none where events lack one.
    pub group: BTreeMap<String, Option<String>>,
}

impl Bucket {
    /// By what the database tells buckets apart: texts may be longer than a key.
    pub(super) fn id(&self) -> Uuid {
        if *self == Self::default() {
            return Uuid::nil();
        }
        let json = serde_json::to_vec(self).expect("texts only");
        Uuid::from_slice(&Sha256::digest(json)[..16]).expect("a digest is longer")
    }
}

/// What one tax comes to, of a line or of all lines that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxRow {
    pub tax: TaxCopy,
    /// Without taxes.
    pub base_minor: i64,
    pub amount_minor: i64,
}

/// A tax as it was when an invoice was made (RULES 36).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxCopy {
    pub code: String,
    pub name: String,
    /// 20 for 20 %.
    pub rate: Decimal,
    /// Whether amounts contain it.
    pub inclusive: bool,
    pub jurisdiction: Option<String>,
}

impl TaxCopy {
    /// Whether both are the same tax, however it was called.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.code, self.rate, self.inclusive) == (&other.code, other.rate, other.inclusive)
    }
}

impl From<&Tax> for TaxCopy {
    fn from(tax: &Tax) -> Self {
        Self {
            code: tax.code.clone(),
            name: tax.name.clone(),
            rate: tax.rate,
            inclusive: tax.inclusive,
            jurisdiction: tax.jurisdiction.clone(),
        }
    }
}

/// Where an invoice is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

/// Why there is an invoice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A subscription began.
    Create,
    /// A period ended, the next began.
    Cycle,
    /// Within a period a subscription got other terms, was paused or went on.
    Change,
    /// A subscription ended.
    Cancel,
    /// Usage of the running period came to the subscription's threshold.
    Threshold,
    /// Usage of a period came, or was corrected, after it was billed, and no turn will come any more, or none is waited
    /// for.
    Adjustment,
}

/// What moves an invoice from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Move {
    /// It takes its number and becomes a claim.
    Finalize,
    /// The last cent of it is paid.
    Settle,
    /// It was a mistake.
    Void,
    /// Nobody expects the money any more.
    WriteOff,
}

/// Why an invoice cannot be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    #[error("an invoice that is {0} cannot be {1}")]
    Illegal(InvoiceStatus, Move),
    #[error("an invoice that is paid in part cannot be voided")]
    PartlyPaid,
    #[error("an invoice with credit notes cannot be voided: credit the rest of it")]
    Credited,
    #[error("{amount} is more than the {due} that is left to pay")]
    TooMuch { amount: Money, due: Money },
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl InvoiceStatus {
    /// Where a move leads; nowhere if it is not allowed.
    fn after(self, change: Move) -> Option<Self> {
        match (self, change) {
            (Self::Draft, Move::Finalize) => Some(Self::Open),
            // What was given up may still be paid.
            (Self::Open | Self::Uncollectible, Move::Settle) => Some(Self::Paid),
            (Self::Open, Move::Void) => Some(Self::Void),
            (Self::Open, Move::WriteOff) => Some(Self::Uncollectible),
            _ => None,
        }
    }

    fn moved(self, change: Move) -> Result<Self, MoveError> {
        self.after(change).ok_or(MoveError::Illegal(self, change))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
            Self::Uncollectible => "uncollectible",
        }
    }
}

impl fmt::Display for InvoiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finalize => "finalized",
            Self::Settle => "paid",
            Self::Void => "voided",
            Self::WriteOff => "marked uncollectible",
        })
    }
}

impl Invoice {
    /// What is left to pay: nothing of a void invoice.
    pub fn amount_due(&self) -> Money {
        if self.status == InvoiceStatus::Void {
            return Money::zero(self.currency);
        }
        [self.credits_applied, self.balance_applied, self.offset_total, self.amount_paid]
            .into_iter()
            .try_fold(self.total, Money::checked_sub)
            .expect("one currency, and never more paid than owed")
    }

    /// Why it has no tax, in the words of the law and in the customer's language.
    pub fn exemption_note(&self) -> Option<&'static str> {
        wording::exemption_note(self.exemption, &self.customer.language())
    }

    /// Credit notes of earlier invoices pay a part of it, before it is anybody's claim (RULES 37).
    pub(super) fn apply_credits(&mut self, amount: Money) {
        assert!(self.status == InvoiceStatus::Draft, "credits are applied when an invoice is finalized");
        self.credits_applied = amount;
    }

    /// The customer's balance pays a part of it, or is a debt that it asks for.
    pub(super) fn apply_balance(&mut self, amount: Money) {
        assert!(self.status == InvoiceStatus::Draft, "the balance is applied when an invoice is finalized");
        self.balance_applied = amount;
    }

    /// What all lines and their tax come to: less than nothing if it leaves something to the balance.
    pub(super) fn signed_total(&self) -> Money {
        self.total.checked_sub(self.balance_credited).expect("one of them is zero")
    }

    /// What is revenue of it: without the tax.
    pub(super) fn net(&self) -> Money {
        self.signed_total().checked_sub(self.tax_total).expect("tax is a part of the total")
    }

    /// The sums of all lines' shares, tax by tax, in order of first appearance.
    pub(super) fn sums_of<'a>(rows: impl IntoIterator<Item = &'a TaxRow>) -> Vec<TaxRow> {
        let mut sums: Vec<TaxRow> = Vec::new();
        for row in rows {
            match sums.iter_mut().find(|sum| sum.tax.is(&row.tax)) {
                Some(sum) => {
                    sum.base_minor += row.base_minor;
                    sum.amount_minor += row.amount_minor;
                }
                None => sums.push(row.clone()),
            }
        }
        sums
    }

    /// It becomes a claim. If nothing is left to pay it is paid at once (RULES 34), by [`Self::pay`].
    pub(super) fn finalize(
        &mut self,
        number: String,
        issued_at: DateTime<Utc>,
        due_at: DateTime<Utc>,
    ) -> Result<(), MoveError> {
        self.status = self.status.moved(Move::Finalize)?;
        self.number = Some(number);
        self.issued_at = Some(issued_at);
        self.due_at = Some(due_at);
        Ok(())
    }

    /// `amount` of it is paid; once nothing is left, it is settled.
    pub(super) fn pay(&mut self, amount: Money, at: DateTime<Utc>) -> Result<(), MoveError> {
        let settled = self.status.moved(Move::Settle)?;
        self.check_due(amount)?;
        self.amount_paid = self.amount_paid.checked_add(amount)?;
        self.settle_if_nothing_is_due(settled, at);
        Ok(())
    }

    /// A credit note took back `amount` of it.
    pub(super) fn credit(&mut self, amount: Money) -> Result<(), MoneyError> {
        self.credited_total = self.credited_total.checked_add(amount)?;
        Ok(())
    }

    /// A credit note takes `amount` off what is left to pay; once nothing is left, it is settled.
    pub(super) fn offset(&mut self, amount: Money, at: DateTime<Utc>) -> Result<(), MoveError> {
        let settled = self.status.moved(Move::Settle)?;
        self.check_due(amount)?;
        self.offset_total = self.offset_total.checked_add(amount)?;
        self.settle_if_nothing_is_due(settled, at);
        Ok(())
    }

    fn check_due(&self, amount: Money) -> Result<(), MoveError> {
        let due = self.amount_due();
        if due.checked_sub(amount)?.is_negative() || amount.is_negative() {
            return Err(MoveError::TooMuch { amount, due });
        }
        Ok(())
    }

    fn settle_if_nothing_is_due(&mut self, settled: InvoiceStatus, at: DateTime<Utc>) {
        if self.amount_due().is_zero() {
            self.status = settled;
            self.paid_at = Some(at);
        }
    }

    /// Whether it can be voided, and another one issued in its place: it is open, and nothing is paid of it or credited.
    pub(super) fn is_voidable(&self) -> bool {
        self.clone().void(self.created_at).is_ok()
    }

    /// It keeps its number and is owed no more (RULES 35).
    pub(super) fn void(&mut self, at: DateTime<Utc>) -> Result<(), MoveError> {
        let voided = self.status.moved(Move::Void)?;
        if !self.amount_paid.is_zero() {
            return Err(MoveError::PartlyPaid);
        }
        if !self.credited_total.is_zero() {
            return Err(MoveError::Credited);
        }
        self.status = voided;
        self.voided_at = Some(at);
        Ok(())
    }

    pub(super) fn write_off(&mut self) -> Result<(), MoveError> {
        self.status = self.status.moved(Move::WriteOff)?;
        Ok(())
    }
}

impl Reason {
    /// Why a turn of the cycle makes an invoice.
    pub(super) fn of(turn: &Turn) -> Self {
        if turn.change > 0 {
            Self::Change
        } else if turn.ends {
            Self::Cancel
        } else if turn.closes.is_none() {
            Self::Create
        } else {
            Self::Cycle
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use sea_orm::Iterable;

    use super::*;
    use crate::invoices::samples::{open_invoice, usd};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn these_moves_are_allowed_and_no_others() {
        let mut table = String::new();
        for status in InvoiceStatus::iter() {
            for change in Move::iter() {
                let after = status.after(change).map_or("-", InvoiceStatus::word);
                writeln!(table, "{:<14}{:<21}{after}", status.word(), change.to_string()).unwrap();
            }
        }
        insta::assert_snapshot!(table, @r"
        draft         finalized            open
        draft         paid                 -
        draft         voided               -
        draft         marked uncollectible -
        open          finalized            -
        open          paid                 paid
        open          voided               void
        open          marked uncollectible uncollectible
        paid          finalized            -
        paid          paid                 -
        paid          voided               -
        paid          marked uncollectible -
        void          finalized            -
        void          paid                 -
        void          voided               -
        void          marked uncollectible -
        uncollectible finalized            -
        uncollectible paid                 paid
        uncollectible voided               -
        uncollectible marked uncollectible -
        ");
    }

    #[test]
    fn an_invoice_is_paid_when_the_last_cent_is() {
        let mut invoice = open_invoice("10.00");
        invoice.pay(usd("9.99"), at("2026-02-02T00:00:00Z")).unwrap();
        assert_eq!((invoice.status, invoice.paid_at), (InvoiceStatus::Open, None));
        assert_eq!(invoice.amount_due(), usd("0.01"));

        let end = at("2026-02-03T00:00:00Z");
        invoice.pay(usd("0.01"), end).unwrap();
        assert_eq!((invoice.status, invoice.paid_at), (InvoiceStatus::Paid, Some(end)));
        assert_eq!(invoice.amount_due(), usd("0"));
    }

    #[test]
    fn nobody_pays_more_than_is_owed_or_less_than_nothing() {
        let now = at("2026-02-02T00:00:00Z");
        for amount in ["10.01", "-0.01"] {
            let mut invoice = open_invoice("10.00");
            let refused = invoice.pay(usd(amount), now);
            assert_eq!(refused, Err(MoveError::TooMuch { amount: usd(amount), due: usd("10.00") }));
            assert_eq!(invoice, open_invoice("10.00"));
        }
        let mut invoice = open_invoice("10.00");
        let yen = Money::from_minor(1, Currency::JPY);
        assert!(matches!(invoice.pay(yen, now), Err(MoveError::Money(_))));
    }

    #[test]
    fn what_is_paid_in_part_cannot_be_voided() {
        let now = at("2026-02-02T00:00:00Z");
        let mut invoice = open_invoice("10.00");
        invoice.pay(usd("1.00"), now).unwrap();
        assert_eq!(invoice.void(now), Err(MoveError::PartlyPaid));

        let mut unpaid = open_invoice("10.00");
        unpaid.void(now).unwrap();
        assert_eq!((unpaid.status, unpaid.amount_due()), (InvoiceStatus::Void, usd("0")));
        assert!(unpaid.number.is_some());
    }

    #[test]
    fn what_was_given_up_may_still_be_paid() {
        let now = at("2026-02-02T00:00:00Z");
        let mut invoice = open_invoice("10.00");
        invoice.write_off().unwrap();
        invoice.pay(usd("4.00"), now).unwrap();
        assert_eq!(invoice.status, InvoiceStatus::Uncollectible);
        invoice.pay(usd("6.00"), now).unwrap();
        assert_eq!(invoice.status, InvoiceStatus::Paid);
    }
}
