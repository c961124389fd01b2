//! Months in which events were received: what is kept together, and leaves together.

use std::{fmt, str::FromStr};

use accrue_core::id::first_uuid_v7;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};
use uuid::Uuid;

/// A month of UTC. An event was received in the month in which its identifier was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

impl Month {
    /// The month that holds an instant.
    pub fn of(at: DateTime<Utc>) -> Self {
        let date = at.date_naive();
        Self(date.with_day(1).unwrap_or(date))
    }

    /// The month in which an identifier was made.
    pub fn of_id(id: Uuid) -> Self {
        let millis = i64::try_from(id.as_u128() >> 80).ok();
        Self::of(millis.and_then(DateTime::from_timestamp_millis).unwrap_or_default())
    }

    /// The month that comes so many months after this one.
    #[must_use]
    pub fn plus(self, months: u32) -> Self {
        Self(self.0.checked_add_months(Months::new(months)).unwrap_or(NaiveDate::MAX))
    }

    /// The month that came so many months before this one.
    #[must_use]
    pub fn minus(self, months: u32) -> Self {
        Self(self.0.checked_sub_months(Months::new(months)).unwrap_or(NaiveDate::MIN))
    }

    pub fn start(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    /// The least identifier of the month, and the least of the next one.
    pub fn ids(self) -> (Uuid, Uuid) {
        (first_uuid_v7(self.start()), first_uuid_v7(self.plus(1).start()))
    }
}

/// `2026-01`
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

/// A text is not a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a month like 2026-01")]
pub struct NoMonth;

impl FromStr for Month {
    type Err = NoMonth;

    fn from_str(text: &str) -> Result<Self, NoMonth> {
        let date = format!("{text}-01").parse().map_err(|_| NoMonth)?;
        let month = Self(date);
        // `2026-1` is a date for some, and no month here: texts are compared.
        if month.to_string() == text { Ok(month) } else { Err(NoMonth) }
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::id::uuid_v7;

    use super::*;

    #[test]
    fn an_event_belongs_to_the_month_in_which_its_identifier_was_made() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (from, to) = Month::of(at("2026-02-17T10:00:00Z")).ids();
        let holds = |text: &str| (from..to).contains(&uuid_v7(at(text)));
        assert!(holds("2026-02-01T00:00:00Z") && holds("2026-02-28T23:59:59.999999Z"));
        assert!(!holds("2026-01-31T23:59:59.999999Z") && !holds("2026-03-01T00:00:00Z"));
        assert_eq!(Month::of_id(uuid_v7(at("2026-02-28T23:59:59.999999Z"))).to_string(), "2026-02");
    }

    #[test]
    fn months_follow_one_another_and_are_read_as_they_are_written() {
        let december: Month = "2026-12".parse().unwrap();
        assert_eq!(december.plus(1).to_string(), "2027-01");
        assert_eq!(december.minus(12).to_string(), "2025-12");
        assert_eq!(december.plus(1).start().to_rfc3339(), "2027-01-01T00:00:00+00:00");
        for wrong in ["2026", "2026-13", "2026-1", "2026-01-01", ""] {
            assert_eq!(wrong.parse::<Month>(), Err(NoMonth), "{wrong}");
        }
    }
}
