//! Usage by the hour: what is read in place of events, with the same answer to the last digit.

use std::collections::BTreeMap;

use accrue_core::{
    arithmetic::Overflow,
    calendar::Period,
    id::{CustomerId, MetricId, TenantId},
    usage::{Aggregation, Partial, Sample},
};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Whose usage of what, in which hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering) struct RollupKey {
    pub tenant_id: TenantId,
    pub customer_id: CustomerId,
    pub metric_id: MetricId,
    /// Which time of building the metric's hours up this is: a rebuilt metric starts anew.
    pub build: i64,
    /// When the hour starts.
    pub hour: DateTime<Utc>,
}

impl RollupKey {
    /// The hour's identifier: the same for every process that adds to it.
    pub fn id(&self) -> Uuid {
        let mut digest = Sha256::new();
        for part in [self.tenant_id.0, self.customer_id.0, self.metric_id.0] {
            digest.update(part.as_bytes());
        }
        digest.update(self.build.to_be_bytes());
        digest.update(self.hour.timestamp().to_be_bytes());
        short(digest)
    }
}

/// The first 16 bytes of a digest.
pub(in crate::metering) fn short(digest: Sha256) -> Uuid {
    Uuid::from_slice(&digest.finalize()[..16]).expect("a digest is longer")
}

/// How far the hours of a metric are built up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Build {
    pub metric_id: MetricId,
    pub number: i64,
    /// Whether every event is in its hour. Until then, quantities are made from events.
    pub is_complete: bool,
}

/// What events add to hours.
#[derive(Clone, Debug, Default)]
pub(in crate::metering) struct Additions(pub BTreeMap<RollupKey, Partial>);

impl Additions {
    pub fn push(&mut self, aggregation: Aggregation, of: RollupKey, sample: &Sample) -> Result<(), Overflow> {
        let hour = start_of_hour(sample.at);
        let key = RollupKey { hour, ..of };
        self.0.entry(key).or_default().push(aggregation, sample, hour + HOUR)
    }
}

/// The hour in which something happened.
pub(in crate::metering) fn start_of_hour(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(HOUR).expect("hours divide all of time")
}

/// When an hour is over.
pub(in crate::metering) fn end_of_hour(hour: DateTime<Utc>) -> DateTime<Utc> {
    hour + HOUR
}

/// A stretch of time as it is read: whole hours, and what lies before and after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Stretch {
    /// Whole hours, from the first to before the last.
    pub hours: Option<Period>,
    /// Of which the events are read.
    pub edges: Vec<Period>,
}

impl Stretch {
    pub fn of(period: Period) -> Self {
        let first = start_of_hour(period.start);
        let first = if first < period.start { first + HOUR } else { first };
        let last = start_of_hour(period.end);
        let Ok(hours) = Period::try_new(first, last) else {
            return Self { hours: None, edges: vec![period] };
        };
        let edges = [(period.start, first), (last, period.end)];
        let edges = edges.into_iter().filter_map(|(start, end)| Period::try_new(start, end).ok()).collect();
        Self { hours: Some(hours), edges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(start: &str, end: &str) -> Period {
        let at = |time: &str| format!("2026-01-{time}Z").parse().unwrap();
        Period::try_new(at(start), at(end)).unwrap()
    }

    #[test]
    fn a_period_is_whole_hours_and_what_lies_beside_them() {
        let of = |start, end| Stretch::of(period(start, end));
        let whole = of("01T00:00:00", "02T00:00:00");
        assert_eq!(whole, Stretch { hours: Some(period("01T00:00:00", "02T00:00:00")), edges: vec![] });
        let ragged = of("01T10:17:23", "31T10:17:23");
        assert_eq!(ragged.hours, Some(period("01T11:00:00", "31T10:00:00")));
        let edges = [period("01T10:17:23", "01T11:00:00"), period("31T10:00:00", "31T10:17:23")];
        assert_eq!(ragged.edges, edges);
        for (start, end) in [("01T10:17:23", "01T10:30:00"), ("01T10:59:59", "01T11:00:00")] {
            assert_eq!(of(start, end), Stretch { hours: None, edges: vec![period(start, end)] });
        }
    }

    #[test]
    fn an_hours_identifier_depends_on_everything_about_it() {
        let at: DateTime<Utc> = "2026-01-01T10:00:00Z".parse().unwrap();
        let nil = Uuid::nil();
        let key = RollupKey {
            tenant_id: TenantId(nil),
            customer_id: CustomerId(nil),
            metric_id: MetricId(nil),
            build: 1,
            hour: at,
        };
        let one = Uuid::from_u128(1);
        let others = [
            RollupKey { tenant_id: TenantId(one), ..key },
            RollupKey { customer_id: CustomerId(one), ..key },
            RollupKey { metric_id: MetricId(one), ..key },
            RollupKey { build: 2, ..key },
            RollupKey { hour: at + HOUR, ..key },
        ];
        assert!(others.iter().all(|other| other.id() != key.id()));
    }
}
