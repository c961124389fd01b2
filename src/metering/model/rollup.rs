//! Usage by the hour: what is read in place of events, with the same answer to the last digit.

use std::{collections::BTreeMap, ops::RangeInclusive};

use accrue_core::{
    calendar::Period,
    id::{CustomerId, MetricId, TenantId},
    usage::{Aggregation, Partial, Sample},
};
use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const HOUR: TimeDelta = TimeDelta::hours(1);
const HOUR_SECONDS: i64 = 3600;

/// Whose usage of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering) struct Series {
    pub tenant_id: TenantId,
    pub customer_id: CustomerId,
    pub metric_id: MetricId,
    /// Which time of building the metric's hours up this is: a rebuilt metric starts anew.
    pub build: i64,
}

impl Series {
    /// The identifier of a day of it: the same for every process that adds to it. Days that follow one another have
    /// identifiers that do, so that a month of them is read in one place.
    pub fn day_id(&self, day: DateTime<Utc>) -> Uuid {
        self.numbered(day.num_days_from_ce())
    }

    /// The identifiers of its days: from one, or from the first there is, to another.
    pub fn day_ids(&self, from: Option<DateTime<Utc>>, to: DateTime<Utc>) -> RangeInclusive<Uuid> {
        let first = from.map_or(0, |from| from.num_days_from_ce());
        self.numbered(first)..=self.day_id(to)
    }

    fn numbered(&self, day: i32) -> Uuid {
        let mut digest = Sha256::new();
        for part in [self.tenant_id.0, self.customer_id.0, self.metric_id.0] {
            digest.update(part.as_bytes());
        }
        digest.update(self.build.to_be_bytes());
        let mut id = short(digest).into_bytes();
        // Nothing happens before the year 1.
        id[12..].copy_from_slice(&u32::try_from(day).unwrap_or_default().to_be_bytes());
        Uuid::from_bytes(id)
    }
}

/// Whose usage of what, in which hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering) struct RollupKey {
    pub series: Series,
    /// When the hour starts.
    pub hour: DateTime<Utc>,
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
    /// From when on its hours are there: events before were archived when it began. `None` if all are.
    pub counts_from: Option<DateTime<Utc>>,
}

impl Build {
    /// A customer's usage, as it is built up this time.
    pub fn series(self, tenant_id: TenantId, customer_id: CustomerId) -> Series {
        Series { tenant_id, customer_id, metric_id: self.metric_id, build: self.number }
    }

    /// Whether it has all hours from an instant on, or from the first there is.
    pub fn reaches_back_to(self, from: Option<DateTime<Utc>>) -> bool {
        self.counts_from.is_none_or(|counts_from| from.is_some_and(|from| counts_from <= from))
    }
}

/// What events add to hours.
#[derive(Clone, Debug, Default)]
pub(in crate::metering) struct Additions(pub BTreeMap<RollupKey, Partial>);

impl Additions {
    pub fn push(&mut self, aggregation: Aggregation, of: RollupKey, sample: &Sample) {
        let hour = start_of_hour(sample.at);
        let key = RollupKey { hour, ..of };
        self.0.entry(key).or_default().push(aggregation, sample, hour + HOUR);
    }
}

/// The hour in which something happened. By seconds: nanoseconds count no further than from 1677 to 2262.
pub(in crate::metering) fn start_of_hour(at: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = at.timestamp().div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
    DateTime::from_timestamp(seconds, 0).expect("chrono's time begins at the start of an hour")
}

/// The day in which something happened. Days are those of UTC: hours are told apart anyway.
pub(in crate::metering) fn start_of_day(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// When an hour is over.
pub(in crate::metering) fn end_of_hour(hour: DateTime<Utc>) -> DateTime<Utc> {
    hour + HOUR
}

/// A stretch of time as it is read: whole hours, and what lies before and after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Stretch {
    /// Of what counts from before: all hours before this one.
    pub before: Option<DateTime<Utc>>,
    /// Whole hours, from the first to before the last.
    pub hours: Option<Period>,
    /// Of which the events are read.
    pub edges: Vec<Period>,
}

impl Stretch {
    /// With what was there before, if it is `carried`.
    pub fn of(period: Period, carried: bool) -> Self {
        let hour = start_of_hour(period.start);
        let before = carried.then_some(hour);
        let start = before.unwrap_or(period.start);
        let first = if hour < period.start { hour + HOUR } else { hour };
        let last = start_of_hour(period.end);
        let Ok(hours) = Period::try_new(first, last) else {
            return Self { before, hours: None, edges: vec![Period { start, end: period.end }] };
        };
        // The hour that a period begins in lies on both sides of its start.
        let head = (start.max(hour), first);
        let edges = [head, (last, period.end)];
        let edges = edges.into_iter().filter_map(|(start, end)| Period::try_new(start, end).ok()).collect();
        Self { before, hours: Some(hours), edges }
    }

