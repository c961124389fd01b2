//! Usage of one price, bucket by bucket: split by its filters and its groups, in the shape in which it is priced.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{BucketKey, Filter, Fold, Metric, Partial, Properties, Sample, Scope, UsageError};
use crate::{
    arithmetic::Overflow,
    exact::Exact,
    price::{Measured, ProratedUnits},
};

/// How a price splits and sees the usage of its metric.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// The price's filters, in the order of their age.
    pub filters: &'a [Filter],
    /// Properties by whose values usage is priced apart.
    pub group_by: &'a [String],
    /// Whether the price looks at each event (`Model::prices_events`).
    pub by_event: bool,
}

impl Split<'_> {
    /// The properties that decide to which bucket an event belongs, sorted: events that agree in them share one.
    pub fn properties(&self) -> Vec<String> {
        let filtered = self.filters.iter().flat_map(|filter| filter.0.keys());
        let names: BTreeSet<&String> = filtered.chain(self.group_by).collect();
        names.into_iter().cloned().collect()
    }

    /// To which bucket an event belongs.
    pub fn key_of(&self, properties: &Properties) -> BucketKey {
        BucketKey::of(self.filters, self.group_by, properties)
    }
}

/// The usage of one price in the making, fed event by event in any order.
#[derive(Clone, Debug)]
pub struct Buckets<'a> {
    metric: &'a Metric,
    split: Split<'a>,
    /// What a bucket begins as.
    empty: Fold,
    scope: Scope,
    held: BTreeMap<BucketKey, Bucket>,
}

/// The usage that is priced apart.
#[derive(Clone, Debug)]
struct Bucket {
    fold: Fold,
    /// The value of each event, if the price looks at them.
    values: Vec<(DateTime<Utc>, u128, Decimal)>,
}

/// What one bucket holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUsage {
    pub key: BucketKey,
    /// The aggregate, rounded as the metric says, in measured units. Negative too.
    pub quantity: Exact,
    /// The same in priced units.
    pub measured: Measured,
}

impl<'a> Buckets<'a> {
    /// Refuses to prorate what cannot be.
    pub fn try_new(metric: &'a Metric, split: Split<'a>, scope: Scope) -> Result<Self, UsageError> {
        let empty = Fold::try_new(scope, Decimal::ZERO)?;
        Ok(Self { metric, split, empty, scope, held: BTreeMap::new() })
    }

    /// Adds what a bucket held before its first event: what a recurring metric carries in.
    pub fn carry(&mut self, key: BucketKey, quantity: Decimal) {
        self.bucket(key).fold.carry(quantity);
    }

    /// Takes one event. Those that the metric does not look at, or outside of the period, change nothing.
    pub fn push(&mut self, at: DateTime<Utc>, arrival: u128, properties: &Properties) {
        let Some(sample) = Sample::of(self.metric, at, arrival, properties) else { return };
        if !self.scope.covers(at) {
            return;
        }
        let by_event = self.split.by_event;
        let bucket = self.bucket(self.split.key_of(properties));
        if by_event {
            bucket.values.extend(sample.value.number().map(|value| (at, arrival, value)));
        }
        bucket.fold.push(sample);
    }

    /// Takes events of one bucket that were summed up: a whole stretch that ends at `end`, as [`Fold::absorb`] does.
    pub fn absorb(
        &mut self,
        key: &BucketKey,
        partial: &Partial,
        end: DateTime<Utc>,
    ) -> Result<(), UsageError> {
        if self.split.by_event {
            return Err(UsageError::NeedsEvents);
        }
        self.bucket(key.clone()).fold.absorb(partial, end)
    }

