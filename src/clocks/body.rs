//! A test clock as the API shows it.

use accrue_core::id::{CustomerId, EventId, TestClockId};
use accrue_platform::{check::Metadata, outbox::Event};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::TestClock;

/// A time that is moved by hand.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TestClockBody {
    pub(super) id: TestClockId,
    #[schema(example = "test_clock")]
    object: &'static str,
    livemode: bool,
    name: String,
    now: DateTime<Utc>,
    /// `ready`, or `advancing` while things that fall due are being done.
    #[schema(example = "ready")]
    status: &'static str,
    advancing_to: Option<DateTime<Utc>>,
    metadata: Metadata,
    created_at: DateTime<Utc>,
    /// What happened on the way, in order: in the answer of `advance`, at most 1,000 things.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Happening>>,
    /// With `timeline`: whether more happened than it shows. `GET /v1/events` shows all.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more: Option<bool>,
}

/// A clock that is gone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DeletedTestClock {
    pub(super) id: TestClockId,
    #[schema(example = "test_clock")]
    pub(super) object: &'static str,
    pub(super) deleted: bool,
}

/// Something that happened while a clock was moved.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Happening {
    at: DateTime<Utc>,
    #[serde(rename = "type")]
    #[schema(example = "invoice.finalized")]
    kind: String,
    customer: Option<CustomerId>,
    #[schema(example = "inv_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    object_id: String,
    event: EventId,
}

impl From<TestClock> for TestClockBody {
    fn from(clock: TestClock) -> Self {
        let TestClock { tenant_id: _, id, name, now_at, advancing, metadata, created_at, deleted_at: _ } =
            clock;
        Self {
            id,
            object: "test_clock",
            livemode: false,
            name,
            now: now_at,
            status: if advancing.is_some() { "advancing" } else { "ready" },
            advancing_to: advancing.map(|advance| advance.to),
            metadata,
            created_at,
            timeline: None,
            has_more: None,
        }
    }
}

impl TestClockBody {
    pub(super) fn with_timeline(mut self, events: Vec<Event>, max: usize) -> Self {
        self.has_more = Some(events.len() > max);
        self.timeline = Some(events.into_iter().take(max).map(Into::into).collect());
        self
    }
}

impl From<Event> for Happening {
    fn from(event: Event) -> Self {
        let Event { id, kind, object_id, customer_id, created_at, .. } = event;
        Self { at: created_at, kind, customer: customer_id, object_id, event: id }
    }
}
