//! The grid: boundaries that tile time, each computed from the anchor and never from the one before (RULES 1–5).

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;

use super::{
    Alignment, CalendarError, Interval, Period, Unit, in_range,
    zone::{instant, local_date, plus_days, time_of_day},
};

/// The boundaries of all periods that an anchor, an interval, an alignment and a zone define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    anchor: DateTime<Utc>,
    alignment: Alignment,
    zone: Tz,
    origin: Origin,
    time: NaiveTime,
}

/// Boundary 0 and the step to the next, on the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Days {
        date: NaiveDate,
        step: i64,
    },
    /// Months are numbered from January of year 0. The day is the wanted one, not yet clamped.
    Months {
        month: i64,
        day: u32,
        step: i64,
    },
}

impl Grid {
    /// Refuses anchors outside of the years 1 to 9999 and a day of the month for days and weeks.
    pub fn try_new(
        anchor: DateTime<Utc>,
        interval: Interval,
        alignment: Alignment,
        zone: Tz,
    ) -> Result<Self, CalendarError> {
        let origin = origin(local_date(in_range(anchor)?, zone), interval, alignment)?;
        let time = match alignment {
            Alignment::Anniversary => time_of_day(anchor, zone),
            Alignment::Calendar | Alignment::DayOfMonth(_) => NaiveTime::MIN,
        };
        Ok(Self { anchor, alignment, zone, origin, time })
    }

    /// The instant at which period `k` starts. Period 0 starts at the anchor, or is the aligned one around it.
    pub fn boundary(&self, k: i64) -> Result<DateTime<Utc>, CalendarError> {
        if k == 0 && self.alignment == Alignment::Anniversary {
            return Ok(self.anchor);
        }
        let moved = |from: i64, step: i64| {
            k.checked_mul(step).and_then(|by| from.checked_add(by)).ok_or(CalendarError::OutOfRange)
        };
        let date = match self.origin {
            Origin::Days { date, step } => plus_days(date, moved(0, step)?)?,
            Origin::Months { month, day, step } => clamped(moved(month, step)?, day)?,
        };
        instant(date.and_time(self.time), self.zone)
    }

    /// The whole nominal period that holds an instant.
    pub fn containing(&self, at: DateTime<Utc>) -> Result<Period, CalendarError> {
        let mut k = self.estimate(local_date(in_range(at)?, self.zone));
        while self.boundary(k)? > at {
            k -= 1;
        }
        // Where a zone skipped a whole day two boundaries coincide: the later one starts the period.
        let mut end = self.boundary(k + 1)?;
        while end <= at {
            k += 1;
            end = self.boundary(k + 1)?;
        }
        Ok(Period { start: self.boundary(k)?, end })
    }

    /// From `start` to the next boundary after it: short unless `start` lies on the grid (RULES 4).
    pub fn first_period(&self, start: DateTime<Utc>) -> Result<Period, CalendarError> {
        Ok(Period { start, end: self.containing(start)?.end })
    }

    /// The period that starts where `period` ends, whatever grid that one came from (RULES 5).
    pub fn next(&self, period: Period) -> Result<Period, CalendarError> {
        self.first_period(period.end)
    }

    /// The day of the month that boundaries aim at, not clamped: 31 for an anchor on 31 January.
    pub fn anchor_day(&self) -> u32 {
        match self.origin {
            Origin::Days { date, .. } => date.day(),
            Origin::Months { day, .. } => day,
        }
    }

    /// The zone in which the boundaries are computed.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The period around a local date, give or take one.
    fn estimate(&self, date: NaiveDate) -> i64 {
        match self.origin {
            Origin::Days { date: first, step } => (date - first).num_days().div_euclid(step),
            Origin::Months { month, step, .. } => (month_number(date) - month).div_euclid(step),
        }
    }
}

