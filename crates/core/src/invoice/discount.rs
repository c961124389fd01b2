//! Coupons: what they take off, and from which lines (RULES 30 and 31).

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::{InvoiceError, Line, split::allocate};
use crate::{
    arithmetic::percent_of,
    money::{Currency, Money},
};

/// A discount on an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    pub reduction: Reduction,
    /// The identifiers of the lines it applies to; none for all.
    pub lines: Option<Vec<String>>,
}

/// How much a coupon takes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// An amount; one of another currency takes nothing off.
    Amount(Money),
    /// 20 for 20 %.
    Percent(Decimal),
}

/// Takes each coupon off what the ones before it left, and says what each took.
pub(super) fn apply(
    lines: &mut [Line],
    coupons: &[Coupon],
    currency: Currency,
) -> Result<Vec<Money>, InvoiceError> {
    coupons.iter().map(|coupon| apply_one(lines, coupon, currency)).collect()
}

fn apply_one(lines: &mut [Line], coupon: &Coupon, currency: Currency) -> Result<Money, InvoiceError> {
    // Lines that give money back take no discount: they already carry the one of the line they credit (RULES 9).
    let named: Option<HashSet<&String>> = coupon.lines.as_ref().map(|ids| ids.iter().collect());
    let eligible = |line: &&mut Line| {
        named.as_ref().is_none_or(|ids| ids.contains(&line.id)) && line.taxable.minor() > 0
    };
    let mut lines: Vec<&mut Line> = lines.iter_mut().filter(eligible).collect();
    let left = Money::sum(currency, lines.iter().map(|line| line.taxable))?;
    let wanted = match coupon.reduction {
        Reduction::Amount(amount) if amount.currency() != currency => Money::zero(currency),
        Reduction::Amount(amount) => amount,
        Reduction::Percent(percent) => Money::round(percent_of(percent, left.to_decimal()), currency)?,
    };
    let taken = Money::from_minor(wanted.minor().clamp(0, left.minor()), currency);

    let weights: Vec<i128> = lines.iter().map(|line| line.taxable.minor().into()).collect();
    for (line, part) in lines.iter_mut().zip(allocate(taken, &weights)?) {
        line.discount = line.discount.checked_add(part)?;
        line.taxable = line.taxable.checked_sub(part)?;
    }
    Ok(taken)
}
