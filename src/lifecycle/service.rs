//! The verbs: each is done, and everything that falls due by it is billed, in one transaction.

use std::collections::BTreeMap;

use accrue_core::{decimal::Number, id::TenantId, proration::Basis};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::unused::{self, OnUnused};
use crate::{
    app::App,
    auth::Tenant,
    catalog::{self, PlanVersion, service::CatalogError},
    clocks,
    invoices::{
        Billed, credit_notes,
        service::{self as invoices, InvoiceError},
    },
    payments::service::PaymentError,
    subscriptions::{
        Anchor, Subscription, UsageInPause, Wanted, When,
        service::{self as subscriptions, SubscriptionError, Verb},
    },
};

/// Why a verb cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum LifecycleError {
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Payment(#[from] PaymentError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What somebody asks of a subscription. Names are as the caller gave them.
pub(super) enum Asked {
    Cancel { when: When, unused: OnUnused },
    Change(ChangeAsked),
    Pause { usage: UsageInPause, resume_at: Option<DateTime<Utc>> },
    Resume,
    ExtendTrial(DateTime<Utc>),
    EndTrial,
    Undo,
}

/// Other terms, as they were asked for.
pub(super) struct ChangeAsked {
    /// The plan's identifier or code: its present version. Without it the version stays that the subscription has.
    pub plan: Option<String>,
    pub quantities: BTreeMap<String, Number>,
    pub when: When,
    pub proration: Basis,
    pub anchor: Anchor,
}

/// What was done.
pub(super) struct Done {
    pub subscription: Subscription,
    pub billed: Billed,
}

/// Does what is asked, after everything that was due before is billed. Asking twice is the same as asking once.
pub(super) async fn act(
    tx: &DatabaseTransaction,
    app: &App,
    tenant: &Tenant,
    reference: &str,
    asked: Asked,
) -> Result<Done, LifecycleError> {
    let found = subscriptions::resolve(tx, tenant.id, reference).await?;
    let now = clocks::service::now_of(tx, &*app.clock, tenant.id, found.test_clock_id).await?;
    let times = (now, app.now());
    let mut subscription = invoices::lock_subscription(tx, tenant.id, found.id).await?;
    let stored = subscription.clone();
    let mut billed = invoices::bill_due(tx, times, tenant, stored, &mut subscription).await?;

    let before = subscription.clone();
    let (verb, on_unused) = verb(tx, &before, asked).await?;
    let _ = subscriptions::act(tx, now, &mut subscription, verb).await?;
    let more = invoices::bill_due(tx, times, tenant, before.clone(), &mut subscription).await?;
    billed.invoices.extend(more.invoices);
    billed.credit_notes.extend(more.credit_notes);
    if before.ended_at.is_none()
        && let Some(unused) = subscription.ended_at.and_then(|end| before.unused_from(end))
    {
        let given = unused::give_back(tx, now, tenant, (&before, unused), on_unused).await?;
        billed.credit_notes.extend(given);
    }
    Ok(Done { subscription, billed })
}

/// What was billed, as it is when all is done: a credit note may have paid an invoice that was made after it, and an invoice
/// may have been given back.
pub(super) async fn as_left(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    Billed { mut invoices, mut credit_notes }: Billed,
) -> Result<Billed, LifecycleError> {
    for invoice in &mut invoices {
        *invoice = invoices::get(tx, tenant, invoice.id).await?;
    }
    for note in &mut credit_notes {
        let found = credit_notes::service::resolve(tx, tenant, &note.id.to_string()).await?;
        *note = found.expect("this transaction made it");
    }
    Ok(Billed { invoices, credit_notes })
}

async fn verb(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    asked: Asked,
) -> Result<(Verb, OnUnused), LifecycleError> {
    let verb = match asked {
        Asked::Cancel { when, unused } => return Ok((Verb::Cancel(when), unused)),
        Asked::Change(asked) => change(tx, subscription, asked).await?,
        Asked::Pause { usage, resume_at } => Verb::Pause(usage, resume_at),
        Asked::Resume => Verb::Resume,
        Asked::ExtendTrial(until) => Verb::TrialEnd(Some(until)),
        Asked::EndTrial => Verb::TrialEnd(None),
        Asked::Undo => Verb::Undo,
    };
    Ok((verb, OnUnused::None))
}

async fn change(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    asked: ChangeAsked,
) -> Result<Verb, LifecycleError> {
    let plan = plan(tx, subscription, asked.plan.as_deref()).await?;
    let change = subscription.change_to(&plan, &asked.quantities, (asked.proration, asked.anchor));
    Ok(Verb::Change(asked.when, change.map_err(SubscriptionError::Invalid)?))
}

/// The plan that is asked for, in its present version; or the version that the subscription has.
async fn plan(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    wanted: Option<&str>,
) -> Result<PlanVersion, SubscriptionError> {
    let tenant = subscription.tenant_id;
    let plan = match wanted {
        Some(plan) => catalog::service::plan_to_sell(tx, tenant, plan).await,
        None => catalog::service::get_plan_version(tx, tenant, subscription.plan_version_id).await,
    };
    plan.map_err(|error: CatalogError| error.into())
}

/// Subscribes a customer and bills what is due of it at once, to see what that comes to.
pub(super) async fn preview_create(
    tx: &DatabaseTransaction,
    app: &App,
    tenant: &Tenant,
    (customer, plan): (&str, &str),
    wanted: Wanted,
) -> Result<Done, LifecycleError> {
    let made = subscriptions::create(tx, &*app.clock, tenant, customer, plan, wanted).await?;
    let now = clocks::service::now_of(tx, &*app.clock, tenant.id, made.test_clock_id).await?;
    let mut subscription = made.clone();
    let billed = invoices::bill_due(tx, (now, app.now()), tenant, made, &mut subscription).await?;
    Ok(Done { subscription, billed })
}
