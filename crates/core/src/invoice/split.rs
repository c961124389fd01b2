//! Splitting money without losing a cent (RULES 30).

use rust_decimal::{Decimal, prelude::ToPrimitive};

use super::InvoiceError;
use crate::{
    arithmetic::Overflow,
    exact::{Exact, Toward},
    money::{Money, MoneyError},
};

/// Splits by largest remainder: the parts always add up to `whole`, ties go to the earlier part.
///
/// Weights may not be negative. If all are zero, every part is zero and nothing was split: so is the sum.
pub fn allocate(whole: Money, weights: &[i128]) -> Result<Vec<Money>, MoneyError> {
    let total = weights.iter().try_fold(0_i128, |sum, weight| sum.checked_add(*weight));
    let total = total.ok_or(MoneyError::Overflow)?;
    if total == 0 {
        return Ok(vec![Money::zero(whole.currency()); weights.len()]);
    }
    // A negative whole is split like a positive one, so that a credit mirrors its charge.
    let sign = i128::from(whole.minor().signum());
    let size = i128::from(whole.minor()).abs();

    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let share = size.checked_mul(*weight).ok_or(MoneyError::Overflow)?;
        parts.push(share / total);
        remainders.push((share % total, index));
    }
    let missing = size - parts.iter().sum::<i128>();
    remainders.sort_by(|(one, earlier), (other, later)| other.cmp(one).then(earlier.cmp(later)));
    for (_, index) in remainders.iter().take(usize::try_from(missing).expect("fewer cents than parts")) {
        parts[*index] += 1;
    }
    parts
        .into_iter()
        .map(|part| i64::try_from(part * sign).map_err(|_| MoneyError::Overflow))
        .map(|minor| Ok(Money::from_minor(minor?, whole.currency())))
        .collect()
}

/// Splits a rounded sum over the exact amounts it is the sum of.
///
/// By largest remainder like [`allocate`] where all have one sign. Where charges and credits meet on an invoice
/// the sum says little about its parts: there each keeps its own amount, give or take a minor unit.
pub(super) fn spread(whole: Money, exact: &[Exact]) -> Result<Vec<Money>, InvoiceError> {
    if exact.iter().all(|amount| amount.is_zero() || amount.is_negative() == whole.is_negative()) {
        let decimals = exact.iter().map(Exact::to_decimal).collect::<Result<Vec<_>, _>>()?;
        return Ok(allocate(whole, &weights(decimals)?)?);
    }
    let currency = whole.currency();
    let sign = if whole.is_negative() { -1 } else { 1 };
    let scale = Exact::from(10_i64.pow(currency.digits()) * sign);
    let mut floors = Vec::with_capacity(exact.len());
    let mut remainders = Vec::with_capacity(exact.len());
    for (index, amount) in exact.iter().enumerate() {
        let minor = amount * &scale;
        let floor = minor.round(0, Toward::MinusInfinity);
        floors.push(floor.to_decimal()?.to_i64().ok_or(Overflow)?);
        remainders.push((minor - floor, index));
    }
    let floor = floors.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part)).ok_or(Overflow)?;
    let missing = whole.minor().checked_abs().and_then(|size| size.checked_sub(floor)).ok_or(Overflow)?;
    remainders.sort_by(|(one, earlier), (other, later)| other.cmp(one).then(earlier.cmp(later)));
    for (_, index) in remainders.iter().take(usize::try_from(missing).map_err(|_| Overflow)?) {
        floors[*index] += 1;
    }
    Ok(floors.into_iter().map(|minor| Money::from_minor(minor * sign, currency)).collect())
}

/// The smallest whole numbers that stand in the same proportion as the sizes of these.
pub(super) fn weights(numbers: Vec<Decimal>) -> Result<Vec<i128>, Overflow> {
    let normal: Vec<Decimal> = numbers.into_iter().map(|number| number.normalize().abs()).collect();
    let scale = normal.iter().map(Decimal::scale).max().unwrap_or(0);
    let whole = |number: &Decimal| {
        10_i128.checked_pow(scale - number.scale()).and_then(|shift| number.mantissa().checked_mul(shift))
    };
    let weights = normal.iter().map(|number| whole(number).ok_or(Overflow)).collect::<Result<Vec<_>, _>>()?;
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    Ok(weights.into_iter().map(|weight| weight / divisor).collect())
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
