//! What a turn of the cycle costs: which prices are due, for which period, and how much each is. Pure: what
//! was used is an argument.

use accrue_core::{
    arithmetic::Overflow,
    calendar::Period,
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
    Ok(Charge { price, period, quantity, unit_price, proration, exact_amount, tiers: rated.tiers })
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
