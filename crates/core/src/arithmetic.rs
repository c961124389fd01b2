//! Decimal arithmetic that reports overflow instead of panicking. Exact to 28 significant digits.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::decimal::DIGITS_MAX;

/// The first number of more than 28 digits. A decimal holds some numbers of 29.
const LIMIT: u128 = 10_u128.pow(28);

/// The result of a calculation does not fit in 28 digits before the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers are too large to calculate with")]
pub struct Overflow;

/// The sum.
pub fn add(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_add(b).ok_or(Overflow)
}

/// The sum with every digit of both, or none: what is counted must not depend on the order in which it came.
pub fn add_exactly(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    let sum = add(a, b)?;
    let may_be_rounded = sum.scale() < a.scale().max(b.scale());
    if may_be_rounded && (sub(sum, a)? != b || sub(sum, b)? != a) {
        return Err(Overflow);
    }
    Ok(sum)
}

/// The difference.
pub fn sub(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_sub(b).ok_or(Overflow)
}

/// The product.
pub fn mul(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_mul(b).ok_or(Overflow)
}

/// The product with every digit, or none.
pub fn mul_exactly(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    if a.is_zero() || b.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let (a, b) = (a.normalize(), b.normalize());
    let product = mul(a, b)?;
    if product.scale() < a.scale() + b.scale() { Err(Overflow) } else { Ok(product) }
}

/// The quotient, with at most 28 digits, so that it can be read again: 3.333333333333333333333333333. Overflows for a
/// zero divisor too: callers rule it out.
pub fn div(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    let quotient = a.checked_div(b).ok_or(Overflow)?;
    if quotient.mantissa().unsigned_abs() < LIMIT || quotient.scale() == 0 {
        return Ok(quotient);
    }
    let digits = u32::try_from(DIGITS_MAX).expect("a small number");
    quotient.round_sf_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero).ok_or(Overflow)
}

/// The part of `whole` that a percentage is: 20 % of 50 is 10.
pub fn percent_of(percent: Decimal, whole: Decimal) -> Result<Decimal, Overflow> {
    mul(whole, div(percent, Decimal::ONE_HUNDRED)?)
}

/// The sum of many.
pub fn sum(numbers: impl IntoIterator<Item = Decimal>) -> Result<Decimal, Overflow> {
    numbers.into_iter().try_fold(Decimal::ZERO, add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::parse;

    #[test]
    fn a_quotient_without_an_end_has_28_digits_and_a_sum_every_one() {
        let number = |text: &str| parse(text).unwrap();
        assert_eq!(div(number("10"), number("3")), Ok(number("3.333333333333333333333333333")));
        assert_eq!(div(number("20"), number("3")), Ok(number("6.666666666666666666666666667")));
        let sum = add(number("1234567890123456789012345.678"), number("0.0001")).unwrap();
        assert_eq!(sum.to_string(), "1234567890123456789012345.6781");
        assert_eq!(mul(number("9999999999999999999999999999"), number("20")), Err(Overflow));
        assert_eq!(div(Decimal::ONE, Decimal::ZERO), Err(Overflow));
    }

    #[test]
    fn an_exact_sum_has_every_digit_or_is_none() {
        let number = |text: &str| parse(text).unwrap();
        let sum = |a: &str, b: &str| add_exactly(number(a), number(b)).map(|sum| sum.normalize().to_string());
        assert_eq!(
            sum("1234567890123456789012345.678", "0.0001").as_deref(),
            Ok("1234567890123456789012345.6781")
        );
        assert_eq!(sum("1000000000000000000000000000", "0.0000000000000000000000000001"), Err(Overflow));
        assert_eq!(sum("0.0000000000000000000000000001", "1000000000000000000000000000"), Err(Overflow));
        assert_eq!(sum("9999999999999999999999999999", "0.5"), Err(Overflow));
        assert_eq!(mul_exactly(number("0.000001"), number("12345678901234567890123")).unwrap().scale(), 6);
        assert_eq!(mul_exactly(number("0.0000000000000000000000000001"), number("0.1")), Err(Overflow));
        assert_eq!(mul_exactly(number("0.25"), Decimal::ZERO), Ok(Decimal::ZERO));
        assert_eq!(
            sum("-5000000000000000000000000000.0", "5000000000000000000000000000").as_deref(),
            Ok("0")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

        #[test]
        fn a_quotient_can_be_read_again(
            (a, a_scale) in (any::<i64>(), 0_u32..=28),
            (b, b_scale) in (any::<i64>(), 0_u32..=28),
        ) {
            if let Ok(quotient) = div(Decimal::new(a, a_scale), Decimal::new(b, b_scale)).map(|q| q.normalize())
                && quotient.scale() > 0
            {
                prop_assert_eq!(parse(&quotient.to_string()), Ok(quotient));
            }
        }
    }
}
