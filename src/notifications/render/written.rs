//! Amounts, dates, links and colours as they are written in emails. Each prints itself in one way, and a
//! template only places it.

use std::{fmt, str::FromStr};

use accrue_core::money::Money;
use chrono::NaiveDate;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use url::Url;

/// Money with its symbol: `€1,234.50`, `¥1,200`, `CHF 12.00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Money);

/// A day of the customer's calendar: `14 February 2026`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(pub NaiveDate);

/// An address people may click: `http` or `https`, nothing that runs or hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(Url);

/// A tenant's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

/// Why a text is not what an email needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("expected a link that starts with http:// or https://")]
    Link,
    #[error("expected a colour like #1f6feb")]
    Color,
}

/// The symbols that English readers take for one currency only; the others keep their code.
const SYMBOLS: &[(&str, &str)] = &[
    ("AUD", "A$"),
    ("BRL", "R$"),
    ("CAD", "CA$"),
    ("CNY", "CN¥"),
    ("EUR", "€"),
    ("GBP", "£"),
    ("HKD", "HK$"),
    ("ILS", "₪"),
    ("INR", "₹"),
    ("JPY", "¥"),
    ("KRW", "₩"),
    ("MXN", "MX$"),
    ("NZD", "NZ$"),
    ("PHP", "₱"),
    ("TWD", "NT$"),
    ("USD", "$"),
    ("VND", "₫"),
];

const NO_BREAK_SPACE: char = '\u{a0}';
const MINUS: char = '\u{2212}';

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(money) = self;
        if money.is_negative() {
            write!(f, "{MINUS}")?;
        }
        let code = money.currency().code();
        match SYMBOLS.binary_search_by_key(&code, |(code, _)| code) {
            Ok(at) => f.write_str(SYMBOLS[at].1)?,
            Err(_) => write!(f, "{code}{NO_BREAK_SPACE}")?,
        }

        let text = money.to_string();
        let text = text.trim_start_matches('-');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%-d %B %Y"))
    }
}

impl FromStr for Link {
    type Err = Unwritable;

    fn from_str(text: &str) -> Result<Self, Unwritable> {
        let url = Url::parse(text).map_err(|_| Unwritable::Link)?;
        if matches!(url.scheme(), "http" | "https") { Ok(Self(url)) } else { Err(Unwritable::Link) }
    }
}

impl Color {
    /// A calm dark blue, for tenants that have chosen none.
    pub const DEFAULT: Self = Self([0x2f, 0x4b, 0x7c]);

    /// Black or white: what can be read on the colour.
    fn ink(self) -> Self {
        if self.brightness() > 150 { Self([0x1f, 0x24, 0x30]) } else { Self([0xff; 3]) }
    }

    /// What keeps a button of this colour apart from a white page.
    fn edge(self) -> Self {
        if self.brightness() > 200 { Self([0xb8, 0xbf, 0xcc]) } else { self }
    }

    /// How bright people see it, 0 to 255: green weighs most (ITU-R BT.601).
    fn brightness(self) -> u32 {
        let [red, green, blue] = self.0.map(u32::from);
        (299 * red + 587 * green + 114 * blue) / 1000
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Color {
    type Err = Unwritable;

    fn from_str(text: &str) -> Result<Self, Unwritable> {
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6).ok_or(Unwritable::Color)?;
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Unwritable::Color);
        }
        let rgb = u32::from_str_radix(hex, 16).map_err(|_| Unwritable::Color)?;
        let [_, red, green, blue] = rgb.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money)
    }
}

impl From<NaiveDate> for Day {
    fn from(date: NaiveDate) -> Self {
        Self(date)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

/// With the colours that go with it.
impl Serialize for Color {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut colors = to.serialize_struct("Color", 3)?;
        colors.serialize_field("fill", &self.to_string())?;
        colors.serialize_field("ink", &self.ink().to_string())?;
        colors.serialize_field("edge", &self.edge().to_string())?;
        colors.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_their_currencys_digits_and_symbol() {
        let written = |minor, code: &str| Amount(Money::from_minor(minor, code.parse().unwrap())).to_string();
        assert_eq!(written(123_450, "EUR"), "€1,234.50");
        assert_eq!(written(5, "USD"), "$0.05");
        assert_eq!(written(100_000_000, "USD"), "$1,000,000.00");
        assert_eq!(written(99_999, "USD"), "$999.99");
        assert_eq!(written(-123_456, "GBP"), "−£1,234.56");
        assert_eq!(written(1200, "JPY"), "¥1,200");
        assert_eq!(written(1200, "CHF"), "CHF\u{a0}12.00");
        assert_eq!(written(-1234, "KWD"), "−KWD\u{a0}1.234");
        assert_eq!(written(i64::MIN, "USD"), "−$92,233,720,368,547,758.08");
    }

    #[test]
    fn every_symbol_is_found_and_belongs_to_one_currency() {
        assert!(SYMBOLS.is_sorted_by(|one, next| one.0 < next.0));
        for (code, symbol) in SYMBOLS {
            let amount = Amount(Money::from_minor(1, code.parse().unwrap()));
            assert!(amount.to_string().starts_with(symbol), "{amount}");
            assert_eq!(SYMBOLS.iter().filter(|(_, other)| other == symbol).count(), 1, "{symbol}");
        }
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert!("https://pay.example/i/1?a=b&c=d".parse::<Link>().is_ok());
        for text in ["javascript:alert(1)", "data:text/html,hi", "//pay.example", "pay.example", ""] {
            assert_eq!(text.parse::<Link>(), Err(Unwritable::Link), "{text}");
        }
    }

    #[test]
    fn only_six_hex_digits_are_a_colour() {
        assert_eq!("#1F6feb".parse::<Color>().unwrap().to_string(), "#1f6feb");
        for text in ["red", "#fff", "#+1f6fe", "#1f6feb;}", "1f6feb", "#1f6fébb"] {
            assert_eq!(text.parse::<Color>(), Err(Unwritable::Color), "{text}");
        }
    }

    #[test]
    fn what_is_written_on_a_colour_can_be_read() {
        let ink = |text: &str| text.parse::<Color>().unwrap().ink().to_string();
        assert_eq!(ink("#000000"), "#ffffff");
        assert_eq!(ink("#1f6feb"), "#ffffff");
        assert_eq!(ink("#ffd43b"), "#1f2430");
        assert_eq!(ink("#ffffff"), "#1f2430");
    }
}
