//! From rated quantities to charges: free units, discount, cap, what was already billed, minimum (RULES 27 and 28).

use rust_decimal::Decimal;

use super::{Measured, Model, ProratedUnits, RatingError, TierCharge, rate_measured};
use crate::{
    arithmetic::{Overflow, percent_of},
    exact::Exact,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Units that were rated before the new ones, if any were: 0 of them may have had their price too.
    pub quantity: Option<Exact>,
    /// Major units billed for them; none for their exact price.
    pub billed: Option<Exact>,
}

impl Before {
    fn units(&self) -> Exact {
        self.quantity.clone().unwrap_or_default()
    }
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
    pub exact_amount: Exact,
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
    let everything = |bucket: &Bucket| after(&bucket.before.units(), &bucket.measured);
    let everything = terms.price(buckets, everything)?;
    let earlier = terms.price(buckets, |bucket| Measured::Units(bucket.before.units()))?;

    let mut charges = Vec::with_capacity(buckets.len());
    let mut spent = Money::zero(currency);
    for ((bucket, now), earlier) in buckets.iter().zip(everything).zip(earlier) {
        let earlier = if bucket.before.quantity.is_none() { Priced::default() } else { earlier };
        let exact_amount = &now.total - bucket.before.billed.as_ref().unwrap_or(&earlier.total);
        spent = spent.checked_add(Money::round(now.total, currency)?)?;
        let amount = Money::round(&exact_amount, currency)?;
        let tiers = difference(now.tiers, earlier.tiers);
        exact_amount.check()?;
        charges.push(Charge { exact_amount, amount, tiers });
    }
    let missing = terms.minimum.unwrap_or(Money::zero(currency)).checked_sub(spent)?;
    let true_up = if missing.is_negative() { Money::zero(currency) } else { missing };
    Ok(Charges { buckets: charges, true_up })
}

/// The price of a bucket after free units, discount and cap.
#[derive(Default)]
struct Priced {
    total: Exact,
    tiers: Vec<TierCharge>,
}

impl Terms {
    /// Prices each bucket: free units first, then the model, the discount, the cap (RULES 28).
    fn price(
        &self,
        buckets: &[Bucket],
        measured: impl Fn(&Bucket) -> Measured,
    ) -> Result<Vec<Priced>, RatingError> {
        let mut free = Exact::from(self.free_quantity.max(Decimal::ZERO));
        let mut cap = self.maximum.map(|maximum| Exact::from(maximum.to_decimal()));
        let mut priced = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            let paid = measured(bucket).without_first(&mut free)?;
            let rated = rate_measured(bucket.model, &paid)?;
            let discount = percent_of(self.discount_percent, &rated.exact_amount);
            let discounted = rated.exact_amount - discount;
            let total = cap.clone().map_or(discounted.clone(), |cap| discounted.min(cap));
            cap = cap.map(|cap| cap - &total);
            priced.push(Priced { total, tiers: rated.tiers });
        }
        Ok(priced)
    }
}

/// Everything measured in the period: the units before, then the new ones.
fn after(before: &Exact, measured: &Measured) -> Measured {
    if *before <= Exact::ZERO {
        return measured.clone();
    }
    match measured {
        Measured::Units(quantity) => Measured::Units(before + quantity),
        Measured::Events(events) => Measured::Events([before].into_iter().chain(events).cloned().collect()),
        Measured::Prorated(parts) => {
            let first = ProratedUnits { quantity: before.clone(), prorated: before.clone() };
            Measured::Prorated([&first].into_iter().chain(parts).cloned().collect())
        }
    }
}

impl Measured {
    /// What is left when the first units are free. Takes them off what is free.
    fn without_first(self, free: &mut Exact) -> Result<Self, Overflow> {
        if free.is_zero() {
            return Ok(self);
        }
        // Units that were taken away again neither use up nor return what is free.
        let mut paid_of = |quantity: Exact| {
            let covered = free.clone().min(quantity.clone()).max(Exact::ZERO);
            *free = &*free - &covered;
            quantity - covered
        };
        Ok(match self {
            Self::Units(quantity) => Self::Units(paid_of(quantity)),
            Self::Events(events) => {
                let mut paid = Vec::with_capacity(events.len());
                for value in events {
                    let nothing = value.is_zero();
                    let rest = paid_of(value);
                    if nothing || !rest.is_zero() {
                        paid.push(rest);
                    }
                }
                Self::Events(paid)
            }
            Self::Prorated(parts) => {
                let mut paid = Vec::with_capacity(parts.len());
                for ProratedUnits { quantity: full, prorated } in parts {
                    let quantity = paid_of(full.clone());
                    let prorated =
                        if full.is_zero() { prorated } else { (prorated * &quantity).divide(&full)? };
                    paid.push(ProratedUnits { quantity, prorated });
                }
                Self::Prorated(paid)
            }
        })
    }
}

/// Tier by tier, the later price less the earlier one: the sums differ by what came on top.
fn difference(later: Vec<TierCharge>, earlier: Vec<TierCharge>) -> Vec<TierCharge> {
    if earlier.is_empty() {
        return later;
    }
    let mut tiers = later;
    for old in earlier {
        // A tier is known by its bound; models without tiers have one, without a bound.
        match tiers.iter_mut().find(|tier| tier.up_to == old.up_to) {
            Some(tier) => {
                tier.quantity = &tier.quantity - old.quantity;
                tier.flat_fee = &tier.flat_fee - old.flat_fee;
                tier.amount = &tier.amount - old.amount;
            }
            None => tiers.push(TierCharge {
                quantity: -old.quantity,
                flat_fee: -old.flat_fee,
                amount: -old.amount,
                ..old
            }),
        }
    }
    let is_something = |tier: &TierCharge| {
        [&tier.quantity, &tier.flat_fee, &tier.amount].iter().any(|number| !number.is_zero())
    };
    tiers.retain(is_something);
    tiers
}
