//! The calendar owns intervals, billing periods and the grid they lie on. It knows no prices and reads no clock.

mod grid;
mod zone;

use std::num::NonZeroU32;

use chrono::{DateTime, Datelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};

pub use grid::Grid;
pub use zone::{days_between, local_date, start_of_day};

/// What an interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IntervalUnit)]
pub enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// How often something is billed: every `count` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The unit that is counted.
    pub unit: Unit,
    /// How many units one period lasts, at least 1.
    #[schema(value_type = u32, minimum = 1)]
    pub count: NonZeroU32,
}

impl Interval {
    /// Every single unit: every day, every month.
    pub const fn every(unit: Unit) -> Self {
        Self { unit, count: NonZeroU32::MIN }
    }
}

/// Where the boundaries of periods lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// At the anchor's own local day and time.
    Anniversary,
    /// At local midnight of a Monday, the 1st, or 1 January; steps of several months count from January.
    Calendar,
    /// At local midnight of this day (1–31), clamped to the month's length.
    DayOfMonth(#[serde(deserialize_with = "day_of_month")] u8),
}

/// A half-open span of time: `start` belongs to it, `end` to the next one (RULES 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "RawPeriod")]
pub struct Period {
    /// The first instant of the period.
    pub start: DateTime<Utc>,
    /// The first instant after the period.
    pub end: DateTime<Utc>,
}

impl Period {
    /// Refuses a period that does not end after its start, or that leaves the years 1 to 9999.
    pub fn try_new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, CalendarError> {
        if end <= start {
            return Err(CalendarError::EmptyPeriod);
        }
        Ok(Self { start: in_range(start)?, end: in_range(end)? })
    }

    /// Whether an instant lies in the period: the start does, the end does not.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.start <= at && at < self.end
    }

    /// Local calendar days, so that March in New York has 31 although it lasts 743 hours (RULES 6).
    pub fn days(&self, zone: Tz) -> i64 {
        days_between(self.start, self.end, zone)
    }

    /// Elapsed whole seconds.
    pub fn seconds(&self) -> i64 {
        self.end.timestamp() - self.start.timestamp()
    }
}

/// Why there is no such period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error("the date is outside of the years 1 to 9999")]
    OutOfRange,
    #[error("a minute has 60 seconds: say :59, or the next minute")]
    LeapSecond,
    #[error("the period must end after its start")]
    EmptyPeriod,
    #[error("{0} is not a day of a month")]
    NoSuchDay(u8),
    #[error("periods of days and weeks cannot be aligned to a day of the month")]
    DayOfMonthNeedsMonths,
}

/// Passes on instants of the years 1 to 9999, which every database and every format can hold. The 61st second of a
/// minute, which few of them can, is none.
pub fn in_range(at: DateTime<Utc>) -> Result<DateTime<Utc>, CalendarError> {
    if !(1..=9999).contains(&at.year()) {
        return Err(CalendarError::OutOfRange);
    }
    if at.timestamp_subsec_nanos() >= 1_000_000_000 { Err(CalendarError::LeapSecond) } else { Ok(at) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeriod {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl TryFrom<RawPeriod> for Period {
    type Error = CalendarError;

    fn try_from(raw: RawPeriod) -> Result<Self, CalendarError> {
        Self::try_new(raw.start, raw.end)
    }
}

fn day_of_month<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    let day = u8::deserialize(from)?;
    if (1..=31).contains(&day) {
        Ok(day)
    } else {
        Err(serde::de::Error::custom(CalendarError::NoSuchDay(day)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignments_and_intervals_are_written_as_the_contract_says() {
        let written = |alignment| serde_json::to_string(&alignment).unwrap();
        assert_eq!(written(Alignment::Anniversary), r#""anniversary""#);
        assert_eq!(written(Alignment::Calendar), r#""calendar""#);
        assert_eq!(written(Alignment::DayOfMonth(17)), r#"{"day_of_month":17}"#);
        assert_eq!(
            serde_json::to_string(&Interval::every(Unit::Month)).unwrap(),
            r#"{"unit":"month","count":1}"#
        );
    }

    #[test]
    fn intervals_of_nothing_days_no_month_has_and_empty_periods_are_refused() {
        assert!(serde_json::from_str::<Interval>(r#"{"unit":"month","count":0}"#).is_err());
        assert!(serde_json::from_str::<Interval>(r#"{"unit":"month","count":-1}"#).is_err());
        assert!(serde_json::from_str::<Alignment>(r#"{"day_of_month":0}"#).is_err());
        assert!(serde_json::from_str::<Alignment>(r#"{"day_of_month":32}"#).is_err());
        let same = r#"{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:00:00Z"}"#;
        assert!(serde_json::from_str::<Period>(same).is_err());
    }

    #[test]
    fn the_boundary_instant_belongs_to_the_new_period() {
        let period: Period =
            serde_json::from_str(r#"{"start":"2026-01-01T00:00:00Z","end":"2026-02-01T00:00:00+00:00"}"#)
                .unwrap();
        assert!(period.contains(period.start));
        assert!(!period.contains(period.end));
    }
}
