//! Aggregation as a fold: fed event by event in any order, merged in any order, asked at any time (RULES 19–21).

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::{Aggregation, Metric, Operation, Partial, Properties, Property};
use crate::{
    arithmetic::Overflow,
    calendar::{Period, local_date},
    exact::Exact,
    price::ProratedUnits,
};

/// What is aggregated, over which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub aggregation: Aggregation,
    /// Whether what happened before the period still counts.
    pub recurring: bool,
    /// Whether the quantity is weighed by the local days it was there.
    pub prorated: bool,
    /// Whose events count.
    pub period: Period,
    /// The nominal period, by whose length prorated and weighted quantities are divided.
    pub full: Period,
    /// Where days begin.
    pub zone: Tz,
}

impl Scope {
    /// Whether an event of this time counts (RULES 16).
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        at < self.period.end && (self.recurring || at >= self.period.start)
    }
}

/// What one event tells an aggregation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: DateTime<Utc>,
    /// Breaks ties of time: a greater one arrived later.
    pub arrival: u128,
    pub value: Value,
}

/// What is aggregated of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It counts, and that is all.
    Event,
    Number(Decimal),
    Unique(String, Operation),
}

impl Value {
    /// The number, if it is one.
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Event | Self::Unique(..) => None,
        }
    }
}

/// Why there is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("this aggregation cannot be prorated")]
    NotProratable,
    #[error("aggregations of different scopes cannot be merged")]
    ScopeMismatch,
    #[error("this aggregation needs each event")]
    NeedsEvents,
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Sample {
    /// What an event tells a metric; none if it does not match or lacks the value.
    pub fn of(metric: &Metric, at: DateTime<Utc>, arrival: u128, properties: &Properties) -> Option<Self> {
        if !metric.matches(properties) {
            return None;
        }
        let property = metric.property_of(properties);
        let value = match metric.aggregation {
            Aggregation::Count => Value::Event,
            Aggregation::UniqueCount => {
                let removed =
                    properties.get("operation").and_then(Property::text).as_deref() == Some("remove");
                let operation = if removed { Operation::Remove } else { Operation::Add };
                Value::Unique(property?.text()?.into_owned(), operation)
            }
            Aggregation::Sum
            | Aggregation::Max
            | Aggregation::Min
            | Aggregation::Average
            | Aggregation::Latest
            | Aggregation::WeightedSum => Value::Number(property?.number()?),
        };
        Some(Self { at, arrival, value })
    }
}

/// When something happened: by time, then by arrival.
pub type Moment = (DateTime<Utc>, u128);

/// A quantity in the making.
///
/// Every aggregation can be merged from parts, in any order; those by unique value or prorated by part keep one
/// entry per change, all others a few numbers.
#[derive(Clone, Debug)]
pub struct Fold {
    scope: Scope,
    carried: Exact,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Count(u64),
    Sum(Exact),
    /// Each value with its moment, for the tiers that full units decide.
    ProratedSum(Vec<(Moment, Decimal)>),
    Max(Option<Decimal>),
    Min(Option<Decimal>),
    Average {
        sum: Exact,
        count: u64,
    },
    Latest(Option<(Moment, Decimal)>),
    /// The last change of each value, or all of them if the time between them matters.
    Unique(HashMap<String, Vec<(Moment, Operation)>>),
    /// Σ value × seconds held.
    Weighted(Exact),
}

impl Fold {
    /// Starts with what was there before the first event: the balance that a recurring metric carries in.
    pub fn try_new(scope: Scope, carried: impl Into<Exact>) -> Result<Self, UsageError> {
        if scope.prorated && !scope.aggregation.is_proratable() {
            return Err(UsageError::NotProratable);
        }
        let state = match scope.aggregation {
            Aggregation::Count => State::Count(0),
            Aggregation::Sum if scope.prorated => State::ProratedSum(Vec::new()),
            Aggregation::Sum => State::Sum(Exact::ZERO),
            Aggregation::Max => State::Max(None),
            Aggregation::Min => State::Min(None),
            Aggregation::Average => State::Average { sum: Exact::ZERO, count: 0 },
            Aggregation::Latest => State::Latest(None),
            Aggregation::UniqueCount => State::Unique(HashMap::new()),
            Aggregation::WeightedSum => State::Weighted(Exact::ZERO),
        };
        Ok(Self { scope, carried: carried.into(), state })
    }

    /// Adds to what was there before the first event.
    pub fn carry(&mut self, quantity: impl Into<Exact>) {
        self.carried += &quantity.into();
    }

