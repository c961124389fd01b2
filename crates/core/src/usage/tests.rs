//! Worked examples of aggregation, and the properties that hold for all of it.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{Aggregation, Fold, Operation, Partial, Sample, Scope, Value};
use crate::{
    calendar::Period,
    exact::{Exact, Toward},
};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn january(aggregation: Aggregation) -> Scope {
    let period = Period::try_new(at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z")).unwrap();
    Scope { aggregation, recurring: false, prorated: false, period, full: period, zone: Tz::UTC }
}

fn fold(scope: Scope, carried: i64, events: &[(&str, Value)]) -> Fold {
    let mut fold = Fold::try_new(scope, carried).unwrap();
    for (arrival, (time, value)) in (0..).zip(events) {
        fold.push(Sample { at: at(time), arrival, value: value.clone() });
    }
    fold
}

fn quantity(scope: Scope, carried: i64, events: &[(&str, Value)]) -> String {
    fold(scope, carried, events).quantity().unwrap().round(6, Toward::Nearest).to_string()
}

fn num(text: &str) -> Value {
    Value::Number(number(text))
}

fn add(value: &str) -> Value {
    Value::Unique(value.into(), Operation::Add)
}

fn remove(value: &str) -> Value {
    Value::Unique(value.into(), Operation::Remove)
}

#[test]
fn numbers_are_summed_counted_and_compared_within_the_period() {
    let events = [
        ("2025-12-31T23:59:59Z", num("100")),
        ("2026-01-01T00:00:00Z", num("4")),
        ("2026-01-10T00:00:00Z", num("-1.5")),
        ("2026-01-20T00:00:00Z", num("2")),
        ("2026-02-01T00:00:00Z", num("100")),
    ];
    let of = |aggregation| quantity(january(aggregation), 0, &events);
    assert_eq!(of(Aggregation::Count), "3");
    assert_eq!(of(Aggregation::Sum), "4.5");
    assert_eq!(of(Aggregation::Max), "4");
    assert_eq!(of(Aggregation::Min), "-1.5");
    assert_eq!(of(Aggregation::Average), "1.5");
    assert_eq!(of(Aggregation::Latest), "2");
}

#[test]
fn nothing_at_all_is_zero() {
    for aggregation in [
        Aggregation::Count,
        Aggregation::Sum,
        Aggregation::Max,
        Aggregation::Min,
        Aggregation::Average,
        Aggregation::Latest,
        Aggregation::UniqueCount,
        Aggregation::WeightedSum,
    ] {
        assert_eq!(quantity(january(aggregation), 0, &[]), "0");
    }
}

#[test]
fn the_largest_of_negative_values_is_negative() {
    let events = [("2026-01-02T00:00:00Z", num("-3")), ("2026-01-03T00:00:00Z", num("-2"))];
    assert_eq!(quantity(january(Aggregation::Max), 0, &events), "-2");
}

#[test]
fn of_two_latest_values_at_one_instant_the_later_arrival_counts() {
    let events = [("2026-01-02T00:00:00Z", num("1")), ("2026-01-02T00:00:00Z", num("2"))];
    assert_eq!(quantity(january(Aggregation::Latest), 0, &events), "2");
}

#[test]
fn ten_from_the_start_less_five_from_half_way_weigh_seven_and_a_half() {
    let period = Period::try_new(at("2026-04-01T00:00:00Z"), at("2026-05-01T00:00:00Z")).unwrap();
    let scope = Scope { period, full: period, ..january(Aggregation::WeightedSum) };
    let events = [("2026-04-01T00:00:00Z", num("10")), ("2026-04-16T00:00:00Z", num("-5"))];
    assert_eq!(quantity(scope, 0, &events), "7.5");
}

#[test]
fn a_recurring_weighted_sum_carries_its_value_into_the_period() {
    let scope = Scope { recurring: true, ..january(Aggregation::WeightedSum) };
    assert_eq!(quantity(scope, 3, &[("2025-06-01T00:00:00Z", num("4"))]), "7");
}

#[test]
fn unique_values_count_once_and_only_while_they_are_there() {
    let events = [
        ("2026-01-02T00:00:00Z", add("a")),
        ("2026-01-03T00:00:00Z", add("a")),
        ("2026-01-04T00:00:00Z", add("b")),
        ("2026-01-05T00:00:00Z", remove("a")),
        ("2026-01-06T00:00:00Z", remove("c")),
    ];
    assert_eq!(quantity(january(Aggregation::UniqueCount), 0, &events), "1");
}

#[test]
fn recurring_unique_values_stay_until_they_are_taken_away() {
    let scope = Scope { recurring: true, ..january(Aggregation::UniqueCount) };
    let events = [
        ("2025-03-01T00:00:00Z", add("a")),
        ("2025-03-01T00:00:00Z", add("b")),
        ("2025-04-01T00:00:00Z", remove("a")),
    ];
    assert_eq!(quantity(scope, 0, &events), "1");
}

#[test]
fn prorated_unique_values_count_their_days_the_first_and_the_last_included() {
    let scope = Scope { recurring: true, prorated: true, ..january(Aggregation::UniqueCount) };
    let days = |events: &[(&str, Value)]| {
        let quantity = fold(scope, 0, events).quantity().unwrap() * Exact::from(31);
        quantity.to_string()
    };
    assert_eq!(days(&[("2025-12-01T00:00:00Z", add("a"))]), "31");
    assert_eq!(days(&[("2026-01-16T18:00:00Z", add("a"))]), "16");
    let flips = [
        ("2026-01-10T08:00:00Z", add("a")),
        ("2026-01-12T09:00:00Z", remove("a")),
        ("2026-01-12T10:00:00Z", add("a")),
        ("2026-01-12T11:00:00Z", remove("a")),
        ("2026-01-31T23:00:00Z", add("a")),
    ];
    assert_eq!(days(&flips), "4");
    let gone = [("2025-12-01T00:00:00Z", add("a")), ("2025-12-31T23:00:00Z", remove("a"))];
    assert_eq!(days(&gone), "0");
}

#[test]
fn a_prorated_sum_weighs_new_values_by_their_days_and_carried_ones_fully() {
    let scope = Scope { recurring: true, prorated: true, ..january(Aggregation::Sum) };
    let events = [("2025-11-01T00:00:00Z", num("2")), ("2026-01-16T12:00:00Z", num("31"))];
    let fold = fold(scope, 0, &events);
    assert_eq!(fold.quantity(), Ok(number("18").into()));
    let parts = fold.parts().unwrap();
    assert_eq!((parts[0].quantity.to_string(), parts[0].prorated.to_string()), ("2".into(), "2".into()));
    assert_eq!((parts[1].quantity.to_string(), parts[1].prorated.to_string()), ("31".into(), "16".into()));
    let explained: Vec<String> = fold
        .held()
        .unwrap()
        .iter()
        .map(|held| {
            format!(
                "{} {} {} of {}",
                held.since.date_naive(),
                held.quantity,
                held.quantity_days,
                held.full_days
            )
        })
        .collect();
    assert_eq!(explained, ["2026-01-01 2 62 of 31", "2026-01-16 31 496 of 31"]);
}

#[test]
fn local_days_decide_what_a_day_is() {
    let period = Period::try_new(at("2026-03-01T05:00:00Z"), at("2026-04-01T04:00:00Z")).unwrap();
    let scope = Scope {
        prorated: true,
        period,
        full: period,
        zone: Tz::America__New_York,
        ..january(Aggregation::UniqueCount)
    };
    // Still 30 March in New York: two days of 31.
    let quantity = fold(scope, 0, &[("2026-03-31T03:00:00Z", add("a"))]).quantity().unwrap();
    assert_eq!(quantity, Exact::from(2).divide(&31.into()).unwrap());
}

/// RULES 14.
#[test]
fn usage_splits_at_a_change_and_what_is_carried_over_counts_once() {
    let (start, change) = ("2026-01-01T00:00:00Z", "2026-01-16T00:00:00Z");
    let events = [("2026-01-10T00:00:00Z", num("7")), (change, num("2")), ("2026-01-20T00:00:00Z", num("3"))];
    let part = |aggregation, from, to, recurring| {
        let period = Period::try_new(at(from), at(to)).unwrap();
        Scope { period, full: period, recurring, ..january(aggregation) }
    };
    let end = "2026-02-01T00:00:00Z";
    assert_eq!(quantity(part(Aggregation::Sum, start, change, false), 0, &events), "7");
    assert_eq!(quantity(part(Aggregation::Sum, change, end, false), 0, &events), "5");
    // A stateful metric goes on from where it was: seven are there before the change, and still after it.
    assert_eq!(quantity(part(Aggregation::Sum, start, change, true), 0, &events), "7");
    assert_eq!(quantity(part(Aggregation::Sum, change, end, true), 0, &events), "12");
}

#[test]
fn only_sums_and_unique_counts_can_be_prorated() {
    let scope = Scope { prorated: true, ..january(Aggregation::Max) };
    assert!(Fold::try_new(scope, Decimal::ZERO).is_err());
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        (-10_000_i64..10_000).prop_map(|value| Value::Number(Decimal::new(value, 2))),
        ("[a-d]", any::<bool>()).prop_map(|(value, add)| {
            Value::Unique(value, if add { Operation::Add } else { Operation::Remove })
        }),
    ];
    let minute = -20_000_i64..60_000;
    prop::collection::vec((minute, value), 0..60).prop_map(|events| {
        let start = at("2026-01-01T00:00:00Z");
        let sample =
            |(arrival, (minute, value))| Sample { at: start + TimeDelta::minutes(minute), arrival, value };
        (0..).zip(events).map(sample).collect()
    })
}

