//! Exact numbers own the arithmetic of a line until its one rounding (RULES 29): a decimal while every digit fits in
//! one, a fraction where it does not. They neither overflow nor round; what is told of them has 28 digits.

use std::{
    cmp::Ordering,
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Mul, Neg, Sub},
};

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    arithmetic::Overflow,
    decimal::{DIGITS_MAX, Number},
};

/// The first number of more than 28 digits.
pub(crate) const LIMIT: u128 = 10_u128.pow(28);
/// Digits after the point of a decimal.
const PLACES_MAX: i32 = 28;
/// A divisor of a whole bill is far shorter. Thousands of unlike fractions in one sum would make one so long that
/// adding takes for ever: then the sum keeps [`PLACES_KEPT`] digits after the point, and is told by fewer of them,
/// which what was cut off cannot have changed.
const DIVISOR_BITS_MAX: u64 = 384;
const PLACES_KEPT: u32 = 84;
const PLACES_SURE: i32 = 56;

/// A number with every digit.
///
/// Written with at most 28 significant digits, the last one rounded half away from zero: 0.3333333333333333333333333333.
#[derive(Clone)]
pub struct Exact(Held);

#[derive(Clone)]
enum Held {
    Decimal(Decimal),
    Fraction(Box<BigRational>),
    /// A fraction that was cut, or was calculated with one.
    Cut(Box<BigRational>),
}

/// Which way digits are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// The nearest, half away from zero.
    Nearest,
    /// Up, towards infinity.
    Infinity,
    /// Down, towards minus infinity.
    MinusInfinity,
}

impl Exact {
    pub const ZERO: Self = Self(Held::Decimal(Decimal::ZERO));
    pub const ONE: Self = Self(Held::Decimal(Decimal::ONE));

    pub fn is_zero(&self) -> bool {
        match &self.0 {
            Held::Decimal(number) => number.is_zero(),
            Held::Fraction(number) => number.is_zero(),
            Held::Cut(_) => self.settled().is_zero(),
        }
    }

