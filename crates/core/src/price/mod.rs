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

use crate::{arithmetic::Overflow, decimal::Number, exact::Exact, money::MoneyError};

pub use charge::{Before, Bucket, Charge, Charges, Terms, charge};
pub use model::{Model, PackageRounding, PackageTier, RateTier, Tier};
pub use raw::{InvalidModel, Kind, RawModel, RawTier, TIERS_MAX};

use percentage::Percentage;
use tiers::{Steps, graduated_packages, volume_packages};

/// What was measured, in the shape in which it is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    /// One quantity.
    Units(Exact),
    /// The value of each event, in order: percentages price each, the other models their sum.
    Events(Vec<Exact>),
    /// Units of a stateful metric, in order, with what proration leaves of each.
    Prorated(Vec<ProratedUnits>),
}

/// Units that were there for a part of the period. Full units decide the tier, prorated ones the amount (RULES 28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProratedUnits {
    /// Full units; negative where units were taken away.
    pub quantity: Exact,
    /// The same units weighed by the time they were there.
    pub prorated: Exact,
}

/// An exact price, before the one rounding at the end of its line (RULES 29), and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// In major units, not rounded, never negative.
    pub exact_amount: Exact,
    /// The parts that add up to `exact_amount`.
    pub tiers: Vec<TierCharge>,
}

/// What one tier contributed: `quantity` × `unit_price` + `flat_fee` = `amount`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TierCharge {
    /// The inclusive upper bound, none for the last tier and for models without tiers.
    pub up_to: Option<Number>,
    /// What was priced in this tier: units, packages, or money for percentages.
    pub quantity: Exact,
    /// The price of one.
    pub unit_price: Exact,
    /// What the tier costs beside its units: its flat fee, or the fees of its events.
    pub flat_fee: Exact,
    /// In major units, not rounded.
    pub amount: Exact,
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
pub fn rate(model: &Model, quantity: impl Into<Exact>) -> Result<Rated, RatingError> {
    rate_measured(model, &Measured::Units(quantity.into()))
}

/// Prices what was measured, event by event or part by part where the model looks at them.
pub fn rate_measured(model: &Model, measured: &Measured) -> Result<Rated, RatingError> {
    if let Some(charges) = graduated_in_whole_numbers(model, measured) {
        return Ok(Rated { exact_amount: charges.iter().map(|tier| &tier.amount).sum(), tiers: charges });
    }
    let charges = match (model, measured) {
        (Model::Percentage { .. }, Measured::Events(events)) => vec![percentage(model).charge(events)],
        // Without events, the whole quantity is one.
        (Model::Percentage { .. }, Measured::Units(value)) if value.is_zero() || value.is_negative() => {
            vec![percentage(model).charge(&[])]
        }
        (Model::Percentage { .. }, Measured::Units(value)) => {
            vec![percentage(model).charge(std::slice::from_ref(value))]
        }
        (_, Measured::Units(_) | Measured::Events(_)) => {
            let quantity = measured.quantity().max(Exact::ZERO);
            rate_parts(model, &[ProratedUnits { quantity: quantity.clone(), prorated: quantity }])?
        }
        (_, Measured::Prorated(parts)) => {
            if !model.is_proratable() {
                return Err(RatingError::NotProratable);
            }
            rate_parts(model, parts)?
        }
    };
    charges.iter().try_for_each(TierCharge::check)?;
    let sum: Exact = charges.iter().map(|tier| &tier.amount).sum();
    if sum.is_negative() {
        // RULES 21: so do its parts.
        let tiers = charges.into_iter().map(TierCharge::of_nothing).collect();
        return Ok(Rated { exact_amount: Exact::ZERO, tiers });
    }
    Ok(Rated { exact_amount: sum, tiers: charges })
}

/// The usual case, in a third of the time.
fn graduated_in_whole_numbers(model: &Model, measured: &Measured) -> Option<Vec<TierCharge>> {
    let (Model::Graduated { tiers, flat_fee_at_zero }, Measured::Units(quantity)) = (model, measured) else {
        return None;
    };
    fixed::graduated(tiers, *flat_fee_at_zero, quantity.as_decimal()?.max(Decimal::ZERO))
}

fn rate_parts(model: &Model, parts: &[ProratedUnits]) -> Result<Vec<TierCharge>, Overflow> {
    let full = parts.iter().map(|part| &part.quantity).sum::<Exact>().max(Exact::ZERO);
    let priced = parts.iter().map(|part| &part.prorated).sum::<Exact>().max(Exact::ZERO);
    let one = |unit_price: Number, flat_fee: Number| {
        Ok(vec![TierCharge::of(None, priced.clone(), unit_price.into(), flat_fee.into())])
    };
    match model {
        Model::Flat { amount } => one(Number::default(), *amount),
        Model::PerUnit { unit_price } => one(*unit_price, Number::default()),
        Model::Dynamic { multiplier } => one(*multiplier, Number::default()),
        Model::Graduated { tiers, flat_fee_at_zero } => {
            Steps::of_units(tiers, *flat_fee_at_zero).graduated(parts)
        }
        Model::GraduatedPercentage { tiers, flat_fee_at_zero } => {
            Steps::of_rates(tiers, *flat_fee_at_zero).graduated(parts)
        }
        Model::Volume { tiers, flat_fee_at_zero } => {
            Ok(Steps::of_units(tiers, *flat_fee_at_zero).volume(&full, priced))
        }
        Model::Package { package_size, package_price, free_units, rounding } => {
            let paid = (full - Exact::from(*free_units)).max(Exact::ZERO);
            let packages = package::packages(&paid, *package_size, *rounding)?;
            Ok(vec![TierCharge::of(None, packages, (*package_price).into(), Exact::ZERO)])
        }
        Model::Percentage { .. } => Ok(vec![percentage(model).charge(&[full])]),
        Model::GraduatedPackages { tiers } => graduated_packages(tiers, full),
        Model::VolumePackages { tiers } => volume_packages(tiers, &full),
    }
}

fn percentage(model: &Model) -> Percentage {
    let Model::Percentage { rate, fixed_fee, free_events, free_amount, min_per_event, max_per_event } = model
    else {
        return Percentage::default();
    };
    Percentage {
        rate: rate.0,
        fixed_fee: (*fixed_fee).into(),
        free_events: *free_events,
        free_amount: free_amount.map(Exact::from),
        min_per_event: min_per_event.map(Exact::from),
        max_per_event: max_per_event.map(Exact::from),
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
    pub fn quantity(&self) -> Exact {
        match self {
            Self::Units(quantity) => quantity.clone(),
            Self::Events(events) => events.iter().sum(),
            Self::Prorated(parts) => parts.iter().map(|part| &part.quantity).sum(),
        }
    }
}

impl TierCharge {
    fn of(up_to: Option<Number>, quantity: Exact, unit_price: Exact, flat_fee: Exact) -> Self {
        let amount = &quantity * &unit_price + &flat_fee;
        Self { up_to, quantity, unit_price, flat_fee, amount }
    }

    /// The tier with nothing in it.
    fn of_nothing(self) -> Self {
        Self { quantity: Exact::ZERO, flat_fee: Exact::ZERO, amount: Exact::ZERO, ..self }
    }

    /// Whether each of its numbers can be told.
    fn check(&self) -> Result<(), Overflow> {
        let numbers = [&self.quantity, &self.unit_price, &self.flat_fee, &self.amount];
        numbers.into_iter().try_for_each(Exact::check)
    }
}

#[cfg(test)]
mod tests;
