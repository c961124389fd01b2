//! Prices own the models by which a quantity becomes an amount. They know no customers, periods or invoices.

mod charge;
mod fixed;
mod model;
mod package;
mod percentage;
mod raw;
mod tiers;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    arithmetic::{self, Overflow},
    decimal::Number,
    money::MoneyError,
};

pub use charge::{Before, Bucket, Charge, Charges, Terms, charge};
pub use model::{Model, PackageRounding, PackageTier, RateTier, Tier};
pub use raw::{InvalidModel, Kind, RawModel, RawTier, TIERS_MAX};

use percentage::Percentage;
use tiers::{Steps, graduated_packages, volume_packages};

/// What was measured, in the shape in which it is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    /// One quantity.
    Units(Decimal),
    /// The value of each event, in order: percentages price each, the other models their sum.
    Events(Vec<Decimal>),
    /// Units of a stateful metric, in order, with what proration leaves of each.
    Prorated(Vec<ProratedUnits>),
}

/// Units that were there for a part of the period. Full units decide the tier, prorated ones the amount (RULES 28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProratedUnits {
    /// Full units; negative where units were taken away.
    pub quantity: Number,
    /// The same units weighed by the time they were there.
    pub prorated: Number,
}

/// An exact price, before the one rounding at the end of its line (RULES 29), and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// In major units, not rounded, never negative.
    pub exact_amount: Decimal,
    /// The parts that add up to `exact_amount`, unless they add up to less than 0.
    pub tiers: Vec<TierCharge>,
}

/// What one tier contributed: `quantity` × `unit_price` + `flat_fee` = `amount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TierCharge {
    /// The inclusive upper bound, none for the last tier and for models without tiers.
    pub up_to: Option<Number>,
    /// What was priced in this tier: units, packages, or money for percentages.
    pub quantity: Number,
    /// The price of one.
    pub unit_price: Number,
    /// What the tier costs beside its units: its flat fee, or the fees of its events.
    pub flat_fee: Number,
    /// In major units, not rounded.
    pub amount: Number,
}

/// Why a quantity has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    #[error("usage of packages and percentages cannot be prorated")]
    NotProratable,
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// Prices a quantity. A negative one prices as 0 (RULES 21).
pub fn rate(model: &Model, quantity: Decimal) -> Result<Rated, RatingError> {
    rate_measured(model, &Measured::Units(quantity))
}

/// Prices what was measured, event by event or part by part where the model looks at them.
pub fn rate_measured(model: &Model, measured: &Measured) -> Result<Rated, RatingError> {
    let charges = match (model, measured) {
        (Model::Percentage { .. }, Measured::Events(events)) => vec![percentage(model).charge(events)?],
        // Without events, the whole quantity is one.
        (Model::Percentage { .. }, Measured::Units(value)) if value.is_zero() => {
            vec![percentage(model).charge(&[])?]
        }
        (Model::Percentage { .. }, Measured::Units(value)) => vec![percentage(model).charge(&[*value])?],
        (_, Measured::Units(_) | Measured::Events(_)) => {
            rate_units(model, measured.quantity()?.max(Decimal::ZERO))?
        }
        (_, Measured::Prorated(parts)) => {
            if !model.is_proratable() {
                return Err(RatingError::NotProratable);
            }
            rate_parts(model, parts)?
        }
    };
    let sum = arithmetic::sum(charges.iter().map(|tier| tier.amount.0))?;
    Ok(Rated { exact_amount: sum.max(Decimal::ZERO), tiers: charges })
}

fn rate_units(model: &Model, quantity: Decimal) -> Result<Vec<TierCharge>, Overflow> {
    if let Model::Graduated { tiers, flat_fee_at_zero } = model
        && let Some(charges) = fixed::graduated(tiers, *flat_fee_at_zero, quantity)
    {
        return Ok(charges);
    }
    let whole = ProratedUnits { quantity: Number(quantity), prorated: Number(quantity) };
    rate_parts(model, &[whole])
}