    /// Below zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Held::Decimal(number) => number.is_sign_negative() && !number.is_zero(),
            Held::Fraction(number) => number.is_negative(),
            Held::Cut(_) => self.settled().is_negative(),
        }
    }

    pub fn abs(self) -> Self {
        if self.is_negative() { -self } else { self }
    }

    /// The quotient. Overflows for a zero divisor: callers rule it out.
    pub fn divide(&self, divisor: &Self) -> Result<Self, Overflow> {
        if divisor.is_zero() {
            return Err(Overflow);
        }
        if let (Held::Decimal(a), Held::Decimal(b)) = (&self.0, &divisor.0)
            && let Some(quotient) = a.checked_div(*b)
            && product(quotient, *b) == Some(*a)
        {
            return Ok(quotient.into());
        }
        Ok(self.fraction(divisor, self.to_fraction() / divisor.to_fraction()))
    }

    /// Rounded to so many digits after the point; negative for tens, hundreds….
    pub fn round(&self, places: i32, toward: Toward) -> Self {
        if let (Held::Decimal(number), Ok(places)) = (&self.0, u32::try_from(places)) {
            let strategy = match toward {
                Toward::Nearest => RoundingStrategy::MidpointAwayFromZero,
                Toward::Infinity => RoundingStrategy::ToPositiveInfinity,
                Toward::MinusInfinity => RoundingStrategy::ToNegativeInfinity,
            };
            return number.round_dp_with_strategy(places, strategy).into();
        }
        let scaled = self.settled() * ten_to(places);
        let whole = match toward {
            Toward::Nearest => scaled.round(),
            Toward::Infinity => scaled.ceil(),
            Toward::MinusInfinity => scaled.floor(),
        };
        Self(Held::Fraction(Box::new(whole / ten_to(places))))
    }

    /// The nearest decimal of at most 28 digits, for where it is kept. Overflows above 28 digits before the point.
    pub fn to_decimal(&self) -> Result<Decimal, Overflow> {
        if let Some(number) = self.short() {
            return Ok(number);
        }
        let places = self.places().min(PLACES_MAX);
        let digits = (self.settled() * ten_to(places)).round().to_integer();
        let scale = u32::try_from(places).map_err(|_| Overflow)?;
        let digits = digits.to_i128().ok_or(Overflow)?;
        let number = Decimal::try_from_i128_with_scale(digits, scale).map_err(|_| Overflow)?.normalize();
        if number.mantissa().unsigned_abs() >= LIMIT { Err(Overflow) } else { Ok(number) }
    }

    /// Whether it can be told: with no more than 28 digits before the point.
    pub fn check(&self) -> Result<(), Overflow> {
        let fits = || self.settled().abs().round() < BigRational::from(BigInt::from(LIMIT));
        if self.short().is_some() || fits() { Ok(()) } else { Err(Overflow) }
    }

    /// Itself, where a decimal holds it.
    pub(crate) fn as_decimal(&self) -> Option<Decimal> {
        match &self.0 {
            Held::Decimal(number) => Some(*number),
            Held::Fraction(_) | Held::Cut(_) => None,
        }
    }

    /// Itself, if it is a decimal of at most 28 digits.
    fn short(&self) -> Option<Decimal> {
        let number = self.as_decimal()?.normalize();
        (number.mantissa().unsigned_abs() < LIMIT).then_some(number)
    }

    /// Digits after the point of the first 28 that are not leading zeros; negative where 28 end before the point.
    fn places(&self) -> i32 {
        let digits_max = i32::try_from(DIGITS_MAX).expect("a small number");
        let size = self.settled().abs();
        if size.is_zero() {
            return 0;
        }
        // As many digits to the left as it takes to see the first one.
        let shifts = (0..).step_by(DIGITS_MAX);
        let mut seen = shifts.map(|shift| (shift, (&size * ten_to(shift)).to_integer()));
        let (shift, seen) = seen.find(|(_, seen)| !seen.is_zero()).expect("it is not zero");
        let digits = i32::try_from(seen.to_string().len()).expect("a short text");
        digits_max - (digits - shift)
    }

    /// What was calculated with another number.
    fn fraction(&self, other: &Self, number: BigRational) -> Self {
        let is_cut = matches!((&self.0, &other.0), (Held::Cut(_), _) | (_, Held::Cut(_)));
        if number.denom().bits() <= DIVISOR_BITS_MAX {
            let number = Box::new(number);
            return Self(if is_cut { Held::Cut(number) } else { Held::Fraction(number) });
        }
        let one = BigInt::from(10).pow(PLACES_KEPT);
        let (number, divisor) = number.into_raw();
        let kept: BigInt = (number * &one * 2_u8 + &divisor).div_floor(&(divisor * 2_u8));
        Self(Held::Cut(Box::new(BigRational::new_raw(kept, one))))
    }

    /// The number as it is told: of one that was cut, the digits that are sure.
    fn settled(&self) -> BigRational {
        match &self.0 {
            Held::Cut(number) => (&**number * ten_to(PLACES_SURE)).round() / ten_to(PLACES_SURE),
            Held::Decimal(_) | Held::Fraction(_) => self.to_fraction(),
        }
    }

    fn to_fraction(&self) -> BigRational {
        match &self.0 {
            Held::Decimal(number) => {
                // Not reduced: whatever is calculated with it is.
                BigRational::new_raw(number.mantissa().into(), BigInt::from(10).pow(number.scale()))
            }
            Held::Fraction(number) | Held::Cut(number) => (**number).clone(),
        }
    }

    /// The decimal way if it gives every digit, or else that of fractions.
    fn combine(
        &self,
        other: &Self,
        decimals: fn(Decimal, Decimal) -> Option<Decimal>,
        fractions: fn(BigRational, BigRational) -> BigRational,
    ) -> Self {
        if let (Held::Decimal(a), Held::Decimal(b)) = (&self.0, &other.0)
            && let Some(number) = decimals(*a, *b)
        {
            return number.into();
        }
        self.fraction(other, fractions(self.to_fraction(), other.to_fraction()))
    }
}

/// The sum with every digit, if a decimal holds it.
pub(crate) fn total(a: Decimal, b: Decimal) -> Option<Decimal> {
    let sum = a.checked_add(b)?;
    let may_be_rounded = sum.scale() < a.scale().max(b.scale());
    let rounded = may_be_rounded && (sum.checked_sub(a) != Some(b) || sum.checked_sub(b) != Some(a));
    (!rounded).then_some(sum)
}

