//! An alert as the API and events show it.

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{CustomerId, SubscriptionId, UsageAlertId},
    money::Currency,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Alert, Kind, Status, Trigger};

/// A threshold of what a customer uses of a metric in a period.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UsageAlertBody {
    pub id: UsageAlertId,
    #[schema(example = "usage_alert")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "Four fifths of the tokens")]
    pub name: String,
    /// Null if it holds for every customer.
    pub customer: Option<CustomerId>,
    /// Of what an alert for every customer told of this one: that alert, which is changed and deleted in its stead.
    #[schema(example = json!(null))]
    pub template: Option<UsageAlertId>,
    /// The metric's code.
    #[schema(example = "tokens")]
    pub metric: String,
    pub kind: Kind,
    /// In the metric's units, in the currency, or in percent.
    #[schema(example = "80")]
    pub threshold: String,
    /// Of an amount.
    #[schema(example = json!(null))]
    pub currency: Option<Currency>,
    pub active: bool,
    pub status: Status,
    /// The last time that it triggered.
    pub last_trigger: Option<UsageAlertTriggerBody>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// That usage reached a threshold.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UsageAlertTriggerBody {
    /// The subscription that bills the metric, if one does.
    pub subscription: Option<SubscriptionId>,
    /// In which it was used.
    pub period: Period,
    #[schema(example = "80")]
    pub threshold: String,
    /// What was used when that was noticed; null for a part of a limit of 0.
    #[schema(example = "80.25")]
    pub value: Option<String>,
    pub triggered_at: DateTime<Utc>,
    /// When it was below the threshold again.
    #[schema(example = json!(null))]
    pub recovered_at: Option<DateTime<Utc>>,
    /// What was used then, in the period that was running.
    #[schema(example = json!(null))]
    pub recovered_value: Option<String>,
}

impl UsageAlertBody {
    pub fn new(alert: Alert, metric: String, livemode: bool) -> Self {
        let status = alert.status();
        let threshold = alert.written(Number(alert.threshold));
        let last_trigger = alert.last_trigger.as_ref().map(|last| UsageAlertTriggerBody::new(&alert, last));
        let Alert {
            tenant_id: _,
            id,
            customer_id: customer,
            template_id: template,
            test_clock_id: _,
            metric_id: _,
            name,
            kind,
            threshold: _,
            currency,
            is_active: active,
            is_triggered: _,
            last_trigger: _,
            review_at: _,
            metadata,
            created_at,
        } = alert;
        Self {
            id,
            object: "usage_alert",
            livemode,
            name,
            customer,
            template,
            metric,
            kind,
            threshold,
            currency,
            active,
            status,
            last_trigger,
            metadata,
            created_at,
        }
    }
}

impl UsageAlertTriggerBody {
    fn new(alert: &Alert, trigger: &Trigger) -> Self {
        let Trigger { subscription, start, end, threshold, value, at, recovered_at, recovered_value } =
            *trigger;
        Self {
            subscription,
            period: Period { start, end },
            threshold: alert.written(threshold),
            value: value.map(|value| alert.written(value)),
            triggered_at: at,
            recovered_at,
            recovered_value: recovered_value.map(|value| alert.written(value)),
        }
    }
}
