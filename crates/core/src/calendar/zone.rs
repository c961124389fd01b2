//! Between local calendars and instants (RULES 3 and 6).

use chrono::{
    DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use super::{CalendarError, in_range};

/// The date on a calendar on the wall at `at`.
pub fn local_date(at: DateTime<Utc>, zone: Tz) -> NaiveDate {
    local(at, zone).date()
}

/// Local calendar days from one instant to another: 1 from late on a day to early on the next.
pub fn days_between(from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> i64 {
    (local_date(to, zone) - local_date(from, zone)).num_days()
}

/// The first instant of a local day.
pub fn start_of_day(date: NaiveDate, zone: Tz) -> Result<DateTime<Utc>, CalendarError> {
    instant(date.and_time(NaiveTime::MIN), zone)
}

/// What a clock on the wall shows at `at`.
pub(super) fn local(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    let utc = at.naive_utc();
    // Only within a day of the end of chrono's time, hundreds of thousands of years away, is there no local time.
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix()).unwrap_or(utc)
}

/// The instant at which a clock on the wall first shows `wall` or later.
///
/// A local time that does not exist gives the first instant after the gap, one that exists twice the
/// earlier (RULES 3). So later wall times never give earlier instants.
pub(super) fn instant(wall: NaiveDateTime, zone: Tz) -> Result<DateTime<Utc>, CalendarError> {
    in_range(wall.and_utc())?;
    let at = match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(at) => at.to_utc(),
        MappedLocalTime::Ambiguous(one, other) => one.min(other).to_utc(),
        MappedLocalTime::None => end_of_gap(wall, zone),
    };
    in_range(at)
}

/// The first instant after the gap that swallowed `wall`, to the second, as the time zone database counts.
fn end_of_gap(wall: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    // No zone was ever 16 hours from UTC, and no gap was longer than a day.
    let (mut before, mut after) = (-40 * 3600_i64, 40 * 3600_i64);
    let second = |offset: i64| {
        DateTime::from_timestamp(wall.and_utc().timestamp() + offset, 0)
            .expect("two days around a valid date")
    };
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if local(second(middle), zone) > wall { after = middle } else { before = middle }
    }
    second(after)
}

/// The local time of day at `at`, in whole and fractional seconds.
pub(super) fn time_of_day(at: DateTime<Utc>, zone: Tz) -> NaiveTime {
    local(at, zone).time()
}

/// The day of `date` moved by whole days.
pub(super) fn plus_days(date: NaiveDate, days: i64) -> Result<NaiveDate, CalendarError> {
    TimeDelta::try_days(days)
        .and_then(|delta| date.checked_add_signed(delta))
        .ok_or(CalendarError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_local_time_that_does_not_exist_is_the_first_instant_after_the_gap() {
        let wall = "2026-03-08T02:30:00".parse().unwrap();
        assert_eq!(instant(wall, Tz::America__New_York), Ok(at("2026-03-08T07:00:00Z")));
        // In Lebanon the clocks skip midnight itself.
        let midnight = "2022-03-27T00:00:00".parse().unwrap();
        assert_eq!(instant(midnight, Tz::Asia__Beirut), Ok(at("2022-03-26T22:00:00Z")));
        // Samoa skipped the whole of 30 December 2011.
        let skipped = "2011-12-30T10:00:00".parse().unwrap();
        assert_eq!(instant(skipped, Tz::Pacific__Apia), Ok(at("2011-12-30T10:00:00Z")));
    }

    #[test]
    fn a_local_time_that_exists_twice_is_the_earlier() {
        let wall = "2026-11-01T01:30:00".parse().unwrap();
        assert_eq!(instant(wall, Tz::America__New_York), Ok(at("2026-11-01T05:30:00Z")));
    }

    #[test]
    fn march_in_new_york_has_31_days_although_it_lasts_743_hours() {
        let (start, end) = (at("2026-03-01T05:00:00Z"), at("2026-04-01T04:00:00Z"));
        assert_eq!((end - start).num_hours(), 743);
        assert_eq!(days_between(start, end, Tz::America__New_York), 31);
    }

    #[test]
    fn every_gap_since_1900_ends_where_the_wall_clock_jumps() {
        let mut gaps = 0;
        for zone in [
            Tz::Africa__Casablanca,
            Tz::America__New_York,
            Tz::America__Sao_Paulo,
            Tz::Asia__Beirut,
            Tz::Asia__Kathmandu,
            Tz::Australia__Lord_Howe,
            Tz::Pacific__Apia,
        ] {
            let mut at = at("1900-01-01T00:00:00Z");
            while at < self::at("2040-01-01T00:00:00Z") {
                let next = at + TimeDelta::days(1);
                let jump = (local(next, zone) - local(at, zone)) - (next - at);
                if jump >= TimeDelta::minutes(2) {
                    let wall = wall_in_gap(at, next, zone);
                    let end = instant(wall, zone).unwrap();
                    assert!(local(end, zone) > wall, "{zone} {wall}");
                    assert!(local(end - TimeDelta::seconds(1), zone) < wall, "{zone} {wall}");
                    gaps += 1;
                }
                at = next;
            }
        }
        assert!(gaps > 300, "only {gaps} gaps");
    }

    /// A wall time inside the only jump forward between two instants.
    fn wall_in_gap(mut low: DateTime<Utc>, mut high: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
        let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let before = offset(low);
        while high - low > TimeDelta::seconds(1) {
            let middle = low + (high - low) / 2;
            if offset(middle) == before { low = middle } else { high = middle }
        }
        local(low, zone) + TimeDelta::seconds(90)
    }
}
