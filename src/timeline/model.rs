//! Something that happened, whether an event or an email tells it.

use std::{fmt, str::FromStr};

use accrue_core::id::{EmailId, EventId};
use chrono::{DateTime, Utc};
use sea_orm::Value;
use uuid::Uuid;

use super::links::Link;

/// Both kinds are made from the customer's time and sort by it, one among the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryId {
    Event(EventId),
    Email(EmailId),
}

/// Something that happened to a customer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub id: EntryId,
    pub at: DateTime<Utc>,
    /// The event's type, or `email.` and how far the email is.
    pub kind: String,
    /// One sentence. Texts from outside are plain text in it.
    pub text: String,
    pub links: Vec<Link>,
    /// Of an event: what was being done when it happened.
    pub cause: Option<String>,
}

impl EntryId {
    fn uuid(self) -> Uuid {
        match self {
            Self::Event(EventId(id)) | Self::Email(EmailId(id)) => id,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(id) => id.fmt(f),
            Self::Email(id) => id.fmt(f),
        }
    }
}

/// What is no identifier of an entry.
#[derive(Debug, thiserror::Error)]
#[error("expected an identifier that starts with `{}_` or `{}_`", EventId::PREFIX, EmailId::PREFIX)]
pub(super) struct InvalidEntryId;

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        let event = text.parse().map(Self::Event);
        event.or_else(|_| text.parse().map(Self::Email)).map_err(|_| InvalidEntryId)
    }
}

impl From<EntryId> for Value {
    fn from(id: EntryId) -> Value {
        id.uuid().into()
    }
}

/// One page of two lists, the newest first, of each of which at most `most` entries were read: those nearest to where the
/// page starts, which is at its end if it goes back to what is newer.
pub(super) fn merge(events: Vec<Entry>, emails: Vec<Entry>, most: usize, to_newer: bool) -> Vec<Entry> {
    let mut all = [events, emails].concat();
    all.sort_by_key(|entry| std::cmp::Reverse(entry.id.uuid()));
    let beyond = all.len().saturating_sub(most);
    if to_newer {
        all.drain(..beyond);
    } else {
        all.truncate(most);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, is_email: bool) -> Entry {
        let at = DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let id = if is_email { EntryId::Email(EmailId::new(at)) } else { EntryId::Event(EventId::new(at)) };
        Entry { id, at, kind: String::new(), text: second.to_string(), links: Vec::new(), cause: None }
    }

    #[test]
    fn two_lists_become_one_page_of_what_is_nearest() {
        let page = |most, to_newer| {
            let events = [9, 6, 5].map(|second| entry(second, false)).into();
            let emails = [8, 7, 4].map(|second| entry(second, true)).into();
            merge(events, emails, most, to_newer).iter().map(|entry| entry.text.clone()).collect::<String>()
        };
        assert_eq!(page(6, false), "987654");
        assert_eq!(page(3, false), "987");
        assert_eq!(page(3, true), "654");
        assert_eq!(page(9, true), "987654");
    }

    #[test]
    fn an_identifier_of_either_kind_is_read_and_no_other() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for id in [EntryId::Event(EventId::new(at)), EntryId::Email(EmailId::new(at))] {
            assert_eq!(id.to_string().parse::<EntryId>().unwrap(), id);
        }
        let refused = "cus_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f".parse::<EntryId>().unwrap_err();
        assert!(refused.to_string().starts_with("expected an identifier that starts with `evt_` or `"));
    }
}
