//! The verbs of dunning.

use accrue_core::id::{CustomerId, DunningId, InvoiceId, PaymentMethodId, TenantId};
use accrue_platform::{
    check::Metadata,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    events,
    jobs::NoteFailure,
    model::{self, DEFAULT, Dunning, DunningStatus, Failure, Next, is_dunned},
    store,
};
use crate::{
    auth::Tenant,
    invoices::{self, Invoice, InvoiceStatus, service::InvoiceError},
    payments::{self, Payment},
    subscriptions::{self, Access, service::SubscriptionError},
};

pub(super) use store::{DunningFilter, LOOKS, STEPS};

/// Why a dunning cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum DunningError {
    #[error("dunning {0} does not exist")]
    NotFound(DunningId),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

pub(super) async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: DunningId,
) -> Result<Dunning, DunningError> {
    store::find(db, tenant, id).await?.ok_or(DunningError::NotFound(id))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: DunningFilter,
    page: &PageQuery,
) -> Result<Vec<Dunning>, PageError> {
    store::list(db, tenant, filter, page).await
}

/// A payment of an invoice failed: the chase begins, or goes on. What happened is read again, so it does not
/// matter how often and how late it is told (RULES 46).
pub(super) async fn note_failure(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    told: &NoteFailure,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let invoice = invoices::service::get_for_update(tx, tenant.id, told.invoice).await?;
    let payment = payments::service::find_of_invoice(tx, tenant.id, invoice.id).await?;
    let Some(payment) = payment.filter(|payment| is_dunned(payment, told.without_method)) else {
        return Ok(());
    };
    if invoice.status != InvoiceStatus::Open {
        return Ok(());
    }
    match store::find_of_invoice_for_update(tx, tenant.id, invoice.id).await? {
        None => start(tx, tenant, &invoice, &payment, now).await,
        Some(mut dunning) if dunning.status == DunningStatus::Running => {
            fail(tx, tenant, &mut dunning, &payment, now).await.map(drop)
        }
        Some(_) => Ok(()),
    }
}

/// Notes what became of the payment; `Next::Wait` if that does not move the ladder.
async fn fail(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    dunning: &mut Dunning,
    payment: &Payment,
    now: DateTime<Utc>,
) -> Result<Next, DunningError> {
    let charged = payments::service::default_method(tx, tenant.id, dunning.customer_id).await?;
    let next = dunning.fail(&DEFAULT, payment, charged.map(|method| method.id), now);
    store::save(tx, dunning).await?;
    follow(tx, tenant, dunning, next, now).await?;
    Ok(next)
}

async fn start(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: &Invoice,
    payment: &Payment,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let charged = payments::service::default_method(tx, tenant.id, invoice.customer_id).await?;
    let charged = charged.map(|method| method.id);
    let mut dunning = Dunning {
        tenant_id: tenant.id,
        id: DunningId::new(now),
        customer_id: invoice.customer_id,
        invoice_id: invoice.id,
        subscription_id: invoice.subscription_id,
        test_clock_id: invoice.test_clock_id,
        status: DunningStatus::Running,
        access: Access::Full,
        retries_stopped: false,
        step: 0,
        next_step_at: None,
        look_again_at: None,
        invoice_number: invoice.number.clone(),
        amount: invoice.amount_due(),
        failure: Failure::of(payment),
        started_at: payment.attempts.last().map_or(now, |attempt| attempt.updated_at),
        ended_at: None,
        metadata: Metadata::new(),
        created_at: now,
    };
    dunning.start(&DEFAULT, payment, charged);
    store::insert(tx, &dunning).await?;
    apply_access(tx, &dunning, now).await?;
    events::tell(tx, now, tenant, events::STARTED, &dunning).await?;
    match charged {
        // It became the default while the payment failed: there was nothing to retry when that was told.
        Some(method) if !model::has_tried(payment, method) => try_method(tx, &dunning, method, now).await,
        _ => Ok(()),
    }
}

/// Takes a step whose time has come. One that was taken already, or is not wanted any more, changes nothing.
pub(super) async fn take_step(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    id: DunningId,
    step: i32,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let invoice = get(tx, tenant.id, id).await?.invoice_id;
    let invoice = invoices::service::get_for_update(tx, tenant.id, invoice).await?;
    let dunning = store::find_for_update(tx, tenant.id, id).await?;
    let mut dunning = dunning.ok_or(DunningError::NotFound(id))?;
    let due = dunning.next_step_at.is_some_and(|at| at <= now);
    if !due || dunning.step + 1 != step {
        return Ok(());
    }
    if invoice.status != InvoiceStatus::Open {
        return recover(tx, tenant, dunning, now).await;
    }
    let payment = payments::service::find_of_invoice(tx, tenant.id, invoice.id).await?;
    if let Some(attempt) = payment.as_ref().and_then(Payment::in_flight) {
        // What is in flight is never dunned: the step waits until the gateway has been asked.
        let asked_at = attempt.look_up_at.unwrap_or(now).max(now);
        dunning.next_step_at = Some(asked_at + TimeDelta::minutes(1));
        return Ok(store::save(tx, &dunning).await?);
    }
    let next = dunning.take_step(&DEFAULT, now);
    store::save(tx, &dunning).await?;
    if next != Next::Exhausted {
        // What is over gives nothing back: its subscription ends.
        apply_access(tx, &dunning, now).await?;
    }
    follow(tx, tenant, &dunning, next, now).await
}

