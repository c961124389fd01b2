//! Usage by the hour: what is read in place of events, with the same answer to the last digit.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    iter::once,
    ops::RangeInclusive,
};

use accrue_core::{
    calendar::Period,
    id::{CustomerId, MetricId, TenantId},
    usage::{Aggregation, Partial, Properties, Property, Sample},
};
use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::catalog::Metric;

const HOUR: TimeDelta = TimeDelta::hours(1);
const HOUR_SECONDS: i64 = 3600;

/// How finely the hours of a metric are kept: all of its usage as one, or apart by the values of some properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grain {
    pub metric_id: MetricId,
    /// Sorted; none if its usage is one.
    pub properties: Vec<String>,
}

impl Grain {
    /// Every grain in which the hours of a metric are kept.
    pub fn all_of(metric: &Metric) -> impl Iterator<Item = Self> {
        let of = |properties| Self { metric_id: metric.id, properties };
        once(Vec::new()).chain(metric.splits.iter().cloned()).map(of)
    }

    /// The same for the same metric and properties.
    pub fn id(&self) -> Uuid {
        if self.properties.is_empty() {
            return self.metric_id.0;
        }
        let mut digest = Sha256::new();
        digest.update(self.metric_id.0.as_bytes());
        for name in &self.properties {
            digest.update((name.len() as u64).to_be_bytes());
            digest.update(name);
        }
        short(digest)
    }

    /// What an event says of its properties.
    pub(in crate::metering) fn values_of(&self, properties: &Properties) -> Values {
        let text = |name| properties.get(name).and_then(Property::text).map(Cow::into_owned);
        self.properties.iter().map(text).collect()
    }

    /// As much of events as these values tell.
    pub(in crate::metering) fn properties_of(&self, values: &[Option<String>]) -> Properties {
        let known = self.properties.iter().zip(values);
        known.filter_map(|(name, value)| Some((name.clone(), Property::Text(value.clone()?)))).collect()
    }
}

/// The values of a grain's properties; none where an event lacks one.
pub(in crate::metering) type Values = Vec<Option<String>>;

/// Whose usage of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering) struct Series {
    pub tenant_id: TenantId,
    pub customer_id: CustomerId,
    /// [`Grain::id`].
    pub grain_id: Uuid,
    /// Which time of building the grain's hours up this is: a rebuilt one starts anew.
    pub build: i64,
}

impl Series {
    /// The identifier of the row that holds these values on a day: the same for every process that adds to it. Days
    /// that follow one another have identifiers that do, so that a month of them is read in one place.
    ///
    /// Values that meet in one row are told apart there.
    pub fn row_id(&self, day: DateTime<Utc>, values: &[Option<String>]) -> Uuid {
        self.numbered(day.num_days_from_ce(), place(values))
    }

    /// The identifiers of its rows: from those of one day, or of the first there is, to those of another.
    pub fn row_ids(&self, from: Option<DateTime<Utc>>, to: DateTime<Utc>) -> RangeInclusive<Uuid> {
        let first = from.map_or(0, |from| from.num_days_from_ce());
        self.numbered(first, u16::MIN)..=self.numbered(to.num_days_from_ce(), u16::MAX)
    }

    fn numbered(&self, day: i32, place: u16) -> Uuid {
        let mut digest = Sha256::new();
        for part in [self.tenant_id.0, self.customer_id.0, self.grain_id] {
            digest.update(part.as_bytes());
        }
        digest.update(self.build.to_be_bytes());
        let mut id = short(digest).into_bytes();
        // Nothing happens before the year 1.
        id[10..14].copy_from_slice(&u32::try_from(day).unwrap_or_default().to_be_bytes());
        id[14..].copy_from_slice(&place.to_be_bytes());
        Uuid::from_bytes(id)
    }
}

/// In which of a day's rows values have their place: the first where usage is not told apart.
fn place(values: &[Option<String>]) -> u16 {
    if values.is_empty() {
        return u16::MIN;
    }
    let mut digest = Sha256::new();
    for value in values {
        let text = value.as_deref().unwrap_or_default();
        digest.update([u8::from(value.is_some())]);
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    let [high, low, ..] = short(digest).into_bytes();
    u16::from_be_bytes([high, low])
}

/// Whose usage of what, in which hour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering) struct RollupKey {
    pub series: Series,
    /// When the hour starts.
    pub hour: DateTime<Utc>,
    pub values: Values,
}

/// What happened in an hour or on a day, of some values.
#[derive(Clone, Debug)]
pub(in crate::metering) struct Slice {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub values: Values,
    pub partial: Partial,
}

/// The first 16 bytes of a digest.
pub(in crate::metering) fn short(digest: Sha256) -> Uuid {
    Uuid::from_slice(&digest.finalize()[..16]).expect("a digest is longer")
}

/// How far the hours of a metric are built up, in one grain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Build {
    pub grain: Grain,
    pub number: i64,
    /// Whether every event is in its hour. Until then, quantities are made from events.
    pub is_complete: bool,
    /// From when on its hours are there: events before were archived when it began. `None` if all are.
    pub counts_from: Option<DateTime<Utc>>,
}

