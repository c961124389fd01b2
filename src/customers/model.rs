//! What a customer is.

use accrue_core::{
    id::{CustomerId, IssuerId, PaymentMethodId, TenantId, TestClockId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use crate::auth::Tenant;

/// Who is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub tenant_id: TenantId,
    pub id: CustomerId,
    /// The tenant's own name for the customer.
    pub external_id: Option<String>,
    /// Who pays for them, and for whom that one's parent pays.
    pub parent_id: Option<CustomerId>,
    /// In whose name they are billed; the account's own unless given.
    pub issuer_id: Option<IssuerId>,
    pub name: String,
    /// Where mails go, of whatever they tell.
    pub email: Option<String>,
    /// Where mails about invoices and their payment go beside it.
    pub invoice_contacts: Vec<Contact>,
    /// The only currency the customer is billed in, once it is set.
    pub currency: Option<Currency>,
    /// IANA; the issuer's zone unless given (RULES 3).
    pub timezone: Option<String>,
    pub locale: Option<String>,
    /// Days to pay an invoice that is sent; the issuer's unless given.
    pub net_terms_days: Option<u16>,
    pub address: Address,
    pub tax_ids: Vec<TaxId>,
    pub exemption: Exemption,
    /// The test clock that everything about this customer goes by.
    pub test_clock_id: Option<TestClockId>,
    pub default_payment_method_id: Option<PaymentMethodId>,
    /// What they have with us beside credit notes, in their currency; negative for a debt.
    pub balance_minor: i64,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Why invoices of a customer have no tax, if that is so: what is sold to them is exempt, or they owe the tax to their own
/// state (RULES 32).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Exemption {
    /// Tax is paid as on everybody's invoices.
    #[default]
    None,
    /// What is sold to the customer is exempt: to a charity, an embassy, a reseller.
    Exempt,
    /// The customer owes the tax to their own state: a business in another one.
    ReverseCharge,
}

/// Somebody who gets a customer's invoices by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = InvoiceContact)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    #[schema(example = "accounting@acme.example")]
    pub email: String,
    /// How they are greeted; the customer's name unless given.
    #[schema(example = "Acme Accounting")]
    pub name: Option<String>,
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
    /// The customer's zone, else that of who bills them (RULES 3).
    pub fn zone(&self, billed_by: &Tenant) -> Tz {
        let zone = self.timezone.as_deref().unwrap_or(&billed_by.timezone);
        zone.parse().unwrap_or(Tz::UTC)
    }

    /// Where mails to the customer go; those about invoices go to the contacts too. No address is there twice: letters
    /// that differ in case alone reach the same mailbox.
    pub fn recipients(&self, about_invoices: bool) -> Vec<Contact> {
        let own = self.email.clone().map(|email| Contact { email, name: None });
        let contacts = if about_invoices { self.invoice_contacts.as_slice() } else { &[] };
        let mut recipients: Vec<Contact> = Vec::new();
        for contact in own.into_iter().chain(contacts.iter().cloned()) {
            if !recipients.iter().any(|known| known.email.eq_ignore_ascii_case(&contact.email)) {
                recipients.push(contact);
            }
        }
        recipients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(email: Option<&str>, contacts: &[(&str, Option<&str>)]) -> Customer {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let contact = |(email, name): &(&str, Option<&str>)| Contact {
            email: (*email).to_owned(),
            name: name.map(str::to_owned),
        };
        Customer {
            tenant_id: TenantId::new(now),
            id: CustomerId::new(now),
            external_id: None,
            parent_id: None,
            issuer_id: None,
            name: "Acme".to_owned(),
            email: email.map(str::to_owned),
            invoice_contacts: contacts.iter().map(contact).collect(),
            currency: None,
            timezone: None,
            locale: None,
            net_terms_days: None,
            address: Address::default(),
            tax_ids: Vec::new(),
            exemption: Exemption::None,
            test_clock_id: None,
            default_payment_method_id: None,
            balance_minor: 0,
            metadata: Metadata::new(),
            created_at: now,
        }
    }

    fn addresses(customer: &Customer, about_invoices: bool) -> Vec<String> {
        customer.recipients(about_invoices).into_iter().map(|contact| contact.email).collect()
    }

    #[test]
    fn contacts_get_what_is_about_invoices_and_nothing_else() {
        let acme = customer(Some("ceo@acme.example"), &[("ap@acme.example", Some("AP"))]);
        assert_eq!(addresses(&acme, true), ["ceo@acme.example", "ap@acme.example"]);
        assert_eq!(addresses(&acme, false), ["ceo@acme.example"]);

        let without = customer(None, &[("ap@acme.example", None)]);
        assert_eq!(addresses(&without, true), ["ap@acme.example"]);
        assert!(addresses(&without, false).is_empty());
    }

    #[test]
    fn nobody_is_written_to_twice() {
        let twice = [("Ceo@Acme.example", Some("CEO")), ("ap@acme.example", None), ("AP@acme.example", None)];
        let acme = customer(Some("ceo@acme.example"), &twice);
        assert_eq!(addresses(&acme, true), ["ceo@acme.example", "ap@acme.example"]);
    }
}
