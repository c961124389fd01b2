//! From a rated quantity to a charge: free units, discount, cap, what was already billed, minimum (RULES 27 and 28).

use rust_decimal::Decimal;

use super::{Measured, Model, ProratedUnits, Rated, RatingError, TierCharge, rate_measured};
use crate::{
    arithmetic::{Overflow, add, div, mul, percent_of, sub},
    decimal::Number,
    money::{Currency, Money},
};

/// What a price says beside its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Units that cost nothing, the first of the period.
    pub free_quantity: Decimal,
    /// 20 for 20 % off, taken before the cap.
    pub discount_percent: Decimal,
    /// Topped up to this in a line of its own.
    pub minimum: Option<Money>,
    /// Never more than this in a period.
    pub maximum: Option<Money>,
}

/// What the period's earlier bills already took (progressive billing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Units that were rated before the new ones.
    pub quantity: Decimal,
    /// Major units billed for them; none for their exact price.
    pub billed: Option<Decimal>,
}

/// What a price costs for a period, or for what came on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Price of everything, capped, less what was billed. Negative where more was billed than it costs now.
    pub exact_amount: Decimal,
    /// The same, rounded once.
    pub amount: Money,
    /// What is missing to the minimum, for a line of its own.
    pub true_up: Money,
    /// Tier by tier, what came on top of the price of the units rated before. Before discount and cap.
    pub tiers: Vec<TierCharge>,
}

/// Prices what came on top of `before`, so that tiers are crossed, fees paid and caps reached once per period.
pub fn charge(
    model: &Model,
    terms: &Terms,
    before: Before,
    measured: &Measured,
    currency: Currency,
) -> Result<Charge, RatingError> {
    let everything =
        rate_measured(model, &after(before.quantity, measured)?.without_first(terms.free_quantity)?)?;
    let earlier = if before.quantity > Decimal::ZERO {
        let earlier = Measured::Units(before.quantity).without_first(terms.free_quantity)?;
        rate_measured(model, &earlier)?
    } else {
        Rated::default()
    };
    let total = terms.apply(everything.exact_amount)?;
    let billed = match before.billed {
        Some(billed) => billed,
        None => terms.apply(earlier.exact_amount)?,
    };
    let exact_amount = sub(total, billed)?;
    let true_up = match terms.minimum {
        Some(minimum) => {
            let missing = minimum.checked_sub(Money::round(total, currency)?)?;
            if missing.is_negative() { Money::zero(currency) } else { missing }
        }
        None => Money::zero(currency),
    };
    Ok(Charge {
        exact_amount,
        amount: Money::round(exact_amount, currency)?,
        true_up,
        tiers: difference(everything.tiers, earlier.tiers)?,
    })
}

impl Terms {
    /// Discount, then cap (RULES 28).
    fn apply(&self, price: Decimal) -> Result<Decimal, Overflow> {
        let discounted = sub(price, percent_of(self.discount_percent, price)?)?;
        Ok(self.maximum.map_or(discounted, |maximum| discounted.min(maximum.to_decimal())))
    }
}

/// Everything measured in the period: the units before, then the new ones.
fn after(before: Decimal, measured: &Measured) -> Result<Measured, Overflow> {
    if before <= Decimal::ZERO {
        return Ok(measured.clone());
    }
    Ok(match measured {
        Measured::Units(quantity) => Measured::Units(add(before, *quantity)?),
        Measured::Events(events) => {
            Measured::Events([before].into_iter().chain(events.iter().copied()).collect())
        }
        Measured::Prorated(parts) => {
            let first = ProratedUnits { quantity: Number(before), prorated: Number(before) };
            Measured::Prorated([first].into_iter().chain(parts.iter().copied()).collect())
        }
    })
}

impl Measured {
    /// What is left when the first units are free.
    fn without_first(self, free: Decimal) -> Result<Self, Overflow> {
        if free <= Decimal::ZERO {
            return Ok(self);
        }
        let mut left = free;
        // Units that were taken away again neither use up nor return what is free.
        let mut paid_of = |quantity: Decimal| -> Result<Decimal, Overflow> {
            let covered = left.min(quantity).max(Decimal::ZERO);
            left = sub(left, covered)?;
            sub(quantity, covered)
        };
        Ok(match self {
            Self::Units(quantity) => Self::Units(paid_of(quantity)?),
            Self::Events(events) => {
                let mut paid = Vec::with_capacity(events.len());
                for value in events {
                    let rest = paid_of(value)?;
                    if !rest.is_zero() || value.is_zero() {
                        paid.push(rest);
                    }
                }
                Self::Events(paid)
            }
            Self::Prorated(parts) => {
                let mut paid = Vec::with_capacity(parts.len());
                for part in parts {
                    let quantity = paid_of(part.quantity.0)?;
                    let prorated = if part.quantity.0.is_zero() {
                        part.prorated.0
                    } else {
                        div(mul(part.prorated.0, quantity)?, part.quantity.0)?
                    };
                    paid.push(ProratedUnits { quantity: Number(quantity), prorated: Number(prorated) });
                }
                Self::Prorated(paid)
            }
        })
    }
}

/// Tier by tier, the later price less the earlier one: the sums differ by what came on top.
fn difference(later: Vec<TierCharge>, earlier: Vec<TierCharge>) -> Result<Vec<TierCharge>, Overflow> {
    if earlier.is_empty() {
        return Ok(later);
    }
    let mut tiers = later;
    for old in earlier {
        // A tier is known by its bound; models without tiers have one, without a bound.
        match tiers.iter_mut().find(|tier| tier.up_to == old.up_to) {
            Some(tier) => {
                tier.quantity = Number(sub(tier.quantity.0, old.quantity.0)?);
                tier.flat_fee = Number(sub(tier.flat_fee.0, old.flat_fee.0)?);
                tier.amount = Number(sub(tier.amount.0, old.amount.0)?);
            }
            None => tiers.push(TierCharge {
                quantity: Number(-old.quantity.0),
                flat_fee: Number(-old.flat_fee.0),
                amount: Number(-old.amount.0),
                ..old
            }),
        }
    }
    let nothing =
        |tier: &TierCharge| tier.quantity.0.is_zero() && tier.flat_fee.0.is_zero() && tier.amount.0.is_zero();
    tiers.retain(|tier| !nothing(tier));
    Ok(tiers)
}
