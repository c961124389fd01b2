//! Checks of what arrives in bodies. Every mistake is collected, each with its pointer.

use std::collections::BTreeMap;

use accrue_core::{
    invalid::Invalid,
    money::{Currency, Money, MoneyError},
    tax_id::TaxId,
};

use crate::problem::{FieldError, Problem};

/// The caller's own notes on an object.
pub type Metadata = BTreeMap<String, String>;

const TAX_IDS_MAX: usize = 10;
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

/// Collects mistakes.
#[derive(Debug, Default)]
pub struct Check {
    errors: Vec<FieldError>,
}

/// Whether something can be called so by a caller: 1 to 100 characters that are safe in addresses.
pub fn is_code(code: &str) -> bool {
    (1..=100).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/@".contains(&byte))
}

impl Check {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn refuse(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, code, detail));
    }

    /// Text for people: not blank, at most `max` characters, no control characters (so no line breaks).
    pub fn text(&mut self, pointer: &str, text: &str, max: usize) {
        if text.trim().is_empty() {
            self.refuse(pointer, "blank", "may not be blank");
        } else if text.chars().count() > max {
            self.refuse(pointer, "too_long", format!("has at most {max} characters"));
        } else if text.chars().any(char::is_control) {
            self.refuse(pointer, "malformed", "may not hold control characters or line breaks");
        }
    }

    pub fn optional_text(&mut self, pointer: &str, text: Option<&str>, max: usize) {
        if let Some(text) = text {
            self.text(pointer, text, max);
        }
    }

    /// A name for programs: letters, digits, `_`, `-`, `.`, `:`, `/`, `@`, 1 to 100 of them.
    pub fn code(&mut self, pointer: &str, code: &str) {
        if !is_code(code) {
            self.refuse(pointer, "malformed", "has 1 to 100 of the characters A-Z a-z 0-9 _ - . : / @");
        }
    }

    pub fn optional_code(&mut self, pointer: &str, code: Option<&str>) {
        if let Some(code) = code {
            self.code(pointer, code);
        }
    }

    /// An address that mail can be sent to.
    pub fn optional_email(&mut self, pointer: &str, email: Option<&str>) {
        if email.is_some_and(|email| email.parse::<lettre::Address>().is_err()) {
            self.refuse(pointer, "malformed", "is not an email address");
        }
    }

    pub fn optional_zone(&mut self, pointer: &str, zone: Option<&str>) {
        if zone.is_some_and(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            self.refuse(pointer, "unknown", "is not an IANA time zone like Europe/Berlin");
        }
    }

    pub fn metadata(&mut self, pointer: &str, metadata: &Metadata) {
        if metadata.len() > METADATA_KEYS_MAX {
            self.refuse(pointer, "too_many", format!("has at most {METADATA_KEYS_MAX} keys"));
        }
        for (key, value) in metadata.iter().take(METADATA_KEYS_MAX) {
            let fits = (1..=METADATA_KEY_MAX).contains(&key.chars().count())
                && value.chars().count() <= METADATA_VALUE_MAX;
            if !fits {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                self.refuse(
                    pointer,
                    "too_long",
                    format!(
                        "keys have 1 to {METADATA_KEY_MAX} characters, values at most {METADATA_VALUE_MAX}"
                    ),
                );
            }
        }
    }

    /// A currency, if it is one.
    pub fn currency(&mut self, pointer: &str, code: &str) -> Option<Currency> {
        let wrong = |error: MoneyError| match code.to_ascii_uppercase().parse::<Currency>() {
            Ok(meant) => format!("is not the code of a currency: did you mean {}?", meant.code()),
            Err(_) => error.to_string(),
        };
        code.parse().map_err(|error| self.refuse(pointer, "unknown", wrong(error))).ok()
    }

    /// An amount in major units, if it is one.
    pub fn money(&mut self, pointer: &str, text: &str, currency: Currency) -> Option<Money> {
        Money::parse(text, currency)
            .map_err(|error| self.refuse(pointer, "malformed", error.to_string()))
            .ok()
    }

    /// The tax numbers of a list as they are kept: each written as its kind is, none of them twice.
    pub fn tax_ids(&mut self, pointer: &str, given: Vec<TaxId>) -> Vec<TaxId> {
        if given.len() > TAX_IDS_MAX {
            self.refuse(pointer, "too_many", format!("has at most {TAX_IDS_MAX} numbers"));
        }
        let mut kept = Vec::with_capacity(given.len().min(TAX_IDS_MAX));
        for (at, id) in given.into_iter().enumerate().take(TAX_IDS_MAX) {
            match id.normalized() {
                Ok(id) if kept.contains(&id) => {
                    self.refuse(format!("{pointer}/{at}"), "duplicate", "is named twice");
                }
                Ok(id) => kept.push(id),
                Err(mistake) => self.invalid(&format!("{pointer}/{at}"), vec![mistake]),
            }
        }
        kept
    }

    /// What the rules of billing found, below `prefix`.
    pub fn invalid(&mut self, prefix: &str, mistakes: Vec<Invalid>) {
        for mistake in mistakes {
            self.refuse(format!("{prefix}{}", mistake.pointer), mistake.code, mistake.detail);
        }
    }

    /// Nothing wrong, or a problem that names everything that is.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let mut check = Check::new();
        check.text("/name", " ", 10);
        check.text("/title", "a\r\nBcc: x", 100);
        check.code("/code", "a b");
        check.optional_email("/email", Some("nobody"));
        check.optional_zone("/timezone", Some("Mars/Olympus"));
        check.metadata("/metadata", &Metadata::from([("a/b".to_owned(), "x".repeat(501))]));
        let problem = check.finish().unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/name", "/title", "/code", "/email", "/timezone", "/metadata/a~1b"]);
    }
}
