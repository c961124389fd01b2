//! Decimal arithmetic that reports overflow instead of panicking. Exact to 28 significant digits, and no result has
//! more: whatever is answered can be asked with again.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::decimal::DIGITS_MAX;

/// The result of a calculation does not fit in 28 digits before the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the numbers are too large to calculate with")]
pub struct Overflow;

/// The sum.
pub fn add(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    fitting(a.checked_add(b))
}

/// The difference.
pub fn sub(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    fitting(a.checked_sub(b))
}

/// The product.
pub fn mul(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    fitting(a.checked_mul(b))
}

/// The quotient. Overflows for a zero divisor too: callers rule it out.
pub fn div(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    fitting(a.checked_div(b))
}

/// The part of `whole` that a percentage is: 20 % of 50 is 10.
pub fn percent_of(percent: Decimal, whole: Decimal) -> Result<Decimal, Overflow> {
    mul(whole, div(percent, Decimal::ONE_HUNDRED)?)
}

/// The sum of many.
pub fn sum(numbers: impl IntoIterator<Item = Decimal>) -> Result<Decimal, Overflow> {
    numbers.into_iter().try_fold(Decimal::ZERO, add)
}

/// A decimal holds some numbers of 29 digits, too: the last one goes, if it stands after the point.
fn fitting(result: Option<Decimal>) -> Result<Decimal, Overflow> {
    const LIMIT: u128 = 10_u128.pow(28);
    let result = result.ok_or(Overflow)?;
    if result.mantissa().unsigned_abs() < LIMIT {
        return Ok(result);
    }
    let digits = u32::try_from(DIGITS_MAX).expect("a small number");
    let rounded = result.round_sf_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero);
    rounded.filter(|_| result.scale() > 0).ok_or(Overflow)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::parse;

    #[test]
    fn a_result_has_at_most_28_digits_or_is_an_overflow() {
        let number = |text: &str| parse(text).unwrap();
        assert_eq!(div(number("10"), number("3")), Ok(number("3.333333333333333333333333333")));
        assert_eq!(div(number("20"), number("3")), Ok(number("6.666666666666666666666666667")));
        assert_eq!(mul(number("9999999999999999999999999999"), number("2")), Err(Overflow));
        assert_eq!(add(number("9999999999999999999999999999"), Decimal::ONE), Err(Overflow));
        assert_eq!(sub(number("-9999999999999999999999999999"), Decimal::ONE), Err(Overflow));
        assert_eq!(div(Decimal::ONE, Decimal::ZERO), Err(Overflow));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

        #[test]
        fn whatever_is_calculated_can_be_read_again(
            (a, a_scale) in (any::<i64>(), 0_u32..=28),
            (b, b_scale) in (any::<i64>(), 0_u32..=28),
        ) {
            let (a, b) = (Decimal::new(a, a_scale), Decimal::new(b, b_scale));
            for result in [add(a, b), sub(a, b), mul(a, b), div(a, b)].into_iter().flatten() {
                prop_assert_eq!(parse(&result.to_string()), Ok(result.normalize()));
            }
        }
    }
}
