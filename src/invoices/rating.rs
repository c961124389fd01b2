//! What a turn of the cycle costs: which prices are due, for which period, and how much each is. Pure: what
//! was used is an argument.

use accrue_core::{
    arithmetic::Overflow,
    calendar::Period,
    exact::Exact,
    money::{Currency, Money, MoneyError},
    price::{self, Before, Measured, Model, RatingError, Terms, TierCharge, rate},
    proration::{self, Basis, Fraction, ProrationError},
    usage::{BucketKey, BucketUsage},
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::model::{Bucket, TaxCopy};
use crate::{
    catalog::{AMOUNT_MAX, PlanVersion, Price, PriceKind, Timing},
    subscriptions::{Subscription, Turn},
};

/// A price whose turn it is, and the period that it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due<'a> {
    pub price: &'a Price,
    pub period: Period,
    /// The whole nominal period around `period`.
    pub full: Period,
    /// Whether its usage has no minimum: that of a trial, or of a part of a period that goes on after a change.
    pub has_no_minimum: bool,
    /// How `period` is measured if it is a part of `full`.
    pub basis: Basis,
    /// Of a part before a change: where its period would have ended, and how what is left of it is measured.
    pub before: Option<(DateTime<Utc>, Basis)>,
}

/// What of a price a charge is for: all of it or a bucket of its usage, or what is missing to its minimum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Bucket(Bucket),
    TrueUp,
}

/// The kind of lines that top a price up to its minimum.
pub(super) const TRUE_UP: &str = "true_up";

/// The kind of lines that are paid once.
pub(super) const ONE_TIME: &str = "one_time";

/// What a price costs for a period, before its one rounding (RULES 29).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Charge<'a> {
    pub price: &'a Price,
    pub part: Part,
    pub period: Period,
    /// In priced units.
    pub quantity: Decimal,
    /// Of prices that have just one.
    pub unit_price: Option<Decimal>,
    /// Of a period that is shorter than the nominal one.
    pub proration: Option<Fraction>,
    pub exact_amount: Decimal,
    /// Of the whole nominal period: what proration is taken of.
    pub tiers: Vec<TierCharge>,
    /// The how-manieth line after the first bill of the period; 0 for the bill itself.
    pub adjustment: i32,
    /// Whether it corrects the bill of a period that was billed to its end.
    pub is_late: bool,
    /// Those of the line that it repeats or gives back (RULES 9); unless given, those that its price has now.
    pub taxes: Option<Vec<TaxCopy>>,
}

/// What was billed of a part of a price for a period, corrections included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Billed {
    pub quantity: Decimal,
    /// As it stands on invoices: rounded line by line.
    pub amount: Money,
    /// The corrections so far.
    pub adjustments: i32,
}

impl Billed {
    pub(super) fn nothing(currency: Currency) -> Self {
        Self { quantity: Decimal::ZERO, amount: Money::zero(currency), adjustments: 0 }
    }
}

/// Why a turn cannot be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    Rating(#[from] RatingError),
    #[error("usage came to more than {AMOUNT_MAX}, the most that is billed at once: is an event wrong?")]
    TooMuch,
    #[error(transparent)]
    Proration(#[from] ProrationError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Arrears and usage of what closes, by the plan that it had; fees in advance of what opens, by the plan that it has from
/// then on. Trials cover all but usage (RULES 13). What is paid once is due when the subscription begins to cost something,
/// and by no change after that.
pub(super) fn due<'a>((before, after): (&'a PlanVersion, &'a PlanVersion), turn: &Turn) -> Vec<Due<'a>> {
    let begins_to_cost = turn.change == 0 && turn.closes.is_none_or(|part| part.is_trial);
    let of = |price: &'a Price| {
        let in_advance = price.kind != PriceKind::Usage && price.timing == Timing::Advance;
        let part = if in_advance { turn.opens } else { turn.closes }?;
        let is_of_plan = |plan: &PlanVersion| plan.prices.iter().any(|of_plan| of_plan.id == price.id);
        let again = price.kind == PriceKind::OneTime && !begins_to_cost;
        if again || !is_of_plan(if in_advance { after } else { before }) {
            return None;
        }
        let left_out = price.kind != PriceKind::Usage && part.only_prorated && !price.prorate;
        let period =
            if price.kind == PriceKind::Usage { part.usage } else { part.fees.filter(|_| !left_out) };
        let (full, has_no_minimum, basis) = (part.full, part.has_no_minimum, part.basis);
        Some(Due { price, period: period?, full, has_no_minimum, basis, before: part.before })
    };
    let others = after.prices.iter().filter(|_| before.id != after.id);
    before.prices.iter().chain(others).filter_map(of).collect()
}

/// The quantity of a price that is not measured; `None` for usage.
pub(super) fn agreed_quantity(price: &Price, subscription: &Subscription) -> Option<Decimal> {
    match price.kind {
        PriceKind::Fixed | PriceKind::OneTime | PriceKind::Commitment => Some(Decimal::ONE),
        PriceKind::Seat => {
            Some(subscription.quantities.get(&price.code).map_or(Decimal::ZERO, |quantity| quantity.0))
        }
        PriceKind::Usage => None,
    }
}

