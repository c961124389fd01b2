//! Exact numbers own the arithmetic of a line until its one rounding (RULES 29): a decimal while every digit fits in
//! one, a fraction where it does not. They neither overflow nor round; what is told of them has 28 digits.

mod told;

use std::{
    cmp::Ordering,
    iter::Sum,
    ops::{Add, AddAssign, Mul, Neg, Sub},
};

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::{
    arithmetic::Overflow,
    decimal::{DIGITS_MAX, Number},
};

pub use told::every_digit;

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

#[cfg(test)]
mod tests;
