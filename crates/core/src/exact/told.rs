//! How exact numbers are told, kept and read again.

use std::fmt;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::Signed;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Exact, Held, ten_to};

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

/// With every digit, for where it is kept and added to. Numbers without an end have none to keep: they are told.
pub mod every_digit {
    use super::{BigInt, Exact, Held, Integer, Serializer};

    /// What [`Exact`] reads again.
    pub fn serialize<S: Serializer>(number: &Exact, to: S) -> Result<S::Ok, S::Error> {
        if let Held::Decimal(number) = &number.0 {
            return to.collect_str(&number.normalize());
        }
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
