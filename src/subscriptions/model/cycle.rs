//! The billing cycle: which turn is due, what it bills, where it leads, and how it ends.
//!
//! `next_due_at` is the start of the period until that period has been opened by a turn, and its end from then
//! on. Turns follow each other without a gap however late they are billed (RULES 7).

use accrue_core::calendar::{CalendarError, Grid, Period};
use chrono::{DateTime, Utc};

use super::{Access, CancelReason, CancelWhen, Event, Status, Subscription, Turn};

/// Did a command change anything? A repeated command is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    Changed,
    AlreadyDone,
}

impl Subscription {
    /// The next turn that is not billed, if it is due at `now`.
    ///
    /// What it bills does not depend on `now`: of a subscription whose turns were missed, each turn says what it
    /// would have said in time. So a period that was opened before somebody canceled at once is opened whole.
    pub fn due(&self, now: DateTime<Utc>) -> Result<Option<Turn>, CalendarError> {
        let Some(at) = self.next_due_at.filter(|at| *at <= now) else { return Ok(None) };
        let turn = if at == self.period.start {
            self.turn(at, None, Some(self.period))
        } else if self.ends_at().is_some_and(|end| end <= at) {
            self.turn(at, Some(self.period), None)
        } else {
            let next = self.grid()?.first_period(at)?;
            self.turn(at, Some(self.period), Some(cut(next, self.cancel_at)))
        };
        turn.map(Some)
    }

    fn turn(
        &self,
        at: DateTime<Utc>,
        closes: Option<Period>,
        opens: Option<Period>,
    ) -> Result<Turn, CalendarError> {
        Ok(Turn {
            at,
            closes,
            closes_trial: closes.is_some_and(|period| self.is_trial(period)),
            opens,
            opens_trial: opens.is_some_and(|period| self.is_trial(period)),
            closes_full: closes.map(|period| self.full(period)).transpose()?,
            opens_full: opens.map(|period| self.full(period)).transpose()?,
            ends: opens.is_none(),
        })
    }

    /// Moves on to the next turn, once `turn` has been billed.
    ///
    /// Panics if `turn` is not the next one: it has to be made by [`Subscription::due`] under the same lock.
    pub fn apply(&mut self, turn: Turn) {
        assert_eq!(
            self.next_due_at,
            Some(turn.at),
            "a turn is applied once, under the lock it was made under"
        );
        let Some(opens) = turn.opens else {
            self.next_due_at = None;
            self.ended_at.get_or_insert(turn.at);
            self.react(Event::Canceled);
            return;
        };
        self.period = opens;
        // Of a renewal there is no arrow: the status stays.
        self.react(match (turn.opens_trial, turn.closes_trial) {
            (true, _) => Event::TrialStarted,
            (false, true) => Event::TrialEnded,
            (false, false) => Event::Started,
        });
        self.wait_for_end_of_period();
    }

    /// Ends it now, or at the end of the running period. One that has not started yet ends at once, and is
    /// never billed.
    ///
    /// Canceled now, it is billed by one last turn at `now`: for usage, and for fees in arrears.
    pub fn cancel(
        &mut self,
        now: DateTime<Utc>,
        when: CancelWhen,
        reason: CancelReason,
    ) -> Result<Outcome, CalendarError> {
        let asked_before = self.canceled_at.is_some() && when == CancelWhen::PeriodEnd;
        if self.status == Status::Canceled || asked_before {
            return Ok(Outcome::AlreadyDone);
        }
        match when {
            CancelWhen::PeriodEnd if self.start_at <= now => {
                let end = self.running_until(now)?;
                self.cancel_at = Some(self.cancel_at.map_or(end, |before| before.min(end)));
            }
            CancelWhen::PeriodEnd | CancelWhen::Now => self.end(now),
        }
        self.canceled_at.get_or_insert(now);
        self.cancel_reason.get_or_insert(reason);
        Ok(Outcome::Changed)
    }

