//! Endpoints, what they want to hear, and the life of a delivery.

mod delivery;
mod filter;

use accrue_core::id::{TenantId, WebhookEndpointId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

pub(super) use delivery::{Answered, Attempt, Delivery, DeliveryStatus, IllegalTransition, Verdict};
pub(super) use filter::Filter;

/// More of them would make every event slow to tell.
pub(super) const ENDPOINTS_MAX: u64 = 50;

/// An endpoint that has failed for so long, without one success, is disabled.
const FAILING_MAX: TimeDelta = TimeDelta::days(5);

/// After a rotation the old secret signs too, so that the receiver can change over in peace.
pub(super) const ROTATION: TimeDelta = TimeDelta::hours(24);

/// Where a tenant wants to hear of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub tenant_id: TenantId,
    pub id: WebhookEndpointId,
    pub url: String,
    pub filters: Vec<Filter>,
    pub secret_sealed: String,
    /// The secret before the last rotation, and until when it signs too.
    pub previous_secret: Option<(String, DateTime<Utc>)>,
    pub disabled: Option<DisabledReason>,
    /// Since when no attempt has succeeded, by the wall clock: the server that fails lives by it, whatever
    /// test clock the events hang on.
    pub failing_since_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Deleted endpoints stay for the sake of their deliveries; nobody finds them.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Why an endpoint hears nothing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum DisabledReason {
    /// Its owner turned it off.
    Requested,
    /// It answered 410.
    Gone,
    /// It answered nothing but failures for five days.
    Failing,
}

impl Endpoint {
    pub fn is_enabled(&self) -> bool {
        self.disabled.is_none() && self.deleted_at.is_none()
    }

    pub fn hears(&self, event_type: &str) -> bool {
        self.filters.iter().any(|filter| filter.matches(event_type))
    }

    /// Turned on, it starts with a clean record.
    pub fn set_enabled(&mut self, enabled: bool) {
        if enabled {
            self.disabled = None;
            self.failing_since_at = None;
        } else {
            self.disabled = self.disabled.or(Some(DisabledReason::Requested));
        }
    }

    /// Notes how an attempt went; `now` is the wall clock's. `true` if this is what disables the endpoint.
    pub fn note(&mut self, verdict: Verdict, now: DateTime<Utc>) -> bool {
        let failing_since = match verdict {
            Verdict::Success => {
                self.failing_since_at = None;
                return false;
            }
            Verdict::Failure | Verdict::Gone => *self.failing_since_at.get_or_insert(now),
        };
        let reason = match verdict {
            Verdict::Gone => DisabledReason::Gone,
            _ if now - failing_since >= FAILING_MAX => DisabledReason::Failing,
            _ => return false,
        };
        let was_enabled = self.is_enabled();
        self.disabled = self.disabled.or(Some(reason));
        was_enabled
    }
}

#[cfg(test)]
mod tests;