/// The product with every digit, if a decimal holds it.
pub(crate) fn product(a: Decimal, b: Decimal) -> Option<Decimal> {
    if a.is_zero() || b.is_zero() {
        return Some(Decimal::ZERO);
    }
    let exact =
        |a: Decimal, b: Decimal| a.checked_mul(b).filter(|product| product.scale() == a.scale() + b.scale());
    exact(a, b).or_else(|| exact(a.normalize(), b.normalize()))
}

/// Cross-wise: that is quicker than the divisions which `BigRational` compares by.
fn compare(a: &BigRational, b: &BigRational) -> Ordering {
    (a.numer() * b.denom()).cmp(&(b.numer() * a.denom()))
}

fn ten_to(power: i32) -> BigRational {
    let power_of_ten = BigRational::from(BigInt::from(10).pow(power.unsigned_abs()));
    if power < 0 { power_of_ten.recip() } else { power_of_ten }
}

impl From<Decimal> for Exact {
    fn from(number: Decimal) -> Self {
        Self(Held::Decimal(number))
    }
}

impl From<Number> for Exact {
    fn from(number: Number) -> Self {
        number.0.into()
    }
}

impl From<i64> for Exact {
    fn from(number: i64) -> Self {
        Decimal::from(number).into()
    }
}

impl From<&Self> for Exact {
    fn from(number: &Self) -> Self {
        number.clone()
    }
}

impl Default for Exact {
    fn default() -> Self {
        Self::ZERO
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $decimals:expr) => {
        impl $operator<&Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                self.combine(other, $decimals, |a, b| $operator::$method(a, b))
            }
        }
        impl $operator<Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                $operator::$method(&self, &other)
            }
        }
        impl $operator<&Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                $operator::$method(&self, other)
            }
        }
        impl $operator<Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                $operator::$method(self, &other)
            }
        }
    };
}

operator!(Add, add, total);
operator!(Sub, sub, |a, b| total(a, -b));
operator!(Mul, mul, product);

impl AddAssign<&Self> for Exact {
    fn add_assign(&mut self, other: &Self) {
        *self = &*self + other;
    }
}

/// With every digit, for where it is kept and added to. Numbers without an end have none to keep: they are told.
pub mod every_digit {
    use super::{BigInt, Exact, Integer, Serializer};

    /// What [`Exact`] reads again.
    pub fn serialize<S: Serializer>(number: &Exact, to: S) -> Result<S::Ok, S::Error> {
        let fraction = number.to_fraction().reduced();
        // A divisor of twos and fives becomes one of tens.
        let mut rest = fraction.denom().clone();
        let mut count = |prime: u8| {
            let mut times = 0_u32;
            while rest.is_multiple_of(&prime.into()) {
                rest /= prime;
                times += 1;
            }
            times
        };
        let places = count(2).max(count(5));
        if rest != BigInt::from(1) {
            return to.collect_str(number);
        }
        let scaled = fraction * BigInt::from(10).pow(places);
        to.collect_str(&super::written(&scaled.to_integer(), places as usize))
    }
}

impl Neg for Exact {
    type Output = Self;
    fn neg(self) -> Self {
        match self.0 {
            Held::Decimal(number) => (-number).into(),
            Held::Fraction(number) => Self(Held::Fraction(Box::new(-*number))),
            Held::Cut(number) => Self(Held::Cut(Box::new(-*number))),
        }
    }
}

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

impl<'a> Sum<&'a Self> for Exact {
    fn sum<I: Iterator<Item = &'a Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Exact {}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Held::Decimal(a), Held::Decimal(b)) => a.cmp(b),
            (Held::Cut(_), _) | (_, Held::Cut(_)) => compare(&self.settled(), &other.settled()),
            (Held::Fraction(a), Held::Fraction(b)) => compare(a, b),
            (Held::Decimal(_), Held::Fraction(b)) => compare(&self.to_fraction(), b),
            (Held::Fraction(a), Held::Decimal(_)) => compare(a, &other.to_fraction()),
        }
    }
}

