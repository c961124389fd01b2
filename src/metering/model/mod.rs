//! What a usage event is, whether it may be taken, and what happened to it.

mod archive;
mod candidate;
mod closing;
mod correction;
mod filling;
mod identity;
mod month;
mod pack;
mod rollup;
mod unmatched;
mod window;

use accrue_core::{
    calendar::Period,
    id::{CustomerId, TenantId, UsageEventId},
    usage::Properties,
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

pub use self::archive::{Archive, Contents, Hold};
pub use self::closing::Closing;
pub(super) use self::closing::Strict;
pub use self::correction::CorrectionError;
pub(super) use self::correction::{Change, Correction, Version};
pub use self::month::{Month, NoMonth};
pub use self::rollup::Grain;
pub use self::unmatched::{Tally, Unmatched};
pub(super) use self::{
    candidate::*, filling::*, identity::*, pack::*, rollup::*, unmatched::UnmatchedUsage, window::*,
};
use crate::catalog::Metric;

/// Something that a customer did and that is, perhaps, to be paid for. As it is known now: what was true before it
/// was corrected is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    pub tenant_id: TenantId,
    pub id: UsageEventId,
    /// The caller's own name for the event; unique per source, for ever (RULES 17).
    pub event_id: String,
    /// Which of the caller's systems sent it; empty if it did not say.
    pub source: String,
    pub event_name: String,
    pub payer: Payer,
    pub timestamp: DateTime<Utc>,
    /// A JSON object; its numbers have the digits with which they were sent.
    pub metadata: String,
    /// When it arrived, by the customer's clock; if it had to wait for its customer, when that one appeared.
    pub received_at: DateTime<Utc>,
    /// Since when it does not count any more.
    pub voided_at: Option<DateTime<Utc>>,
    /// When it was last corrected.
    pub amended_at: Option<DateTime<Utc>>,
}

/// Who pays for an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    Known(CustomerId),
    /// Nobody yet: it waits for a customer of this external id.
    Awaited(String),
}

impl Payer {
    /// The customer, if it is there.
    pub fn customer(&self) -> Option<CustomerId> {
        match self {
            Self::Known(customer) => Some(*customer),
            Self::Awaited(_) => None,
        }
    }
}

impl UsageEvent {
    /// What it says about itself.
    pub fn properties(&self) -> Properties {
        serde_json::from_str(&self.metadata).expect("read before it was stored")
    }
}

/// Which events to list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub customer: Option<&'a str>,
    pub event_name: Option<&'a str>,
    /// The customer that they wait for.
    pub awaited_customer: Option<&'a str>,
    pub source: Option<&'a str>,
    /// When they happened: not before this instant.
    pub start: Option<DateTime<Utc>>,
    /// When they happened: before this instant.
    pub end: Option<DateTime<Utc>>,
}

/// A page of events.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// One more than asked for, if it is there.
    pub events: Vec<UsageEvent>,
    /// If the search was given up before the page was full: where it goes on.
    pub searched_to: Option<UsageEventId>,
}

/// How much a customer used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub customer: CustomerId,
    pub metric: Metric,
    pub period: Period,
    pub quantity: Decimal,
    /// Window by window and group by group, if that was asked for.
    pub windows: Vec<WindowUsage>,
}

/// How much of it in a part of the time, and of one group of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WindowUsage {
    pub period: Period,
    /// The values of the properties by which usage is grouped; none where events lack one.
    pub group: Vec<Option<String>>,
    pub quantity: Decimal,
}
