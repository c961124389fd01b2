//! What a stretch of time tells the aggregations that need no single event: hours of it can be stored, merged,
//! and folded in place of their events, with the same answer to the last digit.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    Aggregation, Sample,
    fold::{Moment, seconds},
};
use crate::exact::Exact;

/// The events of a half-open stretch of time, summed up: as much of them as their aggregation asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// How many events counted.
    pub count: u64,
    /// Of their values, if they are added up.
    pub sum: Exact,
    /// For `min`.
    pub least: Option<Decimal>,
    /// For `max`.
    pub greatest: Option<Decimal>,
    /// For `latest`: the last value, by time and then by arrival.
    pub latest: Option<(Moment, Decimal)>,
    /// For `weighted_sum`: Σ value × seconds from its event to the end of the stretch.
    pub weighted: Exact,
}

impl Partial {
    /// Adds an event of the stretch that ends at `end`.
    pub fn push(&mut self, aggregation: Aggregation, sample: &Sample, end: DateTime<Utc>) {
        let number = sample.value.number();
        if number.is_some() || aggregation == Aggregation::Count {
            self.count += 1;
        }
        let Some(value) = number else { return };
        match aggregation {
            Aggregation::Count | Aggregation::UniqueCount => {}
            Aggregation::Sum | Aggregation::Average => self.sum += &value.into(),
            Aggregation::Min => self.least = self.least.into_iter().chain([value]).min(),
            Aggregation::Max => self.greatest = self.greatest.max(Some(value)),
            Aggregation::Latest => self.latest = self.latest.max(Some(((sample.at, sample.arrival), value))),
            Aggregation::WeightedSum => {
                self.sum += &value.into();
                self.weighted += &(Exact::from(value) * Exact::from(seconds(sample.at, end)));
            }
        }
    }

    /// Adds other events of the same stretch.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += &other.sum;
        self.least = self.least.into_iter().chain(other.least).min();
        self.greatest = self.greatest.max(other.greatest);
        self.latest = self.latest.max(other.latest);
        self.weighted += &other.weighted;
    }
}
