//! Packages: units that are sold by the hundred (RULES 25).

use rust_decimal::Decimal;

use super::{PackageRounding, TierCharge};
use crate::arithmetic::{Overflow, add, div, sub};

/// The charge for the packages that hold the units above the free ones.
pub(super) fn package(
    units: Decimal,
    free: Decimal,
    size: Decimal,
    price: Decimal,
    rounding: PackageRounding,
) -> Result<TierCharge, Overflow> {
    let paid = sub(units, free)?.max(Decimal::ZERO);
    let packages = match rounding {
        PackageRounding::Up => packages_for(paid, size)?,
        PackageRounding::Down => whole_packages(paid, size)?.0,
    };
    TierCharge::of(None, packages, price, Decimal::ZERO)
}

/// As many packages as hold all units: the last one may be begun.
pub(super) fn packages_for(units: Decimal, size: Decimal) -> Result<Decimal, Overflow> {
    let (whole, rest) = whole_packages(units, size)?;
    if rest.is_zero() { Ok(whole) } else { add(whole, Decimal::ONE) }
}

/// Whole packages and the units left over. By remainder, because a rounded quotient could round up to a package.
fn whole_packages(units: Decimal, size: Decimal) -> Result<(Decimal, Decimal), Overflow> {
    let rest = units.checked_rem(size).ok_or(Overflow)?;
    Ok((div(sub(units, rest)?, size)?.round(), rest))
}
