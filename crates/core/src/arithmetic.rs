//! Decimal arithmetic for what is counted and kept: every digit, or an error. What is only calculated is
//! [`Exact`](crate::exact::Exact).

use rust_decimal::Decimal;

use crate::exact::{self, Exact, LIMIT};

/// The result of a calculation does not fit in 28 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers are too large to calculate with")]
pub struct Overflow;

/// The sum with every digit: what is counted must not depend on the order in which it came.
pub fn add(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    exact::total(a, b).filter(is_short).ok_or(Overflow)
}

/// The difference with every digit.
pub fn sub(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    add(a, -b)
}

/// The product with every digit.
pub fn mul(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    exact::product(a, b).filter(is_short).ok_or(Overflow)
}

/// Whether it can be written with 28 digits. A decimal holds some numbers of 29.
fn is_short(number: &Decimal) -> bool {
    number.mantissa().unsigned_abs() < LIMIT || number.normalize().mantissa().unsigned_abs() < LIMIT
}

/// The sum of many, with every digit.
pub fn sum(numbers: impl IntoIterator<Item = Decimal>) -> Result<Decimal, Overflow> {
    numbers.into_iter().try_fold(Decimal::ZERO, add)
}

/// The part of `whole` that a percentage is: 20 % of 50 is 10.
pub fn percent_of(percent: impl Into<Exact>, whole: impl Into<Exact>) -> Exact {
    let hundredth = Exact::from(Decimal::new(1, 2));
    percent.into() * whole.into() * hundredth
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::parse;

    #[test]
    fn what_is_counted_has_every_digit_or_is_refused() {
        let number = |text: &str| parse(text).unwrap();
        let sum = |a: &str, b: &str| add(number(a), number(b)).map(|sum| sum.normalize().to_string());
        assert_eq!(
            sum("123456789012345678901234.678", "0.0001").as_deref(),
            Ok("123456789012345678901234.6781")
        );
        assert_eq!(sum("1234567890123456789012345.678", "0.0001"), Err(Overflow));
        assert_eq!(sum("1000000000000000000000000000", "0.0000000000000000000000000001"), Err(Overflow));
        assert_eq!(sum("0.0000000000000000000000000001", "1000000000000000000000000000"), Err(Overflow));
        assert_eq!(sum("9999999999999999999999999999", "0.5"), Err(Overflow));
        assert_eq!(
            sum("-5000000000000000000000000000.0", "5000000000000000000000000000").as_deref(),
            Ok("0")
        );
        assert_eq!(mul(number("0.000001"), number("12345678901234567890123")).unwrap().scale(), 6);
        assert_eq!(mul(number("0.0000000000000000000000000001"), number("0.1")), Err(Overflow));
        assert_eq!(mul(number("9999999999999999999999999999"), number("20")), Err(Overflow));
        assert_eq!(mul(number("0.25"), Decimal::ZERO), Ok(Decimal::ZERO));
    }
}
