//! Periods whose usage was billed: what comes later for them must be billed later (RULES 18).

use std::collections::HashMap;

use accrue_core::{
    calendar::Period,
    id::{CustomerId, MetricId, SubscriptionId, TenantId, TestClockId},
    usage::{Properties, Sample},
};
use accrue_platform::problem::FieldError;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Payer, UsageEvent, short};
use crate::catalog::{LateEvents, Metric};

/// A closed period is looked at once more after this time: by then every event that was on its way while it was
/// being closed is there.
const CHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// An invoice is issued anew once for everything that comes for its period within this time.
const COLLECT_FOR: TimeDelta = TimeDelta::minutes(15);

/// A period of a subscription for which a metric was billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub tenant_id: TenantId,
    pub subscription_id: SubscriptionId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub metric_id: MetricId,
    pub period: Period,
}

impl Closing {
    /// The same period of the same subscription is closed once.
    pub(in crate::metering) fn id(&self) -> Uuid {
        let mut digest = Sha256::new();
        for part in [self.subscription_id.0, self.metric_id.0] {
            digest.update(part.as_bytes());
        }
        for at in [self.period.start, self.period.end] {
            digest.update(at.timestamp_micros().to_be_bytes());
        }
        short(digest)
    }

    /// When to look whether something came while it was being closed.
    pub(in crate::metering) fn first_check_at(now: DateTime<Utc>) -> DateTime<Utc> {
        now + CHECK_AFTER
    }

    /// When to look what came for it at `now`, at the latest.
    pub(in crate::metering) fn check_by(metric: &Metric, now: DateTime<Utc>) -> DateTime<Utc> {
        match metric.late_events {
            LateEvents::Reissue => now + COLLECT_FOR,
            LateEvents::NextInvoice | LateEvents::Reject => now,
        }
    }

    /// Whether an event of its metric counts in it: of a recurring one, what was there before does.
    pub(in crate::metering) fn holds(&self, event: &UsageEvent, is_recurring: bool) -> bool {
        let from = if is_recurring { DateTime::<Utc>::MIN_UTC } else { self.period.start };
        event.payer == Payer::Known(self.customer_id) && (from..self.period.end).contains(&event.timestamp)
    }
}

/// The closed periods of metrics that take nothing late.
pub(in crate::metering) struct Strict<'a> {
    metrics: Vec<&'a Metric>,
    closings: HashMap<(CustomerId, MetricId), Vec<Closing>>,
}

impl<'a> Strict<'a> {
    /// Those of `metrics` that take nothing late; `None` if all take what comes.
    pub fn of(metrics: &'a [Metric]) -> Option<Self> {
        let strict = metrics.iter().filter(|metric| metric.late_events == LateEvents::Reject);
        let metrics: Vec<_> = strict.collect();
        (!metrics.is_empty()).then(|| Self { metrics, closings: HashMap::new() })
    }

    #[must_use]
    pub fn with(mut self, closings: &[Closing]) -> Self {
        for closing in closings {
            self.closings.entry((closing.customer_id, closing.metric_id)).or_default().push(*closing);
        }
        self
    }

    /// Why an event comes too late, if it does: such a metric counts it, and has billed its period.
    pub fn refuses(&self, event: &UsageEvent, properties: &Properties) -> Option<FieldError> {
        let customer = event.payer.customer()?;
        let named = self.metrics.iter().filter(|metric| metric.event_name == event.event_name);
        named.copied().find_map(|metric| {
            let closings = self.closings.get(&(customer, metric.id))?;
            let closed = closings.iter().find(|closing| closing.holds(event, metric.rules.recurring))?;
            Sample::of(&metric.rules, event.timestamp, event.id.0.as_u128(), properties)?;
            let Period { start, end } = closed.period;
            let detail = format!("{} was billed from {start} to {end}, and takes nothing late", metric.code);
            Some(FieldError::new("/timestamp", "period_closed", detail))
        })
    }
}
