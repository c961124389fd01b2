//! Credits own the burn-down: which grant pays which usage, and what is left (RULES 40). They store nothing: a
//! balance is a function of grants, usage and resets.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use crate::{
    arithmetic::{Overflow, add, sub},
    calendar::{Alignment, CalendarError, Grid, Interval},
};

/// More refills than one question may ask for.
pub const REFILLS_MAX: usize = 10_000;

/// Credit that a customer was given, alive on [`effective_at`, the earlier of `expires_at` and `voided_at`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: String,
    pub amount: Decimal,
    /// A lower number burns first.
    pub priority: i64,
    pub effective_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub voided_at: Option<DateTime<Utc>>,
    /// Breaks ties of priority and expiry, before the identifier.
    pub created_at: Option<DateTime<Utc>>,
    /// Refills it to its amount.
    pub recurrence: Option<Recurrence>,
    /// What it keeps at a reset; nothing without.
    pub rollover: Option<Rollover>,
}

/// When a grant is refilled: at every boundary of this grid, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrence {
    pub interval: Interval,
    pub anchor: DateTime<Utc>,
}

/// The bounds of what survives a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollover {
    pub min: Decimal,
    pub max: Decimal,
}

/// Something that used credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub at: DateTime<Utc>,
    /// Zero or more.
    pub amount: Decimal,
}

/// Everything that decides a balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub grants: Vec<Grant>,
    pub usage: Vec<Usage>,
    pub resets: Vec<DateTime<Utc>>,
    /// Whether a debt outlives a reset.
    pub preserve_overage: bool,
}

/// What is left at an instant: after its expiries, resets and grants, before its usage.
///
/// Only a cache: going on from one gives the same as starting over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub at: DateTime<Utc>,
    /// By grant, those that are not alive included, with 0.
    pub balances: BTreeMap<String, Decimal>,
    /// Usage that no grant paid.
    pub overage: Decimal,
    /// Usage since the last reset.
    pub usage_in_period: Decimal,
}

impl Snapshot {
    /// Everything that may still be used.
    pub fn balance(&self) -> Result<Decimal, Overflow> {
        crate::arithmetic::sum(self.balances.values().copied())
    }
}

/// A change of one grant's balance, to explain the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub at: DateTime<Utc>,
    pub grant: String,
    pub cause: Cause,
    /// Positive where credit was gained.
    pub change: Decimal,
}

/// Why a balance changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Granted,
    Refilled,
    Expired,
    Reset,
    Used,
    /// It paid usage from before it was there.
    PaidOverage,
}

