//! What others may hear of usage: corrections. Events themselves are too many to tell one by one.

use accrue_core::id::TestClockId;
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    body::{UsageEventBody, raw},
    model::{Change, UsageEvent},
};

const VOIDED: &str = "usage_event.voided";
const AMENDED: &str = "usage_event.amended";

/// The fields that were otherwise, with every digit that they had.
#[derive(Serialize)]
struct Previous {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voided_at: Option<Option<DateTime<Utc>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amended_at: Option<Option<DateTime<Utc>>>,
}

/// An event was corrected. `now` is the customer's time.
pub(super) async fn corrected(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    test_clock: Option<TestClockId>,
    (before, after, change): (&UsageEvent, &UsageEvent, Change),
) -> Result<(), DbErr> {
    let kind = match change {
        Change::Voided => VOIDED,
        Change::Amended => AMENDED,
    };
    let previous = Previous {
        timestamp: Some(before.timestamp).filter(|timestamp| *timestamp != after.timestamp),
        metadata: (before.metadata != after.metadata).then(|| raw(before.metadata.clone())),
        voided_at: Some(before.voided_at).filter(|voided_at| *voided_at != after.voided_at),
        amended_at: Some(before.amended_at).filter(|amended_at| *amended_at != after.amended_at),
    };
    let fact = Fact::new(kind, after.id, &UsageEventBody::new(after.clone(), livemode));
    let fact = Fact {
        previous: Some(to_raw_value(&previous).expect("plain data")),
        ..fact.of_customer(after.customer_id, test_clock)
    };
    outbox::append(tx, now, after.tenant_id, fact).await.map(drop)
}
