//! The billing cycle: which turn is due, what it bills, and where it leads.
//!
//! `next_due_at` is the start of the period until that period has been opened by a turn, and from then on its end, or what
//! is scheduled before it. Turns follow each other without a gap however late they are billed (RULES 7). A change that
//! somebody asks for now is one that is scheduled for now: so there is one road from terms to invoices.

use accrue_core::{
    calendar::{CalendarError, Grid, Period},
    proration::Basis,
};
use chrono::{DateTime, Utc};

use super::{Access, Event, Part, Scheduled, Status, Step, Subscription, Turn, Unused, UsageInPause};

impl Subscription {
    /// The next turn that is not billed, if it is due at `now`.
    ///
    /// What it bills does not depend on `now`: of a subscription whose turns were missed, each turn says what it
    /// would have said in time. So a period that was opened before somebody canceled at once is opened whole.
    pub fn due(&self, now: DateTime<Utc>) -> Result<Option<Turn>, CalendarError> {
        let Some(at) = self.next_due_at.filter(|at| *at <= now) else { return Ok(None) };
        if !self.opened {
            return self.begin(at).map(Some);
        }
        if self.ends_at().is_some_and(|end| end <= at) {
            return self.last(at).map(Some);
        }
        let turn = match self.step_at(at) {
            Some(step) if at < self.period.end => self.change_within(at, &step.step)?,
            _ => self.renew(at)?,
        };
        Ok(Some(turn))
    }

    /// The first period begins.
    fn begin(&self, at: DateTime<Utc>) -> Result<Turn, CalendarError> {
        let opens = self.opening(self.period, Basis::Day)?;
        Ok(Turn { at, closes: None, opens: Some(opens), unused: None, change: 0, ends: false })
    }

    /// A period ends, the next one begins; what was scheduled for the end of the period is true from then on.
    fn renew(&self, at: DateTime<Utc>) -> Result<Turn, CalendarError> {
        let closes = self.closing(self.period, true, true)?;
        let next = self.stepped(at);
        let opens = next.opening(next.next_period(at)?, Basis::Day)?;
        Ok(Turn { at, closes: Some(closes), opens: Some(opens), unused: None, change: 0, ends: false })
    }

    fn last(&self, at: DateTime<Utc>) -> Result<Turn, CalendarError> {
        let closes = self.closing(self.period, true, true)?;
        Ok(Turn { at, closes: Some(closes), opens: None, unused: None, change: 0, ends: true })
    }

    /// The period is split at `at`: what was billed for the rest of it is given back, and the rest is billed by what is
    /// true from then on (RULES 8–14).
    fn change_within(&self, at: DateTime<Utc>, step: &Step) -> Result<Turn, CalendarError> {
        let next = self.stepped(at);
        let restarts = self.restarts_as(&next);
        let basis = step.basis();
        let splits_fees = basis != Basis::None || restarts;
        let ends_phase = next.phase_from != self.phase_from && self.counts_usage();
        let before = Period { end: at, ..self.period };
        let mut closes = self.closing(before, splits_fees, ends_phase)?;
        if !restarts {
            (closes.only_prorated, closes.has_no_minimum) = (true, true);
            closes.before = Some((self.period.end, basis));
        }
        let closes = (self.period.start < at).then_some(closes);
        let opens = if restarts {
            Some(next.opening(next.next_period(at)?, Basis::Day)?)
        } else if splits_fees {
            let rest = next.opening(Period { start: at, ..self.period }, basis)?;
            // Of a period that began before the pause that was billed then.
            let was_billed = matches!(step, Step::Resume) && self.period.start < self.fees_until;
            Some(Part { only_prorated: was_billed, ..rest })
        } else {
            None
        };
        let unused = (basis != Basis::None && self.costs_fees(self.period)).then(|| Unused {
            period: self.period,
            billed_from: self.fees_of(self.period).start,
            from: at,
            basis,
            unprorated: matches!(step, Step::Change(_) | Step::GoOn { .. }) && !restarts,
        });
        Ok(Turn { at, closes, opens, unused, change: self.changes + 1, ends: false })
    }

    /// Whether a change within the running period ends it, and begins another one (RULES 12).
    fn restarts_as(&self, next: &Self) -> bool {
        let another_grid = next.anchor_at != self.anchor_at || next.interval != self.interval;
        another_grid && !self.is_trial(self.period)
    }

    /// What ends at the end of `period`, which is the running one or its part before a change.
    fn closing(&self, period: Period, fees: bool, usage: bool) -> Result<Part, CalendarError> {
        let spans = |period: Period| (period.start < period.end).then_some(period);
        let of_usage = Period { start: period.start.max(self.phase_from), ..period };
        Ok(Part {
            plan_version_id: self.plan_version_id,
            period,
            full: self.full(period)?,
            fees: spans(self.fees_of(period)).filter(|_| fees && self.costs_fees(period)),
            usage: spans(of_usage).filter(|_| usage && self.counts_usage()),
            basis: self.fees_basis,
            before: None,
            has_no_minimum: self.is_trial(period),
            is_trial: self.is_trial(period),
            only_prorated: false,
        })
    }

