//! What each kind of email says: its facts, as plain data.

use std::fmt;

use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize, Serializer};

use super::written::{Amount, Color, Day, Link};

/// What an email is about. Stored and shown in snake case: `payment_failed`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[schema(as = EmailKind)]
pub enum Kind {
    InvoiceIssued,
    PaymentReceipt,
    PaymentFailed,
    ActionRequired,
    TrialWillEnd,
    SubscriptionCanceled,
    AccessRestricted,
    PaymentRecovered,
}

/// Everything one email is made of. Its texts come from outside and are escaped where they are placed.
#[derive(Clone, Debug, Serialize)]
pub struct Context {
    pub tenant: Tenant,
    /// How who reads it is greeted.
    pub recipient_name: Option<String>,
    /// Without it, the email says that no real money moves.
    pub livemode: bool,
    #[serde(flatten)]
    pub content: Content,
}

/// In whose name the email is written.
#[derive(Clone, Debug, Serialize)]
pub struct Tenant {
    pub name: String,
    pub color: Color,
    /// The postal address, line by line.
    pub address: Vec<String>,
    /// Where questions go.
    pub support_email: Option<String>,
}

/// The facts of one kind of email.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Content {
    InvoiceIssued(InvoiceIssued),
    PaymentReceipt(PaymentReceipt),
    PaymentFailed(PaymentFailed),
    ActionRequired(ActionRequired),
    TrialWillEnd(TrialWillEnd),
    SubscriptionCanceled(SubscriptionCanceled),
    AccessRestricted(AccessRestricted),
    PaymentRecovered(PaymentRecovered),
}

#[derive(Clone, Debug, Serialize)]
pub struct InvoiceIssued {
    pub number: String,
    /// Before discounts and tax; absent when the lines are the total.
    pub subtotal: Option<Amount>,
    pub discount: Option<Amount>,
    pub taxes: Vec<TaxSum>,
    /// Why there is no tax, in the words of the law.
    pub tax_note: Option<String>,
    /// After tax, before credits.
    pub total: Amount,
    /// What credits and earlier payments take off the total; absent when they take nothing.
    pub covered: Option<Amount>,
    /// What is left to pay.
    pub amount_due: Amount,
    pub due_on: Day,
    pub settlement: Settlement,
    /// All of them: the email shows the first ten and counts the others.
    pub lines: Vec<Line>,
    /// The page where the invoice can be seen, and paid if it is due.
    pub invoice_url: Option<Link>,
    pub pdf_attached: bool,
}

/// Who sees to it that an invoice gets paid.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Settlement {
    /// The customer, by the due date.
    Manual,
    /// We, by charging `method` (`Visa ending in 4242`) on the due date.
    Automatic { method: String },
    /// Nobody: credits already cover it.
    Settled,
}

/// What one tax came to.
#[derive(Clone, Debug, Serialize)]
pub struct TaxSum {
    /// `VAT 23%`.
    pub label: String,
    pub amount: Amount,
}

#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub description: String,
    /// In small print: `12,000 requests, 1–31 January 2026`.
    pub detail: Option<String>,
    pub amount: Amount,
}

