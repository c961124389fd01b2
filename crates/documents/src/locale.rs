//! How numbers, amounts and dates are written. Works on the digits as text: nothing is ever rounded here.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// Digits and signs a number may have. No amount is longer; a longer text is not a number of ours.
const NUMBER_LENGTH_MAX: usize = 40;

const NO_BREAK_SPACE: char = '\u{a0}';
const NARROW_NO_BREAK_SPACE: &str = "\u{202f}";

/// The language of a document and its way to write numbers and dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locale {
    #[default]
    En,
    De,
    Fr,
    Es,
    Ja,
}

impl Locale {
    pub const ALL: [Self; 5] = [Self::En, Self::De, Self::Fr, Self::Es, Self::Ja];

    /// The ISO 639-1 code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Es => "es",
            Self::Ja => "ja",
        }
    }

    /// Writes a plain decimal with this locale's marks: `-1234.50` becomes `-1.234,50` in German.
    ///
    /// All digits are kept. `None` if the text is not a plain decimal.
    pub fn number(self, plain: &str) -> Option<String> {
        if plain.len() > NUMBER_LENGTH_MAX {
            return None;
        }
        let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |digits| ("-", digits));
        let (whole, fraction) =
            digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !fraction.is_none_or(all_digits) {
            return None;
        }

        let (thousands, point) = self.marks();
        let mut written = format!("{sign}{}", group(whole, thousands));
        if let Some(fraction) = fraction {
            written.push_str(point);
            written.push_str(fraction);
        }
        Some(written)
    }

    /// An amount with its ISO 4217 code, which unlike `$` means one currency only.
    pub(crate) fn money(self, plain: &str, currency: &str) -> Option<String> {
        let number = self.number(plain)?;
        Some(match self {
            Self::En | Self::Ja => format!("{currency}{NO_BREAK_SPACE}{number}"),
            Self::De | Self::Fr | Self::Es => format!("{number}{NO_BREAK_SPACE}{currency}"),
        })
    }

    /// English spells the month: 1 February must not be read as 2 January on either side of an ocean.
    pub(crate) fn date(self, on: NaiveDate) -> String {
        let format = match self {
            Self::En => "%-d\u{a0}%b\u{a0}%Y",
            Self::De => "%d.%m.%Y",
            Self::Fr | Self::Es => "%d/%m/%Y",
            Self::Ja => "%Y/%m/%d",
        };
        on.format(format).to_string()
    }

    /// What stands between groups of three digits, and what before the fraction.
    const fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::En | Self::Ja => (",", "."),
            Self::De | Self::Es => (".", ","),
            Self::Fr => (NARROW_NO_BREAK_SPACE, ","),
        }
    }
}

fn group(digits: &str, mark: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push_str(mark);
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_locale_writes_numbers_with_its_own_marks() {
        let written = Locale::ALL.map(|locale| locale.number("-1234567.05").unwrap());
        assert_eq!(
            written,
            [
                "-1,234,567.05",
                "-1.234.567,05",
                "-1\u{202f}234\u{202f}567,05",
                "-1.234.567,05",
                "-1,234,567.05",
            ]
        );
    }

    #[test]
    fn no_digit_is_added_or_lost() {
        let written = |plain| Locale::En.number(plain).unwrap();
        assert_eq!(written("0"), "0");
        assert_eq!(written("999"), "999");
        assert_eq!(written("1000"), "1,000");
        assert_eq!(written("-100"), "-100");
        assert_eq!(written("0.10"), "0.10");
        assert_eq!(written("0.000000012300"), "0.000000012300");
        assert_eq!(written("123456789012345678901234.5678"), "123,456,789,012,345,678,901,234.5678");
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_not_a_number() {
        let too_long = "1".repeat(NUMBER_LENGTH_MAX + 1);
        for text in
            ["", "-", ".5", "5.", "1e3", "1,5", "+1", " 1", "1 ", "--1", "1.2.3", "１２", "NaN", &too_long]
        {
            assert_eq!(Locale::En.number(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_carry_their_currency_where_the_locale_puts_it() {
        let written = Locale::ALL.map(|locale| locale.money("1234.5", "CHF").unwrap());
        assert_eq!(
            written,
            [
                "CHF\u{a0}1,234.5",
                "1.234,5\u{a0}CHF",
                "1\u{202f}234,5\u{a0}CHF",
                "1.234,5\u{a0}CHF",
                "CHF\u{a0}1,234.5",
            ]
        );
    }

    #[test]
    fn dates_follow_the_locale() {
        let on = NaiveDate::from_ymd_opt(2026, 2, 1).unwrap();
        let written = Locale::ALL.map(|locale| locale.date(on));
        assert_eq!(written, ["1\u{a0}Feb\u{a0}2026", "01.02.2026", "01/02/2026", "01/02/2026", "2026/02/01"]);
    }
}
