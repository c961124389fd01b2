//! Windows of usage: hours, days and months as they begin where a customer lives.

use accrue_core::calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde::Deserialize;

/// How long a window of usage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::metering) enum Granularity {
    Hour,
    Day,
    Month,
}

/// More windows than anybody looks at.
pub(in crate::metering) const WINDOWS_MAX: usize = 1000;

impl Granularity {
    /// The windows of a period, in which hours, days and months begin where the customer lives. `None` if they are
    /// too many.
    pub fn windows(self, period: Period, zone: Tz) -> Result<Option<Vec<Period>>, CalendarError> {
        let mut windows = Vec::new();
        let mut start = period.start;
        while start < period.end {
            if windows.len() == WINDOWS_MAX {
                return Ok(None);
            }
            let end = self.next(start, zone)?.min(period.end);
            windows.push(Period { start, end });
            start = end;
        }
        Ok(Some(windows))
    }

    /// When the window that holds an instant ends.
    fn next(self, at: DateTime<Utc>, zone: Tz) -> Result<DateTime<Utc>, CalendarError> {
        let unit = match self {
            Self::Hour => {
                let local = at.with_timezone(&zone);
                let into = TimeDelta::minutes(local.minute().into())
                    + TimeDelta::seconds(local.second().into())
                    + TimeDelta::nanoseconds(local.nanosecond().into());
                return Ok(at - into + TimeDelta::hours(1));
            }
            Self::Day => Unit::Day,
            Self::Month => Unit::Month,
        };
        Ok(Grid::try_new(at, Interval::every(unit), Alignment::Calendar, zone)?.containing(at)?.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_where_the_customer_lives() {
        let period = |start: &str, end: &str| {
            let at = |text: &str| text.parse().unwrap();
            Period::try_new(at(start), at(end)).unwrap()
        };
        let starts = |granularity: Granularity, of: Period, zone| -> Vec<String> {
            let windows = granularity.windows(of, zone).unwrap().unwrap();
            assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(windows.last().unwrap().end, of.end);
            windows.iter().map(|window| window.start.to_rfc3339()).collect()
        };
        let india = period("2026-03-01T10:15:00Z", "2026-03-01T12:00:00Z");
        let hours = ["2026-03-01T10:15:00+00:00", "2026-03-01T10:30:00+00:00", "2026-03-01T11:30:00+00:00"];
        assert_eq!(starts(Granularity::Hour, india, Tz::Asia__Kolkata), hours);
        // The clocks go forward on the 29th: that day has 23 hours.
        let berlin = period("2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z");
        let days = ["2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"];
        assert_eq!(starts(Granularity::Day, berlin, Tz::Europe__Berlin), days);
        let months = period("2026-01-31T00:00:00Z", "2026-03-01T00:00:00Z");
        assert_eq!(
            starts(Granularity::Month, months, Tz::UTC),
            ["2026-01-31T00:00:00+00:00", "2026-02-01T00:00:00+00:00"]
        );
        let years = period("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        assert_eq!(Granularity::Hour.windows(years, Tz::UTC), Ok(None));
    }
}
