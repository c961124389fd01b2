//! Months of events, whatever they say and whoever's they are: which there are, and taking them out.

use accrue_core::id::{TenantId, UsageEventId};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, Statement, entity::prelude::*,
    sea_query::ExprTrait,
};

use super::packs::{self, Column, Entity};
use crate::metering::model::{Archive, Month, Packed, UsageEvent};

/// Packs that are read at a time: their events are unpacked, and written out beside that.
const READ_AT_ONCE: u64 = 200;

/// The months before one in which a tenant received events that are here.
pub(in crate::metering) async fn before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    end: Month,
) -> Result<Vec<Month>, DbErr> {
    let (mut found, mut from) = (Vec::new(), Uuid::nil());
    loop {
        let next = packs::of(tenant)
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.gte(from))
            .filter(Column::Id.lt(end.ids().0))
            .order_by_asc(Column::Id);
        let Some(id) = next.into_tuple::<Uuid>().one(db).await? else { return Ok(found) };
        let month = Month::of_id(id);
        from = month.ids().1;
        found.push(month);
    }
}

fn of(tenant: TenantId, month: Month) -> Select<Entity> {
    let (from, to) = month.ids();
    packs::of(tenant).filter(Column::Id.gte(from)).filter(Column::Id.lt(to))
}

pub(in crate::metering) async fn count(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    month: Month,
) -> Result<u64, DbErr> {
    packs::count(db, of(tenant, month)).await
}

/// The next events of a month after `last`, in the order of arrival; none at the end.
pub(in crate::metering) async fn next(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    month: Month,
    last: Option<UsageEventId>,
) -> Result<Vec<UsageEvent>, DbErr> {
    let mut select = of(tenant, month).order_by_asc(Column::Id).limit(READ_AT_ONCE);
    if let Some(last) = last {
        select = select.filter(Column::Id.gt(last));
    }
    packs::unpack_all(&select.all(db).await?)
}

/// For whom usage of before an instant waits.
pub(in crate::metering) async fn awaited(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    before: DateTime<Utc>,
) -> Result<Option<String>, DbErr> {
    let mut last = Uuid::nil();
    loop {
        let next = packs::of(tenant)
            .filter(Column::AwaitedCustomer.is_not_null())
            .filter(Column::FirstAt.lt(before).or(Column::HasStrays.eq(true)))
            .filter(Column::Id.gt(last))
            .order_by_asc(Column::Id)
            .limit(packs::READ_AT_ONCE);
        let waiting = next.all(db).await?;
        for pack in &waiting {
            let counts = |packed: &Packed| packed.voided_at.is_none() && packed.timestamp < before;
            if pack.packed()?.iter().any(counts) {
                return Ok(pack.awaited_customer.clone());
            }
        }
        let Some(pack) = waiting.last() else { return Ok(None) };
        last = pack.id;
    }
}

const REMOVE: &str = "
delete from usage_event_packs where tenant_id = $1 and id >= $2 and id < $3 and id in (
    select id from usage_event_packs where tenant_id = $1 and id >= $2 and id < $3 order by id limit $4)";

/// Takes out some packs of the events that are archived, and says how many.
pub(in crate::metering) async fn remove(
    tx: &DatabaseTransaction,
    archive: &Archive,
    limit: u64,
) -> Result<u64, DbErr> {
    let (from, to) = archive.month.ids();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = [archive.tenant_id.0.into(), from.into(), to.into(), limit.into()];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), REMOVE, values);
    Ok(tx.execute_raw(statement).await?.rows_affected())
}
