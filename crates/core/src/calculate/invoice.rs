//! What does an invoice come to?

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Check, too_large};
use crate::{
    decimal::Number,
    invalid::Invalid,
    invoice::{self, Commitment, Coupon, Input, LineInput, Reduction, Tax, TaxRounding, Totals},
    money::{Currency, Money},
    read,
};

const LINES_MAX: usize = 5_000;
const TAXES_PER_LINE_MAX: usize = 10;
const COUPONS_MAX: usize = 20;
const SOURCES_MAX: usize = 1_000;

/// Everything that decides an invoice's amounts.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceQuestion {
    pub currency: Currency,
    #[serde(default, deserialize_with = "read::or_default")]
    pub tax_rounding: TaxRounding,
    /// Whether the lines' amounts contain their taxes.
    #[serde(default, deserialize_with = "read::or_default")]
    pub tax_inclusive: bool,
    #[serde(deserialize_with = "read::list::<_, _, LINES_MAX>")]
    #[schema(max_items = 5_000)]
    pub lines: Vec<LineQuestion>,
    /// In order of application; percentages apply to what the coupons before them left.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, COUPONS_MAX>")]
    #[schema(max_items = 20)]
    pub coupons: Vec<CouponQuestion>,
    /// The oldest first.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, SOURCES_MAX>")]
    #[schema(max_items = 1_000)]
    pub credit_notes: Vec<CreditNoteQuestion>,
    /// Negative for a debt.
    pub customer_balance: Option<Number>,
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, SOURCES_MAX>")]
    #[schema(max_items = 1_000)]
    pub wallets: Vec<WalletQuestion>,
    /// What the lines come to at least, before coupons.
    pub minimum_commitment: Option<Number>,
}

/// A line before arithmetic.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineQuestion {
    pub id: String,
    /// Rounded once, first.
    pub amount: Number,
    /// 20 for 20 %.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, TAXES_PER_LINE_MAX>")]
    #[schema(max_items = 10)]
    pub tax_rates: Vec<Number>,
}

/// A discount.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CouponQuestion {
    #[serde(rename = "type")]
    pub kind: CouponKind,
    /// `amount`: how much it takes off.
    pub amount: Option<Number>,
    /// `amount`: its currency (default: the invoice's). One of another currency does not apply.
    pub currency: Option<Currency>,
    /// `percent`: 20 for 20 %.
    pub percent: Option<Number>,
    /// The lines it applies to (default: all).
    pub lines: Option<Vec<String>>,
}

/// The kinds of coupons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CouponKind {
    Amount,
    Percent,
}

/// A credit note that may pay.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditNoteQuestion {
    pub available: Number,
    /// Default: the invoice's. One of another currency does not apply.
    pub currency: Option<Currency>,
}

/// A wallet that may pay.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletQuestion {
    pub balance: Number,
    /// A lower number pays first; without one, last.
    pub priority: Option<i64>,
}

/// The invoice's amounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct InvoiceAnswer {
    pub subtotal: Money,
    pub discount_total: Money,
    /// Subtotal less discounts, untaxed lines included; without the taxes where lines contain them.
    pub taxable: Money,
    pub tax_total: Money,
    pub total: Money,
    pub credit_notes_applied: Money,
    /// Negative where a debt was added.
    pub balance_applied: Money,
    pub wallets_applied: Money,
    pub amount_due: Money,
    /// What a negative total leaves to the customer's balance; missing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credited_to_balance: Option<Money>,
    pub lines: Vec<LineAnswer>,
}

/// A line after arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LineAnswer {
    pub id: String,
    pub amount: Money,
    pub discount: Money,
    pub taxable: Money,
    pub tax: Money,
}

/// Calculates an invoice as finalizing it would.
pub fn invoice(question: &InvoiceQuestion) -> Result<InvoiceAnswer, Vec<Invalid>> {
    let mut check = Check::default();
    let input = input(question, &mut check);
    check.finish()?;
    let totals = invoice::calculate(&input).map_err(|error| too_large("/lines", error))?;
    Ok(answer(totals))
}

fn input(question: &InvoiceQuestion, check: &mut Check) -> Input {
    let currency = question.currency;
    check.at_most("/coupons", question.coupons.len(), COUPONS_MAX);
    check.at_most("/credit_notes", question.credit_notes.len(), SOURCES_MAX);
    check.at_most("/wallets", question.wallets.len(), SOURCES_MAX);
    let coupons = question.coupons.iter().enumerate();
    let notes = question.credit_notes.iter().enumerate();
    Input {
        currency,
        tax_rounding: question.tax_rounding,
        lines: lines(question, check),
        coupons: coupons.filter_map(|(index, coupon)| self::coupon(coupon, index, currency, check)).collect(),
        credit_notes: notes
            .map(|(index, note)| {
                let pointer = format!("/credit_notes/{index}/available");
                check.price(&pointer, note.available, note.currency.unwrap_or(currency))
            })
            .collect(),
        customer_balance: check.money(
            "/customer_balance",
            question.customer_balance.unwrap_or_default(),
            currency,
        ),
        wallets: wallets(question, check),
        minimum_commitment: question.minimum_commitment.map(|amount| Commitment {
            amount: check.price("/minimum_commitment", amount, currency),
            taxes: Vec::new(),
        }),
    }
}

