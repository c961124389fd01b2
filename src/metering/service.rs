//! The verbs of metering.

use accrue_core::{
    arithmetic::Overflow,
    calendar::CalendarError,
    id::{SubscriptionId, TenantId},
    usage::UsageError,
};
use accrue_platform::{
    db::Db,
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    model::{Closing, CorrectionError, Found, Month, UnmatchedUsage, UsageEvent, Wanted},
    store::{self, archives, closings, events, listing},
};
use crate::{
    app,
    catalog::service::CatalogError,
    customers::{self, service::CustomerError},
};

pub use super::{
    reading::{month_of, quantity, usage_by_bucket},
    unbilled::{next_counted, tally},
    watching::{look_again, unwatch, watch, watch_all, watched_of},
};

/// Why usage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    #[error("usage event {0} does not exist")]
    NoSuchEvent(String),
    #[error(transparent)]
    Correction(#[from] CorrectionError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Period(#[from] CalendarError),
    #[error("more than {0} windows were asked for: take a larger granularity, or a shorter time")]
    TooManyWindows(usize),
    #[error(
        "the answer has more than {0} windows and groups: take a larger granularity, a shorter time, or group by less"
    )]
    TooMuchToTell(usize),
    #[error("its hours were built up anew meanwhile")]
    Rebuilt,
    #[error(
        "the events of before {0} are archived: usage that is not kept by the hour cannot be told any more"
    )]
    Archived(DateTime<Utc>),
    #[error("usage of before {0} is final, because its events are archived")]
    Final(DateTime<Utc>),
    #[error("what was received in {0} is archived, in {1}")]
    EventArchived(Month, String),
    #[error("the quantity is too large to be held exactly")]
    Overflow,
    #[error("taking usage events panicked")]
    Panicked,
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl From<UsageError> for MeteringError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Overflow(_) => Self::Overflow,
            UsageError::NotProratable | UsageError::ScopeMismatch | UsageError::NeedsEvents => {
                unreachable!("only what can be summed up is: {error}")
            }
        }
    }
}

impl From<Overflow> for MeteringError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// From now on, what belongs to this period is late.
pub async fn close(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    closing: Closing,
) -> Result<(), MeteringError> {
    Ok(closings::insert(tx, &closing, Closing::first_check_at(now)).await?)
}

/// The closed periods of a subscription that may have been billed too early, locked: those that are to be looked at until
/// an instant, or all.
pub async fn to_check(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    subscription: SubscriptionId,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Closing>, MeteringError> {
    Ok(closings::to_check(tx, tenant, subscription, until).await?)
}

/// Has closed periods looked at at another time; `None` for when something comes for them.
pub async fn check_again(
    tx: &DatabaseTransaction,
    closings: &[Closing],
    at: Option<DateTime<Utc>>,
) -> Result<(), MeteringError> {
    let Some(first) = closings.first() else { return Ok(()) };
    let ids = closings.iter().map(Closing::id).collect();
    Ok(closings::set_check(tx, first.tenant_id, ids, at).await?)
}

/// When closed periods are to be looked at.
pub const CHECKS: DueColumn = closings::CHECKS;

/// Subscriptions whose closed periods are to be looked at, and since when, a page of them after the last of the page before.
pub async fn due_checks(
    db: &Db,
    scope: app::Scope,
    now: DateTime<Utc>,
    after: Option<SubscriptionId>,
) -> Result<Vec<(SubscriptionId, DateTime<Utc>)>, DbErr> {
    closings::due(db.reader(), scope, now, after).await
}

/// An event by its identifier, or by the caller's own name for it.
pub async fn get_event(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
    source: Option<&str>,
) -> Result<UsageEvent, MeteringError> {
    let no_such_event = || MeteringError::NoSuchEvent(reference.to_owned());
    let id = match reference.parse() {
        Ok(id) => Some(id),
        Err(_) => events::find_id(db, tenant, reference, source.unwrap_or_default()).await?,
    };
    let id = id.ok_or_else(no_such_event)?;
    if let Some(event) = events::find(db, tenant, id).await? {
        return Ok(event);
    }
    match archives::holding(db, tenant, id).await? {
        Some(archive) => Err(MeteringError::EventArchived(archive.month, archive.file)),
        None => Err(no_such_event()),
    }
}

/// What nothing counts, the last name to appear first.
pub(super) async fn list_unmatched(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<UnmatchedUsage>, MeteringError> {
    Ok(store::unmatched::list(db, tenant, page).await?)
}

/// Events, the last to arrive first.
pub(super) async fn list_events(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    wanted: Wanted<'_>,
    page: &PageQuery,
) -> Result<Found, MeteringError> {
    let customer = match wanted.customer {
        Some(reference) => Some(customers::service::resolve(db, tenant, reference).await?.id),
        None => None,
    };
    Ok(listing::list(db, tenant, customer, wanted, page).await?)
}