/// Why there is no balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    #[error("the grants are refilled more than 10000 times")]
    TooManyRefills,
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Account {
    /// The state at `start`, before any usage: grants that are older have their whole amount.
    pub fn opening(&self, start: DateTime<Utc>) -> Result<Snapshot, CreditError> {
        let mut burn = BurnDown::new(self, None);
        for (index, grant) in self.grants.iter().enumerate() {
            if grant.effective_at < start && grant.is_alive(start) {
                burn.balances[index] = grant.amount;
            }
        }
        if self.resets.contains(&start) {
            burn.reset(start)?;
        }
        for (index, grant) in self.grants.iter().enumerate() {
            if grant.is_alive(start) && (grant.effective_at == start || grant.is_refilled_at(start)?) {
                burn.fill(index, start, Cause::Granted)?;
            }
        }
        Ok(burn.snapshot(start))
    }

    /// The state at `at`, going on from an earlier one, and every movement on the way.
    pub fn advance(
        &self,
        from: &Snapshot,
        at: DateTime<Utc>,
    ) -> Result<(Snapshot, Vec<Movement>), CreditError> {
        let mut burn = BurnDown::new(self, Some(from));
        for (instant, step) in self.steps(from.at, at)? {
            match step {
                Step::Expire(index) => burn.change(index, Decimal::ZERO, instant, Cause::Expired)?,
                Step::Reset => burn.reset(instant)?,
                Step::Grant(index) => burn.fill(index, instant, Cause::Granted)?,
                Step::Refill(index) => burn.fill(index, instant, Cause::Refilled)?,
                Step::Use(amount) => burn.consume(amount, instant)?,
            }
        }
        let snapshot = burn.snapshot(at);
        Ok((snapshot, burn.movements))
    }

    /// What happens after a snapshot and up to `at`, in order. Usage at the snapshot's instant is still to come, usage
    /// at `at` too.
    fn steps(
        &self,
        from: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<Vec<(DateTime<Utc>, Step)>, CreditError> {
        let within = |instant: DateTime<Utc>| from < instant && instant <= at;
        let mut steps = Vec::new();
        let mut refills = 0;
        for (index, grant) in self.grants.iter().enumerate() {
            if let Some(end) = grant.ends_at().filter(|end| within(*end)) {
                steps.push((end, Step::Expire(index)));
            }
            if within(grant.effective_at) && grant.is_alive(grant.effective_at) {
                steps.push((grant.effective_at, Step::Grant(index)));
            }
            for refill in grant.refills(from, at)? {
                refills += 1;
                if refills > REFILLS_MAX {
                    return Err(CreditError::TooManyRefills);
                }
                steps.push((refill, Step::Refill(index)));
            }
        }
        let mut resets: Vec<_> = self.resets.iter().copied().filter(|reset| within(*reset)).collect();
        resets.sort_unstable();
        resets.dedup();
        steps.extend(resets.into_iter().map(|reset| (reset, Step::Reset)));
        let usage = self.usage.iter().filter(|usage| from <= usage.at && usage.at < at);
        steps.extend(usage.map(|usage| (usage.at, Step::Use(usage.amount))));
        let mut places = vec![0; self.grants.len()];
        for (place, index) in self.burn_order().into_iter().enumerate() {
            places[index] = place;
        }
        steps.sort_by_key(|(instant, step)| (*instant, step.rank(&places)));
        Ok(steps)
    }
}

impl Account {
    /// The indices of the grants: priority, then earliest expiry (never last), then creation, then identifier.
    fn burn_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.grants.len()).collect();
        order.sort_by_key(|index| {
            let grant = &self.grants[*index];
            let expiry = grant.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
            (grant.priority, expiry, grant.created_at.unwrap_or(grant.effective_at), &grant.id)
        });
        order
    }
}

impl Grant {
    fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at.into_iter().chain(self.voided_at).min()
    }

    fn is_alive(&self, at: DateTime<Utc>) -> bool {
        self.effective_at <= at && self.ends_at().is_none_or(|end| at < end)
    }

    fn is_refilled_at(&self, at: DateTime<Utc>) -> Result<bool, CreditError> {
        let Some(recurrence) = self.recurrence else { return Ok(false) };
        let grid = Grid::try_new(recurrence.anchor, recurrence.interval, Alignment::Anniversary, Tz::UTC)?;
        Ok(self.effective_at < at && grid.containing(at)?.start == at)
    }

    /// When it is refilled after one instant and up to another, while it is alive.
    fn refills(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, CreditError> {
        let Some(recurrence) = self.recurrence else { return Ok(Vec::new()) };
        let grid = Grid::try_new(recurrence.anchor, recurrence.interval, Alignment::Anniversary, Tz::UTC)?;
        let mut found = Vec::new();
        let mut at = from.max(self.effective_at);
        while at < to && self.ends_at().is_none_or(|end| at < end) && found.len() <= REFILLS_MAX {
            at = grid.first_period(at)?.end;
            if at <= to && self.is_alive(at) {
                found.push(at);
            }
        }
        Ok(found)
    }
}

/// Something that happens to an account.
#[derive(Clone, Copy)]
enum Step {
    Expire(usize),
    Reset,
    Grant(usize),
    Refill(usize),
    Use(Decimal),
}

impl Step {
    /// The order at one instant: expiries, resets, grants in the order they burn, usage.
    fn rank(self, places: &[usize]) -> (u8, usize) {
        match self {
            Self::Expire(index) => (0, index),
            Self::Reset => (1, 0),
            Self::Grant(index) | Self::Refill(index) => (2, places[index]),
            Self::Use(_) => (3, 0),
        }
    }
}

