//! From rated quantities to charges: free units, discount, cap, what was already billed, minimum (RULES 27 and 28).

use rust_decimal::Decimal;

use super::{Measured, Model, ProratedUnits, RatingError, TierCharge, rate_measured};
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

/// Usage that is priced apart: what one filter, or none, matched, for one value of the group's properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket<'a> {
    /// The filter's model, or the price's own.
    pub model: &'a Model,
    pub before: Before,
    pub measured: Measured,
}

/// What a bucket costs for a period, or for what came on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Price of everything, capped, less what was billed. Negative where more was billed than it costs now.
    pub exact_amount: Decimal,
    /// The same, rounded once.
    pub amount: Money,
    /// Tier by tier, what came on top of the price of the units rated before. Before discount and cap.
    pub tiers: Vec<TierCharge>,
}

/// What a price costs, one line per bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charges {
    /// In the order of the buckets.
    pub buckets: Vec<Charge>,
    /// What is missing to the minimum, for a line of its own.
    pub true_up: Money,
}

/// Prices what came on top of each bucket, so that tiers are crossed, fees paid and caps reached once per period.
///
/// Free units, minimum and maximum are the price's: buckets share them, the first ones first.
pub fn charge(buckets: &[Bucket], terms: &Terms, currency: Currency) -> Result<Charges, RatingError> {
    let everything = |bucket: &Bucket| after(bucket.before.quantity, &bucket.measured);
    let everything = terms.price(buckets, everything)?;
    let earlier = terms.price(buckets, |bucket| Ok(Measured::Units(bucket.before.quantity)))?;

    let mut charges = Vec::with_capacity(buckets.len());
    let mut spent = Money::zero(currency);
    for ((bucket, now), earlier) in buckets.iter().zip(everything).zip(earlier) {
        let nothing_before = bucket.before.quantity <= Decimal::ZERO;
        let earlier = if nothing_before { Priced::default() } else { earlier };
        let exact_amount = sub(now.total, bucket.before.billed.unwrap_or(earlier.total))?;
        spent = spent.checked_add(Money::round(now.total, currency)?)?;
        charges.push(Charge {
            exact_amount,
            amount: Money::round(exact_amount, currency)?,
            tiers: difference(now.tiers, earlier.tiers)?,
        });
    }
    let missing = terms.minimum.unwrap_or(Money::zero(currency)).checked_sub(spent)?;
    let true_up = if missing.is_negative() { Money::zero(currency) } else { missing };
    Ok(Charges { buckets: charges, true_up })
}

/// The price of a bucket after free units, discount and cap.
#[derive(Default)]
struct Priced {
    total: Decimal,
    tiers: Vec<TierCharge>,
}

impl Terms {
    /// Prices each bucket: free units first, then the model, the discount, the cap (RULES 28).
    fn price(
        &self,
        buckets: &[Bucket],
        measured: impl Fn(&Bucket) -> Result<Measured, Overflow>,
    ) -> Result<Vec<Priced>, RatingError> {
        let mut free = self.free_quantity.max(Decimal::ZERO);
        let mut cap = self.maximum.map(Money::to_decimal);
        let mut priced = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            let paid = measured(bucket)?.without_first(&mut free)?;
            let rated = rate_measured(bucket.model, &paid)?;
            let discounted = sub(rated.exact_amount, percent_of(self.discount_percent, rated.exact_amount)?)?;
            let total = cap.map_or(discounted, |cap| discounted.min(cap));
            cap = cap.map(|cap| sub(cap, total)).transpose()?;
            priced.push(Priced { total, tiers: rated.tiers });
        }
        Ok(priced)
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
    /// What is left when the first units are free. Takes them off what is free.
    fn without_first(self, free: &mut Decimal) -> Result<Self, Overflow> {
        if free.is_zero() {
            return Ok(self);
        }
        // Units that were taken away again neither use up nor return what is free.
        let mut paid_of = |quantity: Decimal| -> Result<Decimal, Overflow> {
            let covered = (*free).min(quantity).max(Decimal::ZERO);
            *free = sub(*free, covered)?;
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