    /// From which hour, if not from the first there is, to before which one hours are read.
    pub fn read(&self) -> Option<(Option<DateTime<Utc>>, DateTime<Utc>)> {
        match (self.before, self.hours) {
            (None, None) => None,
            (None, Some(hours)) => Some((Some(hours.start), hours.end)),
            (Some(before), None) => Some((None, before)),
            (Some(_), Some(hours)) => Some((None, hours.end)),
        }
    }

    /// Whether an hour is read whole.
    pub fn holds(&self, hour: DateTime<Utc>) -> bool {
        self.before.is_some_and(|before| hour < before)
            || self.hours.is_some_and(|hours| hours.contains(hour))
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
        let of = |start, end| Stretch::of(period(start, end), false);
        let whole = of("01T00:00:00", "02T00:00:00");
        let hours = Some(period("01T00:00:00", "02T00:00:00"));
        assert_eq!(whole, Stretch { before: None, hours, edges: vec![] });
        let ragged = of("01T10:17:23", "31T10:17:23");
        assert_eq!(ragged.hours, Some(period("01T11:00:00", "31T10:00:00")));
        let edges = [period("01T10:17:23", "01T11:00:00"), period("31T10:00:00", "31T10:17:23")];
        assert_eq!(ragged.edges, edges);
        for (start, end) in [("01T10:17:23", "01T10:30:00"), ("01T10:59:59", "01T11:00:00")] {
            let all = Stretch { before: None, hours: None, edges: vec![period(start, end)] };
            assert_eq!(of(start, end), all);
        }
    }

    #[test]
    fn what_is_carried_in_is_read_by_the_hour_but_for_the_hour_that_the_period_begins_in() {
        let ragged = Stretch::of(period("01T10:17:23", "31T10:00:00"), true);
        let hour = |at: &str| period(at, "31T23:00:00").start;
        assert_eq!(ragged.before, Some(hour("01T10:00:00")));
        assert_eq!(ragged.edges, [period("01T10:00:00", "01T11:00:00")]);
        let held =
            ["01T09:00:00", "01T10:00:00", "01T11:00:00", "31T10:00:00"].map(|at| ragged.holds(hour(at)));
        assert_eq!(held, [true, false, true, false]);
        let whole = Stretch::of(period("02T00:00:00", "03T00:00:00"), true);
        assert_eq!(whole.read(), Some((None, hour("03T00:00:00"))));
        assert!(whole.edges.is_empty());
        let short = Stretch::of(period("01T10:17:23", "01T10:30:00"), true);
        assert_eq!(short.edges, [period("01T10:00:00", "01T10:30:00")]);
        assert_eq!(short.read(), Some((None, hour("01T10:00:00"))));
    }

    #[test]
    fn an_hour_begins_at_its_start_however_far_away_it_is() {
        let start = |at: &str| start_of_hour(at.parse().unwrap()).to_rfc3339();
        assert_eq!(start("2026-01-01T10:59:59.999999Z"), "2026-01-01T10:00:00+00:00");
        assert_eq!(start("1969-12-31T23:59:59.5Z"), "1969-12-31T23:00:00+00:00");
        assert_eq!(start("0001-01-01T00:00:00.000001Z"), "0001-01-01T00:00:00+00:00");
        assert_eq!(start("9999-12-31T23:59:59Z"), "9999-12-31T23:00:00+00:00");
        assert_eq!(start_of_hour(DateTime::<Utc>::MIN_UTC), DateTime::<Utc>::MIN_UTC);
        assert_eq!(start_of_day(DateTime::<Utc>::MIN_UTC), DateTime::<Utc>::MIN_UTC);
    }

    #[test]
    fn a_days_identifier_depends_on_everything_about_it_and_follows_that_of_the_day_before() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (nil, one) = (Uuid::nil(), Uuid::from_u128(1));
        let series = Series {
            tenant_id: TenantId(nil),
            customer_id: CustomerId(nil),
            metric_id: MetricId(nil),
            build: 1,
        };
        let others = [
            Series { tenant_id: TenantId(one), ..series },
            Series { customer_id: CustomerId(one), ..series },
            Series { metric_id: MetricId(one), ..series },
            Series { build: 2, ..series },
        ];
        let id = series.day_id(at("2026-01-01T10:00:00Z"));
        assert!(others.iter().all(|other| other.day_id(at("2026-01-01T10:00:00Z")) != id));
        assert_eq!(series.day_id(at("2026-01-01T23:59:59Z")), id);
        assert_eq!(series.day_id(at("2026-01-02T00:00:00Z")).as_u128(), id.as_u128() + 1);
        let all = series.day_ids(None, at("9999-12-31T00:00:00Z"));
        assert!(all.contains(&series.day_id(at("0001-01-01T00:00:00Z"))) && all.contains(&id));
    }
}
