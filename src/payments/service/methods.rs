//! How customers pay.

use std::collections::BTreeSet;

use accrue_core::{
    clock::Clock,
    id::{CustomerId, PaymentMethodId, TenantId},
};
use accrue_platform::{
    check::Metadata,
    gateway::SavedMethod,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::PaymentError;
use crate::{
    auth::Tenant,
    clocks,
    customers::{self, service::CustomerError},
    payments::{body::PaymentMethodBody, events, model::PaymentMethod, store},
};

/// A method that the gateway keeps for us.
#[derive(Debug)]
pub(in crate::payments) struct NewMethod {
    pub customer: CustomerId,
    pub gateway: &'static str,
    pub saved: SavedMethod,
    /// The gateway's name for it, sealed for the tenant.
    pub reference_sealed: String,
    /// The customer's first becomes the default anyhow.
    pub default: bool,
    pub metadata: Metadata,
}

pub(super) async fn default(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Option<PaymentMethod>, DbErr> {
    let customer = match customers::service::get(db, tenant, customer).await {
        Ok(customer) => customer,
        Err(CustomerError::Database(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let Some(id) = customer.default_payment_method_id else { return Ok(None) };
    let method = store::methods::find(db, tenant, id).await?;
    Ok(method.filter(|method| method.detached_at.is_none()))
}

/// Remembers a method, and makes it the one that is charged if that is wanted or it is the first.
pub(in crate::payments) async fn attach(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    new: NewMethod,
    now: DateTime<Utc>,
) -> Result<PaymentMethodBody, PaymentError> {
    let id = PaymentMethodId::new(now);
    // The customer is locked first: of several that come at once, one is the first.
    let customer = customers::service::get_for_update(tx, tenant.id, new.customer).await?;
    let method = PaymentMethod {
        tenant_id: tenant.id,
        id,
        customer_id: customer.id,
        gateway: new.gateway.to_owned(),
        reference_sealed: new.reference_sealed,
        brand: new.saved.brand,
        last4: new.saved.last4,
        expires_on: new.saved.expires_on,
        detached_at: None,
        metadata: new.metadata,
        created_at: now,
    };
    store::methods::insert(tx, &method).await?;
    let customer = customers::service::update(tx, now, tenant, customer.id, |customer| {
        if new.default || customer.default_payment_method_id.is_none() {
            customer.default_payment_method_id = Some(id);
        }
    });
    let customer = customer.await?;
    let default = customer.default_payment_method_id == Some(id);
    let body = PaymentMethodBody::new(&method, default, tenant.livemode);
    events::tell_of_method(tx, now, tenant, events::METHOD_ATTACHED, &body, customer.test_clock_id).await?;
    Ok(body)
}

/// It is never charged again. Detaching twice is the same as detaching once.
pub(in crate::payments) async fn detach(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    id: PaymentMethodId,
    clock: &dyn Clock,
) -> Result<PaymentMethodBody, PaymentError> {
    let customer = store::methods::find(tx, tenant.id, id).await?.ok_or_else(|| no_method(id))?.customer_id;
    let customer = customers::service::get(tx, tenant.id, customer).await?;
    let now = clocks::service::now_of(tx, clock, tenant.id, customer.test_clock_id).await?;
    // The customer is locked first, here and everywhere.
    let forget = customers::service::update(tx, now, tenant, customer.id, |customer| {
        customer.default_payment_method_id =
            customer.default_payment_method_id.filter(|default| *default != id);
    });
    forget.await?;
    let method = store::methods::find_for_update(tx, tenant.id, id).await?;
    let mut method = method.ok_or_else(|| no_method(id))?;
    if method.detached_at.is_some() {
        return Ok(PaymentMethodBody::new(&method, false, tenant.livemode));
    }
    store::methods::detach(tx, tenant.id, id, now).await?;
    method.detached_at = Some(now);
    let body = PaymentMethodBody::new(&method, false, tenant.livemode);
    events::tell_of_method(tx, now, tenant, events::METHOD_DETACHED, &body, customer.test_clock_id).await?;
    Ok(body)
}

pub(in crate::payments) async fn get_method(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    id: PaymentMethodId,
) -> Result<PaymentMethodBody, PaymentError> {
    let method = store::methods::find(db, tenant.id, id).await?.ok_or_else(|| no_method(id))?;
    let customer = customers::service::get(db, tenant.id, method.customer_id).await?;
    let default = customer.default_payment_method_id == Some(id);
    Ok(PaymentMethodBody::new(&method, default, tenant.livemode))
}

/// A page of those that can be charged.
pub(in crate::payments) async fn list_methods(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<PaymentMethodBody>, PageError> {
    let methods = store::methods::list(db, tenant.id, customer, page).await?;
    let customers: BTreeSet<CustomerId> = methods.iter().map(|method| method.customer_id).collect();
    let mut defaults = BTreeSet::new();
    for customer in customers {
        defaults.extend(default(db, tenant.id, customer).await?.map(|method| method.id));
    }
    let bodies = methods
        .iter()
        .map(|method| PaymentMethodBody::new(method, defaults.contains(&method.id), tenant.livemode));
    Ok(bodies.collect())
}

fn no_method(id: PaymentMethodId) -> PaymentError {
    PaymentError::NotFound { what: "payment method", id: id.to_string() }
}
