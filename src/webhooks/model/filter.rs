//! Which events an endpoint wants to hear.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which events an endpoint hears: `*`, `invoice.*`, or `payment.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::webhooks) enum Filter {
    All,
    /// Of one kind of object: `invoice`.
    Of(String),
    /// One type of event.
    Just(String),
}

/// Why a text names no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither `*` nor an event type like `invoice.paid` or `invoice.*`")]
pub(in crate::webhooks) struct InvalidFilter;

impl Filter {
    pub(super) fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(object) => {
                event_type.strip_prefix(object.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::Just(wanted) => event_type == wanted,
        }
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let is_word = |word: &str| {
            (1..=40).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if text == "*" {
            return Ok(Self::All);
        }
        match text.split_once('.') {
            Some((object, "*")) if is_word(object) => Ok(Self::Of(object.to_owned())),
            Some((object, verb)) if is_word(object) && is_word(verb) => Ok(Self::Just(text.to_owned())),
            _ => Err(InvalidFilter),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Of(object) => write!(f, "{object}.*"),
            Self::Just(wanted) => f.write_str(wanted),
        }
    }
}

impl TryFrom<String> for Filter {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}