    /// Takes one event. Those outside of the period, and those without the value that is needed, change nothing.
    pub fn push(&mut self, sample: Sample) {
        if !self.scope.covers(sample.at) {
            return;
        }
        let scope = self.scope;
        let moment = (sample.at, sample.arrival);
        match (&mut self.state, sample.value) {
            (State::Count(count), _) => *count += 1,
            (State::Sum(sum), Value::Number(value)) => *sum += &value.into(),
            (State::ProratedSum(values), Value::Number(value)) => values.push((moment, value)),
            (State::Max(held), Value::Number(value)) => *held = (*held).max(Some(value)),
            (State::Min(held), Value::Number(value)) => {
                *held = Some(held.map_or(value, |held| held.min(value)));
            }
            (State::Average { sum, count }, Value::Number(value)) => {
                *sum += &value.into();
                *count += 1;
            }
            (State::Latest(held), Value::Number(value)) => *held = (*held).max(Some((moment, value))),
            (State::Unique(values), Value::Unique(value, operation)) => {
                note(values.entry(value).or_default(), (moment, operation), scope.prorated);
            }
            (State::Weighted(sum), Value::Number(value)) => {
                let held_for = seconds(sample.at.max(scope.period.start), scope.period.end);
                *sum += &(Exact::from(value) * Exact::from(held_for));
            }
            (_, Value::Event | Value::Number(_) | Value::Unique(..)) => {}
        }
    }

    /// Takes the events of a whole stretch that ends at `end`, as if each had been pushed. The stretch lies
    /// within the period, or wholly before it if the scope is recurring.
    pub fn absorb(&mut self, partial: &Partial, end: DateTime<Utc>) -> Result<(), UsageError> {
        let scope = self.scope;
        match &mut self.state {
            State::Count(count) => *count += partial.count,
            State::Sum(sum) => *sum += &partial.sum,
            State::Max(held) => *held = (*held).max(partial.greatest),
            State::Min(held) => *held = (*held).into_iter().chain(partial.least).min(),
            State::Average { sum, count } => {
                *sum += &partial.sum;
                *count += partial.count;
            }
            State::Latest(held) => *held = (*held).max(partial.latest),
            State::Weighted(sum) if end <= scope.period.start => {
                let held_for = seconds(scope.period.start, scope.period.end);
                *sum += &(&partial.sum * Exact::from(held_for));
            }
            State::Weighted(sum) => {
                *sum += &(&partial.sum * Exact::from(seconds(end, scope.period.end)));
                *sum += &partial.weighted;
            }
            State::ProratedSum(_) | State::Unique(_) => return Err(UsageError::NeedsEvents),
        }
        Ok(())
    }

    /// Adds what another fold of the same scope was fed. What was carried in counts once: it stays this one's.
    pub fn merge(&mut self, other: Self) -> Result<(), UsageError> {
        if self.scope != other.scope {
            return Err(UsageError::ScopeMismatch);
        }
        match (&mut self.state, other.state) {
            (State::Count(count), State::Count(more)) => *count += more,
            (State::Sum(sum), State::Sum(more)) | (State::Weighted(sum), State::Weighted(more)) => {
                *sum += &more;
            }
            (State::ProratedSum(values), State::ProratedSum(more)) => values.extend(more),
            (State::Max(held), State::Max(more)) => *held = (*held).max(more),
            (State::Min(held), State::Min(more)) => *held = (*held).into_iter().chain(more).min(),
            (State::Average { sum, count }, State::Average { sum: more, count: others }) => {
                *sum += &more;
                *count += others;
            }
            (State::Latest(held), State::Latest(more)) => *held = (*held).max(more),
            (State::Unique(values), State::Unique(more)) => {
                for (value, changes) in more {
                    let held = values.entry(value).or_default();
                    for change in changes {
                        note(held, change, self.scope.prorated);
                    }
                }
            }
            _ => return Err(UsageError::ScopeMismatch),
        }
        Ok(())
    }

    /// The aggregate, negative too, neither converted nor rounded. Nothing at all is what was carried in.
    pub fn quantity(&self) -> Result<Exact, Overflow> {
        let carried = self.carried.clone();
        Ok(match &self.state {
            State::Count(count) => carried + Exact::from(Decimal::from(*count)),
            State::Sum(sum) => carried + sum,
            State::Max(value) | State::Min(value) => value.map_or(carried, Exact::from),
            State::Average { count: 0, .. } => carried,
            State::Average { sum, count } => sum.divide(&Decimal::from(*count).into())?,
            State::Latest(value) => value.map_or(carried, |(_, value)| value.into()),
            State::Weighted(sum) => {
                let Scope { period, full, .. } = self.scope;
                let held_for = Exact::from(seconds(period.start, period.end));
                (carried * held_for + sum).divide(&seconds(full.start, full.end).into())?
            }
            State::Unique(values) if !self.scope.prorated => {
                let active = values.values().flatten().filter(|(_, operation)| *operation == Operation::Add);
                carried + Exact::from(Decimal::from(active.count()))
            }
            State::ProratedSum(_) | State::Unique(_) => {
                let days: Exact = self.changes().iter().map(|change| &change.quantity_days).sum();
                days.divide(&Days::of(&self.scope).full)?
            }
        })
    }

    /// A prorated quantity change by change, in order, as tiers need it (RULES 28).
    pub fn parts(&self) -> Result<Vec<ProratedUnits>, UsageError> {
        if !self.scope.prorated {
            return Err(UsageError::NotProratable);
        }
        let full_days = Days::of(&self.scope).full;
        let part = |change: &Change| {
            let prorated = change.quantity_days.divide(&full_days)?;
            Ok(ProratedUnits { quantity: change.quantity.clone(), prorated })
        };
        self.changes().iter().map(part).collect()
    }

