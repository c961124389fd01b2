//! Going through what was counted, a little later, for whoever knows what is billed: metering knows no subscriptions and
//! no prices (decision 0030).

use accrue_core::{
    id::{CustomerId, MetricId, TenantId, UsageEventId, first_uuid_v7},
    usage::{Properties, Sample},
};
use accrue_platform::gate::Gate;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    model::{Tally, Unmatched, UsageEvent},
    store::{events, looks, unmatched},
};
use crate::catalog::Metric;

/// How old an event is when it is looked at: whoever took it has committed by then, and whatever the seller was about to
/// make for it is there.
const AGE_MIN: TimeDelta = TimeDelta::minutes(5);
/// How far the first look at a name goes back.
const FIRST: TimeDelta = TimeDelta::hours(1);

/// An event that metrics count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub id: UsageEventId,
    pub customer_id: CustomerId,
    pub timestamp: DateTime<Utc>,
    pub metrics: Vec<MetricId>,
}

impl Counted {
    /// What an event is for these metrics, if it has a customer and any of them counts it. One that was taken back is
    /// nothing.
    fn of(event: &UsageEvent, properties: &Properties, metrics: &[Metric]) -> Option<Self> {
        let customer_id = event.payer.customer().filter(|_| event.voided_at.is_none())?;
        let (id, timestamp) = (event.id, event.timestamp);
        let counts = |metric: &&Metric| {
            metric.event_name == event.event_name
                && Sample::of(&metric.rules, timestamp, id.0.as_u128(), properties).is_some()
        };
        let metrics: Vec<MetricId> = metrics.iter().filter(counts).map(|metric| metric.id).collect();
        (!metrics.is_empty()).then_some(Self { id, customer_id, timestamp, metrics })
    }
}

/// The next events of a name that were taken since they were looked at last, those of them that are counted; `None` if
/// there are no more. From now on they were looked at.
pub async fn next_counted(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    metrics: &[Metric],
    event_name: &str,
) -> Result<Option<Vec<Counted>>, DbErr> {
    let (from, until) = (first_uuid_v7(wall - AGE_MIN - FIRST), first_uuid_v7(wall - AGE_MIN));
    let last = looks::lock(tx, tenant, event_name, UsageEventId(from)).await?;
    let (mut counted, mut seen, mut read) = (Vec::new(), None, Some(last));
    let taken = events::take_named(tx, tenant, event_name, &mut read, |event, properties| {
        if event.id.0 < until {
            seen = Some(event.id);
            counted.extend(Counted::of(event, properties, metrics));
        }
    });
    taken.await?;
    // At the end the next look begins at that time: events of other names may be many.
    let last = seen.unwrap_or(UsageEventId(until).max(last));
    looks::save(tx, tenant, event_name, last).await?;
    Ok(seen.map(|_| counted))
}

/// Adds to the counters of what comes to nothing; they tell the metrics of the process when `tx` is committed.
pub async fn tally(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    (tenant, event_name): (TenantId, &str),
    unbilled: impl Iterator<Item = (UsageEventId, Unmatched)>,
) -> Result<Tally, DbErr> {
    let mut tally = Tally::default();
    for (event, why) in unbilled {
        tally.add(tenant, event_name, event, why);
    }
    // Whoever tells of these counters is alone with them.
    Gate::Usage.pass(tx, tenant).await?;
    unmatched::add(tx, wall, &tally).await?;
    Ok(tally)
}
