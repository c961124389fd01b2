//! Events that wait for their customer: they are kept, and count from the moment it appears (decision 0022).

use accrue_core::{
    clock::Clock,
    id::{CustomerId, TenantId, TestClockId},
};
use accrue_platform::{db::Db, gate::Gate};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    model::{Additions, Payer, UsageEvent},
    service::MeteringError,
    store::{days, events},
    tracking, watching,
};
use crate::customers;

/// Names that are looked up at a time.
const NAMES_AT_ONCE: u64 = 500;

/// Gives a customer some of the events that wait for it, and says how many; none if none is left. They are added to
/// their hours in the same transaction, so each is counted once. `now` is the customer's time.
pub(super) async fn give(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    customer: CustomerId,
    now: DateTime<Utc>,
) -> Result<usize, MeteringError> {
    let customer = customers::service::get(tx, tenant, customer).await?;
    let Some(name) = &customer.external_id else { return Ok(0) };
    Gate::Usage.pass(tx, tenant).await?;
    let waiting = events::next_awaiting(tx, tenant, name).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let tracked = tracking::track(tx, clock, tenant).await?;
    let ids = waiting.iter().map(|(event, _)| event.id);
    events::give(tx, tenant, ids, customer.id, now).await?;

    let mut added = Additions::default();
    let mut given: Vec<UsageEvent> = Vec::with_capacity(waiting.len());
    let count = waiting.len();
    for (event, properties) in waiting.into_iter().filter(|(event, _)| event.voided_at.is_none()) {
        let event = UsageEvent { payer: Payer::Known(customer.id), received_at: now, ..event };
        tracked.count(&mut added, &event, &properties);
        given.push(event);
    }
    days::add(tx, &added).await?;
    tracked.note_late(tx, tenant, given.iter()).await?;
    watching::moved(tx, clock.now(), &[(tenant, tracked.metrics())], given.iter()).await?;
    Ok(count)
}

/// The tenants with events that wait for their customer.
pub(super) async fn tenants_waiting(db: &Db) -> Result<Vec<TenantId>, DbErr> {
    events::tenants_waiting(db.reader()).await
}

/// Of a tenant's customers that events wait for, those that are there by now.
pub(super) async fn appeared(
    db: &Db,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Option<TestClockId>)>, DbErr> {
    let (mut found, mut last) = (Vec::new(), None::<String>);
    loop {
        let names = events::awaited(db.reader(), tenant, last.as_deref(), NAMES_AT_ONCE).await?;
        if names.is_empty() {
            return Ok(found);
        }
        let there =
            customers::service::resolve_all(db.reader(), tenant, names.iter().map(String::as_str)).await?;
        found.extend(there.into_values());
        last = names.into_iter().next_back();
    }
}
