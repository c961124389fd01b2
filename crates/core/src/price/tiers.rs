//! Rating through tiers of units or of money (RULES 24, 25 and 28).

use super::{PackageRounding, PackageTier, ProratedUnits, RateTier, Tier, TierCharge, package::packages};
use crate::{
    arithmetic::{Overflow, percent_of},
    decimal::Number,
    exact::Exact,
};

/// A tier of any kind: what one unit costs in it, and what entering it costs.
pub(super) struct Step {
    up_to: Option<Number>,
    unit_price: Exact,
    flat_fee: Exact,
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
            unit_price: tier.unit_price.into(),
            flat_fee: tier.flat_fee.into(),
        };
        Self { steps: tiers.iter().map(step).collect(), flat_fee_at_zero }
    }

    /// A rate of 3 % is a price of 0.03 for each unit of money.
    pub(super) fn of_rates(tiers: &[RateTier], flat_fee_at_zero: bool) -> Self {
        let step = |tier: &RateTier| Step {
            up_to: tier.up_to,
            unit_price: percent_of(tier.rate, Exact::ONE),
            flat_fee: tier.flat_fee.into(),
        };
        Self { steps: tiers.iter().map(step).collect(), flat_fee_at_zero }
    }

    /// Each unit at the price of its own tier, plus the flat fee of every tier entered.
    ///
    /// Units come in parts, one after the other: where a part falls is decided by its full units, what it costs by
    /// its prorated ones (RULES 28). A negative part gives back the units on top.
    pub(super) fn graduated(&self, parts: &[ProratedUnits]) -> Result<Vec<TierCharge>, Overflow> {
        let mut spread = Spread::over(&self.steps);
        let (mut at, mut highest) = (Exact::ZERO, Exact::ZERO);
        for part in parts {
            let next = &at + &part.quantity;
            spread.place(at.clone().min(next.clone()), at.max(next.clone()), part)?;
            highest = highest.max(next.clone());
            at = next;
        }
        let mut charges = Vec::new();
        let mut below = Exact::ZERO;
        for (index, (step, quantity)) in self.steps.iter().zip(spread.priced()).enumerate() {
            if index > 0 && highest <= below {
                break;
            }
            let fee = self.fee(index, &highest);
            charges.push(TierCharge::of(step.up_to, quantity, step.unit_price.clone(), fee));
            below = step.up_to.map_or_else(|| highest.clone(), Exact::from);
        }
        Ok(charges)
    }

    /// All units at the price of the tier that `quantity` reaches, plus its flat fee.
    pub(super) fn volume(&self, quantity: &Exact, priced: Exact) -> Vec<TierCharge> {
        let reached = |step: &Step| step.up_to.is_none_or(|bound| *quantity <= bound.into());
        let index = self.steps.iter().position(reached).unwrap_or(self.steps.len() - 1);
        let step = &self.steps[index];
        vec![TierCharge::of(step.up_to, priced, step.unit_price.clone(), self.fee(index, quantity))]
    }

    fn fee(&self, index: usize, quantity: &Exact) -> Exact {
        if index == 0 && *quantity <= Exact::ZERO && !self.flat_fee_at_zero {
            return Exact::ZERO;
        }
        self.steps[index].flat_fee.clone()
    }
}

/// Prorated units on their way into tiers.
///
/// A part that fills a tier is only noted at the first and behind the last one it fills, so that many parts through
/// many tiers cost no more than the two ends of each.
struct Spread {
    /// The upper bounds of all tiers but the last.
    bounds: Vec<Exact>,
    /// Units that fill a tier in part.
    partly: Vec<Exact>,
    /// What is left of one unit, summed over the parts that fill the tier: how much more or less than in the tier below.
    filled: Vec<Exact>,
}

impl Spread {
    fn over(steps: &[Step]) -> Self {
        let bounds: Vec<Exact> = steps.iter().filter_map(|step| step.up_to).map(Exact::from).collect();
        Self { bounds, partly: vec![Exact::ZERO; steps.len()], filled: vec![Exact::ZERO; steps.len()] }
    }

