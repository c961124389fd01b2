//! Invoice arithmetic: from lines to what is due (RULES 29–34). It numbers nothing, stores nothing and asks nobody
//! for money.

mod credit_note;
mod discount;
mod split;
mod tax;
mod wallet;

use rust_decimal::Decimal;

use crate::{
    arithmetic::Overflow,
    exact::Exact,
    money::{Currency, Money, MoneyError},
};

pub use credit_note::{Billed, CreditNoteError, Wanted};
pub use discount::{Coupon, Reduction};
pub use split::allocate;
pub use tax::{LineTax, Tax, TaxRounding, TaxTotal};
pub use wallet::WalletRank;

/// The identifier of the line that tops an invoice up to its minimum commitment.
pub const COMMITMENT_LINE: &str = "minimum_commitment";

/// Everything that decides an invoice's amounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub currency: Currency,
    pub tax_rounding: TaxRounding,
    pub lines: Vec<LineInput>,
    /// In order of application; a later percentage applies to what the earlier ones left.
    pub coupons: Vec<Coupon>,
    /// What is left of each usable credit note, the oldest first.
    pub credit_notes: Vec<Money>,
    /// What the customer has with us; negative for a debt.
    pub customer_balance: Money,
    /// The balance of each wallet, in the order of burning.
    pub wallets: Vec<Money>,
    /// Already prorated with the period (RULES 27).
    pub minimum_commitment: Option<Commitment>,
}

impl Input {
    /// Lines with their taxes and nothing else.
    pub fn of(currency: Currency, lines: Vec<LineInput>) -> Self {
        Self {
            currency,
            tax_rounding: TaxRounding::default(),
            lines,
            coupons: Vec::new(),
            credit_notes: Vec::new(),
            customer_balance: Money::zero(currency),
            wallets: Vec::new(),
            minimum_commitment: None,
        }
    }
}

/// A line before arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineInput {
    pub id: String,
    /// Exact, in major units; rounded once, first (RULES 29).
    pub amount: Decimal,
    /// The amount contains all of them, or none.
    pub taxes: Vec<Tax>,
}

/// What a customer agreed to spend at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    pub amount: Money,
    /// The taxes of the line that tops the invoice up.
    pub taxes: Vec<Tax>,
}

/// An invoice's amounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Σ lines.
    pub subtotal: Money,
    pub discount_total: Money,
    /// Subtotal less discounts, untaxed lines included; without the taxes where lines contain them.
    pub taxable: Money,
    pub tax_total: Money,
    /// Never negative.
    pub total: Money,
    pub credit_notes_applied: Money,
    /// Negative where a debt was added.
    pub balance_applied: Money,
    pub wallets_applied: Money,
    /// What is left to pay. Never negative.
    pub amount_due: Money,
    /// What a negative total leaves to the customer's balance (RULES 34), after it has paid a debt.
    pub credited_to_balance: Money,
    pub lines: Vec<Line>,
    /// Per tax, in order of first appearance.
    pub taxes: Vec<TaxTotal>,
    /// What each coupon took off.
    pub by_coupon: Vec<Money>,
    /// What each credit note paid.
    pub by_credit_note: Vec<Money>,
    /// What each wallet paid.
    pub by_wallet: Vec<Money>,
}

/// A line after arithmetic: `amount` − `discount` = `taxable` (+ `tax`, where amounts contain it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: String,
    /// Before its one rounding (RULES 29).
    pub exact_amount: Decimal,
    pub amount: Money,
    pub discount: Money,
    pub taxable: Money,
    pub tax: Money,
    pub taxes: Vec<LineTax>,
}

/// Why an invoice cannot be calculated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// Lines → coupons → tax → credit notes → customer balance → wallets → amount due (RULES 31).
pub fn calculate(input: &Input) -> Result<Totals, InvoiceError> {
    let currency = input.currency;
    let sum = |amounts: &mut dyn Iterator<Item = Money>| Money::sum(currency, amounts);

    let mut lines = rounded_lines(input)?;
    let by_coupon = discount::apply(&mut lines, &input.coupons, currency)?;
    let taxes = tax::apply(&mut lines, input)?;

    let taxable = sum(&mut lines.iter().map(|line| line.taxable))?;
    let tax_total = sum(&mut lines.iter().map(|line| line.tax))?;
    let signed = taxable.checked_add(tax_total)?;
    let zero = Money::zero(currency);
    let (total, credited_to_balance) =
        if signed.is_negative() { (zero, signed.checked_neg()?) } else { (signed, zero) };

    let (by_credit_note, left) = pay(total, &input.credit_notes)?;
    let balance_applied =
        if input.customer_balance.minor() < left.minor() { input.customer_balance } else { left };
    let left = left.checked_sub(balance_applied)?;
    // What a negative total gives back pays a debt before anybody is asked for money.
    let (settled, left) = pay(left, &[credited_to_balance])?;
    let credited_to_balance = credited_to_balance.checked_sub(Money::sum(currency, settled)?)?;
    let (by_wallet, amount_due) = pay(left, &input.wallets)?;

    Ok(Totals {
        subtotal: sum(&mut lines.iter().map(|line| line.amount))?,
        discount_total: sum(&mut lines.iter().map(|line| line.discount))?,
        taxable,
        tax_total,
        total,
        credit_notes_applied: sum(&mut by_credit_note.iter().copied())?,
        balance_applied,
        wallets_applied: sum(&mut by_wallet.iter().copied())?,
        amount_due,
        credited_to_balance,
        lines,
        taxes,
        by_coupon,
        by_credit_note,
        by_wallet,
    })
}

fn rounded_lines(input: &Input) -> Result<Vec<Line>, InvoiceError> {
    let zero = Money::zero(input.currency);
    let line = |id: &str, exact_amount: Decimal, amount: Money, taxes: &[Tax]| Line {
        id: id.to_owned(),
        exact_amount,
        amount,
        discount: zero,
        taxable: amount,
        tax: zero,
        taxes: taxes
            .iter()
            .map(|tax| LineTax { tax: tax.clone(), exact: Exact::ZERO, amount: zero })
            .collect(),
    };
    let mut lines = Vec::with_capacity(input.lines.len() + 1);
    for raw in &input.lines {
        lines.push(line(&raw.id, raw.amount, Money::round(raw.amount, input.currency)?, &raw.taxes));
    }
    if let Some(commitment) = &input.minimum_commitment {
        let spent = Money::sum(input.currency, lines.iter().map(|line| line.amount))?;
        let missing = commitment.amount.checked_sub(spent)?;
        if missing.minor() > 0 {
            lines.push(line(COMMITMENT_LINE, missing.to_decimal(), missing, &commitment.taxes));
        }
    }
    Ok(lines)
}

/// Pays from each source in turn, and says what each paid and what is left to pay.
pub fn pay(due: Money, sources: &[Money]) -> Result<(Vec<Money>, Money), MoneyError> {
    let mut left = due;
    let mut paid = Vec::with_capacity(sources.len());
    for source in sources {
        let usable = if source.currency() == due.currency() { source.minor() } else { 0 };
        let part = Money::from_minor(usable.clamp(0, left.minor()), due.currency());
        left = left.checked_sub(part)?;
        paid.push(part);
    }
    Ok((paid, left))
}

#[cfg(test)]
mod tests;
