//! A usage event as the API shows it.

use accrue_core::id::{CustomerId, UnmatchedUsageId, UsageEventId};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::{Change, Payer, Unmatched, UnmatchedUsage, UsageEvent, Version};

/// A usage event.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct UsageEventBody {
    pub id: UsageEventId,
    #[schema(example = "usage_event")]
    object: &'static str,
    livemode: bool,
    #[schema(example = "req_81f")]
    event_id: String,
    source: Option<String>,
    #[schema(example = "api.request.completed")]
    event_name: String,
    /// Null as long as there is no such customer.
    customer_id: Option<CustomerId>,
    /// The `external_id` of the customer that it waits for.
    awaited_customer: Option<String>,
    timestamp: DateTime<Utc>,
    /// As it was sent, with every digit.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// Since when it does not count any more.
    voided_at: Option<DateTime<Utc>>,
    /// When it was last corrected.
    amended_at: Option<DateTime<Utc>>,
    /// What was true of it before, the oldest first. Not shown in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<VersionBody>>,
    /// When it arrived; if it had to wait for its customer, when that one appeared.
    created_at: DateTime<Utc>,
}

/// Events of a name that were taken and that no metric counts.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UnmatchedUsage)]
pub(super) struct UnmatchedUsageBody {
    pub id: UnmatchedUsageId,
    #[schema(example = "unmatched_usage")]
    object: &'static str,
    livemode: bool,
    #[schema(example = "api.request.complete")]
    event_name: String,
    reason: Unmatched,
    count: i64,
    /// The last of them.
    last_event: UsageEventId,
    last_seen_at: DateTime<Utc>,
    /// When the first of them came.
    created_at: DateTime<Utc>,
}

impl UnmatchedUsageBody {
    pub fn new(counted: UnmatchedUsage, livemode: bool) -> Self {
        let UnmatchedUsage { id, why, event_name, count, told: _, last_event, last_at, created_at } = counted;
        Self {
            id,
            object: "unmatched_usage",
            livemode,
            event_name,
            reason: why,
            count,
            last_event,
            last_seen_at: last_at,
            created_at,
        }
    }
}

/// What was true of an event until it was corrected.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct VersionBody {
    timestamp: DateTime<Utc>,
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    change: Change,
    /// When it was corrected.
    changed_at: DateTime<Utc>,
    /// Whose key did it.
    #[schema(example = "key_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    changed_by: String,
    reason: Option<String>,
}

impl UsageEventBody {
    pub fn new(event: UsageEvent, livemode: bool) -> Self {
        let UsageEvent {
            id,
            event_id,
            source,
            event_name,
            payer,
            timestamp,
            metadata,
            received_at,
            voided_at,
            amended_at,
            tenant_id: _,
        } = event;
        Self {
            id,
            object: "usage_event",
            livemode,
            event_id,
            source: Some(source).filter(|source| !source.is_empty()),
            event_name,
            customer_id: payer.customer(),
            awaited_customer: match payer {
                Payer::Known(_) => None,
                Payer::Awaited(name) => Some(name),
            },
            timestamp,
            metadata: raw(metadata),
            voided_at,
            amended_at,
            history: None,
            created_at: received_at,
        }
    }

    #[must_use]
    pub fn with_history(self, versions: Vec<Version>) -> Self {
        Self { history: Some(versions.into_iter().map(Into::into).collect()), ..self }
    }
}

impl From<Version> for VersionBody {
    fn from(version: Version) -> Self {
        let Version { event: _, timestamp, metadata, change, at, by, reason } = version;
        Self { timestamp, metadata: raw(metadata), change, changed_at: at, changed_by: by, reason }
    }
}

/// The text as it is, so that its numbers keep their digits.
pub(super) fn raw(metadata: String) -> Box<RawValue> {
    RawValue::from_string(metadata).expect("made from JSON")
}
