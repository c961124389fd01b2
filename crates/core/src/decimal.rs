//! Decimal numbers as people write them: read exactly or refused, never rounded, never through a float.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Significant digits we accept. `Decimal` holds any number of 28 digits.
pub const DIGITS_MAX: usize = 28;

/// Why a text is not a number we can hold exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("is not a decimal number like \"12.34\"")]
    Malformed,
    #[error("has more than 28 significant digits")]
    TooLong,
}

/// Reads a decimal exactly as written. ASCII digits only; an exponent is accepted as JSON allows one.
pub fn parse(text: &str) -> Result<Decimal, DecimalError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(DecimalError::Malformed);
    }
    let number = match exponent {
        None => Decimal::from_str_exact(text).map_err(|_| DecimalError::TooLong)?,
        Some(exponent) => {
            if !all_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
                return Err(DecimalError::Malformed);
            }
            // Zero is zero, whatever it is multiplied with.
            if mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
                return Ok(Decimal::ZERO);
            }
            let exponent: i32 = exponent.parse().map_err(|_| DecimalError::TooLong)?;
            let sign = if text.starts_with('-') { "-" } else { "" };
            shift(Decimal::from_str_exact(&format!("{sign}{mantissa}")).ok(), exponent)?
        }
    };
    let normal = number.normalize();
    if normal.mantissa().unsigned_abs().to_string().len() > DIGITS_MAX {
        return Err(DecimalError::TooLong);
    }
    Ok(normal)
}

/// `number` × 10^`exponent`, exactly or not at all.
fn shift(number: Option<Decimal>, exponent: i32) -> Result<Decimal, DecimalError> {
    let number = number.ok_or(DecimalError::TooLong)?.normalize();
    if number.is_zero() {
        return Ok(number);
    }
    let scale = i64::from(number.scale()) - i64::from(exponent);
    match u32::try_from(scale) {
        Ok(scale) => {
            Decimal::try_from_i128_with_scale(number.mantissa(), scale).map_err(|_| DecimalError::TooLong)
        }
        Err(_) => u32::try_from(-scale)
            .ok()
            .and_then(|zeros| 10_i128.checked_pow(zeros))
            .and_then(|factor| number.mantissa().checked_mul(factor))
            .and_then(|mantissa| Decimal::try_from_i128_with_scale(mantissa, 0).ok())
            .ok_or(DecimalError::TooLong),
    }
}

/// A decimal on the wire: written as a string, read from a string or from a JSON number exactly as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub Decimal);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.normalize())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        let text = raw.get();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        parse(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Number {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^-?[0-9]+(\.[0-9]+)?$"))
            .description(Some(
                "A decimal number of up to 28 digits, as a string. A JSON number is read exactly as written.",
            ))
            .examples(["12.5"])
            .into()
    }
}

impl utoipa::ToSchema for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_number_is_read_exactly_as_written() {
        let read = |json: &str| serde_json::from_str::<Number>(json).map(|number| number.0.to_string()).ok();
        assert_eq!(read("0.1").as_deref(), Some("0.1"));
        assert_eq!(read("\"0.10\"").as_deref(), Some("0.1"));
        assert_eq!(read("1234567890123456789012345678").as_deref(), Some("1234567890123456789012345678"));
        assert_eq!(read("1.5e3").as_deref(), Some("1500"));
        assert_eq!(read("-25e-2").as_deref(), Some("-0.25"));
    }

    #[test]
    fn what_cannot_be_held_exactly_is_refused() {
        for text in [
            "12345678901234567890123456789",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999",
            "-1e-99999999999",
            "0.00000000000000000000000000001",
        ] {
            assert_eq!(parse(text), Err(DecimalError::TooLong), "{text}");
        }
        for text in
            ["", "-", ".5", "5.", "1_000", "+1", "１２", "1,5", "0x10", "NaN", "Infinity", " 1", "1e", "--1"]
        {
            assert_eq!(parse(text), Err(DecimalError::Malformed), "{text}");
        }
    }
}
