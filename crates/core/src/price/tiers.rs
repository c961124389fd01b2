//! Rating through tiers of units or of money (RULES 24, 25 and 28).

use rust_decimal::Decimal;

use super::{PackageTier, ProratedUnits, RateTier, Tier, TierCharge, package::packages_for};
use crate::{
    arithmetic::{Overflow, add, div, mul, sub},
    decimal::Number,
};

/// A tier of any kind: what one unit costs in it, and what entering it costs.
#[derive(Clone, Copy)]
pub(super) struct Step {
    up_to: Option<Number>,
    unit_price: Decimal,
    flat_fee: Decimal,
}

/// The steps of a model in ascending order, the last one open.
pub(super) struct Steps {
    steps: Vec<Step>,
    flat_fee_at_zero: bool,
}

impl Steps {
    pub(super) fn of_units(tiers: &[Tier], flat_fee_at_zero: bool) -> Self {
        let step = |tier: &Tier| Step {
            up_to: tier.up_to,
            unit_price: tier.unit_price.0,
            flat_fee: tier.flat_fee.0,
        };
        Self { steps: tiers.iter().map(step).collect(), flat_fee_at_zero }
    }

    /// A rate of 3 % is a price of 0.03 for each unit of money.
    pub(super) fn of_rates(tiers: &[RateTier], flat_fee_at_zero: bool) -> Result<Self, Overflow> {
        let step = |tier: &RateTier| {
            let unit_price = div(tier.rate.0, Decimal::ONE_HUNDRED)?;
            Ok(Step { up_to: tier.up_to, unit_price, flat_fee: tier.flat_fee.0 })
        };
        let steps = tiers.iter().map(step).collect::<Result<_, Overflow>>()?;
        Ok(Self { steps, flat_fee_at_zero })
    }

    /// Each unit at the price of its own tier, plus the flat fee of every tier entered.
    ///
    /// Units come in parts, one after the other: where a part falls is decided by its full units, what it costs by
    /// its prorated ones (RULES 28). A negative part gives back the units on top.
    pub(super) fn graduated(&self, parts: &[ProratedUnits]) -> Result<Vec<TierCharge>, Overflow> {
        let mut priced = vec![Decimal::ZERO; self.steps.len()];
        let (mut at, mut highest) = (Decimal::ZERO, Decimal::ZERO);
        for part in parts {
            let next = add(at, part.quantity.0)?;
            highest = highest.max(next);
            self.place(at.min(next), at.max(next), part, &mut priced)?;
            at = next;
        }
        let mut charges = Vec::new();
        let mut below = Decimal::ZERO;
        for (index, (step, quantity)) in self.steps.iter().zip(priced).enumerate() {
            if index > 0 && highest <= below {
                break;
            }
            let fee = self.fee(index, highest);
            charges.push(TierCharge::of(step.up_to, quantity, step.unit_price, fee)?);
            below = step.up_to.map_or(highest, |bound| bound.0);
        }
        Ok(charges)
    }

    /// Spreads the prorated units of a part over the tiers its full units lie in, between `low` and `high`.
    fn place(
        &self,
        low: Decimal,
        high: Decimal,
        part: &ProratedUnits,
        priced: &mut [Decimal],
    ) -> Result<(), Overflow> {
        let mut below = Decimal::ZERO;
        for (step, priced) in self.steps.iter().zip(priced) {
            let bound = step.up_to.map_or(high, |bound| bound.0);
            if part.quantity.0.is_zero() {
                if step.up_to.is_none_or(|bound| low <= bound.0) {
                    *priced = add(*priced, part.prorated.0)?;
                    return Ok(());
                }
            } else {
                let inside = sub(high.min(bound), low.max(below))?;
                if inside > Decimal::ZERO {
                    *priced = add(*priced, share(part, inside)?)?;
                }
            }
            below = bound;
        }
        Ok(())
    }

    /// All units at the price of the tier that `quantity` reaches, plus its flat fee.
    pub(super) fn volume(&self, quantity: Decimal, priced: Decimal) -> Result<Vec<TierCharge>, Overflow> {
        let reached = |step: &&Step| step.up_to.is_none_or(|bound| quantity <= bound.0);
        let index = self.steps.iter().position(|step| reached(&step)).unwrap_or(self.steps.len() - 1);
        let step = self.steps[index];
        Ok(vec![TierCharge::of(step.up_to, priced, step.unit_price, self.fee(index, quantity))?])
    }

    fn fee(&self, index: usize, quantity: Decimal) -> Decimal {
        if index == 0 && quantity <= Decimal::ZERO && !self.flat_fee_at_zero {
            return Decimal::ZERO;
        }
        self.steps[index].flat_fee
    }
}

/// The prorated units that belong to `inside` of a part's full units.
fn share(part: &ProratedUnits, inside: Decimal) -> Result<Decimal, Overflow> {
    let size = part.quantity.0.abs();
    if inside == size {
        return Ok(part.prorated.0);
    }
    if part.prorated == part.quantity {
        return Ok(if part.quantity.0.is_sign_negative() { -inside } else { inside });
    }
    div(mul(part.prorated.0, inside)?, size)
}

/// Each tier's packages in turn. The last tier goes on for what is left.
pub(super) fn graduated_packages(tiers: &[PackageTier], units: Decimal) -> Result<Vec<TierCharge>, Overflow> {
    let mut charges = Vec::new();
    let mut left = units;
    let mut bound = Decimal::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        if index > 0 && left <= Decimal::ZERO {
            break;
        }
        let capacity = capacity(tier, index + 1 == tiers.len())?;
        let here = capacity.map_or(left, |capacity| left.min(capacity));
        let packages = packages_for(here, tier.package_size.0)?;
        bound = add(bound, capacity.unwrap_or_default())?;
        let up_to = capacity.map(|_| Number(bound));
        charges.push(TierCharge::of(up_to, packages, tier.package_price.0, Decimal::ZERO)?);
        left = sub(left, here)?;
    }
    Ok(charges)
}

/// All units in packages of the first tier whose cumulative bound holds them.
pub(super) fn volume_packages(tiers: &[PackageTier], units: Decimal) -> Result<Vec<TierCharge>, Overflow> {
    let mut bound = Decimal::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        let capacity = capacity(tier, index + 1 == tiers.len())?;
        bound = add(bound, capacity.unwrap_or_default())?;
        if capacity.is_none() || units <= bound {
            let packages = packages_for(units, tier.package_size.0)?;
            let up_to = capacity.map(|_| Number(bound));
            return Ok(vec![TierCharge::of(up_to, packages, tier.package_price.0, Decimal::ZERO)?]);
        }
    }
    Ok(Vec::new())
}

/// How many units a tier's packages hold; none where it goes on for ever.
fn capacity(tier: &PackageTier, last: bool) -> Result<Option<Decimal>, Overflow> {
    match tier.packages {
        Some(packages) if !last => mul(tier.package_size.0, packages.0).map(Some),
        _ => Ok(None),
    }
}