/// With at most 28 significant digits.
impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.short() {
            return write!(f, "{number}");
        }
        let places = self.places();
        let digits = (self.settled() * ten_to(places)).round().to_integer();
        match usize::try_from(places) {
            Ok(places) => f.write_str(&written(&digits, places)),
            Err(_) => write!(f, "{digits}{:0<zeros$}", "", zeros = places.unsigned_abs() as usize),
        }
    }
}

/// A number of so many digits after the point.
fn written(digits: &BigInt, places: usize) -> String {
    let sign = if digits.is_negative() { "-" } else { "" };
    let digits = format!("{:0>width$}", digits.abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Held::Decimal(number) => write!(f, "{number}"),
            Held::Fraction(number) => write!(f, "{number}"),
            Held::Cut(number) => write!(f, "~{number}"),
        }
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Reads what was written. Questions take a [`Number`] instead, whose digits are limited.
impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if let Ok(number) = Decimal::from_str_exact(&text) {
            return Ok(number.into());
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10);
        let digits = digits.ok_or_else(|| serde::de::Error::custom("is not a decimal number"))?;
        let places = u32::try_from(fraction.len()).map_err(serde::de::Error::custom)?;
        Ok(Self(Held::Fraction(Box::new(BigRational::new(digits, BigInt::from(10).pow(places))))))
    }
}

impl utoipa::PartialSchema for Exact {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^-?[0-9]+(\.[0-9]+)?$"))
            .description(Some("A decimal number as a string, with at most 28 significant digits."))
            .examples(["12.5"])
            .into()
    }
}

impl utoipa::ToSchema for Exact {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::parse;

    fn exact(text: &str) -> Exact {
        parse(text).unwrap().into()
    }

    fn quotient(a: &str, b: &str) -> Exact {
        exact(a).divide(&exact(b)).unwrap()
    }

    #[test]
    fn a_third_times_three_is_one() {
        assert_eq!(quotient("1", "3") * exact("3"), Exact::ONE);
        assert_eq!((quotient("1", "3") * exact("3")).to_string(), "1");
        assert_eq!((quotient("10003", "3") * exact("0.015")).to_string(), "50.015");
        assert!(exact("1").divide(&Exact::ZERO).is_err());
    }

    #[test]
    fn what_is_told_has_28_significant_digits() {
        assert_eq!(quotient("10", "3").to_string(), "3.333333333333333333333333333");
        assert_eq!(quotient("-20", "3").to_string(), "-6.666666666666666666666666667");
        assert_eq!(quotient("1", "30").to_string(), "0.03333333333333333333333333333");
        assert_eq!(quotient("2", "3000000").to_string(), "0.0000006666666666666666666666666667");
        let tiny = exact("0.0000000000000000000000000001") * exact("0.1");
        assert_eq!(tiny.to_string(), "0.00000000000000000000000000001");
        let largest = exact("9999999999999999999999999999");
        assert_eq!((&largest + exact("0.4")).check(), Ok(()));
        assert_eq!((&largest + exact("0.5")).check(), Err(Overflow));
        assert_eq!((&largest * exact("10")).check(), Err(Overflow));
    }

    #[test]
    fn what_is_kept_is_a_decimal() {
        assert_eq!(quotient("1", "30").to_decimal(), Ok(parse("0.0333333333333333333333333333").unwrap()));
        assert_eq!(quotient("20", "3").to_decimal(), Ok(parse("6.666666666666666666666666667").unwrap()));
        assert_eq!(quotient("1", "3000000000000000000000000000").to_decimal(), Ok(parse("3e-28").unwrap()));
        assert_eq!((exact("9999999999999999999999999999") * exact("2")).to_decimal(), Err(Overflow));
    }

    #[test]
    fn rounding_sees_every_digit() {
        let half = quotient("10003", "3") * exact("0.015");
        assert_eq!(half.round(2, Toward::Nearest).to_string(), "50.02");
        assert_eq!((-half).round(2, Toward::Nearest).to_string(), "-50.02");
        assert_eq!(quotient("-10", "3").round(0, Toward::Infinity).to_string(), "-3");
        assert_eq!(quotient("-10", "3").round(0, Toward::MinusInfinity).to_string(), "-4");
        assert_eq!(exact("150").round(-2, Toward::Nearest).to_string(), "200");
        assert_eq!(exact("101").round(-1, Toward::Infinity).to_string(), "110");
    }