    /// What payment says about it. Repeating changes nothing.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
        self.react(match access {
            Access::Full => Event::PaymentRecovered,
            Access::Grace | Access::Restricted => Event::PaymentFailed,
        });
    }

    /// Is it over, and billed to its end?
    pub fn has_ended(&self) -> bool {
        self.status == Status::Canceled && self.next_due_at.is_none()
    }

    /// Whether what the customer does at an instant is its business.
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        let ends = [self.ended_at, self.cancel_at];
        self.start_at <= at && ends.into_iter().flatten().all(|end| at < end)
    }

    /// Is its period billed from its start, and not yet to its end, at `now`?
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.next_due_at == Some(self.period.end) && self.period.start <= now && now < self.period.end
    }

    /// Is it worth telling at `now` that the trial ends soon? Not if it is over, or if nothing follows it.
    pub fn goes_on_after_trial(&self, now: DateTime<Utc>) -> bool {
        self.status != Status::Canceled
            && self.trial_end_at.is_some_and(|trial_end| {
                now < trial_end && self.cancel_at.is_none_or(|cancel_at| trial_end < cancel_at)
            })
    }

    fn end(&mut self, now: DateTime<Utc>) {
        // An end that was set for earlier and is not billed yet stays the end.
        let ended_at = self.cancel_at.map_or(now, |before| before.min(now));
        self.react(Event::Canceled);
        self.ended_at = Some(ended_at);
        if self.next_due_at == Some(self.period.end) {
            self.wait_for_end_of_period();
        } else if ended_at <= self.start_at {
            self.next_due_at = None;
        }
    }

    /// The open period ends with the subscription at the latest, and its end is the next turn. If it has ended
    /// the instant it was opened nothing is left to bill.
    fn wait_for_end_of_period(&mut self) {
        if self.ended_at.is_some_and(|end| end <= self.period.start) {
            self.next_due_at = None;
            return;
        }
        self.period = cut(self.period, self.ended_at);
        self.next_due_at = Some(self.period.end);
    }

    /// The end of the period, or trial, that holds `now`, also where turns before it are not billed yet.
    fn running_until(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, CalendarError> {
        if now < self.period.end { Ok(self.period.end) } else { Ok(self.grid()?.containing(now)?.end) }
    }

    /// The period, or trial, that holds `now`, which does not lie before the start: also where turns before it are not
    /// billed yet.
    pub fn period_at(&self, now: DateTime<Utc>) -> Result<Period, CalendarError> {
        if now < self.period.end {
            return Ok(self.period);
        }
        let whole = self.grid()?.containing(now)?;
        // What follows a trial may begin in the midst of the calendar's period.
        Ok(cut(Period { start: whole.start.max(self.period.end), ..whole }, self.cancel_at))
    }

    fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.ended_at.or(self.cancel_at)
    }

    /// Whether a period of it is its trial.
    pub fn is_trial(&self, period: Period) -> bool {
        self.trial_end_at.is_some_and(|trial_end| period.start < trial_end)
    }

    /// The whole period around one that may be short: of the grid, or the trial.
    pub fn full(&self, period: Period) -> Result<Period, CalendarError> {
        match self.trial_end_at {
            Some(end) if period.start < end => Ok(Period { start: self.start_at, end }),
            _ => self.grid()?.containing(period.start),
        }
    }

    fn grid(&self) -> Result<Grid, CalendarError> {
        Grid::try_new(self.anchor_at, self.interval, self.alignment, self.timezone)
    }

    pub(super) fn react(&mut self, event: Event) {
        self.status = self.status.on(event).unwrap_or(self.status);
    }
}

/// `period`, or the part of it that lies before `end`, which lies after its start.
pub(super) fn cut(period: Period, end: Option<DateTime<Utc>>) -> Period {
    Period { end: end.map_or(period.end, |end| end.min(period.end)), ..period }
}