    fn opening(&self, period: Period, basis: Basis) -> Result<Part, CalendarError> {
        Ok(Part {
            plan_version_id: self.plan_version_id,
            period,
            full: self.full(period)?,
            fees: Some(period).filter(|_| self.costs_fees(period)),
            usage: None,
            basis,
            before: None,
            has_no_minimum: self.is_trial(period),
            is_trial: self.is_trial(period),
            only_prorated: false,
        })
    }

    /// The part of a period that fees are billed for as they are now.
    fn fees_of(&self, period: Period) -> Period {
        Period { start: period.start.max(self.fees_from), ..period }
    }

    pub(super) fn costs_fees(&self, period: Period) -> bool {
        self.usage_in_pause.is_none() && !self.is_trial(period)
    }

    /// Whether usage is billed as it is now.
    pub fn counts_usage(&self) -> bool {
        self.usage_in_pause != Some(UsageInPause::Ignore)
    }

    fn step_at(&self, at: DateTime<Utc>) -> Option<&Scheduled> {
        self.scheduled.as_ref().filter(|scheduled| scheduled.at == at)
    }

    /// As it is from `at` on, by what is scheduled for then.
    fn stepped(&self, at: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        if let Some(scheduled) = self.step_at(at) {
            next.scheduled = None;
            next.take(at, &scheduled.step);
        }
        next
    }

    /// Moves on to the next turn, once `turn` has been billed.
    ///
    /// Panics if `turn` is not the next one: it has to be made by [`Subscription::due`] under the same lock.
    pub fn apply(&mut self, turn: Turn) -> Result<(), CalendarError> {
        assert_eq!(
            self.next_due_at,
            Some(turn.at),
            "a turn is applied once, under the lock it was made under"
        );
        if turn.ends {
            self.next_due_at = None;
            self.scheduled = None;
            self.ended_at.get_or_insert(turn.at);
            self.react(Event::Canceled);
            return Ok(());
        }
        let was_trial = self.opened && self.is_trial(self.period);
        let mut next = self.stepped(turn.at);
        // A change leaves the period as it is, of which it bills the rest, unless it begins a new one.
        if let Some(opens) = turn.opens.filter(|_| turn.change == 0 || self.restarts_as(&next)) {
            next.period = opens.period;
        }
        if turn.change > 0 {
            next.changes = turn.change;
        }
        if let Some(opens) = turn.opens {
            (next.fees_from, next.fees_basis) = (opens.period.start, opens.basis);
            next.fees_until = opens.fees.map_or(next.fees_until, |fees| fees.end);
        }
        next.opened = true;
        *self = next;
        if turn.change == 0 {
            // Of a renewal there is no arrow: the status stays.
            self.react(match (self.is_trial(self.period), was_trial) {
                (true, _) => Event::TrialStarted,
                (false, true) => Event::TrialEnded,
                (false, false) => Event::Started,
            });
        }
        self.wait_for_next_turn();
        Ok(())
    }

    /// What payment says about it. Repeating changes nothing.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
        self.react(match access {
            Access::Full => Event::PaymentRecovered,
            Access::Grace | Access::Restricted => Event::PaymentFailed,
        });
    }

    /// Whether what the customer does at an instant of the present phase, or before it, is its business.
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        let ends = [self.ended_at, self.cancel_at];
        let ignored = !self.counts_usage() && self.phase_from <= at;
        self.start_at <= at && !ignored && ends.into_iter().flatten().all(|end| at < end)
    }

    /// Is its period billed from its start, and not yet to its end, at `now`?
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.opened && self.period.start <= now && self.next_due_at.is_some_and(|next| now < next)
    }

    /// Is it worth telling at `now` that the trial ends soon? Not if it is over, or if nothing follows it.
    pub fn goes_on_after_trial(&self, now: DateTime<Utc>) -> bool {
        self.status != Status::Canceled
            && self.trial_end_at.is_some_and(|trial_end| {
                now < trial_end && self.cancel_at.is_none_or(|cancel_at| trial_end < cancel_at)
            })
    }

    /// The open period ends with the subscription at the latest, and its end is the next turn, or what is scheduled before
    /// it. If it has ended the instant it was opened nothing is left to bill.
    pub(super) fn wait_for_next_turn(&mut self) {
        if !self.opened {
            self.next_due_at = Some(self.period.start);
            return;
        }
        if self.ended_at.is_some_and(|end| end <= self.period.start) {
            self.next_due_at = None;
            return;
        }
        self.period = cut(self.period, self.ended_at);
        let scheduled = self.scheduled.as_ref().map(|scheduled| scheduled.at);
        self.next_due_at = Some(scheduled.map_or(self.period.end, |at| at.min(self.period.end)));
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

    /// The period of the grid that begins at `at`, or the rest of the one that holds it.
    pub(super) fn next_period(&self, at: DateTime<Utc>) -> Result<Period, CalendarError> {
        Ok(cut(self.grid()?.first_period(at)?, self.cancel_at))
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

    /// What usage of the running period is billed by as it is now: all of it, or what came since the last change.
    pub fn usage_period(&self) -> Period {
        Period { start: self.period.start.max(self.phase_from), ..self.period }
    }

    pub(super) fn grid(&self) -> Result<Grid, CalendarError> {
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