    /// How many buckets there are.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    fn bucket(&mut self, key: BucketKey) -> &mut Bucket {
        self.held.entry(key).or_insert_with(|| Bucket { fold: self.empty.clone(), values: Vec::new() })
    }

    /// What each bucket holds, those without a filter first, sorted by group.
    pub fn finish(self) -> Result<Vec<BucketUsage>, UsageError> {
        let metric = self.metric;
        let by_event = self.split.by_event;
        let prorated = self.scope.prorated;
        let usage = |(key, bucket): (BucketKey, Bucket)| {
            let quantity = metric.round(bucket.fold.quantity()?);
            let measured = if by_event {
                Measured::Events(in_order(bucket.values, metric)?)
            } else if prorated {
                Measured::Prorated(converted(bucket.fold.parts()?, metric)?)
            } else {
                Measured::Units(metric.convert(&quantity)?)
            };
            Ok(BucketUsage { key, quantity, measured })
        };
        self.held.into_iter().map(usage).collect()
    }
}

fn in_order(
    mut values: Vec<(DateTime<Utc>, u128, Decimal)>,
    metric: &Metric,
) -> Result<Vec<Exact>, Overflow> {
    values.sort_by_key(|(at, arrival, _)| (*at, *arrival));
    values.into_iter().map(|(_, _, value)| metric.convert(&value.into())).collect()
}

