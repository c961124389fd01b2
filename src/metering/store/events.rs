//! Usage events, and by what they are known again.

use std::collections::BTreeSet;

use accrue_core::{
    id::{CustomerId, TenantId, UsageEventId},
    usage::Properties,
};
use accrue_platform::bulk::{self, Column as Cells, Insert};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, QueryTrait, entity::prelude::*,
    sea_query::Expr,
};
use tokio::task::yield_now;

use super::{
    packs::{self, Column, Span},
    runs::{Filed, Runs},
};
use crate::metering::model::{Candidate, Known, Remembered, Shelving, UsageEvent, identity, pack_of};

pub(super) mod identities {
    use sea_orm::entity::prelude::*;

    use super::{TenantId, UsageEventId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "usage_event_identities")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        /// A digest of source and event id, 16 bytes.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub usage_event_id: UsageEventId,
        /// A digest of the body, 16 bytes.
        pub body_hash: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub(super) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

/// The rows of these identities, in the order of the key, which all writers share, so that two that bring the same events do
/// not wait for one another in a circle.
pub(in crate::metering) fn identity_rows(fresh: &[&Candidate]) -> Vec<Cells> {
    let mut fresh = fresh.to_vec();
    fresh.sort_unstable_by_key(|candidate| (candidate.event.tenant_id, candidate.identity));
    vec![
        Cells::new("tenant_id", fresh.iter().map(|candidate| candidate.event.tenant_id.0)),
        Cells::new("id", fresh.iter().map(|candidate| candidate.identity)),
        Cells::new("usage_event_id", fresh.iter().map(|candidate| candidate.event.id.0)),
        Cells::new("body_hash", fresh.iter().map(|candidate| candidate.body_hash)),
    ]
}

const IDENTITIES: &str = "usage_event_identities";

/// Takes the identities that are free, and says how many these were.
pub(in crate::metering) async fn take_identities(
    tx: &DatabaseTransaction,
    rows: Vec<Cells>,
) -> Result<usize, DbErr> {
    let taken = bulk::insert(tx, IDENTITIES, rows, "tenant_id, id").await?;
    Ok(usize::try_from(taken).unwrap_or(usize::MAX))
}

/// Takes identities that are said to be free, and inserts their packs: one that is not free is a unique violation. That
/// they are not looked for before is a third of what they cost PostgreSQL.
pub(in crate::metering) async fn insert_new(
    tx: &DatabaseTransaction,
    identities: Vec<Cells>,
    packs: packs::Rows,
    now: DateTime<Utc>,
    runs: &Runs,
) -> Result<Filed, DbErr> {
    let ([known, awaited], filed) = packs::inserts(tx, packs, now, runs).await?;
    bulk::write_all(tx, [Insert::new(IDENTITIES, identities), known, awaited]).await?;
    Ok(filed)
}

/// What is remembered under these identities of a tenant.
pub(in crate::metering) async fn remembered(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    identities: Vec<Uuid>,
) -> Result<Known, DbErr> {
    let mut known = Known::new();
    for some in identities.chunks(bulk::LIST_MAX) {
        let rows = identities::of(tenant)
            .filter(bulk::one_of(tx, identities::Column::Id, some.to_vec()))
            .all(tx)
            .await?;
        known.extend(
            rows.into_iter().map(|row| {
                ((tenant, row.id), Remembered { id: row.usage_event_id, body_hash: row.body_hash })
            }),
        );
    }
    Ok(known)
}

pub(in crate::metering) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UsageEventId,
) -> Result<Option<UsageEvent>, DbErr> {
    of_pack(packs::find(db, tenant, id).await?, id)
}

/// Its neighbours in its pack are locked with it.
pub(in crate::metering) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: UsageEventId,
) -> Result<Option<UsageEvent>, DbErr> {
    of_pack(packs::find_for_update(tx, tenant, id).await?, id)
}

fn of_pack(pack: Option<packs::Model>, id: UsageEventId) -> Result<Option<UsageEvent>, DbErr> {
    let Some(pack) = pack else { return Ok(None) };
    let packed = pack.packed()?;
    Ok(packed.iter().find(|packed| packed.id(pack.id) == id).map(|packed| pack.event(packed)))
}

/// The identifier of the event that was sent under this name by this source. It is remembered when the event is archived.
pub(in crate::metering) async fn find_id(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_id: &str,
    source: &str,
) -> Result<Option<UsageEventId>, DbErr> {
    let select = identities::of(tenant).filter(identities::Column::Id.eq(identity(
        Shelving::of(db),
        source,
        event_id,
    )));
    Ok(select.one(db).await?.map(|held| held.usage_event_id))
}

/// An event as far as quantities depend on it.
pub(in crate::metering) struct Used {
    pub at: DateTime<Utc>,
    pub id: UsageEventId,
    pub properties: Properties,
}

