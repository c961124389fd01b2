//! What an invoice is.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, InvoiceLineId, PriceId, SubscriptionId, TenantId, TestClockId},
    money::{Currency, Money},
    price::TierCharge,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use crate::subscriptions::Collection;

/// What is owed. Immutable once it is open, but for what is paid (RULES 36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    pub tenant_id: TenantId,
    pub id: InvoiceId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub subscription_id: Option<SubscriptionId>,
    pub number: Option<String>,
    pub status: InvoiceStatus,
    pub reason: Reason,
    pub collection: Collection,
    pub currency: Currency,
    pub period: Period,
    pub lines: Vec<Line>,
    pub subtotal: Money,
    pub discount_total: Money,
    pub tax_total: Money,
    pub total: Money,
    pub amount_paid: Money,
    /// Copies taken when it was finalized.
    pub issuer: PartyCopy,
    pub customer: PartyCopy,
    pub taxes: Vec<TaxRow>,
    pub issued_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub paid_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// A line of an invoice: one price in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: InvoiceLineId,
    pub subscription_id: Option<SubscriptionId>,
    pub price_id: Option<PriceId>,
    /// `fixed`, `seat`, `usage`.
    pub kind: String,
    pub description: String,
    pub period: Period,
    pub quantity: Decimal,
    /// Of prices that have just one.
    pub unit_price: Option<Decimal>,
    /// Before its one rounding (RULES 29).
    pub exact_amount: Decimal,
    pub amount: Money,
    pub tax: Money,
    /// `{"numerator":15,"denominator":30}` of a short period.
    pub proration: Option<accrue_core::proration::Fraction>,
    /// How the amount came about, tier by tier.
    pub tiers: Vec<TierCharge>,
}

/// Who issued or got the invoice, as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartyCopy {
    pub name: String,
    pub address: Vec<String>,
    pub tax_number: Option<String>,
    pub email: Option<String>,
    /// IANA: dates are printed in the issuer's zone.
    pub timezone: Option<String>,
    pub locale: Option<String>,
}

/// A tax of the invoice as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxRow {
    pub name: String,
    /// 20 for 20 %.
    pub rate: Decimal,
    pub base_minor: i64,
    pub amount_minor: i64,
}

/// Where an invoice is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

/// Why there is an invoice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A subscription began.
    Create,
    /// A period ended, the next began.
    Cycle,
    /// A subscription ended.
    Cancel,
}

impl Invoice {
    /// What is left to pay.
    pub fn amount_due(&self) -> Money {
        self.total.checked_sub(self.amount_paid).expect("one currency, and never more paid than owed")
    }
}
