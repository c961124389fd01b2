//! The verbs of invoices.

use std::num::NonZeroU32;

use accrue_core::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit},
    id::{CustomerId, InvoiceId, MetricId, SubscriptionId, TenantId},
    invoice as arithmetic,
    money::{Money, MoneyError},
};
use accrue_platform::{
    counter,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    balance,
    credit_notes::{self, CreditError, CreditKind, CreditNote},
    cycle::{self, Billed},
    events,
    model::{Invoice, InvoiceStatus, MoveError},
    postings, progress,
    rating::ChargeError,
    store,
    unused::{self, UnusedOf},
    usage,
};
use crate::{
    auth::{self, Tenant},
    catalog::service::CatalogError,
    customers::service::CustomerError,
    issuers,
    ledger::{self, service::LedgerError},
    metering::service::MeteringError,
    subscriptions::{self, Collection, Subscription, Unused, service::SubscriptionError},
};

pub(super) use super::store::Which;
pub use super::{
    documents::{pdf, receipt},
    late::{Locked, check as check_usage, lock as lock_billed},
    verify::verify,
};

/// What the counters of invoice numbers are called, before the prefix of the numbers.
pub(super) const NUMBERS: &str = "invoice_number:";

/// Why an invoice cannot be had, made or moved.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("invoice {0} does not exist")]
    NotFound(String),
    #[error("tenant {0} does not exist")]
    NoSuchTenant(TenantId),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error(transparent)]
    Credit(CreditError),
    #[error("the turn cannot be rated")]
    Charge(#[from] ChargeError),
    #[error("the sums cannot be made")]
    Arithmetic(#[from] arithmetic::InvoiceError),
    #[error("the sums cannot be made")]
    Money(#[from] MoneyError),
    #[error("the dates cannot be told")]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Metering(#[from] MeteringError),
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// Somebody else is billing it at the same time.
    #[error("the subscription is being billed at this moment: try again")]
    Busy,
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Turns that one transaction bills at most: who comes back after years has the rest billed by jobs.
const TURNS_AT_ONCE: usize = 100;

/// Locks a subscription with its invoices, so that its turns can be billed whatever they give back.
pub async fn lock_subscription(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, InvoiceError> {
    cycle::lock_with_invoices(tx, tenant, id).await
}

/// Bills the turns of the locked subscription that are due at `now`, the customer's time, as the jobs would, up to a hundred. `stored` is
/// what is stored of it; what a command has made of it since is stored, and told, with the first turn, or now if none is
/// due.
pub async fn bill_due(
    tx: &DatabaseTransaction,
    (now, wall): (DateTime<Utc>, DateTime<Utc>),
    tenant: &Tenant,
    stored: Subscription,
    subscription: &mut Subscription,
) -> Result<Billed, InvoiceError> {
    let (mut all, mut stored) = (Billed::default(), stored);
    for _ in 0..TURNS_AT_ONCE {
        let Some(billed) = cycle::bill_turn(tx, (now, wall), tenant, &stored, subscription).await? else {
            subscriptions::service::keep(tx, now, &stored, subscription).await?;
            if stored.next_due_at != subscription.next_due_at {
                progress::watch(tx, wall, (&stored, subscription)).await?;
            }
            return Ok(all);
        };
        all.invoices.extend(billed.invoices);
        all.credit_notes.extend(billed.credit_notes);
        stored = subscription.clone();
    }
    all.has_more = subscription.due(now)?.is_some();
    Ok(all)
}

/// Locks the invoices of a subscription, before anything of them or the subscription.
pub async fn lock_invoices_of(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<(), InvoiceError> {
    store::lock_of_subscription(tx, tenant, id).await?;
    Ok(())
}

/// What is unused of each invoice that billed something in advance. The subscription is as it was before it ended, and its
/// invoices are locked.
pub async fn find_unused(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    unused: Unused,
) -> Result<Vec<UnusedOf>, InvoiceError> {
    unused::find(db, subscription, unused).await
}

/// By identifier, or by number.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Invoice, InvoiceError> {
    let found = match reference.parse() {
        Ok(id) => store::find(db, tenant, id).await?,
        Err(_) => store::find_by_number(db, tenant, reference).await?,
    };
    found.ok_or_else(|| InvoiceError::NotFound(reference.to_owned()))
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Invoice, InvoiceError> {
    store::find(db, tenant, id).await?.ok_or_else(|| InvoiceError::NotFound(id.to_string()))
}

/// Locks it for the rest of the transaction.
pub async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Invoice, InvoiceError> {
    store::find_for_update(tx, tenant, id).await?.ok_or_else(|| InvoiceError::NotFound(id.to_string()))
}

/// By identifier or number, locked for the rest of the transaction.
pub async fn resolve_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Invoice, InvoiceError> {
    let found = resolve(tx, tenant, reference).await?;
    get_for_update(tx, tenant, found.id).await
}

/// The open invoices for a customer, whoever pays for them, the oldest first.
pub async fn open_for_customer(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Invoice>, DbErr> {
    let which = Which { made_for: Some(customer), status: Some(InvoiceStatus::Open), ..Which::default() };
    store::all(db, tenant, which).await
}

/// The void invoices.
pub async fn void_ids(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<InvoiceId>, DbErr> {
    store::void_ids(db, tenant).await
}

/// What a metric has come to in a period of a subscription, by the code that will bill it.
pub async fn usage_amount(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    metric: MetricId,
    period: Period,
) -> Result<Money, InvoiceError> {
    usage::amount(db, subscription, metric, period).await
}

/// A page of invoices.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
    page: &PageQuery,
) -> Result<Vec<Invoice>, PageError> {
    store::list(db, tenant, which, page).await
}

/// Numbers a draft in its issuer's series and stores it as a claim, with its entry in the books and its events. Credit notes
/// of earlier invoices and then the balance pay what they can of it, or the balance is a debt that it asks for (RULES 31). `now` is the customer's time: what is made up for after downtime is issued now,
/// for its own period (RULES 7).
///
/// The number is taken last, so that the series is locked as shortly as can be.
pub(super) async fn issue(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    draft: Invoice,
    net_terms_days: u16,
) -> Result<Invoice, InvoiceError> {
    let due_at = match draft.collection {
        Collection::Automatic => now,
        Collection::SendInvoice => days_later(now, net_terms_days, draft.issuer.zone())?,
    };
    // Whoever has a balance is locked before their credit notes.
    let balance = balance::service::lock(tx, &draft).await?;
    let taken = credit_notes::service::take(tx, &draft).await?;
    let issuer = issuers::service::in_name_of(tx, tenant, draft.issuer_id).await?;
    let prefix = &issuer.settings.invoice_prefix;
    let position = counter::take(tx, tenant.id, &format!("{NUMBERS}{prefix}"), 1).await?;
    let mut open = draft.clone();
    open.apply_credits(Money::sum(draft.currency, taken.iter().map(|(_, paid)| *paid))?);
    open.apply_balance(balance::applied(balance, &open));
    open.finalize(format!("{prefix}-{position:06}"), now, due_at)?;
    let mut invoice = open.clone();
    if invoice.amount_due().is_zero() {
        invoice.pay(Money::zero(invoice.currency), now)?;
    }
    store::insert(tx, &invoice).await?;
    ledger::service::post(tx, now, tenant.id, postings::finalized(&invoice)?).await?;
    credit_notes::service::spend(tx, now, tenant.livemode, &invoice, taken).await?;
    balance::service::settle(tx, now, tenant, &invoice).await?;
    events::created(tx, now, tenant.livemode, &draft).await?;
    events::moved(tx, now, events::FINALIZED, tenant.livemode, (&draft, &open)).await?;
    if invoice.status == InvoiceStatus::Paid {
        events::moved(tx, now, events::PAID, tenant.livemode, (&open, &invoice)).await?;
    }
    Ok(invoice)
}

/// The same local time some days later, in the issuer's zone (RULES 37).
fn days_later(at: DateTime<Utc>, days: u16, zone: Tz) -> Result<DateTime<Utc>, CalendarError> {
    match NonZeroU32::new(days.into()) {
        None => Ok(at),
        Some(count) => {
            let interval = Interval { unit: Unit::Day, count };
            Grid::try_new(at, interval, Alignment::Anniversary, zone)?.boundary(1)
        }
    }
}

/// `amount` of the locked invoice has been paid; paid in full it is `paid`, and says so. The ledger entry of
/// the money is the caller's (payments). `now` is the customer's time.
///
/// What was given up as uncollectible is first made a claim again, for that entry to meet.
pub async fn record_payment(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &mut Invoice,
    amount: Money,
) -> Result<(), InvoiceError> {
    let before = invoice.clone();
    let mut after = invoice.clone();
    after.pay(amount, now)?;
    store::save(tx, &after).await?;
    if before.status == InvoiceStatus::Uncollectible {
        ledger::service::post(tx, now, after.tenant_id, postings::recovered(&after, amount)?).await?;
    }
    if after.status == InvoiceStatus::Paid {
        let livemode = livemode_of(tx, after.tenant_id).await?;
        events::moved(tx, now, events::PAID, livemode, (&before, &after)).await?;
    }
    *invoice = after;
    Ok(())
}

/// A credit note of the locked invoice was made: an offset lowers what is left to pay, and what is then paid says so.
pub(super) async fn record_credit(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    invoice: &mut Invoice,
    note: &CreditNote,
) -> Result<(), InvoiceError> {
    let mut after = invoice.clone();
    after.credit(note.credit.total)?;
    if note.kind == CreditKind::Offset {
        after.offset(note.credit.total, now)?;
    }
    store::save(tx, &after).await?;
    if after.status != invoice.status {
        events::moved(tx, now, events::PAID, livemode, (invoice, &after)).await?;
    }
    *invoice = after;
    Ok(())
}

/// It was a mistake: owed no more, its number stays. Only what is open, not paid in part, and not credited.
pub async fn void(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: Invoice,
) -> Result<Invoice, InvoiceError> {
    void_for(tx, now, tenant, invoice, None).await
}

/// The same, because another one says what it said with other usage, or because nothing of that was used after all: its
/// lines bill nothing any more. Credit that had paid a part of it pays the other one.
pub(super) async fn replace(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: Invoice,
    draft: Option<Invoice>,
    net_terms_days: u16,
) -> Result<(), InvoiceError> {
    let draft = draft.map(|draft| Invoice { replaces: Some(invoice.id), ..draft });
    let replaced_by = draft.as_ref().map(|draft| draft.id);
    store::replace_lines(tx, now, &invoice).await?;
    void_for(tx, now, tenant, invoice, replaced_by).await?;
    if let Some(draft) = draft {
        Box::pin(issue(tx, now, tenant, draft, net_terms_days)).await?;
    }
    Ok(())
}

async fn void_for(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: Invoice,
    replaced_by: Option<InvoiceId>,
) -> Result<Invoice, InvoiceError> {
    let mut voided = Invoice { replaced_by, ..invoice.clone() };
    voided.void(now)?;
    store::save(tx, &voided).await?;
    ledger::service::post(tx, now, tenant.id, postings::voided(&invoice)?).await?;
    balance::service::give_back(tx, now, tenant, &voided).await?;
    credit_notes::service::give_back(tx, now, tenant.livemode, &voided).await?;
    events::moved(tx, now, events::VOIDED, tenant.livemode, (&invoice, &voided)).await?;
    Ok(voided)
}

/// Nobody expects the money any more: what was left to pay becomes a loss.
pub async fn mark_uncollectible(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: Invoice,
) -> Result<Invoice, InvoiceError> {
    let mut given_up = invoice.clone();
    given_up.write_off()?;
    store::save(tx, &given_up).await?;
    ledger::service::post(tx, now, tenant.id, postings::written_off(&invoice)?).await?;
    events::moved(tx, now, events::UNCOLLECTIBLE, tenant.livemode, (&invoice, &given_up)).await?;
    Ok(given_up)
}

async fn livemode_of(tx: &DatabaseTransaction, tenant: TenantId) -> Result<bool, InvoiceError> {
    Ok(get_tenant(tx, tenant).await?.livemode)
}

/// The tenant with its settings.
pub(super) async fn get_tenant(db: &impl ConnectionTrait, id: TenantId) -> Result<Tenant, InvoiceError> {
    auth::service::get_tenant(db, id).await.map_err(|error| match error {
        auth::service::AuthError::Database(error) => InvoiceError::Database(error),
        _ => InvoiceError::NoSuchTenant(id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_in_30_days_is_due_at_the_same_local_time_although_the_clocks_change() {
        let issued = "2026-03-10T22:30:00Z".parse().unwrap(); // 23:30 in Berlin
        let due = days_later(issued, 30, Tz::Europe__Berlin).unwrap();
        assert_eq!(due, "2026-04-09T21:30:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(days_later(issued, 0, Tz::Europe__Berlin), Ok(issued));
    }
}
