//! The price models, checked: whoever holds a [`Model`] may rate with it.

use serde::{Deserialize, Serialize};

use super::RawModel;
use crate::decimal::Number;

/// How a quantity becomes an amount. All numbers are in units or major units of money, none is negative.
///
/// Read from JSON it is checked except for the digits of its currency: [`RawModel::check`] does that at the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", try_from = "RawModel")]
#[schema(as = PriceModel)]
pub enum Model {
    /// The same whatever the quantity.
    Flat { amount: Number },
    /// Every unit costs the same.
    PerUnit { unit_price: Number },
    /// Each unit at the price of the tier it falls in, plus the flat fee of every tier entered.
    Graduated {
        tiers: Vec<Tier>,
        /// Whether the first tier's flat fee is due at zero usage.
        flat_fee_at_zero: bool,
    },
    /// All units at the price of the tier they reach together, plus its flat fee.
    Volume {
        tiers: Vec<Tier>,
        /// Whether the first tier's flat fee is due at zero usage.
        flat_fee_at_zero: bool,
    },
    /// Units are sold in packages (RULES 25).
    Package { package_size: Number, package_price: Number, free_units: Number, rounding: PackageRounding },
    /// A rate on money that flows, with a fee per event (RULES 26).
    Percentage {
        /// 2.9 for 2.9 %.
        rate: Number,
        fixed_fee: Number,
        free_events: Option<u64>,
        free_amount: Option<Number>,
        min_per_event: Option<Number>,
        max_per_event: Option<Number>,
    },
    /// Each part of the money at the rate of the tier it falls in.
    GraduatedPercentage {
        tiers: Vec<RateTier>,
        /// Whether the first tier's flat fee is due at zero usage.
        flat_fee_at_zero: bool,
    },
    /// Each tier's packages in turn.
    GraduatedPackages { tiers: Vec<PackageTier> },
    /// All units in packages of the tier whose cumulative bound they reach.
    VolumePackages { tiers: Vec<PackageTier> },
    /// The events carry the amount.
    Dynamic { multiplier: Number },
}

/// Units above the tier before and up to `up_to`, inclusive (RULES 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PriceTier)]
pub struct Tier {
    /// None for the last tier.
    pub up_to: Option<Number>,
    pub unit_price: Number,
    pub flat_fee: Number,
}

/// Money above the tier before and up to `up_to`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RateTier {
    /// None for the last tier.
    pub up_to: Option<Number>,
    /// 3 for 3 %.
    pub rate: Number,
    pub flat_fee: Number,
}

/// So many packages of one size at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PackageTier {
    pub package_size: Number,
    /// How many of them; none for as many as needed. The last tier goes on in any case.
    pub packages: Option<Number>,
    pub package_price: Number,
}

/// What happens to a package that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackageRounding {
    /// It is paid in full.
    #[default]
    Up,
    /// Only whole packages are paid.
    Down,
}
