//! The verbs: each is done, and everything that falls due by it is billed, in one transaction.

use std::collections::BTreeMap;

use accrue_core::{decimal::Number, id::TenantId, invalid::Invalid, proration::Basis};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr, TransactionTrait};

use super::unused::{self, OnUnused};
use crate::{
    app::App,
    auth::Tenant,
    catalog::{self, PlanVersion, Price, PriceKind, Timing, service::CatalogError},
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
    if let Asked::Cancel { unused: OnUnused::Refund, .. } = &asked {
        // Payments come after invoices and before subscriptions.
        invoices::lock_invoices_of(tx, tenant.id, found.id).await?;
        unused::lock_payments(tx, tenant, &found, now).await?;
    }
    let mut subscription = invoices::lock_subscription(tx, tenant.id, found.id).await?;
    subscriptions::lock_customer(tx, &subscription).await?;
    let stored = subscription.clone();
    let mut billed = match bill(tx, times, tenant, stored, &mut subscription).await {
        // What cannot be billed, for an absurd event, can be ended all the same: jobs say what is wrong with it.
        Err(LifecycleError::Invoice(InvoiceError::Charge(_) | InvoiceError::Metering(_)))
            if asked.ends_it() =>
        {
            return without_billing(tx, now, subscription, asked).await;
        }
        billed => billed?,
    };

    let before = subscription.clone();
    let (verb, on_unused) = verb(tx, &before, asked).await?;
    let _ = subscriptions::act(tx, now, &mut subscription, verb).await?;
    let more = bill(tx, times, tenant, before.clone(), &mut subscription).await?;
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

/// Bills what is due; all of that, or nothing.
async fn bill(
    tx: &DatabaseTransaction,
    times: (DateTime<Utc>, DateTime<Utc>),
    tenant: &Tenant,
    stored: Subscription,
    subscription: &mut Subscription,
) -> Result<Billed, LifecycleError> {
    let part = tx.begin().await?;
    let mut after = subscription.clone();
    match invoices::bill_due(&part, times, tenant, stored, &mut after).await {
        Ok(billed) if billed.has_more => Err(InvoiceError::Busy.into()),
        Ok(billed) => {
            part.commit().await?;
            *subscription = after;
            Ok(billed)
        }
        Err(error) => {
            part.rollback().await?;
            Err(error.into())
        }
    }
}

/// Ends it, or goes on with it, and bills nothing.
async fn without_billing(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    mut subscription: Subscription,
    asked: Asked,
) -> Result<Done, LifecycleError> {
    let before = subscription.clone();
    let (verb, _) = verb(tx, &before, asked).await?;
    let _ = subscriptions::act(tx, now, &mut subscription, verb).await?;
    subscriptions::keep(tx, now, &before, &subscription).await?;
    Ok(Done { subscription, billed: Billed::default() })
}

impl Asked {
    /// Whether it asks for an end, or takes one back, and nothing is to be given back for it.
    fn ends_it(&self) -> bool {
        matches!(self, Self::Cancel { unused: OnUnused::None, .. } | Self::Undo)
    }
}

/// What was billed, as it is when all is done: a credit note may have paid an invoice that was made after it, and an invoice
/// may have been given back.
pub(super) async fn as_left(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    Billed { has_more, mut invoices, mut credit_notes }: Billed,
) -> Result<Billed, LifecycleError> {
    for invoice in &mut invoices {
        *invoice = invoices::get(tx, tenant, invoice.id).await?;
    }
    for note in &mut credit_notes {
        let found = credit_notes::service::resolve(tx, tenant, &note.id.to_string()).await?;
        *note = found.expect("this transaction made it");
    }
    Ok(Billed { has_more, invoices, credit_notes })
}

async fn verb(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    asked: Asked,
) -> Result<(Verb, OnUnused), LifecycleError> {
    let verb = match asked {
        Asked::Cancel { when, unused } if when == When::Now || unused == OnUnused::None => {
            return Ok((Verb::Cancel(when), unused));
        }
        Asked::Cancel { .. } => {
            let detail = "only an end that is now leaves something unused that is known now";
            let mistake = Invalid::new("/unused", "conflict", detail);
            return Err(SubscriptionError::Invalid(vec![mistake]).into());
        }
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
    if asked.proration == Basis::None && asked.when != When::PeriodEnd {
        let present = self::plan(tx, subscription, None).await?;
        let in_arrears = |price: &Price| price.kind != PriceKind::Usage && price.timing == Timing::Arrears;
        if present.prices.iter().chain(&plan.prices).any(in_arrears) {
            let detail = "fees in arrears cannot change within a period without proration: change at its end";
            let mistake = Invalid::new("/proration", "unsupported", detail);
            return Err(SubscriptionError::Invalid(vec![mistake]).into());
        }
    }
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