/// Nobody has told what became of a step's try. If it is known by now, the ladder moves; if nobody tries, somebody
/// shall: a job that lies dead stays what it is, one that was discarded is made again.
pub(super) async fn look_again(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    id: DunningId,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let invoice = get(tx, tenant.id, id).await?.invoice_id;
    let invoice = invoices::service::get_for_update(tx, tenant.id, invoice).await?;
    let dunning = store::find_for_update(tx, tenant.id, id).await?;
    let mut dunning = dunning.ok_or(DunningError::NotFound(id))?;
    if dunning.look_again_at.is_none_or(|at| at > now) {
        return Ok(());
    }
    if invoice.status != InvoiceStatus::Open {
        return recover(tx, tenant, dunning, now).await;
    }
    let payment = payments::service::find_of_invoice(tx, tenant.id, invoice.id).await?;
    let in_flight = payment.as_ref().is_some_and(|payment| payment.in_flight().is_some());
    if let Some(payment) = payment.filter(|payment| is_dunned(payment, false))
        && fail(tx, tenant, &mut dunning, &payment, now).await? != Next::Wait
    {
        return Ok(());
    }
    dunning.wait_on(now);
    store::save(tx, &dunning).await?;
    if in_flight { Ok(()) } else { follow(tx, tenant, &dunning, Next::Retry, now).await }
}

/// Does what a move of the ladder asks for.
async fn follow(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    dunning: &Dunning,
    next: Next,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let Dunning { test_clock_id, invoice_id, .. } = dunning;
    match next {
        Next::Wait => {}
        Next::Retry => {
            let key = model::reason(dunning.step);
            payments::service::collect_later(tx, tenant.id, *test_clock_id, *invoice_id, &key, now).await?;
        }
        Next::Stepped => events::tell(tx, now, tenant, events::STEP, dunning).await?,
        Next::Exhausted => {
            events::tell(tx, now, tenant, events::EXHAUSTED, dunning).await?;
            if let Some(subscription) = dunning.subscription_id {
                subscriptions::service::cancel_unpaid(tx, now, tenant.id, subscription).await?;
            }
        }
    }
    Ok(())
}

/// The invoice is paid, or not owed any more: the chase is over, and access comes back (RULES 49).
pub(super) async fn note_debt_gone(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: InvoiceId,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let invoice = invoices::service::get_for_update(tx, tenant.id, invoice).await?;
    if invoice.status == InvoiceStatus::Open {
        return Ok(());
    }
    match store::find_of_invoice_for_update(tx, tenant.id, invoice.id).await? {
        Some(dunning) => recover(tx, tenant, dunning, now).await,
        None => Ok(()),
    }
}

async fn recover(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    mut dunning: Dunning,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    if !dunning.recover(now) {
        return Ok(());
    }
    store::save(tx, &dunning).await?;
    apply_access(tx, &dunning, now).await?;
    Ok(events::tell(tx, now, tenant, events::RECOVERED, &dunning).await?)
}

/// A customer who has a new default method is tried with it at once, unless that was changed again.
pub(super) async fn note_method(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    customer: CustomerId,
    method: PaymentMethodId,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let present = payments::service::default_method(tx, tenant.id, customer).await?;
    if present.is_none_or(|present| present.id != method) {
        return Ok(());
    }
    for mut dunning in store::running_of_customer_for_update(tx, tenant.id, customer).await? {
        dunning.retries_stopped = false;
        store::save(tx, &dunning).await?;
        try_method(tx, &dunning, method, now).await?;
    }
    Ok(())
}

async fn try_method(
    tx: &DatabaseTransaction,
    dunning: &Dunning,
    method: PaymentMethodId,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let Dunning { tenant_id, test_clock_id, invoice_id, .. } = dunning;
    let key = format!("method:{method}");
    Ok(payments::service::collect_later(tx, *tenant_id, *test_clock_id, *invoice_id, &key, now).await?)
}

/// The worst of a subscription's debts decides what may be used.
async fn apply_access(
    tx: &DatabaseTransaction,
    dunning: &Dunning,
    now: DateTime<Utc>,
) -> Result<(), DunningError> {
    let Some(subscription) = dunning.subscription_id else { return Ok(()) };
    // Locks first, reads after: of two debts that are paid at once the second sees the end of the first.
    subscriptions::service::get_for_update(tx, dunning.tenant_id, subscription).await?;
    let access = model::worst(store::running_accesses(tx, dunning.tenant_id, subscription).await?);
    Ok(subscriptions::service::set_access(tx, now, dunning.tenant_id, subscription, access).await?)
}
