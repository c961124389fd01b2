//! What is said of a customer in bodies of requests.

use accrue_core::{id::PaymentMethodId, tax_id::TaxId};
use accrue_platform::{
    body::Change,
    check::{Check, Metadata},
    problem::Problem,
};
use serde::Deserialize;

use super::{
    model::{Address, Contact, Customer, Exemption},
    service::NewCustomer,
};
use crate::auth::said::check_net_terms;

const NAME_MAX: usize = 200;
const CONTACTS_MAX: usize = 20;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateCustomer {
    /// Your own name for the customer; it can be used wherever an identifier is asked for.
    #[schema(example = "acme")]
    external_id: Option<String>,
    /// Who pays for them, by identifier or your own name.
    #[schema(example = "globex-holding")]
    pub parent: Option<String>,
    /// In whose name they are billed, by identifier or code; the account itself unless given. Of a customer with a parent,
    /// whoever bills the parent.
    #[schema(example = "de")]
    pub issuer: Option<String>,
    #[schema(example = "Acme Corp")]
    name: String,
    #[schema(example = "billing@acme.example")]
    email: Option<String>,
    /// Who gets mails about invoices and their payment beside `email`: at most 20, no address twice.
    #[serde(default)]
    invoice_contacts: Vec<Contact>,
    #[schema(example = "USD")]
    currency: Option<String>,
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    #[schema(example = "en")]
    locale: Option<String>,
    /// Days to pay an invoice that is sent, of subscriptions that name none: 0 to 365.
    #[schema(example = 30)]
    net_terms_days: Option<u16>,
    #[serde(default)]
    address: Address,
    /// Printed on invoices: at most 10, each checked by the rules of its kind.
    #[serde(default)]
    tax_ids: Vec<TaxId>,
    /// Whether invoices charge tax, and which words they have instead.
    #[serde(default)]
    exemption: Exemption,
    /// Test mode only: the clock that everything about this customer goes by.
    pub test_clock: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateCustomer {
    /// Everything but what it names: that is the handler's to find.
    pub fn check(self) -> Result<NewCustomer, Problem> {
        let mut check = Check::new();
        check.optional_code("/external_id", self.external_id.as_deref());
        check.text("/name", &self.name, NAME_MAX);
        check_reach(&mut check, self.email.as_deref(), self.timezone.as_deref(), self.locale.as_deref());
        check_contacts(&mut check, &self.invoice_contacts);
        check_net_terms(&mut check, self.net_terms_days);
        check_address(&mut check, &self.address);
        let tax_ids = check.tax_ids("/tax_ids", self.tax_ids);
        check.metadata("/metadata", &self.metadata);
        let currency = self.currency.and_then(|code| check.currency("/currency", &code));
        check.finish()?;
        Ok(NewCustomer {
            external_id: self.external_id,
            parent: None,
            issuer: None,
            name: self.name,
            email: self.email,
            invoice_contacts: self.invoice_contacts,
            currency,
            timezone: self.timezone,
            locale: self.locale,
            net_terms_days: self.net_terms_days,
            address: self.address,
            tax_ids,
            exemption: self.exemption,
            test_clock: None,
            metadata: self.metadata,
        })
    }
}

fn check_reach(check: &mut Check, email: Option<&str>, timezone: Option<&str>, locale: Option<&str>) {
    check.optional_email("/email", email);
    check.optional_zone("/timezone", timezone);
    if locale.is_some_and(|locale| !is_locale(locale)) {
        check.refuse("/locale", "malformed", "is not a language tag like en or de-AT");
    }
}

fn check_contacts(check: &mut Check, contacts: &[Contact]) {
    if contacts.len() > CONTACTS_MAX {
        check.refuse("/invoice_contacts", "too_many", format!("has at most {CONTACTS_MAX} contacts"));
    }
    for (at, Contact { email, name }) in contacts.iter().enumerate().take(CONTACTS_MAX) {
        let under = format!("/invoice_contacts/{at}");
        check.optional_email(&format!("{under}/email"), Some(email));
        check.optional_text(&format!("{under}/name"), name.as_deref(), NAME_MAX);
        if contacts[..at].iter().any(|before| before.email.eq_ignore_ascii_case(email)) {
            check.refuse(format!("{under}/email"), "duplicate", "is named twice");
        }
    }
}

fn is_locale(locale: &str) -> bool {
    let mut parts = locale.split('-');
    let language = parts.next().is_some_and(|part| (2..=3).contains(&part.len()));
    let alphanumeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    language
        && locale.len() <= 35
        && locale.split('-').all(|part| (1..=8).contains(&part.len()) && alphanumeric(part))
}

fn check_address(check: &mut Check, address: &Address) {
    let Address { line1, line2, postal_code, city, region, country } = address;
    let parts = [
        ("line1", line1),
        ("line2", line2),
        ("postal_code", postal_code),
        ("city", city),
        ("region", region),
    ];
    for (name, part) in parts {
        check.optional_text(&format!("/address/{name}"), part.as_deref(), 200);
    }
    let is_country = |code: &str| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if country.as_deref().is_some_and(|code| !is_country(code)) {
        check.refuse("/address/country", "malformed", "is not an ISO 3166 code like DE");
    }
}

/// What to change. What is not named stays; null clears what may be empty.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateCustomer {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    external_id: Change<String>,
    /// Who pays for them from now on, by identifier or your own name; null for nobody else. Invoices that were issued stay
    /// whose they are.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub parent: Change<String>,
    /// Of the invoices from now on, by identifier or code; null for the account itself.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub issuer: Change<String>,
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Change<String>,
    /// Replaces all of them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Contact>>)]
    invoice_contacts: Change<Vec<Contact>>,
    /// Can be set as long as it is not.
    currency: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timezone: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    locale: Change<String>,
    /// Of subscriptions from now on.
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    net_terms_days: Change<u16>,
    /// Replaces the address as a whole.
    #[serde(default)]
    #[schema(value_type = Option<Address>)]
    address: Change<Address>,
    /// Replaces all of them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<TaxId>>)]
    tax_ids: Change<Vec<TaxId>>,
    /// Of the invoices from now on.
    #[serde(default)]
    #[schema(value_type = Option<Exemption>)]
    exemption: Change<Exemption>,
    /// What invoices are collected by from now on: one of the customer's own. Invoices in dunning are tried with
    /// it at once.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "pm_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    default_payment_method: Change<String>,
    metadata: Option<Metadata>,
}

