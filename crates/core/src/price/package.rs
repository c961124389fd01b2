//! Packages: units that are sold by the hundred (RULES 25).

use super::PackageRounding;
use crate::{
    arithmetic::Overflow,
    decimal::Number,
    exact::{Exact, Toward},
};

/// How many packages hold the units, or are full of them.
pub(super) fn packages(units: &Exact, size: Number, rounding: PackageRounding) -> Result<Exact, Overflow> {
    let toward = match rounding {
        PackageRounding::Up => Toward::Infinity,
        PackageRounding::Down => Toward::MinusInfinity,
    };
    Ok(units.divide(&size.into())?.round(0, toward))
}
