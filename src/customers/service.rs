//! The verbs of customers.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use accrue_core::{
    id::{CustomerId, IssuerId, PaymentMethodId, TenantId, TestClockId},
    money::{Currency, Money},
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
    family::{self, FamilyError},
    model::{Address, Contact, Customer, Exemption},
    store,
};
use crate::{auth::Tenant, issuers};

pub use super::store::Which;

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
    #[error("the customer's issuer bills in {0}: name another currency of the customer to bill in that")]
    IssuerCurrency(Currency),
    #[error("the parent {0}")]
    Family(#[from] FamilyError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a new customer is, checked.
#[derive(Clone, Debug, Default)]
pub struct NewCustomer {
    pub external_id: Option<String>,
    pub parent: Option<CustomerId>,
    pub issuer: Option<IssuerId>,
    pub name: String,
    pub email: Option<String>,
    pub invoice_contacts: Vec<Contact>,
    pub currency: Option<Currency>,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub net_terms_days: Option<u16>,
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

/// Who bills a customer: the tenant, with the settings of the issuer where it has any, and the customer's own terms of
/// payment. The issuer is that of who pays.
pub async fn billed_by<'a>(
    db: &impl ConnectionTrait,
    tenant: &'a Tenant,
    customer: &Customer,
) -> Result<Cow<'a, Tenant>, DbErr> {
    let payer = family::payer(db, customer).await?;
    let mut billed_by = issuers::service::in_name_of(db, tenant, payer.issuer_id).await?;
    if let Some(days) = customer.net_terms_days.or(payer.net_terms_days) {
        billed_by.to_mut().settings.net_terms_days = days;
    }
    Ok(billed_by)
}

/// One page of customers.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
    page: &PageQuery,
) -> Result<Vec<Customer>, PageError> {
    store::list(db, tenant, which, page).await
}

/// Makes a customer. Whoever gives it a parent has taken turns ([`family::take_turns`]).
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
        parent_id: new.parent,
        issuer_id: new.issuer,
        name: new.name,
        email: new.email,
        invoice_contacts: new.invoice_contacts,
        currency: new.currency,
        timezone: new.timezone,
        locale: new.locale,
        net_terms_days: new.net_terms_days,
        address: new.address,
        tax_ids: new.tax_ids,
        exemption: new.exemption,
        test_clock_id: new.test_clock,
        default_payment_method_id: None,
        balance_minor: 0,
        metadata: new.metadata,
        created_at: now,
    };
    family::check(tx, &customer).await?;
    store::insert(tx, &customer).await.map_err(|error| taken(error, &customer))?;
    family::agree(tx, &customer).await?;
    events::created(tx, now, &customer, tenant.livemode).await?;
    Ok(customer)
}

/// Changes a customer by `change`, and tells if anything did change. Whoever changes its parent has taken turns
/// ([`family::take_turns`]).
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
    if after.parent_id != before.parent_id || after.issuer_id != before.issuer_id {
        family::check(tx, &after).await?;
    }
    if after != before {
        if after.external_id != before.external_id {
            // Events that name the customer one way or the other are being taken.
            Gate::Usage.close(tx, tenant.id).await?;
        }
        store::save(tx, &after).await.map_err(|error| taken(error, &after))?;
        if after.parent_id != before.parent_id || after.currency != before.currency {
            family::agree(tx, &after).await?;
        }
        events::updated(tx, now, &before, &after, tenant.livemode).await?;
    }
    Ok(after)
}

/// The customer is billed in this currency from now on; refuses another one than before, and than the issuer's if the
/// customer names none. It is that of everybody who pays for the customer too.
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
            let payer = family::payer(tx, &customer).await?.issuer_id;
            let issuer = issuers::service::get(tx, tenant, payer).await?;
            if let Some(other) =
                issuer.and_then(|issuer| issuer.currency).filter(|theirs| *theirs != currency)
            {
                return Err(CustomerError::IssuerCurrency(other));
            }
            customer.currency = Some(currency);
            store::save(tx, &customer).await?;
            family::agree(tx, &customer).await
        }
    }
}

/// What the locked customer has with us from now on; only entries of balances say what that is.
pub async fn set_balance(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
    balance: Money,
) -> Result<(), DbErr> {
    store::set_balance(tx, tenant, id, balance.minor()).await
}

/// The customers whose balance is another one than expected; whoever is not expected to have any has none.
pub async fn unlike_balances(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    expected: impl IntoIterator<Item = (CustomerId, Money)>,
) -> Result<Vec<CustomerId>, DbErr> {
    let mut unlike: BTreeMap<CustomerId, i64> = store::balances(db, tenant).await?.into_iter().collect();
    for (customer, amount) in expected {
        *unlike.entry(customer).or_default() -= amount.minor();
    }
    Ok(unlike.into_iter().filter(|(_, difference)| *difference != 0).map(|(customer, _)| customer).collect())
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
