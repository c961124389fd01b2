//! How fast the rules are, on one core: `cargo xtask bench core` compares the figures with their floors.

use accrue_core::{
    calendar::{Alignment, Grid, Interval, Period, Unit},
    price::{Model, rate},
    usage::{Aggregation, Fold, Sample, Scope, Value},
};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use divan::{Bencher, black_box, counter::ItemsCount};
use rust_decimal::Decimal;

const EVENTS: u32 = 1_000_000;
/// Enough different inputs that no branch predictor learns them.
const INPUTS: u32 = 1_024;

fn main() {
    divan::main();
}

/// Prices a quantity through five tiers.
#[divan::bench]
fn graduated_five_tiers(bencher: Bencher) {
    let model: Model = serde_json::from_str(
        r#"{"type":"graduated","tiers":[
            {"up_to":"1000","unit_price":"0.01","flat_fee":"0"},
            {"up_to":"10000","unit_price":"0.008","flat_fee":"1"},
            {"up_to":"100000","unit_price":"0.0055","flat_fee":"0"},
            {"up_to":"1000000","unit_price":"0.0031","flat_fee":"5"},
            {"up_to":null,"unit_price":"0.0015","flat_fee":"0"}]}"#,
    )
    .expect("a model");
    // From the first tier to the last, with fractions.
    let quantities: Vec<Decimal> =
        (0..INPUTS).map(|index| Decimal::new(i64::from(index * index) * 1907 + 13, 3)).collect();
    bencher.counter(ItemsCount::new(INPUTS)).bench_local(|| {
        for quantity in &quantities {
            black_box(rate(&model, black_box(*quantity))).expect("small numbers");
        }
    });
}

/// Finds the monthly period that holds an instant.
#[divan::bench(args = [Tz::UTC, Tz::America__New_York])]
fn month_of_an_instant(bencher: Bencher, zone: Tz) {
    let anchor = at(0);
    let grid =
        Grid::try_new(anchor, Interval::every(Unit::Month), Alignment::Anniversary, zone).expect("a grid");
    // Over ten years.
    let instants: Vec<_> = (0..INPUTS).map(|index| at(i64::from(index) * 308_117)).collect();
    bencher.counter(ItemsCount::new(INPUTS)).bench_local(|| {
        for instant in &instants {
            black_box(grid.containing(black_box(*instant))).expect("within the years 1 to 9999");
        }
    });
}

/// Folds a million parsed events into one quantity.
#[divan::bench(args = [Aggregation::Sum, Aggregation::Count, Aggregation::Max, Aggregation::WeightedSum], sample_count = 20)]
fn fold_a_million_events(bencher: Bencher, aggregation: Aggregation) {
    let period = Period::try_new(at(0), at(31 * 86_400)).expect("January");
    let scope = Scope { aggregation, recurring: false, prorated: false, period, full: period, zone: Tz::UTC };
    let samples: Vec<Sample> = (0..EVENTS)
        .map(|index| Sample {
            at: at(i64::from(index) * 2),
            arrival: index.into(),
            value: Value::Number(Decimal::new(i64::from(index % 100_003), index % 5)),
        })
        .collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut fold = Fold::try_new(scope, Decimal::ZERO).expect("not prorated");
        for sample in &samples {
            fold.push(black_box(sample).clone());
        }
        fold.quantity().expect("small numbers")
    });
}

fn at(seconds: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
    start + TimeDelta::seconds(seconds)
}