    #[test]
    fn what_was_written_can_be_read_again() {
        for text in ["-0.5", "0.03333333333333333333333333333", "6.666666666666666666666666667"] {
            let read: Exact = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(read.to_string(), text);
        }
        assert!(serde_json::from_str::<Exact>("\"1.2.3\"").is_err());
    }

    #[test]
    fn a_sum_of_thousands_of_unlike_fractions_stays_short() {
        let parts = || (10_001..13_000).map(|divisor| Exact::ONE.divide(&Exact::from(divisor)).unwrap());
        let sum: Exact = parts().sum();
        let Held::Cut(fraction) = &sum.0 else { panic!("it was cut") };
        assert!(fraction.denom().bits() <= DIVISOR_BITS_MAX);
        // What was cut off is not told: it all cancels out.
        let nothing = parts().fold(sum, |sum, part| sum - part);
        assert_eq!((nothing.to_string(), nothing.is_zero()), ("0".to_owned(), true));
        let half = nothing + exact("0.005");
        assert_eq!(
            (half.round(2, Toward::Nearest).to_string(), half.to_string()),
            ("0.01".into(), "0.005".into())
        );
    }

    #[test]
    fn what_is_kept_with_every_digit_is_read_as_it_was() {
        #[derive(Serialize)]
        struct Kept(#[serde(serialize_with = "every_digit::serialize")] Exact);
        let kept = |number: &Exact| serde_json::to_value(Kept(number.clone())).unwrap();
        let long = exact("12345678901234567890.12345678") * exact("0.98765432109876543210987654");
        assert_eq!(kept(&long), "12193263113702179522.6185032248437741703718945638259412");
        assert_eq!(serde_json::from_value::<Exact>(kept(&long)).unwrap(), long);
        let large = exact("9999999999999999999999999999") * exact("1000");
        assert_eq!(kept(&large), "9999999999999999999999999999000");
        assert_eq!(kept(&exact("-0.5")), "-0.5");
        assert_eq!(kept(&quotient("1", "3")), "0.3333333333333333333333333333");
    }

    fn numbers() -> impl Strategy<Value = Decimal> {
        (-10_i128.pow(28) + 1..10_i128.pow(28), 0_u32..28, 0_u32..=28).prop_map(|(digits, fewer, scale)| {
            Decimal::from_i128_with_scale(digits / 10_i128.pow(fewer), scale)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

        #[test]
        fn decimals_and_fractions_say_the_same((a, b) in (numbers(), numbers())) {
            let slow = |number: Decimal| Exact(Held::Fraction(Box::new(Exact::from(number).to_fraction())));
            let (fast, slow) = ((Exact::from(a), Exact::from(b)), (slow(a), slow(b)));
            prop_assert_eq!(&fast.0 + &fast.1, &slow.0 + &slow.1);
            prop_assert_eq!(&fast.0 - &fast.1, &slow.0 - &slow.1);
            prop_assert_eq!(&fast.0 * &fast.1, &slow.0 * &slow.1);
            prop_assert_eq!(fast.0.cmp(&fast.1), slow.0.cmp(&slow.1));
            prop_assert_eq!(fast.0.to_string(), slow.0.to_string());
            prop_assert_eq!(fast.0.round(2, Toward::Nearest), slow.0.round(2, Toward::Nearest));
            if !b.is_zero() {
                let (fast, slow) = (fast.0.divide(&fast.1).unwrap(), slow.0.divide(&slow.1).unwrap());
                prop_assert_eq!(&fast * Exact::from(b), Exact::from(a));
                prop_assert_eq!(fast, slow);
            }
        }

        #[test]
        fn what_is_told_is_the_nearest_of_28_digits((a, b) in (numbers(), numbers())) {
            prop_assume!(!b.is_zero());
            let number = Exact::from(a).divide(&b.into()).unwrap();
            let told: Exact = serde_json::from_value(number.to_string().into()).unwrap();
            let off = (told - &number).abs();
            prop_assert!(&off * Exact::from(2) <= number.clone().abs() * parse("1e-27").map(Exact::from).unwrap());
            if let Ok(kept) = number.to_decimal() {
                prop_assert!(kept.normalize().mantissa().unsigned_abs() < LIMIT);
            }
        }
    }
}
