//! The usage of windows that follow one another, in the making. Each hour and each event is given once, in any order,
//! and goes into the windows in which it counts: what that takes does not grow with the number of windows.

use std::collections::HashMap;

use accrue_core::{
    calendar::Period,
    usage::{Aggregation, BucketKey, BucketUsage, Buckets, Partial, Properties, Scope, Split, UsageError},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{Grain, Slice, Stretch, Values, WantedDays, end_of_hour, start_of_day, start_of_hour};
use crate::catalog::Metric;

/// Of so many windows the days are read whole where they can be; of more, hardly any could.
const WINDOWS_BY_DAY_MAX: usize = 100;

/// Windows that are being filled.
pub(in crate::metering) struct Filling<'a> {
    aggregation: Aggregation,
    split: Split<'a>,
    windows: Vec<Window<'a>>,
    open: Option<OpenHour>,
    /// To which bucket values belong.
    keys: HashMap<Values, BucketKey>,
}

/// The hour within which the last window ends: it counts as a whole if nothing in it is later.
struct OpenHour {
    start: DateTime<Utc>,
    slices: Vec<Slice>,
}

struct Window<'a> {
    period: Period,
    stretch: Stretch,
    buckets: Buckets<'a>,
    /// What counts from before in this window and in all that follow, and in none that came before.
    carried: HashMap<BucketKey, Partial>,
}

impl Window<'_> {
    /// The hour within which it ends, if that is an edge of its own and no other window ends in it.
    fn open_hour(&self) -> Option<DateTime<Utc>> {
        let Period { start, end } = self.period;
        let edge = self.stretch.edges.last()?.start;
        (edge == start_of_hour(end) && start <= edge).then_some(edge)
    }
}

impl<'a> Filling<'a> {
    /// Windows with nothing in them. `by_the_hour` if whole hours will be given, and only what lies beside them event by
    /// event.
    ///
    /// What no filter matched has a bucket even if it is nothing, unless usage is grouped.
    pub fn try_new(
        metric: &'a Metric,
        split: Split<'a>,
        scopes: &[Scope],
        by_the_hour: bool,
    ) -> Result<Self, UsageError> {
        let window = |scope: &Scope| {
            let mut buckets = Buckets::try_new(&metric.rules, split, *scope)?;
            if split.group_by.is_empty() {
                buckets.carry(BucketKey { filter: None, group: Vec::new() }, Decimal::ZERO);
            }
            let of = if by_the_hour { Stretch::of } else { Stretch::of_events };
            let stretch = of(scope.period, scope.recurring);
            Ok(Window { period: scope.period, stretch, buckets, carried: HashMap::new() })
        };
        let windows = scopes.iter().map(window).collect::<Result<Vec<_>, UsageError>>()?;
        let aggregation = metric.rules.aggregation;
        // What is weighted by time does not end with the hour.
        let is_weighted = aggregation == Aggregation::WeightedSum;
        let open = windows.last().and_then(Window::open_hour).filter(|_| by_the_hour && !is_weighted);
        let open = open.map(|start| OpenHour { start, slices: Vec::new() });
        Ok(Self { aggregation, split, windows, open, keys: HashMap::new() })
    }

    /// The days of which it wants to be given hours, if there are any. Of days that lie in one window it takes the total,
    /// unless that would not do: what is weighted by time is kept by the hour only.
    pub fn days(&self) -> Option<WantedDays> {
        let open = self.open.as_ref().map(|open| open.start);
        let whole = self.windows.iter().filter_map(|window| window.stretch.read());
        let mut read = whole.chain(open.map(|open| (Some(open), open)));
        let (from, to) = read.next()?;
        let to = read.next_back().map_or(to, |(_, to)| to);
        let is_weighted = self.aggregation == Aggregation::WeightedSum;
        let by_hour = (!is_weighted && self.windows.len() <= WINDOWS_BY_DAY_MAX).then(|| {
            let ends = self.windows.iter().flat_map(|window| window.stretch.ends());
            let parted = ends.filter(|end| start_of_day(*end) < *end);
            parted.chain(open).map(start_of_day).collect()
        });
        Some(WantedDays { from, to, by_hour })
    }