/// A fold that was fed with events in this order.
fn fed<'a>(scope: Scope, carried: i64, events: impl IntoIterator<Item = &'a Sample>) -> Fold {
    let mut fold = Fold::try_new(scope, carried).unwrap();
    for event in events {
        fold.push(event.clone());
    }
    fold
}

fn scopes() -> impl Strategy<Value = Scope> {
    let aggregation = prop_oneof![
        Just(Aggregation::Count),
        Just(Aggregation::Sum),
        Just(Aggregation::Max),
        Just(Aggregation::Min),
        Just(Aggregation::Average),
        Just(Aggregation::Latest),
        Just(Aggregation::UniqueCount),
        Just(Aggregation::WeightedSum),
    ];
    (aggregation, any::<bool>(), any::<bool>()).prop_map(|(aggregation, recurring, prorated)| Scope {
        recurring,
        prorated: prorated && aggregation.is_proratable(),
        ..january(aggregation)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    #[test]
    fn merged_parts_equal_the_whole_in_any_order(
        scope in scopes(),
        events in samples(),
        carried in 0_i64..10,
        split in 0_usize..60,
    ) {
        let (early, late) = events.split_at(split.min(events.len()));
        let whole = fed(scope, carried, &events);
        let mut merged = fed(scope, carried, late.iter().rev());
        merged.merge(fed(scope, 0, early)).unwrap();

        prop_assert_eq!(merged.quantity().unwrap(), whole.quantity().unwrap());
        if scope.prorated {
            prop_assert_eq!(merged.parts().unwrap(), whole.parts().unwrap());
        }
    }

    #[test]
    fn hours_summed_up_and_merged_tell_what_their_events_tell(
        scope in scopes().prop_filter("mergeable", |scope| scope.aggregation.is_mergeable(scope.prorated)),
        events in samples(),
        split in 0_usize..60,
    ) {
        let hour = TimeDelta::hours(1);
        let mut hours = BTreeMap::<DateTime<Utc>, Partial>::new();
        let (early, late) = events.split_at(split.min(events.len()));
        for part in [late, early] {
            let mut stored = BTreeMap::<DateTime<Utc>, Partial>::new();
            for sample in part.iter().filter(|sample| scope.covers(sample.at)) {
                let start = sample.at.duration_trunc(hour).unwrap();
                stored.entry(start).or_default().push(scope.aggregation, sample, start + hour);
            }
            for (start, partial) in stored {
                hours.entry(start).or_default().merge(&partial);
            }
        }
        let mut summed = Fold::try_new(scope, Decimal::ZERO).unwrap();
        for (start, partial) in &hours {
            summed.absorb(partial, *start + hour).unwrap();
        }
        prop_assert_eq!(summed.quantity().unwrap(), fed(scope, 0, &events).quantity().unwrap());
    }

    #[test]
    fn prorated_parts_add_up_to_the_quantity_and_full_units_to_the_unprorated_one(
        aggregation in prop_oneof![Just(Aggregation::Sum), Just(Aggregation::UniqueCount)],
        recurring in any::<bool>(),
        events in samples(),
    ) {
        let full = Scope { recurring, ..january(aggregation) };
        let prorated = fed(Scope { prorated: true, ..full }, 0, &events);
        let parts = prorated.parts().unwrap();
        let sum: Exact = parts.iter().map(|part| &part.prorated).sum();
        prop_assert_eq!(sum, prorated.quantity().unwrap());
        let units: Exact = parts.iter().map(|part| &part.quantity).sum();
        prop_assert_eq!(units, fed(full, 0, &events).quantity().unwrap());
    }

    #[test]
    fn no_unique_value_is_there_on_more_days_than_there_are(events in samples()) {
        let scope = Scope { recurring: true, prorated: true, ..january(Aggregation::UniqueCount) };
        let quantity = fed(scope, 0, &events).quantity().unwrap();
        prop_assert!(Exact::ZERO <= quantity && quantity <= Exact::from(4));
    }
}