/// Takes every event of a stretch of time that counts, in no order.
///
/// Packs are found by the time of their events. One that was amended to another time is looked for by itself, and
/// told by that from the others of its pack: whatever is corrected meanwhile, these are taken once.
pub(in crate::metering) async fn each_used(
    db: &impl ConnectionTrait,
    span: Span<'_>,
    mut take: impl FnMut(Used),
) -> Result<(), DbErr> {
    let mut last = None;
    loop {
        let packs = span.next(db, last.as_ref()).await?;
        take_used(&packs, span, false, &mut take).await?;
        last = packs::end_of_full(packs);
        if last.is_none() {
            break;
        }
    }
    loop {
        let packs = span.next_with_strays(db, last.as_ref()).await?;
        take_used(&packs, span, true, &mut take).await?;
        last = packs::end_of_full(packs);
        if last.is_none() {
            return Ok(());
        }
    }
}

async fn take_used(
    packs: &[packs::Model],
    span: Span<'_>,
    strays: bool,
    take: &mut impl FnMut(Used),
) -> Result<(), DbErr> {
    for pack in packs {
        for packed in pack.packed()? {
            let counts = packed.voided_at.is_none() && span.holds(packed.timestamp);
            if counts && pack.is_stray(&packed) == strays {
                let properties = read(packed.metadata.get())?;
                take(Used { at: packed.timestamp, id: packed.id(pack.id), properties });
            }
        }
        // Each of them may count in a thousand windows.
        yield_now().await;
    }
    Ok(())
}

/// How many events of a name there are, voided ones too.
pub(in crate::metering) async fn count_named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_name: &str,
) -> Result<u64, DbErr> {
    packs::count(db, packs::of(tenant).filter(Column::EventName.eq(event_name))).await
}

/// Takes the next events of a name after `last`, voided ones too, in the order of arrival; says how many these were,
/// none at the end.
pub(in crate::metering) async fn take_named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_name: &str,
    last: &mut Option<UsageEventId>,
    mut take: impl FnMut(&UsageEvent, &Properties),
) -> Result<usize, DbErr> {
    let mut select = packs::of(tenant)
        .filter(Column::EventName.eq(event_name))
        .order_by_asc(Column::Id)
        .limit(packs::READ_AT_ONCE);
    if let Some(last) = *last {
        select = select.filter(Column::Id.gt(last));
    }
    let mut taken = 0;
    // One by one: unpacked they take up much more room.
    for pack in select.all(db).await? {
        for event in pack.unpack()? {
            take(&event, &read(&event.metadata)?);
            *last = Some(event.id);
            taken += 1;
        }
    }
    Ok(taken)
}

/// The next events that wait for a customer of this name, voided ones too, locked, with what they say.
pub(in crate::metering) async fn next_awaiting(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    name: &str,
) -> Result<Vec<(UsageEvent, Properties)>, DbErr> {
    let select = packs::of(tenant)
        .filter(Column::AwaitedCustomer.eq(name))
        .order_by_asc(Column::Id)
        .limit(packs::READ_AT_ONCE)
        .lock_exclusive();
    let with_properties = |event: UsageEvent| {
        let properties = read(&event.metadata)?;
        Ok((event, properties))
    };
    packs::unpack_all(&select.all(tx).await?)?.into_iter().map(with_properties).collect()
}

/// Gives events, whole packs of them, the customer that they waited for, who appeared at an instant.
pub(in crate::metering) async fn give(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    ids: impl Iterator<Item = UsageEventId>,
    customer: CustomerId,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let packs: BTreeSet<Uuid> = ids.map(pack_of).collect();
    let packs: Vec<Uuid> = packs.into_iter().collect();
    for some in packs.chunks(bulk::LIST_MAX) {
        packs::Entity::update_many()
            .col_expr(Column::CustomerId, Expr::val(customer))
            .col_expr(Column::AwaitedCustomer, Expr::val(None::<String>))
            .col_expr(Column::ReceivedAt, Expr::val(at))
            .filter(Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, Column::Id, some.to_vec()))
            .exec(tx)
            .await?;
    }
    Ok(())
}

/// The next `limit` customers of a tenant that events wait for, after `last`.
pub(in crate::metering) async fn awaited(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    last: Option<&str>,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    packs::of(tenant)
        .select_only()
        .column(Column::AwaitedCustomer)
        .distinct()
        .filter(Column::AwaitedCustomer.is_not_null())
        .apply_if(last, |select, last| select.filter(Column::AwaitedCustomer.gt(last)))
        .order_by_asc(Column::AwaitedCustomer)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}

/// The tenants with events that wait for their customer.
pub(in crate::metering) async fn tenants_waiting(db: &impl ConnectionTrait) -> Result<Vec<TenantId>, DbErr> {
    let select = packs::Entity::find().select_only().column(Column::TenantId).distinct();
    select.filter(Column::AwaitedCustomer.is_not_null()).into_tuple().all(db).await
}

fn read(metadata: &str) -> Result<Properties, DbErr> {
    serde_json::from_str(metadata).map_err(|error| DbErr::Custom(error.to_string()))
}
