//! A new subscription: what is wanted, held against the plan and the calendar.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit, in_range},
    decimal::Number,
    id::SubscriptionId,
    invalid::Invalid,
    money::Money,
    proration::Basis,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Months, SubsecRound, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::{Access, Collection, Event, Status, Subscription, cycle::cut};
use crate::{
    auth::Tenant,
    catalog::{AMOUNT_MAX, PlanVersion, PriceKind},
    customers::Customer,
};

/// How far from now a start, and from the start the end of a trial, may lie. A start in the past has every
/// period since then billed.
pub(super) const YEARS_MAX: u32 = 10;

/// Of a seat price.
const QUANTITY_MAX: i64 = 1_000_000_000_000;

/// How long before a trial's end it is announced.
const NOTICE: TimeDelta = TimeDelta::days(3);

/// What a new subscription shall be: read, but not yet held against its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub external_id: Option<String>,
    /// Of each seat price, by its code; one that is left out has quantity 1.
    pub quantities: BTreeMap<String, Number>,
    /// Now unless given.
    pub start_at: Option<DateTime<Utc>>,
    /// The plan's trial unless given; at the start for none.
    pub trial_end: Option<DateTime<Utc>>,
    /// It goes on until it is canceled unless given.
    pub ends_at: Option<DateTime<Utc>>,
    /// The customer's, else the tenant's, unless given.
    pub timezone: Option<Tz>,
    pub alignment: Alignment,
    pub collection: Collection,
    /// The tenant's unless given.
    pub net_terms_days: Option<u16>,
    /// In the plan's currency.
    pub progressive_billing_threshold: Option<Number>,
    pub metadata: Metadata,
}

impl Subscription {
    /// A new subscription with its first period, which is the trial if there is one. Nothing of it is billed:
    /// its first turn is at its start.
    ///
    /// `tenant` is as it bills the customer. `had_trial` says whether the customer has had a trial of the plan before: then there is no other one
    /// (RULES 13).
    pub fn try_new(
        now: DateTime<Utc>,
        tenant: &Tenant,
        customer: &Customer,
        plan: &PlanVersion,
        wanted: Wanted,
        had_trial: bool,
    ) -> Result<Self, Vec<Invalid>> {
        let (quantities, mut mistakes) = quantities(plan, &wanted.quantities);
        let threshold =
            wanted.progressive_billing_threshold.map(|amount| threshold(plan, amount)).transpose();
        let threshold = threshold.map_err(|mistake| mistakes.push(mistake)).unwrap_or_default();
        let timezone = wanted.timezone.unwrap_or_else(|| customer.zone(tenant));
        let term = Term::try_new(now, &wanted, plan.trial_days, had_trial, timezone)
            .and_then(|term| Ok((term, term.first_period(plan.interval, wanted.alignment, timezone)?)))
            .map_err(|mistake| mistakes.push(mistake));
        let Ok((term, period)) = term else { return Err(mistakes) };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }

        let mut made = Self {
            tenant_id: tenant.id,
            id: SubscriptionId::new(now),
            customer_id: customer.id,
            test_clock_id: customer.test_clock_id,
            external_id: wanted.external_id,
            plan_id: plan.plan_id,
            plan_version_id: plan.id,
            status: Status::Pending,
            currency: plan.currency,
            timezone,
            alignment: wanted.alignment,
            interval: plan.interval,
            anchor_at: term.anchor(),
            start_at: term.start,
            trial_end_at: term.trial_end,
            period,
            opened: false,
            phase_from: term.start,
            fees_from: term.start,
            fees_until: term.start,
            fees_basis: Basis::Day,
            changes: 0,
            scheduled: None,
            usage_in_pause: None,
            access: Access::Full,
            quantities,
            collection: wanted.collection,
            net_terms_days: wanted.net_terms_days.unwrap_or(tenant.settings.net_terms_days),
            progressive_billing_threshold: threshold,
            ends_at: term.end,
            cancel_at: term.end,
            canceled_at: None,
            cancel_reason: None,
            ended_at: None,
            next_due_at: Some(term.start),
            metadata: wanted.metadata,
            created_at: now,
        };
        if term.start <= now {
            made.react(if term.trial_end.is_some() { Event::TrialStarted } else { Event::Started });
        }
        Ok(made)
    }

    /// When its customer is told that the trial ends soon: three days before, or at the start of a shorter
    /// trial. Not if the trial is over by `now`.
    pub fn trial_notice_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let trial_end = self.trial_end_at.filter(|trial_end| now < *trial_end)?;
        Some((trial_end - NOTICE).max(self.start_at))
    }
}

/// From when to when, and how much of it on trial.
#[derive(Clone, Copy)]
struct Term {
    start: DateTime<Utc>,
    trial_end: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
}