impl UpdateCustomer {
    /// Everything but what it names: that is the handler's to find.
    pub fn check(self) -> Result<impl FnOnce(&mut Customer), Problem> {
        let mut check = Check::new();
        check.optional_code("/external_id", self.external_id.value().map(String::as_str));
        check.optional_text("/name", self.name.as_deref(), NAME_MAX);
        check_reach(
            &mut check,
            self.email.value().map(String::as_str),
            self.timezone.value().map(String::as_str),
            self.locale.value().map(String::as_str),
        );
        check_net_terms(&mut check, self.net_terms_days.value().copied());
        self.invoice_contacts.value().into_iter().for_each(|contacts| check_contacts(&mut check, contacts));
        self.address.value().into_iter().for_each(|address| check_address(&mut check, address));
        let tax_ids = self.tax_ids.map(|given| check.tax_ids("/tax_ids", given));
        self.metadata.iter().for_each(|metadata| check.metadata("/metadata", metadata));
        let currency = self.currency.as_deref().and_then(|code| check.currency("/currency", code));
        let method = self.default_payment_method.try_map(|id| {
            id.parse::<PaymentMethodId>().map_err(|error| {
                check.refuse("/default_payment_method", "malformed", error.to_string());
            })
        });
        check.finish()?;
        let method = method.unwrap_or_default();
        Ok(move |customer: &mut Customer| {
            self.external_id.apply(&mut customer.external_id);
            customer.name = self.name.unwrap_or_else(|| customer.name.clone());
            self.email.apply(&mut customer.email);
            self.invoice_contacts.replace(&mut customer.invoice_contacts);
            customer.currency = currency.or(customer.currency);
            self.timezone.apply(&mut customer.timezone);
            self.locale.apply(&mut customer.locale);
            self.net_terms_days.apply(&mut customer.net_terms_days);
            self.address.replace(&mut customer.address);
            tax_ids.replace(&mut customer.tax_ids);
            self.exemption.replace(&mut customer.exemption);
            method.apply(&mut customer.default_payment_method_id);
            customer.metadata = self.metadata.unwrap_or_else(|| customer.metadata.clone());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_tags_are_recognized() {
        assert!(["en", "de-AT", "zh-Hant-TW"].into_iter().all(is_locale));
        assert!(!["", "e", "en_US", "english", "en-", "-"].into_iter().any(is_locale));
    }
}
