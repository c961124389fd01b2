//! What can be sold.

use accrue_core::{
    calendar::Interval,
    decimal::Number,
    id::{FeatureId, MetricId, PlanId, PlanVersionId, PriceId, TaxId, TenantId},
    money::Currency,
    price::Model,
    usage::Aggregation,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

/// How usage events become a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub tenant_id: TenantId,
    pub id: MetricId,
    pub code: String,
    pub name: String,
    /// The events it counts.
    pub event_name: String,
    pub aggregation: Aggregation,
    /// Which property of an event holds the number; none for `count`.
    pub property: Option<String>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Something that a plan gives the right to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub tenant_id: TenantId,
    pub id: FeatureId,
    pub code: String,
    pub name: String,
    pub kind: FeatureKind,
    /// Of a metered feature: what is counted against its limit.
    pub metric_id: Option<MetricId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// How a feature is granted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// On or off.
    Switch,
    /// A number that the seller's product enforces: seats, projects.
    Limit,
    /// An amount of usage for each period.
    Metered,
}

/// A tax that is added to invoices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tax {
    pub tenant_id: TenantId,
    pub id: TaxId,
    pub code: String,
    pub name: String,
    /// 20 for 20 %.
    pub rate: Decimal,
    /// Is it the one that every invoice gets? At most one tax is.
    pub is_default: bool,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// One version of a plan: what subscribers of it pay and get. Never changed once made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    pub tenant_id: TenantId,
    pub plan_id: PlanId,
    pub id: PlanVersionId,
    /// The plan's code and name.
    pub code: String,
    pub name: String,
    pub version: i32,
    pub currency: Currency,
    pub interval: Interval,
    pub trial_days: u16,
    pub prices: Vec<Price>,
    pub features: Vec<PlanFeature>,
    /// The plan's notes and birth, not the version's.
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// One component of what a plan costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub id: PriceId,
    pub code: String,
    pub name: String,
    pub kind: PriceKind,
    pub timing: Timing,
    /// Of a usage price: what is measured.
    pub metric_id: Option<MetricId>,
    pub model: Model,
}

/// What a price's quantity is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PriceKind {
    /// Always one.
    Fixed,
    /// What the subscription's `quantities` say.
    Seat,
    /// What the metric measured in the period.
    Usage,
}

/// When a price is invoiced: before its period, or after.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    Advance,
    Arrears,
}

/// A feature as a plan grants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFeature {
    /// The feature's code.
    #[schema(example = "seats")]
    pub feature: String,
    /// `true` for a switch, a number for a limit or an amount of usage.
    pub value: FeatureValue,
}

/// How much of a feature is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum FeatureValue {
    Switch(bool),
    Amount(Number),
}

impl PlanVersion {
    pub fn price(&self, id: PriceId) -> Option<&Price> {
        self.prices.iter().find(|price| price.id == id)
    }
}
