//! Periods whose usage was billed: what comes later for them must be billed later (RULES 18).

use accrue_core::{
    calendar::Period,
    id::{CustomerId, MetricId, SubscriptionId, TenantId, TestClockId},
};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Payer, UsageEvent, short};

/// A closed period is looked at once more after this time: by then every event that was on its way while it was
/// being closed is there.
const CHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

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

    /// Whether an event of its metric counts in it: of a recurring one, what was there before does.
    pub(in crate::metering) fn holds(&self, event: &UsageEvent, is_recurring: bool) -> bool {
        let from = if is_recurring { DateTime::<Utc>::MIN_UTC } else { self.period.start };
        event.payer == Payer::Known(self.customer_id) && (from..self.period.end).contains(&event.timestamp)
    }
}
