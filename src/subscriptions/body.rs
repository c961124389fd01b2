//! A subscription as others see it: in answers and in events.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{Alignment, Interval, Period},
    decimal::Number,
    id::{CustomerId, PlanId, SubscriptionId, TestClockId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::model::{Access, CancelReason, Collection, Scheduled, Status, Step, Subscription, UsageInPause};
use crate::catalog::PlanVersion;

/// Who has which plan since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Subscription)]
pub struct SubscriptionBody {
    pub id: SubscriptionId,
    #[schema(example = "subscription")]
    pub object: &'static str,
    pub livemode: bool,
    pub external_id: Option<String>,
    pub customer: CustomerId,
    pub plan: PlanRef,
    pub status: Status,
    pub currency: Currency,
    pub interval: Interval,
    pub alignment: Alignment,
    /// The zone of its calendar work, fixed when it was made.
    #[schema(value_type = String, example = "Europe/Berlin")]
    pub timezone: Tz,
    pub start_at: DateTime<Utc>,
    pub trial_end: Option<DateTime<Utc>>,
    /// The running period; before the start the first one, in a trial the trial, after the end the last one.
    pub current_period: Period,
    /// What may be used, as far as payment decides it.
    pub access: Access,
    /// Of each seat price, by its code.
    #[schema(example = json!({"seats": "5"}))]
    pub quantities: BTreeMap<String, Number>,
    pub collection: Collection,
    /// Days to pay an invoice that is sent.
    pub net_terms_days: u16,
    /// As soon as usage of the running period that is on no invoice comes to this, there is an invoice of it.
    #[schema(example = json!(null))]
    pub progressive_billing_threshold: Option<Money>,
    /// What will be changed by itself; `undo` takes it back.
    pub scheduled: Option<ScheduledBody>,
    /// Of one that is paused: what becomes of its usage.
    pub usage_in_pause: Option<UsageInPause>,
    /// It will end here.
    pub cancel_at: Option<DateTime<Utc>>,
    /// When somebody asked for the end.
    pub canceled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<CancelReason>,
    pub ended_at: Option<DateTime<Utc>>,
    pub test_clock: Option<TestClockId>,
    #[schema(example = json!({"campaign": "spring"}))]
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// What will be changed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ScheduledChange)]
pub struct ScheduledBody {
    pub at: DateTime<Utc>,
    pub kind: ScheduledKind,
    /// Of a change: the plan that it leads to.
    pub plan: Option<PlanId>,
    /// Of a change: of each seat price of that plan, by its code.
    #[schema(example = json!({"seats": "5"}))]
    pub quantities: Option<BTreeMap<String, Number>>,
}

/// What will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledKind {
    /// It gets another plan, or other quantities.
    Change,
    Pause,
    Resume,
}

impl From<Scheduled> for ScheduledBody {
    fn from(scheduled: Scheduled) -> Self {
        let (kind, change) = match scheduled.step {
            Step::Change(change) => (ScheduledKind::Change, Some(change)),
            Step::Pause { .. } => (ScheduledKind::Pause, None),
            // Going on is done at once, so nobody sees it scheduled.
            Step::Resume | Step::GoOn { .. } => (ScheduledKind::Resume, None),
        };
        let (plan, quantities) = change.map(|change| (change.plan_id, change.quantities)).unzip();
        Self { at: scheduled.at, kind, plan, quantities }
    }
}

/// The version of the plan that the subscription has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PlanRef {
    pub id: PlanId,
    #[schema(example = "pro")]
    pub code: String,
    #[schema(example = "Pro")]
    pub name: String,
    #[schema(example = 1)]
    pub version: i32,
}

impl SubscriptionBody {
    pub(super) fn new(subscription: &Subscription, plan: &PlanVersion, livemode: bool) -> Self {
        let Subscription {
            id,
            customer_id,
            test_clock_id,
            external_id,
            status,
            currency,
            timezone,
            alignment,
            interval,
            start_at,
            trial_end_at,
            period,
            access,
            quantities,
            collection,
            net_terms_days,
            progressive_billing_threshold,
            scheduled,
            usage_in_pause,
            cancel_at,
            canceled_at,
            cancel_reason,
            ended_at,
            metadata,
            created_at,
            // How the cycle is kept, which is nobody else's business, and what `plan` says.
            ..
        } = subscription.clone();
        Self {
            id,
            object: "subscription",
            livemode,
            external_id,
            customer: customer_id,
            plan: PlanRef {
                id: plan.plan_id,
                code: plan.code.clone(),
                name: plan.name.clone(),
                version: plan.version,
            },
            status,
            currency,
            interval,
            alignment,
            timezone,
            start_at,
            trial_end: trial_end_at,
            current_period: period,
            access,
            quantities,
            collection,
            net_terms_days,
            progressive_billing_threshold,
            scheduled: scheduled.map(ScheduledBody::from),
            usage_in_pause: usage_in_pause.filter(|_| status == Status::Paused),
            cancel_at,
            canceled_at,
            cancel_reason,
            ended_at,
            test_clock: test_clock_id,
            metadata,
            created_at,
        }
    }
}
