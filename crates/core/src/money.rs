//! Money: whole minor units of one currency. Decimals become money once, in [`Money::round`].

use std::{fmt, str::FromStr};

use iso_currency::Currency as Iso;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

use crate::{
    decimal,
    exact::{Exact, Toward},
};

/// An ISO 4217 currency. Its digits come from the standard (RULES 38), never from a habit of ×100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(Iso);

impl Currency {
    pub const EUR: Self = Self(Iso::EUR);
    pub const JPY: Self = Self(Iso::JPY);
    pub const USD: Self = Self(Iso::USD);

    /// Three capital letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits after the decimal point.
    pub fn digits(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    /// Funds, metals and the like have no minor unit and are refused: nobody can be charged in them.
    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Iso::from_code(code)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or(MoneyError::UnknownCurrency)
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        code.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Currency {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[A-Z]{3}$"))
            .description(Some("An ISO 4217 code."))
            .examples(["USD"])
            .into()
    }
}

impl utoipa::ToSchema for Currency {}

/// An amount that can be charged: a whole number of minor units of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// What can go wrong with money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("cannot combine {0} with {1}")]
    CurrencyMismatch(Currency, Currency),
    #[error("the amount is too large")]
    Overflow,
    #[error("is not an ISO 4217 currency that can be charged")]
    UnknownCurrency,
    #[error(transparent)]
    Number(#[from] decimal::DecimalError),
    #[error("{currency} has {} digits after the point, not {given}", currency.digits())]
    TooManyDigits {
        /// The currency whose digits were exceeded.
        currency: Currency,
        /// How many digits were written.
        given: u32,
    },
}

impl Money {
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    pub const fn minor(self) -> i64 {
        self.minor
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    pub const fn is_negative(self) -> bool {
        self.minor < 0
    }

    /// In major units, with exactly the currency's digits.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.minor, self.currency.digits())
    }

    /// The only place where precision is lost: half away from zero, as printed on invoices (RULES 29).
    pub fn round(major: impl Into<Exact>, currency: Currency) -> Result<Self, MoneyError> {
        let places = i32::try_from(currency.digits()).expect("a small number");
        let rounded = major.into().round(places, Toward::Nearest);
        Self::exact(rounded.to_decimal().map_err(|_| MoneyError::Overflow)?, currency)
    }

    /// Refuses what has more digits than the currency.
    pub fn exact(major: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let major = major.normalize();
        if major.scale() > currency.digits() {
            return Err(MoneyError::TooManyDigits { currency, given: major.scale() });
        }
        let scale = Decimal::from(10_i64.pow(currency.digits()));
        let minor = major.checked_mul(scale).and_then(|minor| minor.to_i64()).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }

    /// Reads an amount in major units: `"12.34"`. Fewer digits than the currency's are fine, more are refused.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        Self::exact(decimal::parse(text)?, currency)
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_neg().ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// The sum of amounts of one currency.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    fn combine(self, other: Self, with: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let minor = with(self.minor, other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

/// In major units with exactly the currency's digits, without the currency: `12.34`, `1200`, `1.234`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_decimal())
    }
}

/// As on the wire: a string in major units. The currency stands in a field beside it.
impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^-?[0-9]+(\.[0-9]+)?$"))
            .description(Some("An amount in major units with exactly the digits of its currency."))
            .examples(["12.34"])
            .into()
    }
}

impl utoipa::ToSchema for Money {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_away_from_zero_at_the_minor_unit() {
        let round =
            |text: &str, currency| Money::round(text.parse::<Decimal>().unwrap(), currency).unwrap().minor();
        assert_eq!(round("0.005", Currency::USD), 1);
        assert_eq!(round("-0.005", Currency::USD), -1);
        assert_eq!(round("99.5", Currency::JPY), 100);
    }

    #[test]
    fn amounts_are_written_with_exactly_the_currencys_digits() {
        let written = |text: &str, code: &str| Money::parse(text, code.parse().unwrap()).unwrap().to_string();
        assert_eq!(written("12.3", "USD"), "12.30");
        assert_eq!(written("1200", "JPY"), "1200");
        assert_eq!(written("1.234", "KWD"), "1.234");
        assert_eq!(written("1.2345", "CLF"), "1.2345");
    }

    #[test]
    fn more_digits_than_the_currency_has_are_refused() {
        assert!(Money::parse("1.234", Currency::USD).is_err());
        assert!(Money::parse("1.5", Currency::JPY).is_err());
        assert_eq!(Money::parse("1.230", Currency::USD), Ok(Money::from_minor(123, Currency::USD)));
    }

    #[test]
    fn currencies_do_not_mix_and_amounts_do_not_wrap() {
        let euro = Money::from_minor(1, Currency::EUR);
        let dollar = Money::from_minor(1, Currency::USD);
        assert!(matches!(euro.checked_add(dollar), Err(MoneyError::CurrencyMismatch(..))));
        assert_eq!(Money::from_minor(i64::MAX, Currency::EUR).checked_add(euro), Err(MoneyError::Overflow));
    }

    #[test]
    fn what_nobody_can_be_charged_in_is_no_currency() {
        for code in ["XAU", "XXX", "usd", "US", "USDX", ""] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }
}