    /// How a prorated quantity came about: what was there, since when, and for how many of the period's days. What was
    /// carried in has been there from the first. The quantity is Σ quantity × days ÷ days of the full period.
    pub fn held(&self) -> Result<Vec<Held>, UsageError> {
        if !self.scope.prorated {
            return Err(UsageError::NotProratable);
        }
        let held = |change: Change| Held {
            since: change.at.0.max(self.scope.period.start),
            quantity: change.quantity,
            quantity_days: change.quantity_days,
            full_days: Days::of(&self.scope).full,
        };
        Ok(self.changes().into_iter().map(held).collect())
    }

    /// The changes of a prorated quantity, what was carried in first.
    fn changes(&self) -> Vec<Change> {
        let days = Days::of(&self.scope);
        let first = (DateTime::<Utc>::MIN_UTC, 0);
        let mut changes = Vec::new();
        if !self.carried.is_zero() {
            let quantity_days = &self.carried * days.from(days.first);
            changes.push(Change { at: first, quantity: self.carried.clone(), quantity_days });
        }
        match &self.state {
            State::ProratedSum(values) => {
                for (at, quantity) in values {
                    let quantity = Exact::from(*quantity);
                    let quantity_days = &quantity * days.from(days.clipped(at.0));
                    changes.push(Change { at: *at, quantity, quantity_days });
                }
            }
            State::Unique(values) => values.values().for_each(|history| days.activity(history, &mut changes)),
            _ => {}
        }
        changes.sort_by_key(|change| change.at);
        changes
    }
}

/// Keeps a change of a unique value: all of them, or only the last.
fn note(history: &mut Vec<(Moment, Operation)>, change: (Moment, Operation), all: bool) {
    match history.first_mut() {
        Some(last) if !all => {
            if last.0 <= change.0 {
                *last = change;
            }
        }
        _ => history.push(change),
    }
}

/// A part of a prorated quantity: units that came, or went where they are negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub since: DateTime<Utc>,
    pub quantity: Exact,
    /// The units × the local days they were there.
    pub quantity_days: Exact,
    /// Of the nominal period.
    pub full_days: Exact,
}

/// A change of a prorated quantity.
struct Change {
    at: Moment,
    quantity: Exact,
    /// The quantity × the local days it was there.
    quantity_days: Exact,
}

/// The local days of a period.
struct Days {
    zone: Tz,
    start: DateTime<Utc>,
    first: NaiveDate,
    last: NaiveDate,
    /// How many the nominal period has.
    full: Exact,
}

impl Days {
    fn of(scope: &Scope) -> Self {
        let first = local_date(scope.period.start, scope.zone);
        // A period from ten o'clock to ten o'clock has as many days as dates change in it: its last date is the
        // next one's first.
        let last = local_date(scope.period.end, scope.zone).pred_opt().unwrap_or(first).max(first);
        Self {
            zone: scope.zone,
            start: scope.period.start,
            first,
            last,
            full: scope.full.days(scope.zone).max(1).into(),
        }
    }

    /// The day of an instant, or the period's first or last if it lies outside.
    fn clipped(&self, at: DateTime<Utc>) -> NaiveDate {
        local_date(at, self.zone).clamp(self.first, self.last)
    }

    /// Days from one to the end of the period, both included.
    fn from(&self, day: NaiveDate) -> Exact {
        between(day, self.last).into()
    }

    /// The days on which a value was active, as one change per stretch, and one for each time it was taken away.
    fn activity(&self, history: &[(Moment, Operation)], changes: &mut Vec<Change>) {
        let mut history = history.to_vec();
        history.sort_by_key(|(moment, _)| *moment);
        let mut added: Option<Moment> = None;
        let mut uncounted = self.first;
        let mut count = |added: Moment, until: NaiveDate| {
            let from = self.clipped(added.0).max(uncounted);
            uncounted = uncounted.max(until.succ_opt().unwrap_or(until));
            Change { at: added, quantity: Exact::ONE, quantity_days: between(from, until).max(0).into() }
        };
        for (moment, operation) in history {
            match (operation, added) {
                (Operation::Add, None) => added = Some(moment),
                (Operation::Remove, Some(since)) => {
                    added = None;
                    // What came and went before the period was never there in it.
                    if moment.0 >= self.start {
                        changes.push(count(since, self.clipped(moment.0)));
                        let gone = Change { at: moment, quantity: -Exact::ONE, quantity_days: Exact::ZERO };
                        changes.push(gone);
                    }
                }
                // Adding what is there, or taking away what is not, changes nothing.
                (Operation::Add, Some(_)) | (Operation::Remove, None) => {}
            }
        }
        if let Some(since) = added {
            changes.push(count(since, self.last));
        }
    }
}

/// Days from one to the other, both included.
fn between(from: NaiveDate, to: NaiveDate) -> i64 {
    (to - from).num_days() + 1
}

pub(super) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> Decimal {
    let micros = (to - from).num_microseconds().unwrap_or(i64::MAX);
    Decimal::new(micros, 6).normalize()
}
