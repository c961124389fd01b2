//! Proration owns the fraction of a period that a change leaves over, and what is credited and charged for it
//! (RULES 8–10). It does not decide who changes what, or when.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    arithmetic::Overflow,
    calendar::{Period, days_between},
    exact::Exact,
    money::{Currency, Money, MoneyError},
};

/// How the unused part of a period is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProrationBasis)]
pub enum Basis {
    /// By local calendar days; the day of the change is unused.
    #[default]
    Day,
    /// By elapsed seconds.
    Second,
    /// Not at all: nothing is credited and nothing charged.
    None,
}

/// A part of a period, in days or seconds, not reduced: 15 of 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PeriodFraction)]
pub struct Fraction {
    /// Days or seconds that are left, at least 0.
    pub numerator: i64,
    /// Days or seconds of the whole, at least 1.
    pub denominator: i64,
}

impl Fraction {
    /// Everything.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };
    /// Nothing.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// The fraction of `whole`.
    pub fn of(self, whole: impl Into<Exact>) -> Result<Exact, Overflow> {
        (whole.into() * Exact::from(self.numerator)).divide(&self.denominator.into())
    }
}

/// Why something cannot be prorated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProrationError {
    #[error("the change must lie within the period")]
    OutsideOfPeriod,
    #[error("the full period is shorter than one day or second")]
    TooShort,
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// The part of `full` that is left of `period` from `at` on: (end of `period` − `at`) ÷ length of `full` (RULES 8).
///
/// `full` is the nominal period: of a short first period, the whole one it would have been.
pub fn remaining(
    basis: Basis,
    period: Period,
    full: Period,
    at: DateTime<Utc>,
    zone: Tz,
) -> Result<Fraction, ProrationError> {
    if at < period.start || at > period.end {
        return Err(ProrationError::OutsideOfPeriod);
    }
    let (numerator, denominator) = match basis {
        Basis::Day => (days_between(at, period.end, zone), full.days(zone)),
        Basis::Second => (period.end.timestamp() - at.timestamp(), full.seconds()),
        Basis::None => (0, 1),
    };
    if denominator < 1 {
        return Err(ProrationError::TooShort);
    }
    Ok(Fraction { numerator, denominator })
}

/// What the unused part of a billed line gives back: zero or negative, never more than is left of the line (RULES 9).
///
/// `full_amount` is the exact price of a full period, `billed` what the line really charged after its discount.
pub fn credit(
    full_amount: impl Into<Exact>,
    unused: Fraction,
    billed: Money,
    already_credited: Money,
) -> Result<Money, ProrationError> {
    let zero = Money::zero(billed.currency());
    let left = billed.checked_sub(already_credited)?;
    if left.is_negative() {
        return Ok(zero);
    }
    let wanted = Money::round(unused.of(full_amount)?, billed.currency())?;
    Ok(if wanted.minor() < left.minor() { wanted } else { left }.checked_neg()?)
}