/// Prices an agreed quantity for its period.
pub(super) fn charge(due: Due<'_>, quantity: Decimal, zone: Tz) -> Result<Charge<'_>, ChargeError> {
    let Due { price, period, .. } = due;
    let quantity = quantity.max(Decimal::ZERO);
    let rated = rate(&price.model, quantity)?;
    let proration = if price.prorate { part_of(due, zone)? } else { None };
    let exact_amount = proration.unwrap_or(Fraction::ONE).of(rated.exact_amount)?.to_decimal()?;
    let unit_price = match (&price.model, price.kind) {
        (Model::PerUnit { unit_price }, _) => Some(unit_price.0),
        (Model::Flat { amount }, PriceKind::Fixed | PriceKind::OneTime) => Some(amount.0),
        _ => None,
    };
    let tiers = rated.tiers;
    let part = Part::Bucket(Bucket::default());
    Ok(Charge {
        price,
        part,
        period,
        quantity,
        unit_price,
        proration,
        exact_amount,
        tiers,
        adjustment: 0,
        is_late: false,
        taxes: None,
    })
}

/// What is missing to a plan's minimum for a period that comes to `spent` otherwise: nothing, perhaps (RULES 27). A trial
/// has none.
pub(super) fn commitment(due: Due<'_>, spent: Money, zone: Tz) -> Result<Charge<'_>, ChargeError> {
    let least = charge(due, Decimal::ONE, zone)?;
    let missing = Money::round(least.exact_amount, spent.currency())?.checked_sub(spent)?;
    if due.has_no_minimum || missing.minor() <= 0 {
        return Ok(Charge::nothing(due, least.part));
    }
    Ok(Charge { exact_amount: missing.to_decimal(), unit_price: None, ..least })
}

/// Whether what a price comes to counts for a plan's minimum: what is paid once is no part of what a period costs.
pub(super) fn counts_for_commitment(kind: PriceKind) -> bool {
    !matches!(kind, PriceKind::OneTime | PriceKind::Commitment)
}

/// Prices usage for its period, bucket by bucket, and what is missing to the minimum. A trial has none (RULES 27).
///
/// Usage is never prorated: it is what it is (RULES 11).
pub(super) fn usage_charges<'a>(
    due: Due<'a>,
    usage: &[BucketUsage],
    currency: Currency,
) -> Result<Vec<Charge<'a>>, ChargeError> {
    let Due { price, period, has_no_minimum, .. } = due;
    let terms = Terms {
        free_quantity: price.free_quantity,
        discount_percent: Decimal::ZERO,
        minimum: price.minimum_amount.filter(|_| !has_no_minimum),
        maximum: price.maximum_amount,
    };
    let bucket = |used: &BucketUsage| price::Bucket {
        model: price.model_of(used.key.filter),
        before: Before::default(),
        measured: used.measured.clone(),
    };
    let buckets: Vec<price::Bucket<'_>> = usage.iter().map(bucket).collect();
    let rated = price::charge(&buckets, &terms, currency)?;
    if rated.buckets.iter().any(|bucket| bucket.exact_amount > AMOUNT_MAX.into()) {
        return Err(ChargeError::TooMuch);
    }
    let mut charges = Vec::with_capacity(usage.len() + 1);
    for ((used, bucket), rated) in usage.iter().zip(&buckets).zip(rated.buckets) {
        let unit_price = match bucket.model {
            Model::PerUnit { unit_price } => Some(unit_price.0),
            _ => None,
        };
        charges.push(Charge {
            price,
            part: Part::Bucket(bucket_of(price, &used.key)),
            period,
            // RULES 21: a negative total bills as 0.
            quantity: priced(&used.measured).max(Exact::ZERO).to_decimal()?,
            unit_price,
            proration: None,
            exact_amount: rated.exact_amount.to_decimal()?,
            tiers: rated.tiers,
            adjustment: 0,
            is_late: false,
            taxes: None,
        });
    }
    charges.extend(terms.minimum.map(|_| true_up(due, rated.true_up)));
    Ok(charges)
}

