//! Customers over HTTP.

use accrue_core::{
    id::{PaymentMethodId, TestClockId},
    tax_id::TaxId,
};
use accrue_platform::{
    body::{Body, Change, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{
    body::CustomerBody,
    model::{Address, Contact, Customer, Exemption},
    service::{self, CustomerError, NewCustomer},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    clocks,
};

const NAME_MAX: usize = 200;
const CONTACTS_MAX: usize = 20;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create).service(list).service(get_one).service(update);
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateCustomer {
    /// Your own name for the customer; it can be used wherever an identifier is asked for.
    #[schema(example = "acme")]
    external_id: Option<String>,
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
    #[serde(default)]
    address: Address,
    /// Printed on invoices: at most 10, each checked by the rules of its kind.
    #[serde(default)]
    tax_ids: Vec<TaxId>,
    /// Whether invoices charge tax, and which words they have instead.
    #[serde(default)]
    exemption: Exemption,
    /// Test mode only: the clock that everything about this customer goes by.
    pub(super) test_clock: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateCustomer {
    pub(super) fn check(self) -> Result<NewCustomer, Problem> {
        let mut check = Check::new();
        check.optional_code("/external_id", self.external_id.as_deref());
        check.text("/name", &self.name, NAME_MAX);
        check_reach(&mut check, self.email.as_deref(), self.timezone.as_deref(), self.locale.as_deref());
        check_contacts(&mut check, &self.invoice_contacts);
        check_address(&mut check, &self.address);
        let tax_ids = check.tax_ids("/tax_ids", self.tax_ids);
        check.metadata("/metadata", &self.metadata);
        let currency = self.currency.and_then(|code| check.currency("/currency", &code));
        check.finish()?;
        Ok(NewCustomer {
            external_id: self.external_id,
            name: self.name,
            email: self.email,
            invoice_contacts: self.invoice_contacts,
            currency,
            timezone: self.timezone,
            locale: self.locale,
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
struct UpdateCustomer {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    external_id: Change<String>,
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
    fn check(self) -> Result<impl FnOnce(&mut Customer), Problem> {
        let mut check = Check::new();
        check.optional_code("/external_id", self.external_id.value().map(String::as_str));
        check.optional_text("/name", self.name.as_deref(), NAME_MAX);
        check_reach(
            &mut check,
            self.email.value().map(String::as_str),
            self.timezone.value().map(String::as_str),
            self.locale.value().map(String::as_str),
        );
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
            self.address.replace(&mut customer.address);
            tax_ids.replace(&mut customer.tax_ids);
            self.exemption.replace(&mut customer.exemption);
            method.apply(&mut customer.default_payment_method_id);
            customer.metadata = self.metadata.unwrap_or_else(|| customer.metadata.clone());
        })
    }
}

/// Create a customer.
#[utoipa::path(
    tag = "customers",
    request_body = CreateCustomer,
    responses(
        (status = 201, description = "The customer", body = CustomerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/customers")]
async fn create(write: Write<resource::Customers>, mut body: Body<CreateCustomer>) -> Answer {
    let test_clock = body.0.test_clock.take();
    let mut new = body.0.check()?;

    let tx = write.begin().await?;
    new.test_clock = clocks::service::resolve(&tx, &write.tenant, test_clock.as_deref())
        .await
        .map_err(|error| Problem::from(error).named_at("/test_clock"))?;
    let now = clocks::service::now_of(&tx, &*write.app.clock, write.tenant_id(), new.test_clock).await?;
    let customer = service::create(&tx, now, &write.tenant, new).await?;
    let body = CustomerBody::new(customer, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// Which customers to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CustomerFilter {
    /// Only those that hang on this test clock.
    test_clock: Option<String>,
}

/// List customers.
#[utoipa::path(
    tag = "customers",
    params(CustomerFilter, PageQuery),
    responses(
        (status = 200, description = "A page of customers", body = Page<CustomerBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers")]
async fn list(
    read: Read<resource::Customers>,
    filter: Query<CustomerFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let clock = filter.0.test_clock.as_deref().map(str::parse::<TestClockId>).transpose()?;
    read.list("/v1/customers", page.0, async move |read, page| {
        let customers = service::list(read.db(), read.tenant_id(), clock, page).await?;
        let body = |customer| CustomerBody::new(customer, read.tenant.livemode);
        Ok(customers.into_iter().map(body).collect())
    })
    .await
}

/// Get a customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it")),
    responses(
        (status = 200, description = "The customer", body = CustomerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/customers/{id}")]
async fn get_one(read: Read<resource::Customers>, id: Path<String>) -> Answer {
    let customer = service::resolve(read.db(), read.tenant_id(), &id).await?;
    read.answer(&CustomerBody::new(customer, read.tenant.livemode))
}

/// Change a customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = String, Path, description = "The customer's identifier, or your own name for it")),
    request_body = UpdateCustomer,
    responses(
        (status = 200, description = "The customer as it is now", body = CustomerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/customers/{id}")]
async fn update(write: Write<resource::Customers>, id: Path<String>, body: Body<UpdateCustomer>) -> Answer {
    let change = body.0.check()?;

    let tx = write.begin().await?;
    let found = service::resolve(&tx, write.tenant_id(), &id).await?;
    let now = clocks::service::now_of(&tx, &*write.app.clock, write.tenant_id(), found.test_clock_id).await?;
    let customer = service::update(&tx, now, &write.tenant, found.id, change).await?;
    let body = CustomerBody::new(customer, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

impl From<CustomerError> for Problem {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::NotFound(_) => Self::not_found("customer"),
            CustomerError::NoSuchMethod(_) => Self::not_found("payment method"),
            CustomerError::ExternalIdTaken(_) => Self::new(&problem::CONFLICT, error.to_string()),
            CustomerError::CurrencyFixed(_) => Self::field("/currency", "fixed", error.to_string()),
            CustomerError::Database(error) => error.into(),
        }
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