fn lines(question: &InvoiceQuestion, check: &mut Check) -> Vec<LineInput> {
    check.at_most("/lines", question.lines.len(), LINES_MAX);
    let mut seen = HashSet::new();
    let mut lines = Vec::with_capacity(question.lines.len());
    for (index, line) in question.lines.iter().enumerate() {
        let under = format!("/lines/{index}");
        if !seen.insert(&line.id) {
            check.report(&format!("{under}/id"), "duplicate", "another line has this id");
        }
        if question.minimum_commitment.is_some() && line.id == invoice::COMMITMENT_LINE {
            check.report(&format!("{under}/id"), "reserved", "is the line of the minimum commitment");
        }
        check.at_most(&format!("{under}/tax_rates"), line.tax_rates.len(), TAXES_PER_LINE_MAX);
        for (place, rate) in line.tax_rates.iter().enumerate() {
            check.percent(&format!("{under}/tax_rates/{place}"), Some(*rate));
        }
        let tax = |rate: &Number| Tax {
            code: rate.0.normalize().to_string(),
            rate: rate.0,
            inclusive: question.tax_inclusive,
        };
        lines.push(LineInput {
            id: line.id.clone(),
            amount: line.amount.0,
            taxes: line.tax_rates.iter().map(tax).collect(),
        });
    }
    lines
}

fn coupon(raw: &CouponQuestion, index: usize, currency: Currency, check: &mut Check) -> Option<Coupon> {
    let under = format!("/coupons/{index}");
    let reduction = match (raw.kind, raw.amount, raw.percent) {
        (CouponKind::Amount, Some(amount), None) => {
            let currency = raw.currency.unwrap_or(currency);
            Reduction::Amount(check.price(&format!("{under}/amount"), amount, currency))
        }
        (CouponKind::Percent, None, Some(percent)) => {
            Reduction::Percent(check.percent(&format!("{under}/percent"), Some(percent)))
        }
        (CouponKind::Amount, Some(_), Some(_)) => {
            check.report(&format!("{under}/percent"), "exclusive", "does not belong to an amount");
            return None;
        }
        (CouponKind::Percent, Some(_), _) => {
            check.report(&format!("{under}/amount"), "exclusive", "does not belong to a percentage");
            return None;
        }
        (CouponKind::Amount, None, _) => {
            check.report(&format!("{under}/amount"), "required", "is needed");
            return None;
        }
        (CouponKind::Percent, None, None) => {
            check.report(&format!("{under}/percent"), "required", "is needed");
            return None;
        }
    };
    if raw.kind == CouponKind::Percent && raw.currency.is_some() {
        check.report(&format!("{under}/currency"), "exclusive", "does not belong to a percentage");
    }
    Some(Coupon { reduction, lines: raw.lines.clone() })
}

fn wallets(question: &InvoiceQuestion, check: &mut Check) -> Vec<Money> {
    let mut wallets = Vec::with_capacity(question.wallets.len());
    for (index, wallet) in question.wallets.iter().enumerate() {
        let balance = check.price(&format!("/wallets/{index}/balance"), wallet.balance, question.currency);
        wallets.push((wallet.priority.unwrap_or(i64::MAX), balance));
    }
    wallets.sort_by_key(|(priority, _)| *priority);
    wallets.into_iter().map(|(_, balance)| balance).collect()
}

fn answer(totals: Totals) -> InvoiceAnswer {
    let line = |line: invoice::Line| LineAnswer {
        id: line.id,
        amount: line.amount,
        discount: line.discount,
        taxable: line.taxable,
        tax: line.tax,
    };
    InvoiceAnswer {
        subtotal: totals.subtotal,
        discount_total: totals.discount_total,
        taxable: totals.taxable,
        tax_total: totals.tax_total,
        total: totals.total,
        credit_notes_applied: totals.credit_notes_applied,
        balance_applied: totals.balance_applied,
        wallets_applied: totals.wallets_applied,
        amount_due: totals.amount_due,
        credited_to_balance: Some(totals.credited_to_balance).filter(|amount| !amount.is_zero()),
        lines: totals.lines.into_iter().map(line).collect(),
    }
}
