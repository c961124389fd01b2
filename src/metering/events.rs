//! What others may hear of usage: corrections, and what nothing counts. Events themselves are too many to tell one by
//! one.

use accrue_core::id::TestClockId;
use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    body::{UnmatchedUsageBody, UsageEventBody, raw},
    model::{Change, UnmatchedUsage, UsageEvent},
};
use crate::auth::Tenant;

const VOIDED: &str = "usage_event.voided";
const AMENDED: &str = "usage_event.amended";
const UNMATCHED: &str = "usage.unmatched";

/// The fields that were otherwise, with every digit that they had.
#[derive(Serialize)]
struct Previous {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voided_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amended_at: Option<Value>,
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
        voided_at: (before.voided_at != after.voided_at).then(|| json!(before.voided_at)),
        amended_at: (before.amended_at != after.amended_at).then(|| json!(before.amended_at)),
    };
    let fact = Fact::new(kind, after.id, &UsageEventBody::new(after.clone(), livemode));
    let fact = match after.payer.customer() {
        Some(customer) => fact.of_customer(customer, test_clock),
        None => fact,
    };
    let fact = Fact { previous: Some(to_raw_value(&previous).expect("plain data")), ..fact };
    outbox::append(tx, now, after.tenant_id, fact).await.map(drop)
}

/// What nothing counted since this was told last.
#[derive(Serialize)]
struct UnmatchedReport {
    object: &'static str,
    livemode: bool,
    /// How many events are new.
    count: i64,
    data: Vec<News>,
}

#[derive(Serialize)]
struct News {
    /// How many of them are new.
    new: i64,
    #[serde(flatten)]
    usage: UnmatchedUsageBody,
}

/// Events came that nothing counts. Nothing is told if there are none.
pub(super) async fn unmatched(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    news: Vec<UnmatchedUsage>,
) -> Result<(), DbErr> {
    if news.is_empty() {
        return Ok(());
    }
    let data: Vec<_> = news
        .into_iter()
        .map(|usage| News {
            new: usage.count - usage.told,
            usage: UnmatchedUsageBody::new(usage, tenant.livemode),
        })
        .collect();
    let count = data.iter().map(|news| news.new).sum();
    let report = UnmatchedReport { object: "unmatched_usage_report", livemode: tenant.livemode, count, data };
    outbox::append(tx, now, tenant.id, Fact::new(UNMATCHED, tenant.id, &report)).await.map(drop)
}
