//! Usage that was taken and that nothing counts, or nothing bills: somebody may lose money and not know it.

use std::collections::{BTreeMap, btree_map::Entry};

use accrue_core::{
    id::{TenantId, UnmatchedUsageId, UsageEventId},
    usage::Properties,
};
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::Serialize;

use super::{Payer, UsageEvent};
use crate::catalog::Metric;

/// Why an event comes to nothing.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// Its customer had no subscription at its time.
    NoSubscription,
    /// The customer's plan has neither a price nor a limit on a metric that counts it.
    NoPrice,
    /// It waits for its customer, who does not exist yet.
    UnknownCustomer,
    /// No metric counts events of its name.
    NoMetric,
    /// The filters of every such metric leave it out.
    FilteredOut,
    /// It has no property, or no number, that the metric needs.
    PropertyMissing,
}

impl Unmatched {
    /// Why an event is not counted by any of `metrics`, which are those of its name.
    pub(in crate::metering) fn of<'a>(
        event: &UsageEvent,
        properties: &Properties,
        mut metrics: impl Iterator<Item = &'a Metric> + Clone,
    ) -> Self {
        if matches!(event.payer, Payer::Awaited(_)) {
            Self::UnknownCustomer
        } else if metrics.clone().next().is_none() {
            Self::NoMetric
        } else if metrics.any(|metric| metric.rules.matches(properties)) {
            Self::PropertyMissing
        } else {
            Self::FilteredOut
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSubscription => "no_subscription",
            Self::NoPrice => "no_price",
            Self::UnknownCustomer => "unknown_customer",
            Self::NoMetric => "no_metric",
            Self::FilteredOut => "filtered_out",
            Self::PropertyMissing => "property_missing",
        }
    }
}

/// How many events of each tenant and name come to nothing, and the last of them.
#[derive(Clone, Debug, Default)]
pub struct Tally(pub(in crate::metering) BTreeMap<(TenantId, Unmatched, String), (i64, UsageEventId)>);

impl Tally {
    pub(in crate::metering) fn push(&mut self, event: &UsageEvent, why: Unmatched) {
        self.add(event.tenant_id, &event.event_name, event.id, why);
    }

    pub(in crate::metering) fn add(
        &mut self,
        tenant: TenantId,
        event_name: &str,
        event: UsageEventId,
        why: Unmatched,
    ) {
        match self.0.entry((tenant, why, event_name.to_owned())) {
            Entry::Vacant(new) => drop(new.insert((1, event))),
            Entry::Occupied(mut held) => {
                let (count, last) = held.get_mut();
                *count += 1;
                *last = event;
            }
        }
    }

    /// Tells the metrics of the process; what it was made from is committed.
    pub fn tell(&self) {
        for ((tenant, why, _), (count, _)) in &self.0 {
            let labels = [("tenant", tenant.to_string()), ("reason", why.as_str().to_owned())];
            metrics::counter!("usage_events_unmatched_total", &labels).increment(count.unsigned_abs());
        }
    }
}

/// Events of a name that come to nothing, for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct UnmatchedUsage {
    pub id: UnmatchedUsageId,
    pub why: Unmatched,
    pub event_name: String,
    pub count: i64,
    /// How many of them were told.
    pub told: i64,
    pub last_event: UsageEventId,
    pub last_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}