fn origin(date: NaiveDate, interval: Interval, alignment: Alignment) -> Result<Origin, CalendarError> {
    let count = i64::from(interval.count.get());
    let months = match interval.unit {
        Unit::Day => return days(date, count, alignment),
        Unit::Week => {
            let monday = plus_days(date, -i64::from(date.weekday().num_days_from_monday()))?;
            let first = if alignment == Alignment::Calendar { monday } else { date };
            return days(first, count * 7, alignment);
        }
        Unit::Month => 1,
        Unit::Quarter => 3,
        Unit::Year => 12,
    };
    let step = count * months;
    match alignment {
        Alignment::Anniversary => Ok(Origin::Months { month: month_number(date), day: date.day(), step }),
        Alignment::Calendar => Ok(Origin::Months { month: i64::from(date.year()) * 12, day: 1, step }),
        Alignment::DayOfMonth(day @ 1..=31) => {
            Ok(Origin::Months { month: month_number(date), day: u32::from(day), step })
        }
        Alignment::DayOfMonth(day) => Err(CalendarError::NoSuchDay(day)),
    }
}

fn days(date: NaiveDate, step: i64, alignment: Alignment) -> Result<Origin, CalendarError> {
    match alignment {
        Alignment::Anniversary | Alignment::Calendar => Ok(Origin::Days { date, step }),
        Alignment::DayOfMonth(_) => Err(CalendarError::DayOfMonthNeedsMonths),
    }
}

fn month_number(date: NaiveDate) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month0())
}

