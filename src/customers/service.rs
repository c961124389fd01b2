//! The verbs of customers.

use accrue_core::{
    id::{CustomerId, PaymentMethodId, TenantId},
    money::Currency,
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::model::Customer;

/// Why a customer cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    #[error("customer {0} does not exist")]
    NotFound(String),
    #[error("another customer has the external id {0}")]
    ExternalIdTaken(String),
    #[error("test clock {0} does not exist")]
    NoSuchTestClock(String),
    #[error("the customer is billed in {0} already")]
    CurrencyFixed(Currency),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// By identifier, or by the tenant's own name for the customer.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Customer, CustomerError> {
    let _ = (db, tenant);
    Err(CustomerError::NotFound(reference.to_owned()))
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: CustomerId,
) -> Result<Customer, CustomerError> {
    let _ = (db, tenant);
    Err(CustomerError::NotFound(id.to_string()))
}

/// Makes a payment method the one that is charged; `None` for none.
pub async fn set_default_payment_method(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
    method: Option<PaymentMethodId>,
) -> Result<(), CustomerError> {
    let _ = (tx, tenant, id, method);
    Ok(())
}

/// The customer is billed in this currency from now on; refuses another one than before.
pub async fn fix_currency(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
    currency: Currency,
) -> Result<(), CustomerError> {
    let _ = (tx, tenant, id, currency);
    Ok(())
}