    /// The stretches of time of which it wants to be given the events: in order, none touching another one but for that of
    /// the open hour.
    pub fn edges(&self) -> Vec<Period> {
        let mut edges = Vec::<Period>::new();
        let is_open = |edge: &&Period| self.open.as_ref().is_some_and(|open| open.start == edge.start);
        for edge in self.windows.iter().flat_map(|window| &window.stretch.edges).filter(|edge| !is_open(edge))
        {
            match edges.last_mut() {
                Some(last) if edge.start <= last.end => last.end = last.end.max(edge.end),
                _ => edges.push(*edge),
            }
        }
        edges
    }

    /// The end of the last window, from the start of the hour on, and the rest of that hour. If nothing happened in the
    /// rest, [`Filling::take_open_hour`] makes up for the events of the first.
    pub fn open_edge(&self) -> Option<(Period, Period)> {
        let (open, last) = (self.open.as_ref()?, self.windows.last()?);
        let end = last.period.end;
        Some((Period { start: open.start, end }, Period { start: end, end: end_of_hour(open.start) }))
    }

    /// Takes the open hour, which must have been given, as a whole.
    pub fn take_open_hour(&mut self, grain: &Grain) -> Result<(), UsageError> {
        let Some((open, last)) = self.open.take().zip(self.windows.last_mut()) else { return Ok(()) };
        for Slice { values, partial, end, .. } in open.slices {
            let key = key_of(&mut self.keys, self.split, grain, values);
            last.buckets.absorb(key, &partial, end)?;
        }
        Ok(())
    }

    /// Takes an hour, or a day that lies in one window, of a grain that tells apart what the split does.
    pub fn take_slice(&mut self, grain: &Grain, slice: Slice) -> Result<(), UsageError> {
        if let Some(open) = self.open.as_mut().filter(|open| open.start == slice.start) {
            if slice.partial.count > 0 {
                open.slices.push(slice);
            }
            return Ok(());
        }
        let Slice { start, end, values, partial } = slice;
        // One whose events were all voided is none.
        if partial.count == 0 {
            return Ok(());
        }
        let key = key_of(&mut self.keys, self.split, grain, values);
        let within = self.windows.partition_point(|window| window.period.end <= start);
        if let Some(window) = self.windows.get_mut(within)
            && window.stretch.hours.is_some_and(|hours| hours.contains(start))
        {
            window.buckets.absorb(key, &partial, end)?;
        }
        let is_before = |window: &Window| window.stretch.before.is_some_and(|before| start < before);
        let after = self.windows.partition_point(|window| !is_before(window));
        if let Some(window) = self.windows.get_mut(after) {
            window.carried.entry(key.clone()).or_default().merge(&partial);
        }
        Ok(())
    }

    /// Takes an event of one of its edges.
    pub fn take_event(&mut self, at: DateTime<Utc>, arrival: u128, properties: &Properties) {
        let within = self.windows.partition_point(|window| window.period.end <= at);
        let reaches =
            |window: &&mut Window| window.stretch.edges.first().is_some_and(|edge| edge.start <= at);
        for window in self.windows[within..].iter_mut().take_while(reaches) {
            if window.stretch.edges.iter().any(|edge| edge.contains(at)) {
                window.buckets.push(at, arrival, properties);
            }
        }
    }

    /// How many buckets there are in all windows. What is carried is one for each window from its own on.
    pub fn buckets(&self) -> usize {
        let carried = |(at, window): (usize, &Window)| (self.windows.len() - at) * window.carried.len();
        let carried = self.windows.iter().enumerate().map(carried).max().unwrap_or_default();
        let held: usize = self.windows.iter().map(|window| window.buckets.count()).sum();
        held.max(carried)
    }

    /// What each window holds, one after the other.
    pub fn finish(self) -> impl Iterator<Item = Result<(Period, Vec<BucketUsage>), UsageError>> {
        let mut carried = HashMap::<BucketKey, Partial>::new();
        self.windows.into_iter().map(move |mut window| {
            for (key, partial) in window.carried {
                carried.entry(key).or_default().merge(&partial);
            }
            for (key, partial) in &carried {
                window.buckets.absorb(key, partial, window.period.start)?;
            }
            Ok((window.period, window.buckets.finish()?))
        })
    }
}

