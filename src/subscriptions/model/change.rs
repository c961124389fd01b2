//! What may change within a subscription's life: its plan and quantities, whether it is paused, and its trial.
//!
//! Each change is scheduled, for now if it shall be at once, and becomes true by the turn that bills it.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{CalendarError, Grid, Interval, Period},
    decimal::Number,
    id::{PlanId, PlanVersionId},
    invalid::Invalid,
    proration::Basis,
};
use chrono::{DateTime, Months, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::{
    Event, Outcome, Status, Subscription, Unused, When,
    create::{YEARS_MAX, micros, quantities},
    cycle::cut,
};
use crate::catalog::{PlanVersion, PriceKind};

/// Something that will be changed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    pub at: DateTime<Utc>,
    pub step: Step,
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Change(Change),
    Pause {
        usage: UsageInPause,
        resume_at: Option<DateTime<Utc>>,
    },
    Resume,
    /// An end was taken back that fees were billed up to: they are billed up to the end of the period instead. What is
    /// scheduled stays so.
    GoOn {
        then: Option<Box<Scheduled>>,
    },
}

/// Other terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub plan_id: PlanId,
    pub plan_version_id: PlanVersionId,
    pub interval: Interval,
    /// Of each seat price of that plan, by its code.
    pub quantities: BTreeMap<String, Number>,
    pub proration: Basis,
    pub anchor: Anchor,
}

/// What a change does to the grid of periods. Another interval begins a new one in any case (RULES 12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// Periods begin and end when they would have.
    #[default]
    Keep,
    /// A new period begins with the change.
    Reset,
}

/// What becomes of usage while a subscription is paused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum UsageInPause {
    /// It is kept, and never billed.
    #[default]
    Ignore,
    /// It is billed as if there were no pause.
    Bill,
}

/// A stretch of a subscription's life that is over, in which it had one version of a plan and one grid of periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
    pub plan_id: PlanId,
    pub plan_version_id: PlanVersionId,
    pub interval: Interval,
    pub anchor_at: DateTime<Utc>,
    pub trial_end_at: Option<DateTime<Utc>>,
    /// A pause whose usage is never billed.
    pub usage_ignored: bool,
}