/// The wanted day of a month, or the month's last if it is shorter (RULES 1).
fn clamped(month: i64, day: u32) -> Result<NaiveDate, CalendarError> {
    let year = i32::try_from(month.div_euclid(12)).map_err(|_| CalendarError::OutOfRange)?;
    let month = u32::try_from(month.rem_euclid(12)).expect("below 12") + 1;
    let first = NaiveDate::from_ymd_opt(year, month, 1).ok_or(CalendarError::OutOfRange)?;
    let last = u32::from(first.num_days_in_month());
    Ok(first.with_day(day.min(last)).expect("a day the month has"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::calendar::days_between;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn every(count: u32, unit: Unit) -> Interval {
        Interval { unit, count: NonZeroU32::new(count).unwrap() }
    }

    /// The local dates of the first boundaries after the anchor.
    fn dates(anchor: &str, interval: Interval, alignment: Alignment, count: i64) -> Vec<String> {
        let grid = Grid::try_new(at(anchor), interval, alignment, Tz::UTC).unwrap();
        (1..=count).map(|k| grid.boundary(k).unwrap().date_naive().to_string()).collect()
    }

    #[test]
    fn the_day_is_clamped_from_the_original_anchor_and_never_chained() {
        let monthly = every(1, Unit::Month);
        let yearly = every(1, Unit::Year);
        let anniversary = Alignment::Anniversary;
        assert_eq!(dates("2026-01-31T10:00:00Z", monthly, anniversary, 2), ["2026-02-28", "2026-03-31"]);
        assert_eq!(dates("2024-01-30T10:00:00Z", monthly, anniversary, 2), ["2024-02-29", "2024-03-30"]);
        assert_eq!(
            dates("2024-02-29T00:00:00Z", yearly, anniversary, 4),
            ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]
        );
        assert_eq!(
            dates("2025-11-30T00:00:00Z", every(1, Unit::Quarter), anniversary, 2),
            ["2026-02-28", "2026-05-30"]
        );
    }

    #[test]
    fn an_anniversary_keeps_its_local_time_of_day_when_the_clocks_change() {
        let anchor = at("2026-02-15T14:30:00Z"); // 09:30 in New York
        let zone = Tz::America__New_York;
        let grid = Grid::try_new(anchor, every(1, Unit::Month), Alignment::Anniversary, zone).unwrap();
        assert_eq!(grid.boundary(0), Ok(anchor));
        assert_eq!(grid.boundary(1), Ok(at("2026-03-15T13:30:00Z")));
    }

    #[test]
    fn calendar_periods_start_at_local_midnight_and_the_first_is_short() {
        let zone = Tz::Europe__Berlin;
        let start = at("2026-03-10T09:00:00Z");
        let first = |unit| {
            let grid = Grid::try_new(start, every(1, unit), Alignment::Calendar, zone).unwrap();
            grid.first_period(start).unwrap().end
        };
        assert_eq!(first(Unit::Day), at("2026-03-10T23:00:00Z"));
        assert_eq!(first(Unit::Week), at("2026-03-15T23:00:00Z")); // a Monday
        assert_eq!(first(Unit::Month), at("2026-03-31T22:00:00Z"));
        assert_eq!(first(Unit::Quarter), at("2026-03-31T22:00:00Z"));
        assert_eq!(first(Unit::Year), at("2026-12-31T23:00:00Z"));
    }

    #[test]
    fn calendar_steps_of_several_months_count_from_january() {
        let two_months = dates("2026-04-20T00:00:00Z", every(2, Unit::Month), Alignment::Calendar, 3);
        assert_eq!(two_months, ["2026-03-01", "2026-05-01", "2026-07-01"]);
        let grid =
            Grid::try_new(at("2026-04-20T00:00:00Z"), every(2, Unit::Month), Alignment::Calendar, Tz::UTC)
                .unwrap();
        assert_eq!(grid.first_period(at("2026-04-20T00:00:00Z")).unwrap().end, at("2026-05-01T00:00:00Z"));
    }

    #[test]
    fn a_day_of_the_month_for_a_long_interval_is_counted_from_the_start_month() {
        let grid = |anchor, day| {
            Grid::try_new(at(anchor), every(1, Unit::Quarter), Alignment::DayOfMonth(day), Tz::UTC).unwrap()
        };
        let first = |anchor, day| grid(anchor, day).first_period(at(anchor)).unwrap().end;
        assert_eq!(first("2026-01-10T08:00:00Z", 17), at("2026-01-17T00:00:00Z"));
        assert_eq!(first("2026-01-20T08:00:00Z", 17), at("2026-04-17T00:00:00Z"));
        assert_eq!(grid("2026-01-20T08:00:00Z", 31).boundary(1), Ok(at("2026-04-30T00:00:00Z")));
        assert_eq!(grid("2026-01-20T08:00:00Z", 31).anchor_day(), 31);
    }

    #[test]
    fn days_and_weeks_have_no_day_of_the_month() {
        let made = Grid::try_new(
            at("2026-01-01T00:00:00Z"),
            every(1, Unit::Week),
            Alignment::DayOfMonth(1),
            Tz::UTC,
        );
        assert_eq!(made, Err(CalendarError::DayOfMonthNeedsMonths));
    }

    #[test]
    fn a_day_that_a_zone_skipped_makes_no_empty_period() {
        let zone = Tz::Pacific__Apia; // 29 December 2011 was followed by 31 December
        let grid = Grid::try_new(at("2011-12-01T12:00:00Z"), every(1, Unit::Day), Alignment::Calendar, zone)
            .unwrap();
        let last = grid.containing(at("2011-12-30T09:59:59Z")).unwrap();
        let next = grid.next(last).unwrap();
        assert_eq!(last.end, at("2011-12-30T10:00:00Z"));
        assert_eq!(next, Period { start: last.end, end: at("2011-12-31T10:00:00Z") });
        assert_eq!(days_between(next.start, next.end, zone), 1);
    }

    #[test]
    fn a_zone_change_takes_effect_at_the_stored_end_of_the_running_period() {
        let anchor = at("2026-01-31T23:00:00Z"); // 1 February in Berlin
        let monthly = every(1, Unit::Month);
        let berlin = Grid::try_new(anchor, monthly, Alignment::Calendar, Tz::Europe__Berlin).unwrap();
        let tokyo = Grid::try_new(anchor, monthly, Alignment::Calendar, Tz::Asia__Tokyo).unwrap();
        let running = berlin.first_period(anchor).unwrap();
        let next = tokyo.next(running).unwrap();
        assert_eq!(next.start, running.end);
        assert_eq!(next.end, at("2026-03-31T15:00:00Z"));
    }

    #[test]
    fn dates_out_of_range_are_errors() {
        let early = Grid::try_new(
            at("0001-01-01T00:00:00Z"),
            every(u32::MAX, Unit::Year),
            Alignment::Anniversary,
            Tz::UTC,
        )
        .unwrap();
        for k in [1, -1, i64::MAX, i64::MIN] {
            assert_eq!(early.boundary(k), Err(CalendarError::OutOfRange));
        }
        assert_eq!(early.containing(early.anchor), Err(CalendarError::OutOfRange));
        let late = Grid::try_new(
            at("9999-12-31T23:00:00Z"),
            every(u32::MAX, Unit::Week),
            Alignment::Calendar,
            Tz::Pacific__Kiritimati,
        );
        assert!(late.is_err() || late.unwrap().boundary(1).is_err());
        for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let made = Grid::try_new(instant, every(1, Unit::Day), Alignment::Anniversary, Tz::UTC);
            assert_eq!(made, Err(CalendarError::OutOfRange));
        }
    }

    fn alignments() -> impl Strategy<Value = (Interval, Alignment)> {
        let short =
            (1_u32..5, prop_oneof![Just(Unit::Day), Just(Unit::Week)]).prop_flat_map(|(count, unit)| {
                (
                    Just(every(count, unit)),
                    prop_oneof![Just(Alignment::Anniversary), Just(Alignment::Calendar)],
                )
            });
        let long = (1_u32..14, prop_oneof![Just(Unit::Month), Just(Unit::Quarter), Just(Unit::Year)])
            .prop_flat_map(|(count, unit)| {
                let alignment = prop_oneof![
                    Just(Alignment::Anniversary),
                    Just(Alignment::Calendar),
                    (1_u8..=31).prop_map(Alignment::DayOfMonth),
                ];
                (Just(every(count, unit)), alignment)
            });
        prop_oneof![short, long]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

        /// RULES 2: from the start on, periods follow each other without gap or overlap, and each is not empty.
        #[test]
        fn periods_tile_time_for_every_anchor_interval_and_zone(
            anchor in 0_i64..2_500_000_000,
            offset in -800_000_000_i64..800_000_000,
            (interval, alignment) in alignments(),
            zone in 0..chrono_tz::TZ_VARIANTS.len(),
            leaps in prop::collection::vec(0_i64..50 * 365, 3),
        ) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let anchor = DateTime::from_timestamp(anchor, 0).unwrap();
            let start = anchor + chrono::TimeDelta::seconds(offset);
            let grid = Grid::try_new(anchor, interval, alignment, zone).unwrap();

            let first = grid.first_period(start).unwrap();
            let whole = grid.containing(start).unwrap();
            prop_assert!(whole.contains(start));
            prop_assert!(first.start == start && first.end == whole.end);

            // 50 years are a few periods or 18,000: all of the few, and of the many some at the start and at three places.
            let horizon = start + chrono::TimeDelta::days(50 * 365);
            let later = |days: &i64| grid.containing(start + chrono::TimeDelta::days(*days)).unwrap();
            for from in [first].into_iter().chain(leaps.iter().map(later)) {
                let mut period = from;
                for _ in 0..200 {
                    if period.end > horizon {
                        break;
                    }
                    let next = grid.next(period).unwrap();
                    prop_assert!(next.start == period.end && next.start < next.end);
                    prop_assert_eq!(grid.containing(next.start).unwrap(), next);
                    prop_assert_eq!(grid.containing(next.end - chrono::TimeDelta::microseconds(1)).unwrap(), next);
                    period = next;
                }
            }
        }
    }
}