impl Build {
    /// The first of a grain.
    pub fn first(grain: Grain) -> Self {
        Self { grain, number: 1, is_complete: false, counts_from: None }
    }

    /// The next one, which begins anew.
    pub fn again(self) -> Self {
        Self { number: self.number + 1, is_complete: false, ..self }
    }

    /// A customer's usage, as it is built up this time.
    pub fn series(&self, tenant_id: TenantId, customer_id: CustomerId) -> Series {
        Series { tenant_id, customer_id, grain_id: self.grain.id(), build: self.number }
    }

    /// Whether it has all hours from an instant on, or from the first there is.
    pub fn reaches_back_to(&self, from: Option<DateTime<Utc>>) -> bool {
        self.counts_from.is_none_or(|counts_from| from.is_some_and(|from| counts_from <= from))
    }
}

/// What events add to hours.
#[derive(Clone, Debug, Default)]
pub(in crate::metering) struct Additions(pub BTreeMap<RollupKey, Partial>);

impl Additions {
    pub fn push(&mut self, aggregation: Aggregation, series: Series, values: Values, sample: &Sample) {
        let hour = start_of_hour(sample.at);
        let key = RollupKey { series, hour, values };
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

/// When a day is over.
pub(in crate::metering) fn end_of_day(day: DateTime<Utc>) -> DateTime<Utc> {
    day + TimeDelta::days(1)
}

/// The days of which usage is read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct WantedDays {
    /// That of this instant is the first; without one, the first there is.
    pub from: Option<DateTime<Utc>>,
    pub to: DateTime<Utc>,
    /// Those that are read by the hour; all, if `None`.
    pub by_hour: Option<BTreeSet<DateTime<Utc>>>,
}

/// A stretch of time as it is read: whole hours, and what lies before and after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Stretch {
    /// Of what counts from before: all hours before this one.
    pub before: Option<DateTime<Utc>>,
    /// Whole hours, from the first to before the last.
    pub hours: Option<Period>,
    /// Of which the events are read; from chrono's first instant on if from the first event.
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

    /// The same where no hours are kept.
    pub fn of_events(period: Period, carried: bool) -> Self {
        let start = if carried { DateTime::<Utc>::MIN_UTC } else { period.start };
        Self { before: None, hours: None, edges: vec![Period { start, end: period.end }] }
    }

    /// Where what is read by the hour begins and ends, here and before.
    pub fn ends(&self) -> impl Iterator<Item = DateTime<Utc>> {
        let hours = self.hours.map(|hours| [hours.start, hours.end]);
        self.before.into_iter().chain(hours.into_iter().flatten())
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
        assert_eq!(ragged.hours, Some(period("01T11:00:00", "31T10:00:00")));
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
    fn a_rows_identifier_depends_on_everything_about_it_and_follows_those_of_the_day_before() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (nil, one) = (Uuid::nil(), Uuid::from_u128(1));
        let series =
            Series { tenant_id: TenantId(nil), customer_id: CustomerId(nil), grain_id: nil, build: 1 };
        let others = [
            Series { tenant_id: TenantId(one), ..series },
            Series { customer_id: CustomerId(one), ..series },
            Series { grain_id: one, ..series },
            Series { build: 2, ..series },
        ];
        let values = |text: &str| vec![Some(text.to_owned()), None];
        let (first, second) = (at("2026-01-01T10:00:00Z"), at("2026-01-02T00:00:00Z"));
        let id = series.row_id(first, &[]);
        assert!(others.iter().all(|other| other.row_id(first, &[]) != id));
        assert_eq!(series.row_id(at("2026-01-01T23:59:59Z"), &[]), id);
        let (eu, us) = (series.row_id(first, &values("eu")), series.row_id(first, &values("us")));
        assert!(eu != us && id <= eu.min(us) && eu.max(us) < series.row_id(second, &[]));
        let all = series.row_ids(None, at("9999-12-31T00:00:00Z"));
        assert!(all.contains(&series.row_id(at("0001-01-01T00:00:00Z"), &[])) && all.contains(&eu));
        let of_first = series.row_ids(Some(first), first);
        assert!(of_first.contains(&us) && !of_first.contains(&series.row_id(second, &[])));
    }

    #[test]
    fn a_grain_keeps_of_events_what_their_bucket_depends_on() {
        let of = |names: &[&str]| {
            let properties = names.iter().map(|name| (*name).to_owned()).collect();
            Grain { metric_id: MetricId(Uuid::nil()), properties }
        };
        let ids: std::collections::BTreeSet<_> =
            [of(&[]), of(&["ab"]), of(&["a", "b"]), of(&["a"])].iter().map(Grain::id).collect();
        assert_eq!(ids.len(), 4);
        let grain = of(&["model", "region", "tier"]);
        let event: Properties =
            serde_json::from_str(r#"{"model":"a","region":null,"tier":1.50,"other":true}"#).unwrap();
        let values = grain.values_of(&event);
        assert_eq!(values, [Some("a".to_owned()), None, Some("1.5".to_owned())]);
        assert_eq!(grain.values_of(&grain.properties_of(&values)), values);
    }
}
