//! Listing events: packs are searched from one end, and what is wanted of them is taken.

use accrue_core::id::{CustomerId, TenantId, UsageEventId};
use accrue_platform::page::{PageError, PageQuery, Start};
use sea_orm::{ConnectionTrait, QueryOrder, QuerySelect, entity::prelude::*, sea_query::ExprTrait};

use super::packs::{self, Column};
use crate::metering::model::{Found, Packed, Wanted, last_of_pack, pack_of};

/// Packs that are searched for a page: there is no index by which the events of a source are found, or those of a time
/// whoever's they are.
const SEARCHED_MAX: usize = 2500;

/// The events that are wanted, the last to arrive first.
pub(in crate::metering) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    wanted: Wanted<'_>,
    page: &PageQuery,
) -> Result<Found, PageError> {
    let limit = usize::try_from(page.limit()?).unwrap_or(usize::MAX) + 1;
    let mut start = page.start::<UsageEventId>()?;
    let is_upwards = matches!(start, Start::NewerThan(_));
    // Without filters as many packs hold the page.
    let (mut at_once, mut searched) = (limit, 0);
    let mut found = Found { events: Vec::new(), searched_to: None };
    while found.events.len() < limit {
        if searched >= SEARCHED_MAX {
            found.searched_to = searched_to(start);
            break;
        }
        let select = place(of(tenant, customer, wanted), start);
        let rows = select.limit(at_once as u64).all(db).await?;
        for pack in &rows {
            let packed = pack.packed()?;
            let mut of_pack: Vec<_> = packed
                .iter()
                .filter(|packed| is_wanted(pack, packed, wanted) && is_after(start, packed.id(pack.id)))
                .collect();
            if !is_upwards {
                of_pack.reverse();
            }
            found.events.extend(of_pack.into_iter().map(|packed| pack.event(packed)));
        }
        let Some(last) = rows.last().filter(|_| rows.len() == at_once) else { break };
        searched += rows.len();
        start = if is_upwards {
            Start::NewerThan(last_of_pack(last.id))
        } else {
            Start::OlderThan(UsageEventId(last.id))
        };
        at_once = SEARCHED_MAX / 5;
    }
    found.events.truncate(limit);
    if is_upwards {
        found.events.reverse();
    }
    Ok(found)
}

/// The packs of whom the events are to be. What else is wanted the database looks at for one payer only: for all of them
/// it would look at everything.
fn of(tenant: TenantId, customer: Option<CustomerId>, wanted: Wanted<'_>) -> Select<packs::Entity> {
    let mut select = packs::of(tenant);
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    if let Some(name) = wanted.awaited_customer {
        select = select.filter(Column::AwaitedCustomer.eq(name));
    }
    if customer.is_none() && wanted.awaited_customer.is_none() {
        return select;
    }
    if let Some(event_name) = wanted.event_name {
        select = select.filter(Column::EventName.eq(event_name));
    }
    if let Some(start) = wanted.start {
        select = select.filter(Column::LastAt.gte(start).or(Column::HasStrays.eq(true)));
    }
    if let Some(end) = wanted.end {
        select = select.filter(Column::FirstAt.lt(end).or(Column::HasStrays.eq(true)));
    }
    select
}

/// From the pack on that may hold the next event.
fn place(packs: Select<packs::Entity>, start: Start<UsageEventId>) -> Select<packs::Entity> {
    match start {
        Start::Newest => packs.order_by_desc(Column::Id),
        Start::OlderThan(id) => packs.filter(Column::Id.lt(id)).order_by_desc(Column::Id),
        Start::NewerThan(id) => packs.filter(Column::Id.gte(pack_of(id))).order_by_asc(Column::Id),
    }
}

fn is_after(start: Start<UsageEventId>, id: UsageEventId) -> bool {
    match start {
        Start::Newest => true,
        Start::OlderThan(last) => id < last,
        Start::NewerThan(last) => id > last,
    }
}

fn is_wanted(pack: &packs::Model, packed: &Packed, wanted: Wanted<'_>) -> bool {
    let Wanted { event_name, source, start, end, .. } = wanted;
    event_name.is_none_or(|name| pack.event_name == name)
        && source.is_none_or(|source| packed.source == source)
        && start.is_none_or(|start| packed.timestamp >= start)
        && end.is_none_or(|end| packed.timestamp < end)
}

fn searched_to(start: Start<UsageEventId>) -> Option<UsageEventId> {
    match start {
        Start::Newest => None,
        Start::OlderThan(id) | Start::NewerThan(id) => Some(id),
    }
}