/// Why a subscription cannot be changed as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a subscription that is {} cannot be {what}", .status.word())]
    State { status: Status, what: &'static str },
    #[error("something else is scheduled for {0}: undo that first")]
    Scheduled(DateTime<Utc>),
    #[error("nothing is scheduled")]
    NothingScheduled,
    #[error("{}", .0.detail)]
    Invalid(Invalid),
    #[error(transparent)]
    Calendar(#[from] CalendarError),
}

impl Step {
    pub(super) fn basis(&self) -> Basis {
        match self {
            Self::Change(change) => change.proration,
            Self::Pause { .. } | Self::Resume | Self::GoOn { .. } => Basis::Day,
        }
    }
}

impl Subscription {
    /// The change to another plan, other quantities or both, held against the plan that it leads to. Seat prices whose
    /// quantity is not given keep it, where the plan that it leads to has the same code.
    pub fn change_to(
        &self,
        plan: &PlanVersion,
        wanted: &BTreeMap<String, Number>,
        (proration, anchor): (Basis, Anchor),
    ) -> Result<Change, Vec<Invalid>> {
        let is_seat = |code: &String| {
            plan.prices.iter().any(|price| price.kind == PriceKind::Seat && price.code == *code)
        };
        let mut all = self.quantities.clone();
        all.retain(|code, _| is_seat(code));
        all.extend(wanted.clone());
        let (quantities, mut mistakes) = quantities(plan, &all);
        if plan.currency != self.currency {
            let detail = format!(
                "the subscription is billed in {}: another currency needs another one",
                self.currency
            );
            mistakes.push(Invalid::new("/plan", "currency_mismatch", detail));
        }
        if let Err(error) = Grid::try_new(self.anchor_at, plan.interval, self.alignment, self.timezone) {
            // Here, and not when the change is due: then nobody could put it right.
            mistakes.push(Invalid::new(
                "/plan",
                "unsupported",
                format!("its interval does not fit: {error}"),
            ));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (plan_id, plan_version_id, interval) = (plan.plan_id, plan.id, plan.interval);
        Ok(Change { plan_id, plan_version_id, interval, quantities, proration, anchor })
    }

    /// The version of a plan that a scheduled change leads to.
    pub fn scheduled_version(&self) -> Option<PlanVersionId> {
        match &self.scheduled.as_ref()?.step {
            Step::Change(change) => Some(change.plan_version_id),
            Step::Pause { .. } | Step::Resume | Step::GoOn { .. } => None,
        }
    }

    /// Whether `change` would leave everything as it is.
    fn has(&self, change: &Change) -> bool {
        change.plan_version_id == self.plan_version_id
            && change.quantities == self.quantities
            && change.anchor == Anchor::Keep
    }

    /// Changes its terms at an instant: at once if that is not after `now`. One that has not started yet just has them.
    pub fn change(
        &mut self,
        now: DateTime<Utc>,
        at: DateTime<Utc>,
        change: Change,
    ) -> Result<Outcome, Refused> {
        if !matches!(self.status, Status::Pending | Status::Trialing | Status::Active | Status::PastDue) {
            return Err(Refused::State { status: self.status, what: "changed" });
        }
        if at <= now && self.has(&change) && self.scheduled.is_none() {
            return Ok(Outcome::AlreadyDone);
        }
        let step = Step::Change(change);
        if self.scheduled == Some(Scheduled { at, step: step.clone() }) {
            return Ok(Outcome::AlreadyDone);
        }
        self.schedule(now, at, step)
    }

    /// Stops it for a while, at an instant.
    pub fn pause(
        &mut self,
        now: DateTime<Utc>,
        usage: UsageInPause,
        resume_at: Option<DateTime<Utc>>,
    ) -> Result<Outcome, Refused> {
        if self.status == Status::Paused {
            return Ok(Outcome::AlreadyDone);
        }
        if !matches!(self.status, Status::Active | Status::PastDue) {
            return Err(Refused::State { status: self.status, what: "paused" });
        }
        let resume_at = resume_at.map(micros);
        if resume_at.is_some_and(|at| at <= now || now + Months::new(12 * YEARS_MAX) < at) {
            let detail = format!("lies after now, and at most {YEARS_MAX} years");
            return Err(Refused::Invalid(Invalid::new("/resume_at", "out_of_range", detail)));
        }
        self.schedule(now, now, Step::Pause { usage, resume_at })
    }

    /// Has one that is paused go on now.
    pub fn resume(&mut self, now: DateTime<Utc>) -> Result<Outcome, Refused> {
        if self.status != Status::Paused {
            let is_running = matches!(self.status, Status::Active | Status::PastDue);
            return if is_running {
                Ok(Outcome::AlreadyDone)
            } else {
                Err(Refused::State { status: self.status, what: "resumed" })
            };
        }
        self.scheduled = None;
        self.schedule(now, now, Step::Resume)
    }

    /// Takes back what is scheduled: a change, the end of a pause, or an end that somebody asked for. Of a period that was
    /// billed up to that end only, the rest is billed now.
    pub fn undo(&mut self, now: DateTime<Utc>) -> Result<Outcome, Refused> {
        let is_over = self.status == Status::Canceled || self.ended_at.is_some();
        let asked_to_end = self.canceled_at.is_some();
        if is_over || (self.scheduled.is_none() && !asked_to_end) {
            return Err(Refused::NothingScheduled);
        }
        if asked_to_end {
            (self.cancel_at, self.canceled_at, self.cancel_reason) = (self.ends_at, None, None);
            self.period = self.whole_period()?;
            if self.opened && self.fees_until < self.period.end && self.costs_fees(self.period) {
                let then = self.scheduled.take().map(Box::new);
                self.scheduled = Some(Scheduled { at: micros(now), step: Step::GoOn { then } });
            }
        } else {
            self.scheduled = None;
        }
        self.wait_for_next_turn();
        Ok(Outcome::Changed)
    }

    /// The running period as it is without an end that was taken back.
    fn whole_period(&self) -> Result<Period, CalendarError> {
        let end = match self.trial_end_at {
            Some(end) if self.period.start < end => end,
            _ => self.grid()?.containing(self.period.start)?.end,
        };
        Ok(cut(Period { end, ..self.period }, self.cancel_at))
    }

    /// Has the trial end later, or earlier, but not before now. Of a trial that is over there is nothing to extend.
    pub fn extend_trial(&mut self, now: DateTime<Utc>, end: DateTime<Utc>) -> Result<Outcome, Refused> {
        let end = micros(end);
        if end <= now.max(self.start_at) || self.start_at + Months::new(12 * YEARS_MAX) < end {
            let detail = format!("lies after now and after the start, and at most {YEARS_MAX} years");
            return Err(Refused::Invalid(Invalid::new("/trial_end", "out_of_range", detail)));
        }
        self.set_trial_end(end, "given another end of its trial")
    }

    /// Has the trial end now: the first period that costs something begins. Twice is the same as once.
    pub fn end_trial(&mut self, now: DateTime<Utc>) -> Result<Outcome, Refused> {
        let is_over = self.trial_end_at.is_some_and(|end| end <= now);
        if is_over && matches!(self.status, Status::Active | Status::PastDue) {
            return Ok(Outcome::AlreadyDone);
        }
        if self.status != Status::Trialing {
            return Err(Refused::State { status: self.status, what: "taken out of its trial" });
        }
        self.set_trial_end(now, "taken out of its trial")
    }

    fn set_trial_end(&mut self, end: DateTime<Utc>, what: &'static str) -> Result<Outcome, Refused> {
        let in_trial =
            self.trial_end_at.is_some() && matches!(self.status, Status::Pending | Status::Trialing);
        if !in_trial {
            return Err(Refused::State { status: self.status, what });
        }
        if self.trial_end_at == Some(end) {
            return Ok(Outcome::AlreadyDone);
        }
        if end <= self.start_at {
            return self.without_trial();
        }
        let mut other = self.clone();
        (other.trial_end_at, other.anchor_at) = (Some(end), end);
        // What was to happen at the end of the trial happens at its end.
        if let Some(scheduled) =
            other.scheduled.as_mut().filter(|scheduled| self.trial_end_at == Some(scheduled.at))
        {
            scheduled.at = end;
        }
        // A grid that has no first period shall be refused here and not at the trial's end.
        other.grid()?.first_period(end)?;
        other.period = cut(Period { start: self.start_at, end }, self.cancel_at);
        other.wait_for_next_turn();
        *self = other;
        Ok(Outcome::Changed)
    }

    /// Has no trial, at the very instant at which that begins: the first period begins there instead.
    fn without_trial(&mut self) -> Result<Outcome, Refused> {
        (self.trial_end_at, self.anchor_at, self.opened) = (None, self.start_at, false);
        self.period = self.next_period(self.start_at)?;
        self.react(Event::TrialEnded);
        self.wait_for_next_turn();
        Ok(Outcome::Changed)
    }

    /// The instant that is meant.
    pub fn instant_of(&self, now: DateTime<Utc>, when: When) -> Result<DateTime<Utc>, Refused> {
        match when {
            When::Now => Ok(now),
            When::PeriodEnd => Ok(self.period.end),
            When::At(at) if at < now => {
                let detail = "lies in the past: what was billed stays billed";
                Err(Refused::Invalid(Invalid::new("/when", "out_of_range", detail)))
            }
            When::At(at) => Ok(micros(at)),
        }
    }

    fn schedule(&mut self, now: DateTime<Utc>, at: DateTime<Utc>, step: Step) -> Result<Outcome, Refused> {
        if let Some(before) = &self.scheduled {
            return Err(Refused::Scheduled(before.at));
        }
        let at = micros(at);
        if self.cancel_at.is_some_and(|end| end <= at) {
            let detail = "the subscription has ended by then";
            return Err(Refused::Invalid(Invalid::new("/when", "out_of_range", detail)));
        }
        if now + Months::new(12 * YEARS_MAX) < at {
            let detail = format!("lies at most {YEARS_MAX} years from now");
            return Err(Refused::Invalid(Invalid::new("/when", "out_of_range", detail)));
        }
        if !self.opened && at <= self.period.start.max(now) {
            // Nothing is billed yet, so there is nothing to split.
            self.take(at, &step);
            self.phase_from = self.start_at;
            self.period = self.first_period()?;
            self.wait_for_next_turn();
            return Ok(Outcome::Changed);
        }
        self.scheduled = Some(Scheduled { at, step });
        self.wait_for_next_turn();
        Ok(Outcome::Changed)
    }

    fn first_period(&self) -> Result<Period, CalendarError> {
        match self.trial_end_at {
            Some(_) => Ok(self.period),
            None => self.next_period(self.start_at),
        }
    }

    /// Is from `at` on as `step` says. Which period that begins, or splits, is for the turn to say.
    pub(super) fn take(&mut self, at: DateTime<Utc>, step: &Step) {
        match step {
            Step::Change(change) => self.take_terms(at, change),
            Step::Pause { usage, resume_at } => {
                self.usage_in_pause = Some(*usage);
                self.scheduled = resume_at.map(|at| Scheduled { at, step: Step::Resume });
                if *usage == UsageInPause::Ignore {
                    self.phase_from = at;
                }
                self.react(Event::Paused);
            }
            Step::Resume => {
                if self.usage_in_pause.take() == Some(UsageInPause::Ignore) {
                    self.phase_from = at;
                }
                self.react(Event::Resumed);
                // What payment said meanwhile.
                self.set_access(self.access);
            }
            Step::GoOn { then } => self.scheduled = then.as_deref().cloned(),
        }
    }

    fn take_terms(&mut self, at: DateTime<Utc>, change: &Change) {
        let Change { plan_id, plan_version_id, interval, quantities, anchor, .. } = change;
        let costs = self.opened && !self.is_trial(self.period) || self.trial_end_at == Some(at);
        let restarts = *interval != self.interval || *anchor == Anchor::Reset;
        if *plan_version_id != self.plan_version_id || restarts {
            self.phase_from = at;
        }
        if restarts && costs {
            self.anchor_at = at;
        }
        (self.plan_id, self.plan_version_id, self.interval) = (*plan_id, *plan_version_id, *interval);
        self.quantities = quantities.clone();
    }

    /// What was billed in advance and is not used if it ends at an instant.
    pub fn unused_from(&self, end: DateTime<Utc>) -> Option<Unused> {
        let runs = self.opened && self.period.start <= end && end < self.period.end;
        let costs = self.usage_in_pause.is_none() && !self.is_trial(self.period);
        let billed_from = self.period.start.max(self.fees_from);
        let period = self.period;
        (runs && costs).then_some(Unused {
            period,
            billed_from,
            from: end,
            basis: Basis::Day,
            unprorated: false,
        })
    }

    /// The phase that ends where the present one of `after` begins, if one ends there.
    pub fn phase_before(&self, after: &Self) -> Option<Phase> {
        let (from, until) = (self.phase_from, after.phase_from);
        (from < until).then(|| Phase {
            from,
            until,
            plan_id: self.plan_id,
            plan_version_id: self.plan_version_id,
            interval: self.interval,
            anchor_at: self.anchor_at,
            trial_end_at: self.trial_end_at,
            usage_ignored: !self.counts_usage(),
        })
    }

    /// As it was in an earlier phase, as far as periods and prices go.
    pub fn in_phase(&self, phase: &Phase) -> Self {
        Self {
            plan_id: phase.plan_id,
            plan_version_id: phase.plan_version_id,
            interval: phase.interval,
            anchor_at: phase.anchor_at,
            trial_end_at: phase.trial_end_at,
            usage_in_pause: phase.usage_ignored.then_some(UsageInPause::Ignore),
            ..self.clone()
        }
    }
}