/// The bucket of these values, which is looked for once.
fn key_of<'k>(
    keys: &'k mut HashMap<Values, BucketKey>,
    split: Split<'_>,
    grain: &Grain,
    values: Values,
) -> &'k BucketKey {
    keys.entry(values).or_insert_with_key(|values| split.key_of(&grain.properties_of(values)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use accrue_core::{
        id::{CustomerId, MetricId, TenantId},
        usage::{RawMetric, Sample},
    };
    use chrono::TimeDelta;
    use chrono_tz::Tz;
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;
    use crate::{
        catalog::LateEvents,
        metering::model::{Additions, Build, Granularity, RollupKey, end_of_day, end_of_hour},
    };

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn metric(aggregation: &str, recurring: bool) -> Metric {
        let rules = format!(r#"{{"aggregation":"{aggregation}","property":"n","recurring":{recurring}}}"#);
        Metric {
            tenant_id: TenantId(Uuid::nil()),
            id: MetricId(Uuid::nil()),
            code: "n".into(),
            name: "N".into(),
            event_name: "call".into(),
            rules: serde_json::from_str::<RawMetric>(&rules).unwrap().check().unwrap(),
            late_events: LateEvents::default(),
            splits: BTreeSet::new(),
            metadata: BTreeMap::default(),
            created_at: DateTime::UNIX_EPOCH,
            archived_at: None,
        }
    }

    fn scopes(metric: &Metric, windows: &[Period]) -> Vec<Scope> {
        let scope = |period: &Period| Scope {
            aggregation: metric.rules.aggregation,
            recurring: metric.rules.recurring,
            prorated: false,
            period: *period,
            full: *period,
            zone: Tz::UTC,
        };
        windows.iter().map(scope).collect()
    }

    /// Two events in each hour of some days, of five models, so that no two hours are alike.
    fn events(days: u32) -> Vec<(DateTime<Utc>, u128, Properties)> {
        let event = |number: u32| {
            let minutes = number * 30 + (number * 7 + number / 48) % 30;
            let said = format!(r#"{{"n":{},"model":"{}"}}"#, number * 37 % 101, number * 13 % 5);
            let happened = at("2026-01-01T00:00:00Z") + TimeDelta::minutes(minutes.into());
            (happened, number.into(), serde_json::from_str(&said).unwrap())
        };
        (0..days * 48).map(event).collect()
    }

    /// The hours and days of events, as they are kept and wanted.
    fn slices(
        metric: &Metric,
        grain: &Grain,
        events: &[(DateTime<Utc>, u128, Properties)],
        WantedDays { by_hour, .. }: &WantedDays,
    ) -> Vec<Slice> {
        let series = Build::first(grain.clone()).series(metric.tenant_id, CustomerId(Uuid::nil()));
        let mut added = Additions::default();
        for (at, arrival, properties) in events {
            let sample = Sample::of(&metric.rules, *at, *arrival, properties).unwrap();
            added.push(metric.rules.aggregation, series, grain.values_of(properties), &sample);
        }
        let mut held = BTreeMap::<_, Partial>::new();
        for (RollupKey { hour, values, .. }, partial) in added.0 {
            let day = start_of_day(hour);
            let is_by_hour = by_hour.as_ref().is_none_or(|days| days.contains(&day));
            let (start, end) = if is_by_hour { (hour, end_of_hour(hour)) } else { (day, end_of_day(day)) };
            held.entry((start, end, values)).or_default().merge(&partial);
        }
        let slice = |((start, end, values), partial)| Slice { start, end, values, partial };
        held.into_iter().map(slice).collect()
    }

    #[rstest]
    fn windows_hold_what_their_events_say_whichever_way_they_are_filled(
        #[values("sum", "max", "latest", "average", "weighted_sum")] aggregation: &str,
        #[values(false, true)] recurring: bool,
        #[values(Granularity::Hour, Granularity::Day, Granularity::Month)] granularity: Granularity,
        #[values(Tz::UTC, Tz::Asia__Kolkata)] zone: Tz,
        #[values("", "model")] group: &str,
        #[values("2026-01-02T10:10:00Z", "2026-01-05T08:50:00Z", "2026-01-05T09:10:00Z")] from: &str,
        #[values(false, true)] nothing_is_later: bool,
    ) {
        let metric = metric(aggregation, recurring);
        let group_by: Vec<String> =
            Some(group).filter(|name| !name.is_empty()).map(Into::into).into_iter().collect();
        let split = Split { filters: &[], group_by: &group_by, by_event: false };
        let asked = Period::try_new(at(from), at("2026-01-05T09:50:00Z")).unwrap();
        let windows = granularity.windows(asked, zone).unwrap().unwrap();
        let scopes = scopes(&metric, &windows);
        let mut events = events(6);
        events.retain(|(at, ..)| !nothing_is_later || *at < asked.end);

        let mut one_by_one = Vec::new();
        for scope in &scopes {
            let mut buckets = Buckets::try_new(&metric.rules, split, *scope).unwrap();
            if group_by.is_empty() {
                buckets.carry(BucketKey { filter: None, group: Vec::new() }, Decimal::ZERO);
            }
            for (at, arrival, properties) in &events {
                buckets.push(*at, *arrival, properties);
            }
            one_by_one.push((scope.period, buckets.finish().unwrap()));
        }

        for by_the_hour in [false, true] {
            let mut filling = Filling::try_new(&metric, split, &scopes, by_the_hour).unwrap();
            let mut edges = filling.edges();
            assert!(edges.windows(2).all(|pair| pair[0].end < pair[1].start), "{edges:?}");
            if let Some(wanted) = filling.days().filter(|_| by_the_hour) {
                let grain = Grain { metric_id: metric.id, properties: vec!["model".into()] };
                let slices = slices(&metric, &grain, &events, &wanted);
                slices.into_iter().rev().for_each(|slice| filling.take_slice(&grain, slice).unwrap());
                match filling.open_edge() {
                    Some((_, rest)) if events.iter().all(|(at, ..)| !rest.contains(*at)) => {
                        filling.take_open_hour(&grain).unwrap();
                    }
                    Some((edge, _)) => edges.push(edge),
                    None => {}
                }
            }
            let wanted = |at: DateTime<Utc>| edges.iter().any(|edge| edge.contains(at));
            for (at, arrival, properties) in events.iter().filter(|(at, ..)| wanted(*at)) {
                filling.take_event(*at, *arrival, properties);
            }
            let buckets = filling.buckets();
            let filled: Vec<_> = filling.finish().map(Result::unwrap).collect();
            assert_eq!(filled, one_by_one, "by the hour: {by_the_hour}");
            let told = filled.iter().map(|(_, usage)| usage.len()).sum::<usize>();
            assert!(buckets <= told, "{buckets} of {told}");
        }
    }

    #[test]
    fn only_days_in_which_a_window_begins_or_ends_are_read_by_the_hour() {
        let wanted = |aggregation: &str, start: &str, end: &str| {
            let metric = metric(aggregation, false);
            let asked = Period::try_new(at(start), at(end)).unwrap();
            let split = Split { filters: &[], group_by: &[], by_event: false };
            let filling = Filling::try_new(&metric, split, &scopes(&metric, &[asked]), true).unwrap();
            filling.days().unwrap().by_hour.map(|days| days.into_iter().collect::<Vec<_>>())
        };
        let (first, last) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        assert_eq!(wanted("sum", first, last), Some(vec![]));
        assert_eq!(wanted("sum", "2026-01-01T00:30:00Z", last), Some(vec![at(first)]));
        let noon = "2026-02-01T12:00:00Z";
        assert_eq!(wanted("latest", "2026-01-01T23:00:00Z", noon), Some(vec![at(first), at(last)]));
        assert_eq!(wanted("sum", first, "2026-02-01T00:20:00Z"), Some(vec![at(last)]));
        assert_eq!(wanted("weighted_sum", first, last), None);
    }
}
