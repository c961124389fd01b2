//! Decimal arithmetic that reports overflow instead of panicking. Exact to 28 significant digits.

use rust_decimal::Decimal;

/// The result of a calculation does not fit in 28 digits before the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers are too large to calculate with")]
pub struct Overflow;

/// The sum.
pub fn add(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_add(b).ok_or(Overflow)
}

/// The difference.
pub fn sub(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_sub(b).ok_or(Overflow)
}

/// The product.
pub fn mul(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_mul(b).ok_or(Overflow)
}

/// The quotient. Overflows for a zero divisor too: callers rule it out.
pub fn div(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_div(b).ok_or(Overflow)
}

/// The part of `whole` that a percentage is: 20 % of 50 is 10.
pub fn percent_of(percent: Decimal, whole: Decimal) -> Result<Decimal, Overflow> {
    mul(whole, div(percent, Decimal::ONE_HUNDRED)?)
}

/// The sum of many.
pub fn sum(numbers: impl IntoIterator<Item = Decimal>) -> Result<Decimal, Overflow> {
    numbers.into_iter().try_fold(Decimal::ZERO, add)
}