#[derive(Clone, Debug, Serialize)]
pub struct PaymentReceipt {
    pub invoice_number: String,
    pub amount: Amount,
    pub paid_on: Day,
    /// As people know it: `Visa ending in 4242`.
    pub method: Option<String>,
    /// After a payment of a part.
    pub left_to_pay: Option<Amount>,
    pub invoice_url: Option<Link>,
    pub pdf_attached: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct PaymentFailed {
    pub invoice_number: String,
    pub amount: Amount,
    /// As people know it: `Visa ending in 4242`.
    pub method: Option<String>,
    /// Counts from 1.
    pub attempt: u32,
    pub decline: Decline,
    /// Absent when only another payment method can help (RULES 45).
    pub next_try_on: Option<Day>,
    /// When access will be restricted if nothing is paid (RULES 49).
    pub access_ends_on: Option<Day>,
    pub update_url: Option<Link>,
}

/// Why a payment was declined, as far as the customer may know: never that a card was reported stolen, or
/// that fraud is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    InsufficientFunds,
    ExpiredCard,
    WrongDetails,
    LimitExceeded,
    NotSupported,
    MethodClosed,
    MandateRevoked,
    BankUnavailable,
    /// There was nothing to charge.
    NoMethod,
    /// The bank gave no reason, or one that we keep to ourselves.
    Unexplained,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActionRequired {
    pub invoice_number: String,
    pub amount: Amount,
    /// As people know it: `Visa ending in 4242`.
    pub method: Option<String>,
    pub confirm_url: Option<Link>,
    pub confirm_by: Option<Day>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TrialWillEnd {
    pub plan_name: String,
    pub ends_on: Day,
    /// What it costs afterwards; absent when that depends on usage alone.
    pub price: Option<RecurringPrice>,
    /// What will be charged; absent when the customer has to add something first.
    pub method: Option<String>,
    pub manage_url: Option<Link>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RecurringPrice {
    pub amount: Amount,
    /// What follows "per": `month`, `3 months`.
    pub interval: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionCanceled {
    pub plan_name: String,
    /// Canceled by us because nobody paid, not by the customer's wish.
    pub unpaid: bool,
    /// The last day of use; absent when it is over already.
    pub access_until: Option<Day>,
    pub restart_url: Option<Link>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AccessRestricted {
    pub amount_due: Amount,
    /// Absent when several invoices are unpaid.
    pub invoice_number: Option<String>,
    pub since: Day,
    /// Nothing works any more, rather than less.
    pub suspended: bool,
    pub pay_url: Option<Link>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PaymentRecovered {
    pub invoice_number: String,
    pub amount: Amount,
    pub paid_on: Day,
    /// As people know it: `Visa ending in 4242`.
    pub method: Option<String>,
    pub access_restored: bool,
    pub invoice_url: Option<Link>,
    pub pdf_attached: bool,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::InvoiceIssued,
        Self::PaymentReceipt,
        Self::PaymentFailed,
        Self::ActionRequired,
        Self::TrialWillEnd,
        Self::SubscriptionCanceled,
        Self::AccessRestricted,
        Self::PaymentRecovered,
    ];

    /// Whether it is about an invoice or what becomes of it, and so also for those who see to the customer's invoices.
    pub const fn is_about_invoices(self) -> bool {
        match self {
            Self::InvoiceIssued
            | Self::PaymentReceipt
            | Self::PaymentFailed
            | Self::ActionRequired
            | Self::AccessRestricted
            | Self::PaymentRecovered => true,
            Self::TrialWillEnd | Self::SubscriptionCanceled => false,
        }
    }

    /// The same word as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceIssued => "invoice_issued",
            Self::PaymentReceipt => "payment_receipt",
            Self::PaymentFailed => "payment_failed",
            Self::ActionRequired => "action_required",
            Self::TrialWillEnd => "trial_will_end",
            Self::SubscriptionCanceled => "subscription_canceled",
            Self::AccessRestricted => "access_restricted",
            Self::PaymentRecovered => "payment_recovered",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Content {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::InvoiceIssued(_) => Kind::InvoiceIssued,
            Self::PaymentReceipt(_) => Kind::PaymentReceipt,
            Self::PaymentFailed(_) => Kind::PaymentFailed,
            Self::ActionRequired(_) => Kind::ActionRequired,
            Self::TrialWillEnd(_) => Kind::TrialWillEnd,
            Self::SubscriptionCanceled(_) => Kind::SubscriptionCanceled,
            Self::AccessRestricted(_) => Kind::AccessRestricted,
            Self::PaymentRecovered(_) => Kind::PaymentRecovered,
        }
    }
}

impl fmt::Display for Decline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InsufficientFunds => "The bank says that there were not enough funds.",
            Self::ExpiredCard => "The card has expired.",
            Self::WrongDetails => "The bank did not accept the card's number, date or security code.",
            Self::LimitExceeded => "The amount is above the limit that the bank allows.",
            Self::NotSupported => "The bank does not allow this kind of payment.",
            Self::MethodClosed => "The card or account is no longer active.",
            Self::MandateRevoked => "The permission to debit the account is no longer valid.",
            Self::BankUnavailable => "The bank could not be reached.",
            Self::NoMethod => "There is no payment method that we could charge.",
            Self::Unexplained => "The bank declined the payment; it can tell you why.",
        })
    }
}

impl Serialize for Decline {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
