//! Which periods does a subscription have?

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{Check, failed};
use crate::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period},
    invalid::Invalid,
};

const COUNT_MAX: u32 = 10_000;

/// A grid of periods, and which of them are wanted. Give one of `count` and `containing`.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeriodsQuestion {
    pub interval: Interval,
    /// Default: anniversary.
    pub alignment: Option<Alignment>,
    /// The grid runs both ways from here.
    pub anchor: DateTime<Utc>,
    /// An IANA name: where days begin (default: UTC).
    #[schema(value_type = Option<String>, example = "America/New_York")]
    pub timezone: Option<Tz>,
    /// Where the first period starts, before or after the anchor (default: the anchor, if it is not later than
    /// `containing`).
    pub start: Option<DateTime<Utc>>,
    /// Where the last period ends.
    pub ends_at: Option<DateTime<Utc>>,
    /// How many periods are wanted, at most 10,000. Fewer come if the subscription ends before.
    #[schema(minimum = 1, maximum = 10_000)]
    pub count: Option<u32>,
    /// The one period that holds this instant is wanted.
    pub containing: Option<DateTime<Utc>>,
}

/// The periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PeriodsAnswer {
    /// The day of the month that boundaries aim at, before it is clamped to the month's length.
    pub anchor_day: u32,
    pub periods: Vec<Period>,
}

/// Lists periods as a subscription would have them.
pub fn periods(question: &PeriodsQuestion) -> Result<PeriodsAnswer, Vec<Invalid>> {
    check(question)?;
    let start = question.start.unwrap_or(question.anchor);
    // Without a start the grid goes back before the anchor.
    let is_before = question.start.is_none() && question.containing.is_some_and(|at| at < start);
    let grid = Grid::try_new(
        question.anchor,
        question.interval,
        question.alignment.unwrap_or(Alignment::Anniversary),
        question.timezone.unwrap_or(Tz::UTC),
    )
    .map_err(|error| match error {
        CalendarError::NoSuchDay(_) | CalendarError::DayOfMonthNeedsMonths => {
            failed("/alignment", "invalid_alignment", error)
        }
        CalendarError::OutOfRange | CalendarError::LeapSecond | CalendarError::EmptyPeriod => {
            failed("/anchor", "out_of_range", error)
        }
    })?;
    let wanted = if question.containing.is_some() { "/containing" } else { "/count" };
    let out_of_range = |error: CalendarError| failed(wanted, "out_of_range", error);
    let cut = |period: Period| Period {
        start: if is_before { period.start } else { period.start.max(start) },
        end: question.ends_at.map_or(period.end, |end| period.end.min(end)),
    };
    let mut periods = Vec::new();
    if let Some(at) = question.containing {
        periods.push(cut(grid.containing(at).map_err(out_of_range)?));
    } else {
        let mut period = grid.first_period(start).map_err(out_of_range)?;
        let count = question.count.unwrap_or(1);
        while periods.len() < count as usize {
            periods.push(cut(period));
            if question.ends_at.is_some_and(|end| period.end >= end) || periods.len() == count as usize {
                break;
            }
            period = grid.next(period).map_err(out_of_range)?;
        }
    }
    Ok(PeriodsAnswer { anchor_day: grid.anchor_day(), periods })
}

fn check(question: &PeriodsQuestion) -> Result<(), Vec<Invalid>> {
    let mut check = Check::default();
    check.instant("/anchor", question.anchor);
    check.optional_instant("/start", question.start);
    if let Some(end) = question.ends_at {
        check.instant("/ends_at", end);
        let anchor = question.containing.is_none().then_some(question.anchor);
        if question.start.or(anchor).is_some_and(|start| end <= start) {
            check.report("/ends_at", "before_start", "must be after the start");
        }
    }
    match (question.count, question.containing) {
        (None, None) => check.report("/count", "required", "give count or containing"),
        (Some(_), Some(_)) => check.report("/count", "exclusive", "give only one of count and containing"),
        (Some(count), None) if !(1..=COUNT_MAX).contains(&count) => {
            check.report("/count", "out_of_range", format_args!("must be from 1 to {COUNT_MAX}"));
        }
        (None, Some(at)) => {
            check.instant("/containing", at);
            if question.start.is_some_and(|start| at < start) {
                check.report("/containing", "before_start", "must not be before the start");
            }
            if question.ends_at.is_some_and(|end| at >= end) {
                check.report("/containing", "after_end", "must be before ends_at");
            }
        }
        (Some(_), None) => {}
    }
    check.finish()
}
