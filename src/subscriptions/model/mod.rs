//! The life of a subscription.

mod create;
mod cycle;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{Alignment, Interval, Period},
    decimal::Number,
    id::{CustomerId, PlanId, PlanVersionId, SubscriptionId, TenantId, TestClockId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

pub use create::Wanted;
pub use cycle::Outcome;
pub use status::{Event, Status};

/// Who has which plan since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub tenant_id: TenantId,
    pub id: SubscriptionId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub external_id: Option<String>,
    pub plan_id: PlanId,
    pub plan_version_id: PlanVersionId,
    pub status: Status,
    pub currency: Currency,
    /// The zone of its calendar work, fixed when it was made.
    pub timezone: Tz,
    pub alignment: Alignment,
    pub interval: Interval,
    /// Where the grid of periods hangs (RULES 1): the start, or the end of the trial.
    pub anchor_at: DateTime<Utc>,
    pub start_at: DateTime<Utc>,
    pub trial_end_at: Option<DateTime<Utc>>,
    /// The running period; before the start the first one, in a trial the trial.
    pub period: Period,
    /// What the customer may use, as far as payment decides it. Dunning sets it.
    pub access: Access,
    /// Of each seat price, by its code.
    pub quantities: BTreeMap<String, Number>,
    pub collection: Collection,
    pub net_terms_days: u16,
    /// As soon as usage of the running period that is on no invoice comes to this, it is billed.
    pub progressive_billing_threshold: Option<Money>,
    /// It ends here; the running period is then cut short.
    pub cancel_at: Option<DateTime<Utc>>,
    /// When somebody asked for the end.
    pub canceled_at: Option<DateTime<Utc>>,
    /// Why somebody did; none of one that just reaches the end it was given.
    pub cancel_reason: Option<CancelReason>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The next turn of the cycle that is not billed yet: the period's start until that is billed, then its
    /// end. `None` once everything is billed.
    pub next_due_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// What may be used, as far as payment decides it (RULES 49).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Full,
    /// Payment failed, but everything still works.
    Grace,
    Restricted,
}

/// How invoices are collected.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    /// The default payment method is charged.
    Automatic,
    /// The customer gets the invoice and pays it.
    SendInvoice,
}

/// Why a subscription was canceled.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Somebody asked for it.
    Requested,
    /// Its invoices stayed unpaid.
    Unpaid,
}

/// When a subscription that is canceled ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelWhen {
    Now,
    /// At the end of the running period, or of the trial: what was paid for can be used up.
    #[default]
    PeriodEnd,
}

/// One turn of the billing cycle: what is billed at an instant. Made by [`Subscription::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub at: DateTime<Utc>,
    /// The period that ends: its arrears are due (usage of it, and fees in arrears).
    pub closes: Option<Period>,
    /// Was it a trial? Then fixed and seat prices cost nothing in it (RULES 13).
    pub closes_trial: bool,
    /// The period that begins: its fees in advance are due, unless it is a trial.
    pub opens: Option<Period>,
    pub opens_trial: bool,
    /// The full nominal period of the grid around what closes and opens: short periods are prorated by it.
    pub closes_full: Option<Period>,
    pub opens_full: Option<Period>,
    /// Is it the last one?
    pub ends: bool,
}
