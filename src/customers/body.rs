//! A customer as the API and events show it.

use accrue_core::{
    id::{CustomerId, PaymentMethodId, TestClockId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Address, Contact, Customer, Exemption};

/// Who is billed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CustomerBody {
    pub id: CustomerId,
    #[schema(example = "customer")]
    pub object: &'static str,
    pub livemode: bool,
    /// The caller's own name for the customer; it can be used wherever an identifier is asked for.
    #[schema(example = "acme")]
    pub external_id: Option<String>,
    #[schema(example = "Acme Corp")]
    pub name: String,
    #[schema(example = "billing@acme.example")]
    pub email: Option<String>,
    /// Who gets mails about invoices and their payment beside `email`.
    pub invoice_contacts: Vec<Contact>,
    /// The only currency the customer is billed in; set by the first subscription unless given.
    pub currency: Option<Currency>,
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    #[schema(example = "en")]
    pub locale: Option<String>,
    pub address: Address,
    /// Printed on invoices.
    pub tax_ids: Vec<TaxId>,
    pub exemption: Exemption,
    pub test_clock: Option<TestClockId>,
    pub default_payment_method: Option<PaymentMethodId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl CustomerBody {
    pub fn new(customer: Customer, livemode: bool) -> Self {
        let Customer {
            tenant_id: _,
            id,
            external_id,
            name,
            email,
            invoice_contacts,
            currency,
            timezone,
            locale,
            address,
            tax_ids,
            exemption,
            test_clock_id,
            default_payment_method_id,
            metadata,
            created_at,
        } = customer;
        Self {
            id,
            object: "customer",
            livemode,
            external_id,
            name,
            email,
            invoice_contacts,
            currency,
            timezone,
            locale,
            address,
            tax_ids,
            exemption,
            test_clock: test_clock_id,
            default_payment_method: default_payment_method_id,
            metadata,
            created_at,
        }
    }
}
