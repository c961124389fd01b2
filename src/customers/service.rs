//! The verbs of customers.

use std::collections::HashMap;

use accrue_core::{
    id::{CustomerId, PaymentMethodId, TenantId, TestClockId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::{
    check::{self, Metadata},
    db::is_unique_violation,
    gate::Gate,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    events,
    model::{Address, Contact, Customer, Exemption},
    store,
};
use crate::auth::Tenant;

/// Why a customer cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    #[error("customer {0} does not exist")]
    NotFound(String),
    #[error("another customer has the external id {0}")]
    ExternalIdTaken(String),
    /// None of this customer's, or detached.
    #[error("payment method {0} does not exist")]
    NoSuchMethod(PaymentMethodId),
    #[error("the customer is billed in {0} already")]
    CurrencyFixed(Currency),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a new customer is, checked.
#[derive(Clone, Debug, Default)]
pub struct NewCustomer {
    pub external_id: Option<String>,
    pub name: String,
    pub email: Option<String>,
    pub invoice_contacts: Vec<Contact>,
    pub currency: Option<Currency>,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub address: Address,
    pub tax_ids: Vec<TaxId>,
    pub exemption: Exemption,
    pub test_clock: Option<TestClockId>,
    pub metadata: Metadata,
}

/// By identifier, or by the tenant's own name for the customer.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Customer, CustomerError> {
    let found = match reference.parse::<CustomerId>() {
        Ok(id) => store::find(db, tenant, id).await?,
        Err(_) => store::find_by_external_id(db, tenant, reference).await?,
    };
    found.ok_or_else(|| CustomerError::NotFound(reference.to_owned()))
}

/// Whether a customer may yet be made whom this refers to: by a name, for identifiers are ours to give.
pub fn may_appear(reference: &str) -> bool {
    check::is_code(reference) && reference.parse::<CustomerId>().is_err()
}

/// Those of these identifiers and names that exist, with the test clock that each customer hangs on.
pub async fn resolve_all<'a>(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    references: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<&'a str, (CustomerId, Option<TestClockId>)>, DbErr> {
    let (mut by_id, mut by_name) = (HashMap::new(), HashMap::new());
    for reference in references {
        match reference.parse::<CustomerId>() {
            Ok(id) => drop(by_id.insert(id, reference)),
            Err(_) => drop(by_name.insert(reference, reference)),
        }
    }
    let ids = by_id.keys().copied().collect();
    let names = by_name.keys().map(|name| (*name).to_owned()).collect();
    let found = store::find_all(db, tenant, ids, names).await?;
    let mut resolved = HashMap::with_capacity(found.len());
    for (id, external_id, test_clock) in found {
        let by_name = external_id.and_then(|name| by_name.get(name.as_str()));
        resolved.extend(by_id.get(&id).into_iter().chain(by_name).map(|name| (*name, (id, test_clock))));
    }
    Ok(resolved)
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: CustomerId,
) -> Result<Customer, CustomerError> {
    store::find(db, tenant, id).await?.ok_or_else(|| CustomerError::NotFound(id.to_string()))
}

/// The test clocks on which some customers hang.
pub async fn test_clocks_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[CustomerId],
) -> Result<HashMap<CustomerId, TestClockId>, DbErr> {
    store::test_clocks_of(db, tenant, customers).await
}

/// The tenant's own names for some customers, of those that have one.
pub async fn names_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: Vec<CustomerId>,
) -> Result<HashMap<CustomerId, String>, DbErr> {
    let found = store::find_all(db, tenant, customers, Vec::new()).await?;
    Ok(found.into_iter().filter_map(|(id, name, _)| Some((id, name?))).collect())
}

/// The next customers after one, each with its test clock, the oldest first.
pub async fn next(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    after: Option<CustomerId>,
    limit: u64,
) -> Result<Vec<(CustomerId, Option<TestClockId>)>, DbErr> {
    store::next(db, tenant, after, limit).await
}

/// One page of customers, of one test clock if it is given.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    page: &PageQuery,
) -> Result<Vec<Customer>, PageError> {
    store::list(db, tenant, test_clock, page).await
}

pub async fn create(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewCustomer,
) -> Result<Customer, CustomerError> {
    let customer = Customer {
        tenant_id: tenant.id,
        id: CustomerId::new(now),
        external_id: new.external_id,
        name: new.name,
        email: new.email,
        invoice_contacts: new.invoice_contacts,
        currency: new.currency,
        timezone: new.timezone,
        locale: new.locale,
        address: new.address,
        tax_ids: new.tax_ids,
        exemption: new.exemption,
        test_clock_id: new.test_clock,
        default_payment_method_id: None,
        metadata: new.metadata,
        created_at: now,
    };
    store::insert(tx, &customer).await.map_err(|error| taken(error, &customer))?;
    events::created(tx, now, &customer, tenant.livemode).await?;
    Ok(customer)
}

/// Changes a customer by `change`, and tells if anything did change.
pub async fn update(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    id: CustomerId,
    change: impl FnOnce(&mut Customer),
) -> Result<Customer, CustomerError> {
    let before = get_for_update(tx, tenant.id, id).await?;
    let mut after = before.clone();
    change(&mut after);
    if after.currency != before.currency
        && let Some(currency) = before.currency
    {
        return Err(CustomerError::CurrencyFixed(currency));
    }
    if let Some(method) = after.default_payment_method_id
        && after.default_payment_method_id != before.default_payment_method_id
        && !store::can_be_charged(tx, &after, method).await?
    {
        return Err(CustomerError::NoSuchMethod(method));
    }
    if after != before {
        if after.external_id != before.external_id {
            // Events that name the customer one way or the other are being taken.
            Gate::Usage.close(tx, tenant.id).await?;
        }
        store::save(tx, &after).await.map_err(|error| taken(error, &after))?;
        events::updated(tx, now, &before, &after, tenant.livemode).await?;
    }
    Ok(after)
}

/// The customer is billed in this currency from now on; refuses another one than before.
pub async fn fix_currency(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
    currency: Currency,
) -> Result<(), CustomerError> {
    let mut customer = get_for_update(tx, tenant, id).await?;
    match customer.currency {
        Some(fixed) if fixed == currency => Ok(()),
        Some(fixed) => Err(CustomerError::CurrencyFixed(fixed)),
        None => {
            customer.currency = Some(currency);
            Ok(store::save(tx, &customer).await?)
        }
    }
}

/// Locks the customer for the rest of the transaction: before their payment methods, here and everywhere.
pub async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
) -> Result<Customer, CustomerError> {
    store::find_for_update(tx, tenant, id).await?.ok_or_else(|| CustomerError::NotFound(id.to_string()))
}

fn taken(error: DbErr, customer: &Customer) -> CustomerError {
    match &customer.external_id {
        Some(external_id) if is_unique_violation(&error) => {
            CustomerError::ExternalIdTaken(external_id.clone())
        }
        _ => error.into(),
    }
}
