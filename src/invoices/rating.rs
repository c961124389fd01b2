//! What a turn of the cycle costs: which prices are due, for which period, and how much each is. Pure: what
//! was used is an argument.

use accrue_core::{
    arithmetic::Overflow,
    calendar::Period,
    money::{Currency, Money, MoneyError},
    price::{Model, RatingError, TierCharge, rate},
    proration::{self, Basis, Fraction, ProrationError},
};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use crate::{
    catalog::{PlanVersion, Price, PriceKind, Timing},
    subscriptions::{Subscription, Turn},
};

/// A price whose turn it is, and the period that it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due<'a> {
    pub price: &'a Price,
    pub period: Period,
    /// The whole nominal period around `period`.
    pub full: Period,
}

/// What a price costs for a period, before its one rounding (RULES 29).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Charge<'a> {
    pub price: &'a Price,
    pub period: Period,
    pub quantity: Decimal,
    /// Of prices that have just one.
    pub unit_price: Option<Decimal>,
    /// Of a period that is shorter than the nominal one.
    pub proration: Option<Fraction>,
    pub exact_amount: Decimal,
    /// Of the whole nominal period: what proration is taken of.
    pub tiers: Vec<TierCharge>,
    /// The how-manieth correction of what was billed for the period; 0 for the bill itself.
    pub adjustment: i32,
}

/// What was billed of a price for a period, corrections included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Billed {
    pub quantity: Decimal,
    /// As it stands on invoices: rounded line by line.
    pub amount: Money,
    /// The corrections so far.
    pub adjustments: i32,
}

/// Why a turn cannot be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    Rating(#[from] RatingError),
    #[error(transparent)]
    Proration(#[from] ProrationError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Fees in advance of the period that opens; arrears and usage of the one that closes. Trials cover all but
/// usage (RULES 13).
pub(super) fn due<'a>(plan: &'a PlanVersion, turn: &Turn) -> Vec<Due<'a>> {
    let of = |price: &'a Price| {
        let in_advance = price.kind != PriceKind::Usage && price.timing == Timing::Advance;
        let (period, full, trial) = if in_advance {
            (turn.opens, turn.opens_full, turn.opens_trial)
        } else {
            (turn.closes, turn.closes_full, turn.closes_trial)
        };
        let covered = trial && price.kind != PriceKind::Usage;
        let period = period.filter(|_| !covered)?;
        Some(Due { price, period, full: full.unwrap_or(period) })
    };
    plan.prices.iter().filter_map(of).collect()
}

/// The quantity of a price that is not measured; `None` for usage.
pub(super) fn agreed_quantity(price: &Price, subscription: &Subscription) -> Option<Decimal> {
    match price.kind {
        PriceKind::Fixed => Some(Decimal::ONE),
        PriceKind::Seat => {
            Some(subscription.quantities.get(&price.code).map_or(Decimal::ZERO, |quantity| quantity.0))
        }
        PriceKind::Usage => None,
    }
}

/// Prices a quantity for its period. Usage is never prorated: it is what it is (RULES 11).
pub(super) fn charge(due: Due<'_>, quantity: Decimal, zone: Tz) -> Result<Charge<'_>, ChargeError> {
    let Due { price, period, full } = due;
    // RULES 21: a negative total bills as 0.
    let quantity = quantity.max(Decimal::ZERO);
    let rated = rate(&price.model, quantity)?;
    let proration = match price.kind {
        PriceKind::Usage => None,
        PriceKind::Fixed | PriceKind::Seat => part_of(period, full, zone)?,
    };
    let exact_amount = proration.unwrap_or(Fraction::ONE).of(rated.exact_amount)?;
    let unit_price = match (&price.model, price.kind) {
        (Model::PerUnit { unit_price }, _) => Some(unit_price.0),
        (Model::Flat { amount }, PriceKind::Fixed) => Some(amount.0),
        _ => None,
    };
    let tiers = rated.tiers;
    Ok(Charge { price, period, quantity, unit_price, proration, exact_amount, tiers, adjustment: 0 })
}

/// What has to be added to what was billed for a period, now that more, or less, turns out to have been used; `None`
/// if the bill was right (RULES 18, 28).
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
    let Charge { price, period, proration, .. } = *right;
    let (unit_price, tiers) = (None, Vec::new());
    Ok(Some(Charge { price, period, quantity, unit_price, proration, exact_amount, tiers, adjustment }))
}

/// Takes so much off the corrections in the customer's favour that the sum is not negative (RULES 34), and says
/// whether something is left for later: what was not credited now is still missing then.
pub(super) fn limit_credits(charges: &mut [Charge<'_>], currency: Currency) -> Result<bool, MoneyError> {
    let rounded = charges.iter().map(|charge| Money::round(charge.exact_amount, currency));
    let sum = Money::sum(currency, rounded.collect::<Result<Vec<_>, _>>()?)?.to_decimal();
    let mut too_much = (-sum).max(Decimal::ZERO);
    let is_limited = !too_much.is_zero();
    for charge in charges.iter_mut().rev().filter(|charge| charge.adjustment > 0) {
        let less = too_much.min(-charge.exact_amount).max(Decimal::ZERO);
        charge.exact_amount += less;
        too_much -= less;
    }
    Ok(is_limited)
}

/// Days of a period of the days of the nominal one (RULES 8); `None` for all of them.
fn part_of(period: Period, full: Period, zone: Tz) -> Result<Option<Fraction>, ProrationError> {
    let part = proration::remaining(Basis::Day, period, full, period.start, zone)?;
    Ok((part.numerator != part.denominator).then_some(part))
}

impl Charge<'_> {
    /// Nothing was used and nothing is owed: not worth a line.
    pub(super) fn is_nothing(&self) -> bool {
        self.exact_amount.is_zero() && self.quantity.is_zero()
    }
}

#[cfg(test)]
mod tests;