/// Without rounding: a part of a unit is what prorated units are about.
fn converted(parts: Vec<ProratedUnits>, metric: &Metric) -> Result<Vec<ProratedUnits>, Overflow> {
    let Some(conversion) = metric.conversion else { return Ok(parts) };
    let convert = |part: ProratedUnits| {
        let quantity = conversion.exact(&part.quantity)?;
        Ok(ProratedUnits { quantity, prorated: conversion.exact(&part.prorated)? })
    };
    parts.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::{
        calendar::Period,
        money::{Currency, Money},
        price::{self, Before, Model, Terms},
        usage::{Aggregation, RawMetric},
    };

    fn scope(metric: &Metric) -> Scope {
        let (start, end) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
        let period = Period::try_new(start, end).unwrap();
        Scope {
            aggregation: metric.aggregation,
            recurring: metric.recurring,
            prorated: false,
            period,
            full: period,
            zone: Tz::UTC,
        }
    }

    fn metric(json: &str) -> Metric {
        serde_json::from_str::<RawMetric>(json).unwrap().check().unwrap()
    }

    fn model(json: &str) -> Model {
        serde_json::from_str(json).unwrap()
    }

    fn feed(buckets: &mut Buckets, events: &[&str]) {
        for (arrival, event) in (0..).zip(events) {
            let properties = serde_json::from_str(event).unwrap();
            buckets.push("2026-01-10T00:00:00Z".parse().unwrap(), arrival, &properties);
        }
    }

    #[test]
    fn events_become_lines_by_filter_and_group_and_the_rest_falls_into_the_own_model() {
        let tokens = metric(
            r#"{"aggregation":"sum","property":"n",
                "conversion":{"operation":"divide","factor":"1000","rounding":"up"}}"#,
        );
        let filters: Vec<Filter> = serde_json::from_str(r#"[{"region":["eu"]}]"#).unwrap();
        let group_by = ["model".to_owned()];
        let split = Split { filters: &filters, group_by: &group_by, by_event: false };
        let mut buckets = Buckets::try_new(&tokens, split, scope(&tokens)).unwrap();
        feed(
            &mut buckets,
            &[
                r#"{"n":1500,"region":"eu","model":"pro"}"#,
                r#"{"n":700,"region":"us","model":"pro"}"#,
                r#"{"n":800,"region":"eu","model":"pro"}"#,
                r#"{"n":400,"model":"mini"}"#,
                r#"{"n":1}"#,
            ],
        );
        let usage = buckets.finish().unwrap();
        let own = model(r#"{"type":"per_unit","unit_price":"1"}"#);
        let european = model(r#"{"type":"per_unit","unit_price":"2"}"#);
        let buckets: Vec<price::Bucket> = usage
            .iter()
            .map(|bucket| price::Bucket {
                model: if bucket.key.filter.is_some() { &european } else { &own },
                before: Before::default(),
                measured: bucket.measured.clone(),
            })
            .collect();
        let charges = price::charge(&buckets, &Terms::default(), Currency::USD).unwrap();

        let lines: Vec<(Option<usize>, Option<&str>, Exact, Money)> = usage
            .iter()
            .zip(&charges.buckets)
            .map(|(bucket, charge)| {
                (bucket.key.filter, bucket.key.group[0].as_deref(), bucket.quantity.clone(), charge.amount)
            })
            .collect();
        let usd = |minor| Money::from_minor(minor, Currency::USD);
        assert_eq!(
            lines,
            [
                (None, None, Exact::from(1), usd(100)),
                (None, Some("mini"), Exact::from(400), usd(100)),
                (None, Some("pro"), Exact::from(700), usd(100)),
                (Some(0), Some("pro"), Exact::from(2300), usd(600)),
            ]
        );
    }

    #[test]
    fn a_price_by_event_sees_each_value_in_order() {
        let paid = metric(r#"{"aggregation":"sum","property":"n"}"#);
        let split = Split { filters: &[], group_by: &[], by_event: true };
        let mut buckets = Buckets::try_new(&paid, split, scope(&paid)).unwrap();
        feed(&mut buckets, &[r#"{"n":5}"#, r#"{"n":"x"}"#, r#"{"n":-2}"#]);
        let usage = buckets.finish().unwrap();
        assert_eq!(usage[0].measured, Measured::Events(vec![Exact::from(5), Exact::from(-2)]));
        assert_eq!(usage[0].quantity, Exact::from(3));
    }

    #[test]
    fn what_was_carried_in_stays_with_its_bucket() {
        let seats = metric(r#"{"aggregation":"sum","property":"n","recurring":true}"#);
        let split = Split { filters: &[], group_by: &[], by_event: false };
        let prorated = Scope { prorated: true, ..scope(&seats) };
        let mut buckets = Buckets::try_new(&seats, split, prorated).unwrap();
        feed(&mut buckets, &[r#"{"n":31}"#]);
        let key = BucketKey { filter: None, group: Vec::new() };
        buckets.carry(key, Decimal::from(2));
        let usage = buckets.finish().unwrap();
        // Two from before count fully, 31 new ones for 22 days of 31.
        assert_eq!(usage[0].quantity, Exact::from(24));
        assert_eq!(usage[0].measured.quantity(), Exact::from(33));
    }

    #[test]
    fn events_that_agree_in_the_properties_of_a_split_share_a_bucket_and_may_be_summed_up() {
        let tokens = metric(r#"{"aggregation":"sum","property":"n"}"#);
        let filters: Vec<Filter> =
            serde_json::from_str(r#"[{"region":["eu"]},{"region":["eu"],"tier":[]}]"#).unwrap();
        let group_by = ["model".to_owned(), "tier".to_owned()];
        let split = Split { filters: &filters, group_by: &group_by, by_event: false };
        assert_eq!(split.properties(), ["model", "region", "tier"]);
        let events = [
            r#"{"n":1,"region":"eu","model":"a"}"#,
            r#"{"n":2,"region":"eu","model":"a","note":"x"}"#,
            r#"{"n":4,"region":"us","model":"a","tier":1.0}"#,
            r#"{"n":8,"region":"us","model":"a","tier":1}"#,
        ];
        let mut one_by_one = Buckets::try_new(&tokens, split, scope(&tokens)).unwrap();
        feed(&mut one_by_one, &events);

        let mut summed = Buckets::try_new(&tokens, split, scope(&tokens)).unwrap();
        let end = "2026-01-10T01:00:00Z".parse().unwrap();
        for event in events {
            let properties: Properties = serde_json::from_str(event).unwrap();
            let mut partial = Partial::default();
            let at = "2026-01-10T00:00:00Z".parse().unwrap();
            partial.push(Aggregation::Sum, &Sample::of(&tokens, at, 1, &properties).unwrap(), end);
            summed.absorb(&split.key_of(&properties), &partial, end).unwrap();
        }

        assert_eq!(summed.finish().unwrap(), one_by_one.finish().unwrap());
        let by_event = Split { by_event: true, ..split };
        let mut refusing = Buckets::try_new(&tokens, by_event, scope(&tokens)).unwrap();
        let key = by_event.key_of(&Properties::new());
        assert_eq!(refusing.absorb(&key, &Partial::default(), end), Err(UsageError::NeedsEvents));
    }
}