impl Term {
    fn try_new(
        now: DateTime<Utc>,
        wanted: &Wanted,
        trial_days: u16,
        had_trial: bool,
        zone: Tz,
    ) -> Result<Self, Invalid> {
        let years = Months::new(12 * YEARS_MAX);
        let start = wanted.start_at.map_or(now, micros);
        if start < now - years || now + years < start {
            let detail = format!("lies at most {YEARS_MAX} years in the past or in the future");
            return Err(Invalid::new("/start_at", "out_of_range", detail));
        }
        let trial_end = match wanted.trial_end.map(micros) {
            None if had_trial || trial_days == 0 => None,
            None => Some(after_days(start, trial_days, zone).map_err(invalid)?),
            Some(end) if end < start || start + years < end => {
                let detail = format!("lies at most {YEARS_MAX} years after the start, or on it for no trial");
                return Err(Invalid::new("/trial_end", "out_of_range", detail));
            }
            Some(end) if end == start => None,
            Some(_) if had_trial => {
                let detail = "the customer has had a trial of this plan before";
                return Err(Invalid::new("/trial_end", "already_used", detail));
            }
            Some(end) => Some(end),
        };
        let end = wanted.ends_at.map(micros);
        if end.is_some_and(|end| end <= start || in_range(end).is_err()) {
            return Err(Invalid::new("/ends_at", "out_of_range", "lies after the start"));
        }
        Ok(Self { start, trial_end, end })
    }

    /// The cycle begins when it begins to cost something.
    fn anchor(self) -> DateTime<Utc> {
        self.trial_end.unwrap_or(self.start)
    }

    fn first_period(self, interval: Interval, alignment: Alignment, zone: Tz) -> Result<Period, Invalid> {
        let grid = Grid::try_new(self.anchor(), interval, alignment, zone);
        // Computed for a trial too: a grid that has no first period shall be refused here and not at the trial's end.
        let first = grid.and_then(|grid| grid.first_period(self.anchor())).map_err(invalid)?;
        let whole = self.trial_end.map_or(first, |end| Period { start: self.start, end });
        Ok(cut(whole, self.end))
    }
}

/// As exact as the databases are.
pub(super) fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

/// The same local time some days later (RULES 3).
fn after_days(start: DateTime<Utc>, days: u16, zone: Tz) -> Result<DateTime<Utc>, CalendarError> {
    let daily = Grid::try_new(start, Interval::every(Unit::Day), Alignment::Anniversary, zone)?;
    daily.boundary(i64::from(days))
}

fn invalid(error: CalendarError) -> Invalid {
    let (pointer, code) = match error {
        CalendarError::NoSuchDay(_) | CalendarError::DayOfMonthNeedsMonths => ("/alignment", "malformed"),
        CalendarError::OutOfRange | CalendarError::LeapSecond | CalendarError::EmptyPeriod => {
            ("/start_at", "out_of_range")
        }
    };
    Invalid::new(pointer, code, error.to_string())
}

/// One quantity for each seat price of the plan, and what is wrong with the wanted ones.
pub(super) fn quantities(
    plan: &PlanVersion,
    wanted: &BTreeMap<String, Number>,
) -> (BTreeMap<String, Number>, Vec<Invalid>) {
    let quantity = |code| wanted.get(code).copied().unwrap_or(Number(Decimal::ONE));
    let seats = plan.prices.iter().filter(|price| price.kind == PriceKind::Seat);
    let quantities: BTreeMap<_, _> = seats.map(|seat| (seat.code.clone(), quantity(&seat.code))).collect();

    let unfit = quantities
        .iter()
        .filter(|(_, quantity)| !(Decimal::ZERO..=QUANTITY_MAX.into()).contains(&quantity.0))
        .map(|(code, _)| (code, "out_of_range", format!("is a number from 0 to {QUANTITY_MAX}")));
    let too_much = plan
        .prices
        .iter()
        .filter(|price| quantities.get(&price.code).is_some_and(|quantity| !price.is_billable(quantity.0)))
        .map(|price| (&price.code, "out_of_range", format!("so many cost more than {AMOUNT_MAX}")));
    let unknown = wanted
        .keys()
        .filter(|code| !quantities.contains_key(*code))
        .map(|code| (code, "unknown", format!("the plan {} has no such seat price", plan.code)));
    let mistakes = unfit
        .chain(too_much)
        .chain(unknown)
        .map(|(code, kind, detail)| Invalid::new(pointer(code), kind, detail))
        .collect();
    (quantities, mistakes)
}

/// An amount of usage that is worth an invoice.
fn threshold(plan: &PlanVersion, amount: Number) -> Result<Money, Invalid> {
    const POINTER: &str = "/progressive_billing_threshold";

    if !plan.prices.iter().any(|price| price.kind == PriceKind::Usage) {
        let detail = format!("the plan {} has no usage price, of which there could be an invoice", plan.code);
        return Err(Invalid::new(POINTER, "no_usage", detail));
    }
    if amount.0 <= Decimal::ZERO || amount.0 > AMOUNT_MAX.into() {
        let detail = format!("is more than 0, and at most {AMOUNT_MAX}");
        return Err(Invalid::new(POINTER, "out_of_range", detail));
    }
    Money::exact(amount.0, plan.currency)
        .map_err(|error| Invalid::new(POINTER, "malformed", error.to_string()))
}

fn pointer(code: &str) -> String {
    format!("/quantities/{}", code.replace('~', "~0").replace('/', "~1"))
}