fn rate_parts(model: &Model, parts: &[ProratedUnits]) -> Result<Vec<TierCharge>, Overflow> {
    let full = arithmetic::sum(parts.iter().map(|part| part.quantity.0))?.max(Decimal::ZERO);
    let priced = arithmetic::sum(parts.iter().map(|part| part.prorated.0))?.max(Decimal::ZERO);
    let one = |unit_price, flat_fee| Ok(vec![TierCharge::of(None, priced, unit_price, flat_fee)?]);
    match model {
        Model::Flat { amount } => one(Decimal::ZERO, amount.0),
        Model::PerUnit { unit_price } => one(unit_price.0, Decimal::ZERO),
        Model::Dynamic { multiplier } => one(multiplier.0, Decimal::ZERO),
        Model::Graduated { tiers, flat_fee_at_zero } => {
            Steps::of_units(tiers, *flat_fee_at_zero).graduated(parts)
        }
        Model::GraduatedPercentage { tiers, flat_fee_at_zero } => {
            Steps::of_rates(tiers, *flat_fee_at_zero)?.graduated(parts)
        }
        Model::Volume { tiers, flat_fee_at_zero } => {
            Steps::of_units(tiers, *flat_fee_at_zero).volume(full, priced)
        }
        Model::Package { package_size, package_price, free_units, rounding } => {
            let charge = package::package(full, free_units.0, package_size.0, package_price.0, *rounding)?;
            Ok(vec![charge])
        }
        Model::Percentage { .. } => Ok(vec![percentage(model).charge(&[full])?]),
        Model::GraduatedPackages { tiers } => graduated_packages(tiers, full),
        Model::VolumePackages { tiers } => volume_packages(tiers, full),
    }
}

fn percentage(model: &Model) -> Percentage {
    let Model::Percentage { rate, fixed_fee, free_events, free_amount, min_per_event, max_per_event } = model
    else {
        return Percentage::default();
    };
    Percentage {
        rate: rate.0,
        fixed_fee: fixed_fee.0,
        free_events: *free_events,
        free_amount: free_amount.map(|amount| amount.0),
        min_per_event: min_per_event.map(|amount| amount.0),
        max_per_event: max_per_event.map(|amount| amount.0),
    }
}

impl Model {
    /// Whether stateful usage may be priced by the time it was there. Packages and events are never in part.
    pub fn is_proratable(&self) -> bool {
        match self {
            Self::Flat { .. }
            | Self::PerUnit { .. }
            | Self::Graduated { .. }
            | Self::Volume { .. }
            | Self::GraduatedPercentage { .. }
            | Self::Dynamic { .. } => true,
            Self::Package { .. }
            | Self::Percentage { .. }
            | Self::GraduatedPackages { .. }
            | Self::VolumePackages { .. } => false,
        }
    }

    /// Whether it looks at each event, so that it is given [`Measured::Events`]: of a metric with numbers, then.
    pub fn prices_events(&self) -> bool {
        matches!(self, Self::Percentage { .. })
    }
}

impl Measured {
    /// The full units of everything together.
    pub fn quantity(&self) -> Result<Decimal, Overflow> {
        match self {
            Self::Units(quantity) => Ok(*quantity),
            Self::Events(events) => arithmetic::sum(events.iter().copied()),
            Self::Prorated(parts) => arithmetic::sum(parts.iter().map(|part| part.quantity.0)),
        }
    }
}

impl TierCharge {
    fn of(
        up_to: Option<Number>,
        quantity: Decimal,
        unit_price: Decimal,
        flat_fee: Decimal,
    ) -> Result<Self, Overflow> {
        let amount = Number(arithmetic::add(arithmetic::mul(quantity, unit_price)?, flat_fee)?);
        Ok(Self {
            up_to,
            quantity: Number(quantity),
            unit_price: Number(unit_price),
            flat_fee: Number(flat_fee),
            amount,
        })
    }
}

#[cfg(test)]
mod tests;