fn true_up(due: Due<'_>, missing: Money) -> Charge<'_> {
    let exact_amount = missing.to_decimal();
    let nothing = Charge::nothing(due, Part::TrueUp);
    if missing.is_zero() {
        return nothing;
    }
    let tier = TierCharge {
        up_to: None,
        quantity: Exact::ZERO,
        unit_price: Exact::ZERO,
        flat_fee: exact_amount.into(),
        amount: exact_amount.into(),
    };
    Charge { quantity: Decimal::ONE, exact_amount, tiers: vec![tier], ..nothing }
}

/// What a line remembers of a bucket.
pub(super) fn bucket_of(price: &Price, key: &BucketKey) -> Bucket {
    let filter = key.filter.and_then(|at| price.filters.get(at)).map(|filter| filter.r#where.clone());
    Bucket { filter, group: price.group_by.iter().cloned().zip(key.group.iter().cloned()).collect() }
}

/// The units that cost something: of prorated ones, what proration leaves.
fn priced(measured: &Measured) -> Exact {
    match measured {
        Measured::Prorated(parts) => parts.iter().map(|part| &part.prorated).sum(),
        Measured::Units(_) | Measured::Events(_) => measured.quantity(),
    }
}

/// What has to be added to what was billed for a period, now that more, or less, turns out to have been used; `None`
/// if the bill was right (RULES 18, 28). It keeps the tiers of all that was used, of which it is a part.
pub(super) fn correction<'a>(
    right: &Charge<'a>,
    billed: Billed,
    currency: Currency,
) -> Result<Option<Charge<'a>>, MoneyError> {
    let missing = Money::round(right.exact_amount, currency)?.checked_sub(billed.amount)?;
    let quantity = right.quantity - billed.quantity;
    if missing.is_zero() && quantity.is_zero() {
        return Ok(None);
    }
    let (adjustment, exact_amount) = (billed.adjustments + 1, missing.to_decimal());
    Ok(Some(Charge { quantity, exact_amount, unit_price: None, adjustment, ..right.clone() }))
}

/// Takes so much off the corrections in the customer's favour that the sum is not negative (RULES 34), and says what
/// was taken off: what was not credited now is still missing later. What is left over of a correction has its quantity
/// if nothing of it stayed.
pub(super) fn limit_credits<'a>(
    charges: &mut [Charge<'a>],
    currency: Currency,
) -> Result<Vec<Charge<'a>>, MoneyError> {
    let rounded = charges.iter().map(|charge| Money::round(charge.exact_amount, currency));
    let sum = Money::sum(currency, rounded.collect::<Result<Vec<_>, _>>()?)?.to_decimal();
    let mut too_much = (-sum).max(Decimal::ZERO);
    let mut left_over = Vec::new();
    for charge in charges.iter_mut().rev().filter(|charge| charge.adjustment > 0) {
        let less = too_much.min(-charge.exact_amount).max(Decimal::ZERO);
        let before = charge.clone();
        charge.exact_amount += less;
        too_much -= less;
        left_over.extend(self::left_over(before, charge));
    }
    Ok(left_over)
}

/// What is left over of a correction of which only a part stayed: with its quantity if nothing did.
pub(super) fn left_over<'a>(before: Charge<'a>, now: &Charge<'_>) -> Option<Charge<'a>> {
    let less = now.exact_amount - before.exact_amount;
    let quantity = if now.exact_amount.is_zero() { before.quantity } else { Decimal::ZERO };
    (!less.is_zero()).then(|| Charge { exact_amount: -less, quantity, ..before })
}

/// Takes out the corrections of which all was taken off.
pub(super) fn leave_out(charges: &mut Vec<Charge<'_>>, left_over: &[Charge<'_>]) {
    charges.retain(|charge| !charge.exact_amount.is_zero() || !left_over.iter().any(|of| of.is_of(charge)));
}

/// A period's part of the nominal one (RULES 8); `None` for all of it.
fn part_of(due: Due<'_>, zone: Tz) -> Result<Option<Fraction>, ProrationError> {
    let Due { period, full, basis, before, .. } = due;
    let part = match before {
        None => proration::remaining(basis, period, full, period.start, zone)?,
        Some((end, after)) => {
            // What the change bills of the rest, taken off what was to be billed: so both are the whole, however either
            // is measured.
            let whole = Period { end, ..period };
            let all = proration::remaining(basis, whole, full, period.start, zone)?;
            let rest = proration::remaining(after, whole, full, period.end, zone)?;
            less(all, rest)
        }
    };
    Ok((part.numerator != part.denominator).then_some(part))
}

fn less(all: Fraction, rest: Fraction) -> Fraction {
    if all.denominator == rest.denominator {
        return Fraction { numerator: (all.numerator - rest.numerator).max(0), ..all };
    }
    let numerator = all.numerator * rest.denominator - rest.numerator * all.denominator;
    Fraction { numerator: numerator.max(0), denominator: all.denominator * rest.denominator }
}

impl<'a> Charge<'a> {
    /// What a part of a price costs for which there is no usage any more.
    pub(super) fn nothing(due: Due<'a>, part: Part) -> Self {
        Self {
            price: due.price,
            part,
            period: due.period,
            quantity: Decimal::ZERO,
            unit_price: None,
            proration: None,
            exact_amount: Decimal::ZERO,
            tiers: Vec::new(),
            adjustment: 0,
            is_late: false,
            taxes: None,
        }
    }

    /// Whether both are for the same usage of the same period.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.price.id, &self.part, self.period) == (other.price.id, &other.part, other.period)
    }

    /// Nothing was used and nothing is owed: not worth a line.
    pub(super) fn is_nothing(&self) -> bool {
        self.exact_amount.is_zero() && self.quantity.is_zero()
    }
}

#[cfg(test)]
mod tests;
