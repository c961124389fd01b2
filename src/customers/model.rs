//! What a customer is.

use accrue_core::{
    id::{CustomerId, PaymentMethodId, TenantId, TestClockId},
    money::Currency,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Who is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub tenant_id: TenantId,
    pub id: CustomerId,
    /// The tenant's own name for the customer.
    pub external_id: Option<String>,
    pub name: String,
    /// Where invoices and reminders go; without one none are sent.
    pub email: Option<String>,
    /// The only currency the customer is billed in, once it is set.
    pub currency: Option<Currency>,
    /// IANA; the tenant's zone unless given.
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub address: Address,
    pub tax_number: Option<String>,
    /// The test clock that everything about this customer goes by.
    pub test_clock_id: Option<TestClockId>,
    pub default_payment_method_id: Option<PaymentMethodId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Where a customer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Address {
    #[schema(example = "Hauptstraße 1")]
    pub line1: Option<String>,
    pub line2: Option<String>,
    #[schema(example = "10115")]
    pub postal_code: Option<String>,
    #[schema(example = "Berlin")]
    pub city: Option<String>,
    pub region: Option<String>,
    /// ISO 3166, two letters.
    #[schema(example = "DE")]
    pub country: Option<String>,
}

impl Customer {
    /// The customer's zone, else the tenant's (RULES 3).
    pub fn zone(&self, tenant_zone: &str) -> Tz {
        let zone = self.timezone.as_deref().unwrap_or(tenant_zone);
        zone.parse().unwrap_or(Tz::UTC)
    }
}