/// What a price costs for the rest of a period, rounded once (RULES 10).
pub fn charge(
    full_amount: impl Into<Exact>,
    rest: Fraction,
    currency: Currency,
) -> Result<Money, ProrationError> {
    Ok(Money::round(rest.of(full_amount)?, currency)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn period(start: &str, end: &str) -> Period {
        Period::try_new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    fn usd(text: &str) -> Money {
        Money::parse(text, Currency::USD).unwrap()
    }

    #[test]
    fn from_ten_to_thirty_dollars_on_day_16_of_30_credits_five_and_charges_fifteen() {
        let april = period("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");
        let change = "2026-04-16T09:30:00Z".parse().unwrap();
        let unused = remaining(Basis::Day, april, april, change, Tz::UTC).unwrap();

        assert_eq!(unused, Fraction { numerator: 15, denominator: 30 });
        assert_eq!(credit(Decimal::TEN, unused, usd("10.00"), usd("0")), Ok(usd("-5.00")));
        assert_eq!(charge(Decimal::from(30), unused, Currency::USD), Ok(usd("15.00")));
    }

    #[test]
    fn the_day_of_the_change_is_a_local_day() {
        let march = period("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z");
        // Still 9 March in New York.
        let change = "2026-03-10T03:59:59Z".parse().unwrap();
        let unused = remaining(Basis::Day, march, march, change, Tz::America__New_York).unwrap();
        assert_eq!(unused, Fraction { numerator: 23, denominator: 31 });
    }

    #[test]
    fn by_seconds_the_elapsed_time_counts_through_a_clock_change() {
        let march = period("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z");
        let unused = remaining(Basis::Second, march, march, march.start, Tz::America__New_York).unwrap();
        assert_eq!(unused, Fraction { numerator: 743 * 3600, denominator: 743 * 3600 });
    }

    #[test]
    fn a_credit_never_exceeds_what_is_left_of_the_line() {
        assert_eq!(credit(Decimal::TEN, Fraction::ONE, usd("7.50"), usd("0")), Ok(usd("-7.50")));
        assert_eq!(credit(Decimal::TEN, Fraction::ONE, usd("7.50"), usd("5.00")), Ok(usd("-2.50")));
        assert_eq!(credit(Decimal::TEN, Fraction::ONE, usd("7.50"), usd("8.00")), Ok(usd("0")));
    }

    #[test]
    fn a_change_outside_of_the_period_is_refused() {
        let april = period("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");
        let early = "2026-03-31T23:59:59Z".parse().unwrap();
        let refused = remaining(Basis::Day, april, april, early, Tz::UTC);
        assert_eq!(refused, Err(ProrationError::OutsideOfPeriod));
    }

    #[test]
    fn without_proration_nothing_is_left_over() {
        let april = period("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");
        assert_eq!(remaining(Basis::None, april, april, april.start, Tz::UTC), Ok(Fraction::ZERO));
    }

    /// A period of up to 400 days within a longer nominal one, in a zone whose clocks change.
    fn periods() -> impl Strategy<Value = (Period, Period)> {
        (1_500_000_000_i64..1_900_000_000, 86_400_i64..400 * 86_400, 0_i64..40).prop_map(
            |(start, seconds, days)| {
                let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
                let period = Period::try_new(at(start), at(start + seconds)).unwrap();
                let full = Period::try_new(at(start - days * 86_400), period.end).unwrap();
                (period, full)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

        /// RULES 9: however often something is changed, no more is given back than was charged.
        #[test]
        fn credits_never_exceed_what_was_charged(
            (period, full) in periods(),
            price in 0_i64..10_000_000,
            changes in prop::collection::vec(0_i64..=1000, 1..6),
            by_day in any::<bool>(),
        ) {
            let (basis, zone) = (if by_day { Basis::Day } else { Basis::Second }, Tz::America__New_York);
            let price = Decimal::new(price, 3);
            let whole = remaining(basis, period, full, period.start, zone).unwrap();
            let billed = charge(price, whole, Currency::USD).unwrap();
            let mut credited = usd("0");
            for part in changes {
                let at = period.start + (period.end - period.start) / 1000 * i32::try_from(part).unwrap();
                let unused = remaining(basis, period, full, at, zone).unwrap();
                let given = credit(price, unused, billed, credited).unwrap();
                prop_assert!(given.minor() <= 0);
                credited = credited.checked_sub(given).unwrap();
                prop_assert!(credited.minor() <= billed.minor());
                // The same price for the rest costs what its credit gives back, as long as nothing was given before.
                if credited == given.checked_neg().unwrap() {
                    prop_assert_eq!(charge(price, unused, Currency::USD), Ok(credited));
                }
            }
        }

        #[test]
        fn a_whole_period_costs_its_whole_price((period, _) in periods(), price in 0_i64..10_000_000) {
            let price = Decimal::new(price, 2);
            let whole = remaining(Basis::Second, period, period, period.start, Tz::UTC).unwrap();
            prop_assert_eq!(charge(price, whole, Currency::USD), Money::exact(price, Currency::USD).map_err(Into::into));
            let nothing = remaining(Basis::Second, period, period, period.end, Tz::UTC).unwrap();
            prop_assert_eq!(charge(price, nothing, Currency::USD), Ok(usd("0")));
        }
    }
}
