//! The verbs of balances.

use accrue_core::{
    id::{BalanceEntryId, CustomerId, InvoiceId, TenantId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    events,
    model::{BalanceEntry, BalanceKind},
    store,
};
use crate::{
    auth::Tenant,
    customers,
    invoices::{model::Invoice, service::InvoiceError},
    ledger,
};

/// A change to be made of a balance.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub kind: BalanceKind,
    /// Positive for the customer, negative for us; never zero.
    pub amount: Money,
    /// The invoice that it comes from, and its number.
    pub invoice: Option<(InvoiceId, String)>,
    pub description: Option<String>,
    pub metadata: Metadata,
}

/// Changes what a customer has with us, with its entry in the books and its event. The customer is locked from here on.
/// `now` is the customer's time. Fixes the currency of a customer that has none.
///
/// One entry of each kind for an invoice: the database refuses another.
pub async fn add(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    customer: CustomerId,
    new: NewEntry,
) -> Result<BalanceEntry, InvoiceError> {
    customers::service::fix_currency(tx, tenant.id, customer, new.amount.currency()).await?;
    let customer = customers::service::get_for_update(tx, tenant.id, customer).await?;
    let before = Money::from_minor(customer.balance_minor, new.amount.currency());
    let balance_after = before.checked_add(new.amount)?;
    customers::service::set_balance(tx, tenant.id, customer.id, balance_after).await?;
    let (invoice_id, number) = new.invoice.unzip();
    let entry = BalanceEntry {
        tenant_id: tenant.id,
        id: BalanceEntryId::new(now),
        customer_id: customer.id,
        test_clock_id: customer.test_clock_id,
        kind: new.kind,
        amount: new.amount,
        balance_after,
        invoice_id,
        description: new.description,
        metadata: new.metadata,
        created_at: now,
    };
    store::insert(tx, &entry).await?;
    ledger::service::post(tx, now, tenant.id, entry.posting(&number.unwrap_or_default())?).await?;
    events::changed(tx, now, tenant.livemode, &entry).await?;
    Ok(entry)
}

/// What the customer of an invoice that is being finalized has with us. If there is anything, or the invoice leaves something
/// there, the customer is locked from here on, so none of it is spent twice (RULES 41).
pub(in crate::invoices) async fn lock(
    tx: &DatabaseTransaction,
    invoice: &Invoice,
) -> Result<Money, InvoiceError> {
    let seen = customers::service::get(tx, invoice.tenant_id, invoice.customer_id).await?;
    let is_touched = seen.balance_minor != 0 || !invoice.balance_credited.is_zero();
    if !is_touched || seen.currency != Some(invoice.currency) {
        return Ok(Money::zero(invoice.currency));
    }
    let customer = customers::service::get_for_update(tx, invoice.tenant_id, invoice.customer_id).await?;
    Ok(Money::from_minor(customer.balance_minor, invoice.currency))
}

/// Notes what the stored invoice took of the balance, and what it left to it.
pub(in crate::invoices) async fn settle(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &Invoice,
) -> Result<(), InvoiceError> {
    let applied = (BalanceKind::InvoiceApplied, invoice.balance_applied.checked_neg()?);
    for (kind, amount) in [applied, (BalanceKind::InvoiceCredited, invoice.balance_credited)] {
        note(tx, now, tenant, invoice, (kind, amount)).await?;
    }
    Ok(())
}

/// Undoes it for the voided invoice.
pub(in crate::invoices) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &Invoice,
) -> Result<(), InvoiceError> {
    let amount = invoice.balance_applied.checked_sub(invoice.balance_credited)?;
    note(tx, now, tenant, invoice, (BalanceKind::InvoiceVoided, amount)).await
}

async fn note(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &Invoice,
    (kind, amount): (BalanceKind, Money),
) -> Result<(), InvoiceError> {
    if amount.is_zero() {
        return Ok(());
    }
    let number = invoice.number.clone().unwrap_or_default();
    let new = NewEntry {
        kind,
        amount,
        invoice: Some((invoice.id, number)),
        description: None,
        metadata: Metadata::new(),
    };
    add(tx, now, tenant, invoice.customer_id, new).await.map(drop)
}

/// A page of a customer's entries.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    page: &PageQuery,
) -> Result<Vec<BalanceEntry>, PageError> {
    store::list(db, tenant, customer, page).await
}

/// What customers have with us beside credit notes, in each currency; a debt is negative.
pub async fn balances(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    store::sums(db, tenant).await
}

/// What is wrong with a tenant's balances, one sentence each; nothing if all is well.
pub(in crate::invoices) async fn verify(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<String>, InvoiceError> {
    let mut findings = Vec::new();
    for invoice in store::unlike_invoices(db, tenant).await? {
        findings.push(format!("{invoice} says something else of the customer's balance than its entries do"));
    }
    let sums = store::sums(db, tenant).await?;
    for customer in customers::service::unlike_balances(db, tenant, sums).await? {
        findings.push(format!("the balance of {customer} is not what its entries come to"));
    }
    Ok(findings)
}
