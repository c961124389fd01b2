//! The timeline as the API shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{links::Link, model::Entry};

/// Something that happened to a customer, in words.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TimelineEntry)]
pub(super) struct EntryBody {
    /// Of the event or the email that it tells of.
    #[schema(example = "evt_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    id: String,
    #[schema(example = "timeline_entry")]
    object: &'static str,
    livemode: bool,
    /// By the customer's clock.
    at: DateTime<Utc>,
    /// The event's type; of an email `email.pending`, `email.sent` or `email.failed`.
    #[schema(example = "invoice.finalized")]
    kind: String,
    /// For people, in English; dates are the customer's. Names and other texts from outside stand in it as they are: it is
    /// plain text, not HTML.
    #[schema(example = "Invoice INV-000001 of 30.00 USD was issued.")]
    text: String,
    /// What it was about.
    links: Vec<Link>,
    /// Of an event, what was being done: `request req_…`, which the audit log names too, `job …` or `system`.
    #[schema(example = "request req_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    cause: Option<String>,
}

impl EntryBody {
    pub fn new(entry: Entry, livemode: bool) -> Self {
        let Entry { id, at, kind, text, links, cause } = entry;
        Self { id: id.to_string(), object: "timeline_entry", livemode, at, kind, text, links, cause }
    }
}
