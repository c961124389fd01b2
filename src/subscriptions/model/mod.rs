//! The life of a subscription.

mod change;
mod create;
mod cycle;
mod ends;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{Alignment, Interval, Period},
    decimal::Number,
    id::{CustomerId, PlanId, PlanVersionId, SubscriptionId, TenantId, TestClockId},
    money::{Currency, Money},
    proration::Basis,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

pub use change::{Anchor, Change, Phase, Refused, Scheduled, Step, UsageInPause};
pub use create::Wanted;
pub use ends::Outcome;
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
    /// Whether a turn has billed the beginning of `period`.
    pub opened: bool,
    /// Since when it has this version of its plan and this grid, and has not been paused without usage: usage before it
    /// was billed by the phase before (RULES 14).
    pub phase_from: DateTime<Utc>,
    /// Since when fees are these: within the running period, the start of what is billed for them.
    pub fees_from: DateTime<Utc>,
    /// Up to where fees in advance are billed.
    pub fees_until: DateTime<Utc>,
    /// How a part of a period is measured that begins at `fees_from`.
    pub fees_basis: Basis,
    /// How often something was changed within a period: each has invoices of its own (P1).
    pub changes: i32,
    /// What will be changed, by itself.
    pub scheduled: Option<Scheduled>,
    /// Of one that is paused: what becomes of its usage.
    pub usage_in_pause: Option<UsageInPause>,
    /// What the customer may use, as far as payment decides it. Dunning sets it.
    pub access: Access,
    /// Of each seat price, by its code.
    pub quantities: BTreeMap<String, Number>,
    pub collection: Collection,
    pub net_terms_days: u16,
    /// As soon as usage of the running period that is on no invoice comes to this, it is billed.
    pub progressive_billing_threshold: Option<Money>,
    /// The end that it was given when it was made.
    pub ends_at: Option<DateTime<Utc>>,
    /// It ends here; the running period is then cut short.
    pub cancel_at: Option<DateTime<Utc>>,
    /// When somebody asked for the end.
    pub canceled_at: Option<DateTime<Utc>>,
    /// Why somebody did; none of one that just reaches the end it was given.
    pub cancel_reason: Option<CancelReason>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The next turn of the cycle that is not billed yet: the period's start until that is billed, then its
    /// end, or what is scheduled before it. `None` once everything is billed.
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

/// When something shall be done: `now`, `period_end`, or an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum When {
    Now,
    /// At the end of the running period, or of the trial: what was paid for can be used up.
    #[default]
    PeriodEnd,
    At(DateTime<Utc>),
}

impl TryFrom<String> for When {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "now" => Ok(Self::Now),
            "period_end" => Ok(Self::PeriodEnd),
            instant => instant
                .parse()
                .map(Self::At)
                .map_err(|_| "is now, period_end or an instant such as 2026-05-01T00:00:00Z"),
        }
    }
}

/// One turn of the billing cycle: what is billed at an instant. Made by [`Subscription::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub at: DateTime<Utc>,
    /// What ends: the period, or the part of it before a change.
    pub closes: Option<Part>,
    /// What begins: the period, or the part of it from a change on.
    pub opens: Option<Part>,
    /// What was billed in advance and is not used.
    pub unused: Option<Unused>,
    /// Of a change within a period, the how-manieth it is; 0 of a turn of the cycle.
    pub change: i32,
    /// Is it the last one?
    pub ends: bool,
}

/// A period, or a part of one, that a turn bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its usage and its fees are of this version of the plan.
    pub plan_version_id: PlanVersionId,
    pub period: Period,
    /// The full nominal period of the grid around it: short ones are prorated by it.
    pub full: Period,
    /// What fees are billed for, in advance of what opens and in arrears of what closes; none of a trial (RULES 13) or a
    /// pause.
    pub fees: Option<Period>,
    /// What usage is billed for, of what closes.
    pub usage: Option<Period>,
    /// How `fees` is measured if it is not a whole period.
    pub basis: Basis,
    /// Of a part that a change closes: where its period would have ended, and how the rest is measured that the change
    /// bills. What is left for `fees` is what makes both the whole.
    pub before: Option<(DateTime<Utc>, Basis)>,
    /// Whether its usage has no minimum: that of a trial, or of a part of a period that goes on after a change.
    pub has_no_minimum: bool,
    /// Whether it is the trial, or a part of it.
    pub is_trial: bool,
    /// Whether it leaves out what is not prorated, which the other part of the period bills.
    pub only_prorated: bool,
}

/// What was billed in advance for a time that a change has now billed, or that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The running period.
    pub period: Period,
    /// Where the lines begin that billed it; those of fees that are not prorated may begin anywhere in the period.
    pub billed_from: DateTime<Utc>,
    /// It is unused from here on; by days, from the beginning of this day (RULES 8).
    pub from: DateTime<Utc>,
    pub basis: Basis,
    /// Whether what is not prorated goes back whole, because the change bills it whole.
    pub unprorated: bool,
}
