//! A customer as the API and events show it.

use accrue_core::{
    id::{CustomerId, IssuerId, PaymentMethodId, TestClockId},
    money::{Currency, Money},
    tax_id::TaxId,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Address, Contact, Customer, Exemption};
use crate::{
    auth::Tenant,
    issuers::{Issuer, SettingsBody},
};

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
    /// Who pays for them.
    pub parent: Option<CustomerId>,
    /// In whose name they are billed; null for the account itself, or whoever bills the parent.
    pub issuer: Option<IssuerId>,
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
    /// Days to pay an invoice that is sent, of subscriptions that name none.
    pub net_terms_days: Option<u16>,
    pub address: Address,
    /// Printed on invoices.
    pub tax_ids: Vec<TaxId>,
    pub exemption: Exemption,
    pub test_clock: Option<TestClockId>,
    pub default_payment_method: Option<PaymentMethodId>,
    /// What they have with you beside credit notes: it pays the next invoice. Negative for a debt, which is asked for with it;
    /// null without a currency.
    pub balance: Option<Money>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl CustomerBody {
    pub fn new(customer: Customer, livemode: bool) -> Self {
        let Customer {
            tenant_id: _,
            id,
            external_id,
            parent_id,
            issuer_id,
            name,
            email,
            invoice_contacts,
            currency,
            timezone,
            locale,
            net_terms_days,
            address,
            tax_ids,
            exemption,
            test_clock_id,
            default_payment_method_id,
            balance_minor,
            metadata,
            created_at,
        } = customer;
        Self {
            id,
            object: "customer",
            livemode,
            external_id,
            parent: parent_id,
            issuer: issuer_id,
            name,
            email,
            invoice_contacts,
            currency,
            timezone,
            locale,
            net_terms_days,
            address,
            tax_ids,
            exemption,
            test_clock: test_clock_id,
            default_payment_method: default_payment_method_id,
            balance: currency.map(|currency| Money::from_minor(balance_minor, currency)),
            metadata,
            created_at,
        }
    }
}

/// A customer, and what they are billed by.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Customer)]
pub(super) struct CustomerAnswer {
    #[serde(flatten)]
    pub customer: CustomerBody,
    /// What is in force for the customer, and who said so: the customer, who pays for it, the issuer, the account, or nobody.
    pub settings: SettingsBody,
}

impl CustomerAnswer {
    /// `payer` is who pays for the customer, if that is another one; `issuer` is who bills them.
    pub fn of(
        customer: Customer,
        tenant: &Tenant,
        payer: Option<&Customer>,
        issuer: Option<&Issuer>,
    ) -> Self {
        let SettingsBody { timezone, currency, net_terms_days, .. } = SettingsBody::of(tenant, issuer);
        let code = |currency: Currency| Some(currency.code().to_owned());
        let settings = SettingsBody {
            timezone: timezone.unless_customer(customer.timezone.clone()),
            currency: currency
                .unless_parent(payer.and_then(|payer| payer.currency).map(code))
                .unless_customer(customer.currency.map(code)),
            net_terms_days: net_terms_days
                .unless_parent(payer.and_then(|payer| payer.net_terms_days))
                .unless_customer(customer.net_terms_days),
            ..SettingsBody::of(tenant, issuer)
        };
        Self { customer: CustomerBody::new(customer, tenant.livemode), settings }
    }
}
