//! Events that wait for their customer: they are kept, and count from the moment it appears (decision 0022).

use std::collections::BTreeMap;

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

/// Of the next customers after `last` that events wait for, those that are there by now; `None` at the end.
pub(super) async fn appeared(
    db: &Db,
    last: &mut Option<(TenantId, String)>,
) -> Result<Option<Vec<(TenantId, CustomerId, Option<TestClockId>)>>, DbErr> {
    let page = events::awaited(db.reader(), last.as_ref(), NAMES_AT_ONCE).await?;
    let Some(end) = page.last() else { return Ok(None) };
    *last = Some(end.clone());
    let mut by_tenant = BTreeMap::<TenantId, Vec<String>>::new();
    for (tenant, name) in page {
        by_tenant.entry(tenant).or_default().push(name);
    }
    let mut found = Vec::new();
    for (tenant, names) in by_tenant {
        let names = names.iter().map(String::as_str);
        let there = customers::service::resolve_all(db.reader(), tenant, names).await?;
        found.extend(there.into_values().map(|(customer, test_clock)| (tenant, customer, test_clock)));
    }
    Ok(Some(found))
}
