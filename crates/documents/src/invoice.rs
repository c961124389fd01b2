//! What stands on an invoice. A copy of the facts, so that printing needs nothing else.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::Locale;

/// An invoice, or one of its relatives, ready to be printed.
///
/// Amounts are decimals in major units with exactly the digits of `currency`: `"-1234.50"`. Every other
/// text is printed as it stands: it is data, never markup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    pub kind: Kind,
    pub locale: Locale,
    /// Absent on drafts: they have no number yet (RULES 35).
    pub number: Option<String>,
    /// Also the date in the file's metadata, so that the same invoice gives the same bytes.
    pub issued_on: NaiveDate,
    pub due_on: Option<NaiveDate>,
    /// Prints the mark that nothing is owed any more.
    pub paid_on: Option<NaiveDate>,
    /// Prints the mark that the document has no effect any more.
    pub voided_on: Option<NaiveDate>,
    pub period: Option<Period>,
    pub issuer: Party,
    pub customer: Party,
    /// More facts for the head of the document: a purchase order, the invoice that is credited.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Three capital letters.
    pub currency: String,
    pub lines: Vec<Line>,
    /// Before discounts and tax.
    pub subtotal: String,
    /// Positive: what the discounts take off. Printed with a minus sign.
    pub discount_total: Option<String>,
    #[serde(default)]
    pub taxes: Vec<TaxTotal>,
    /// Why there is no tax, in the words of the law.
    #[serde(default)]
    pub tax_note: Option<String>,
    pub total: String,
    /// Positive: what balance and prepaid credits took off the total. Printed with a minus sign.
    pub credits_applied: Option<String>,
    /// Positive: a debt from before that is asked for with this document.
    #[serde(default)]
    pub previous_balance: Option<String>,
    /// Positive, or zero. Printed with a minus sign.
    pub amount_paid: String,
    pub amount_due: String,
    /// How to pay: bank details, a payment reference.
    pub payment_instructions: Option<String>,
    /// Where to pay online: `https://…`.
    pub payment_url: Option<String>,
    pub notes: Option<String>,
    /// Small print at the foot of every page: registration, bank, managing directors.
    pub footer: Option<String>,
    /// A PNG picture above the issuer's name.
    #[serde(default)]
    pub logo: Option<Vec<u8>>,
    /// Of names and rules, like `#1f3f66`; anything else is passed over.
    #[serde(default)]
    pub color: Option<String>,
}

/// Which document it is. It decides the title and what the large amount means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Invoice,
    /// An invoice that may still change: marked on every page.
    Draft,
    CreditNote,
    /// Proof of a payment.
    Receipt,
}

impl Kind {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::Draft => "draft",
            Self::CreditNote => "credit_note",
            Self::Receipt => "receipt",
        }
    }
}

/// Who sends the document or who receives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub name: String,
    /// From the street to the country, as an envelope wants it.
    #[serde(default)]
    pub address: Vec<String>,
    /// With their names: `VAT ID DE123456789`.
    #[serde(default)]
    pub tax_ids: Vec<String>,
    pub email: Option<String>,
}

/// Days of service, both included. A period `[start, end)` ends on the day before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub first_on: NaiveDate,
    pub last_on: NaiveDate,
}

/// A fact with its name: `Purchase order`, `PO-4711`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub label: String,
    pub text: String,
}

/// One charge or credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub description: String,
    pub period: Option<Period>,
    /// A bare decimal is written in the locale's way, anything else as it stands: `3 seats`.
    pub quantity: Option<String>,
    /// Like `quantity`: `0.0025`, or `2.50 / 1,000`.
    pub unit_price: Option<String>,
    /// Like `VAT 19%`.
    pub tax: Option<String>,
    pub amount: String,
    /// How the amount came about: one for each tier of usage.
    #[serde(default)]
    pub details: Vec<Detail>,
}

/// A part of a line, in small print below it. Its amount is already in the line's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    pub description: String,
    /// See [`Line::quantity`].
    pub quantity: Option<String>,
    /// See [`Line::unit_price`].
    pub unit_price: Option<String>,
    /// Not rounded to the currency's digits, so any number of digits is fine.
    pub amount: Option<String>,
}

/// One rate of tax: what it was taken on and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxTotal {
    /// Like `VAT 19%`.
    pub label: String,
    pub base: String,
    pub amount: String,
}