/// Balances while time passes.
struct BurnDown<'a> {
    account: &'a Account,
    /// Indices of the grants, in the order they burn.
    order: Vec<usize>,
    balances: Vec<Decimal>,
    overage: Decimal,
    used: Decimal,
    movements: Vec<Movement>,
}

impl<'a> BurnDown<'a> {
    fn new(account: &'a Account, from: Option<&Snapshot>) -> Self {
        let grants = &account.grants;
        let held = |grant: &Grant| from.and_then(|snapshot| snapshot.balances.get(&grant.id).copied());
        Self {
            account,
            order: account.burn_order(),
            balances: grants.iter().map(|grant| held(grant).unwrap_or_default()).collect(),
            overage: from.map_or(Decimal::ZERO, |snapshot| snapshot.overage),
            used: from.map_or(Decimal::ZERO, |snapshot| snapshot.usage_in_period),
            movements: Vec::new(),
        }
    }

    /// Sets one balance and remembers why.
    fn change(
        &mut self,
        index: usize,
        balance: Decimal,
        at: DateTime<Utc>,
        cause: Cause,
    ) -> Result<(), Overflow> {
        let change = sub(balance, self.balances[index])?;
        if !change.is_zero() {
            let grant = self.account.grants[index].id.clone();
            self.movements.push(Movement { at, grant, cause, change });
            self.balances[index] = balance;
        }
        Ok(())
    }

    /// Gives a grant its whole amount; it pays a debt at once.
    fn fill(&mut self, index: usize, at: DateTime<Utc>, cause: Cause) -> Result<(), Overflow> {
        self.change(index, self.account.grants[index].amount, at, cause)?;
        self.pay_overage(at)
    }

    fn reset(&mut self, at: DateTime<Utc>) -> Result<(), Overflow> {
        for index in 0..self.balances.len() {
            let grant = &self.account.grants[index];
            let left = self.balances[index];
            let kept = match grant.rollover {
                Some(rollover) if grant.is_alive(at) && grant.effective_at < at => {
                    left.max(rollover.min).min(rollover.max)
                }
                _ => Decimal::ZERO,
            };
            self.change(index, kept, at, Cause::Reset)?;
        }
        self.used = Decimal::ZERO;
        if !self.account.preserve_overage {
            self.overage = Decimal::ZERO;
        }
        self.pay_overage(at)
    }

    fn consume(&mut self, amount: Decimal, at: DateTime<Utc>) -> Result<(), Overflow> {
        self.used = add(self.used, amount)?;
        let unpaid = self.burn(amount, at, Cause::Used)?;
        self.overage = add(self.overage, unpaid)?;
        Ok(())
    }

    fn pay_overage(&mut self, at: DateTime<Utc>) -> Result<(), Overflow> {
        if self.overage > Decimal::ZERO {
            self.overage = self.burn(self.overage, at, Cause::PaidOverage)?;
        }
        Ok(())
    }

    /// Takes an amount from the balances in their order, and says what they could not pay.
    fn burn(&mut self, amount: Decimal, at: DateTime<Utc>, cause: Cause) -> Result<Decimal, Overflow> {
        let mut left = amount;
        for place in 0..self.order.len() {
            if left <= Decimal::ZERO {
                break;
            }
            let index = self.order[place];
            let part = self.balances[index].min(left);
            if part > Decimal::ZERO {
                self.change(index, sub(self.balances[index], part)?, at, cause)?;
                left = sub(left, part)?;
            }
        }
        Ok(left)
    }

    fn snapshot(&self, at: DateTime<Utc>) -> Snapshot {
        let ids = self.account.grants.iter().map(|grant| grant.id.clone());
        Snapshot {
            at,
            balances: ids.zip(self.balances.iter().copied()).collect(),
            overage: self.overage,
            usage_in_period: self.used,
        }
    }
}

#[cfg(test)]
mod tests;