    /// Spreads a part whose full units lie between `low` and `high`. What lies below zero is in no tier.
    fn place(&mut self, low: Exact, high: Exact, part: &ProratedUnits) -> Result<(), Overflow> {
        let low = low.max(Exact::ZERO);
        let last = self.bounds.len();
        if part.quantity.is_zero() {
            let tier = self.bounds.partition_point(|bound| *bound < low).min(last);
            self.partly[tier] += &part.prorated;
            return Ok(());
        }
        if high <= low {
            return Ok(());
        }
        let size = part.quantity.clone().abs();
        let share = |inside: Exact| (&part.prorated * inside).divide(&size);
        let first = self.bounds.partition_point(|bound| *bound <= low).min(last);
        let end = self.bounds.partition_point(|bound| *bound < high).min(last);
        if first == end {
            self.partly[first] += &share(high - low)?;
            return Ok(());
        }
        self.partly[first] += &share(&self.bounds[first] - low)?;
        self.partly[end] += &share(high - &self.bounds[end - 1])?;
        let of_one = share(Exact::ONE)?;
        self.filled[first + 1] += &of_one;
        self.filled[end] += &-of_one;
        Ok(())
    }

    /// The prorated units of each tier.
    fn priced(self) -> Vec<Exact> {
        let mut filling = Exact::ZERO;
        let mut priced = Vec::with_capacity(self.partly.len());
        for (tier, (partly, more)) in self.partly.into_iter().zip(&self.filled).enumerate() {
            filling += more;
            let width = match (tier.checked_sub(1), self.bounds.get(tier)) {
                (Some(below), Some(bound)) => bound - &self.bounds[below],
                _ => Exact::ZERO,
            };
            priced.push(partly + &filling * width);
        }
        priced
    }
}

/// Each tier's packages in turn. The last tier goes on for what is left.
pub(super) fn graduated_packages(tiers: &[PackageTier], units: Exact) -> Result<Vec<TierCharge>, Overflow> {
    let mut charges = Vec::new();
    let mut left = units;
    let mut bound = Exact::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        if index > 0 && left <= Exact::ZERO {
            break;
        }
        let capacity = capacity(tier, index + 1 == tiers.len());
        let here = capacity.clone().map_or(left.clone(), |capacity| left.clone().min(capacity));
        let up_to = next_bound(&mut bound, capacity)?;
        charges.push(charge(tier, up_to, &here)?);
        left = left - here;
    }
    Ok(charges)
}

/// All units in packages of the first tier whose cumulative bound holds them.
pub(super) fn volume_packages(tiers: &[PackageTier], units: &Exact) -> Result<Vec<TierCharge>, Overflow> {
    let mut bound = Exact::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        let up_to = next_bound(&mut bound, capacity(tier, index + 1 == tiers.len()))?;
        if up_to.is_none() || *units <= bound {
            return Ok(vec![charge(tier, up_to, units)?]);
        }
    }
    Ok(Vec::new())
}

fn charge(tier: &PackageTier, up_to: Option<Number>, units: &Exact) -> Result<TierCharge, Overflow> {
    let packages = packages(units, tier.package_size, PackageRounding::Up)?;
    Ok(TierCharge::of(up_to, packages, tier.package_price.into(), Exact::ZERO))
}

/// How many units a tier's packages hold; none where it goes on for ever.
fn capacity(tier: &PackageTier, last: bool) -> Option<Exact> {
    let packages = tier.packages.filter(|_| !last)?;
    Some(Exact::from(tier.package_size) * Exact::from(packages))
}

/// Moves the bound by the capacity of the next tier; none if that has none.
fn next_bound(bound: &mut Exact, capacity: Option<Exact>) -> Result<Option<Number>, Overflow> {
    let Some(capacity) = capacity else { return Ok(None) };
    *bound += &capacity;
    Ok(Some(Number(bound.to_decimal()?)))
}
