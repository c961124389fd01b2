//! A month of events that was archived, and what is true of usage since.

use std::collections::BTreeSet;

use accrue_core::id::{SubscriptionId, TenantId};
use chrono::{DateTime, Utc};

use super::{Month, UsageEvent, end_of_hour, start_of_hour};

/// A month of a tenant's events, in a file that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub tenant_id: TenantId,
    pub month: Month,
    pub contents: Contents,
    /// What was used before is final: it is neither added to nor corrected any more.
    pub final_before: DateTime<Utc>,
    /// Where the file is, below the folder for archives.
    pub file: String,
    pub bytes: u64,
    /// Of the file as it is, in hexadecimal digits.
    pub sha256: String,
}

/// What stands in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub events: u64,
    pub event_names: BTreeSet<String>,
    /// All of it happened before this hour. What was used before can be told from hours, and not from events.
    pub events_before: DateTime<Utc>,
}

impl Contents {
    /// Of a month in which nothing was received.
    pub fn nothing(month: Month) -> Self {
        Self { events: 0, event_names: BTreeSet::new(), events_before: month.plus(1).start() }
    }

    pub(in crate::metering) fn push(&mut self, event: &UsageEvent) {
        self.events += 1;
        if !self.event_names.contains(&event.event_name) {
            self.event_names.insert(event.event_name.clone());
        }
        // An event may lie ahead of the time at which it came, and be amended later.
        self.events_before = self.events_before.max(end_of_hour(start_of_hour(event.timestamp)));
    }
}

/// Why a month has to stay, as far as usage knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    #[error("late usage of a period that it touches is taken until {0}")]
    Late(DateTime<Utc>),
    #[error("usage that came late for subscription {0} is not billed yet")]
    Unbilled(SubscriptionId),
    #[error("the metric {0} looks at all events there ever were")]
    Recurring(String),
    #[error("the hours of the metric {0} are still being built up")]
    Building(String),
    #[error("events wait for the customer {0}: create it, or void them")]
    Awaited(String),
    #[error("an event of it was corrected just now")]
    Corrected,
}
