//! How a subscription ends.

use accrue_core::calendar::CalendarError;
use chrono::{DateTime, Utc};

use super::{CancelReason, Event, Status, Subscription, When, create::micros, cycle::cut};

/// Did a command change anything? A repeated command is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    Changed,
    AlreadyDone,
}

impl Subscription {
    /// Ends it now, at the end of the running period, or at an instant that lies after `now`. One that has not started
    /// by then ends at once, and is never billed.
    ///
    /// Canceled now, it is billed by one last turn at `now`: for usage, and for fees in arrears.
    pub fn cancel(
        &mut self,
        now: DateTime<Utc>,
        when: When,
        reason: CancelReason,
    ) -> Result<Outcome, CalendarError> {
        let end = match when {
            When::PeriodEnd if self.start_at <= now => Some(self.running_until(now)?),
            When::At(at) if self.start_at < at && now < at => Some(micros(at)),
            When::PeriodEnd | When::Now | When::At(_) => None,
        };
        let asked_before = self.canceled_at.is_some() && when == When::PeriodEnd;
        let ends_then = self.canceled_at.is_some() && end.is_some_and(|end| self.cancel_at <= Some(end));
        if self.status == Status::Canceled || asked_before || ends_then {
            return Ok(Outcome::AlreadyDone);
        }
        match end {
            Some(end) => {
                let end = self.cancel_at.map_or(end, |before| before.min(end));
                self.cancel_at = Some(end);
                self.period = cut(self.period, Some(end));
                self.wait_for_next_turn();
            }
            None => self.end(now),
        }
        self.canceled_at.get_or_insert(now);
        self.cancel_reason.get_or_insert(reason);
        Ok(Outcome::Changed)
    }

    /// Is it over, and billed to its end?
    pub fn has_ended(&self) -> bool {
        self.status == Status::Canceled && self.next_due_at.is_none()
    }

    fn end(&mut self, now: DateTime<Utc>) {
        // An end that was set for earlier and is not billed yet stays the end.
        let ended_at = self.cancel_at.map_or(now, |before| before.min(now));
        self.react(Event::Canceled);
        self.ended_at = Some(ended_at);
        self.scheduled.take_if(|scheduled| ended_at <= scheduled.at);
        if self.opened && self.next_due_at.is_some() {
            self.wait_for_next_turn();
        } else if ended_at <= self.start_at {
            self.next_due_at = None;
        }
    }

    /// The end of the period, or trial, that holds `now`, also where turns before it are not billed yet.
    fn running_until(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, CalendarError> {
        if now < self.period.end { Ok(self.period.end) } else { Ok(self.grid()?.containing(now)?.end) }
    }
}
