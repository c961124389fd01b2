//! Usage events, and by what they are known again.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, TenantId, UsageEventId},
    usage::Properties,
};
use accrue_platform::{
    bulk::{self, Column as Cells},
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};

use crate::metering::model::{Candidate, Known, Payer, Remembered, UsageEvent, Wanted, identity};

pub(super) mod rows {
    use sea_orm::entity::prelude::*;

    use super::{CustomerId, DateTime, TenantId, UsageEventId, Utc};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "usage_events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: UsageEventId,
        pub source: String,
        pub event_id: String,
        pub event_name: String,
        pub customer_id: Option<CustomerId>,
        pub awaited_customer: Option<String>,
        pub timestamp: DateTime<Utc>,
        pub metadata: String,
        pub received_at: DateTime<Utc>,
        pub voided_at: Option<DateTime<Utc>>,
        pub amended_at: Option<DateTime<Utc>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

use rows::Column;

mod identities {
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

/// Takes the identities that are free, and says how many these were.
///
/// In the order of the key, which all writers share, so that two that bring the same events do not wait for
/// one another in a circle.
pub(in crate::metering) async fn take_identities(
    tx: &DatabaseTransaction,
    fresh: &[&Candidate],
) -> Result<u64, DbErr> {
    let mut fresh = fresh.to_vec();
    fresh.sort_unstable_by_key(|candidate| (candidate.event.tenant_id, candidate.identity));
    let columns = vec![
        Cells::new("tenant_id", fresh.iter().map(|candidate| candidate.event.tenant_id.0)),
        Cells::new("id", fresh.iter().map(|candidate| candidate.identity)),
        Cells::new("usage_event_id", fresh.iter().map(|candidate| candidate.event.id.0)),
        Cells::new("body_hash", fresh.iter().map(|candidate| candidate.body_hash)),
    ];
    bulk::insert(tx, "usage_event_identities", columns, "tenant_id, id").await
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

/// Stores events whose identities were free.
pub(in crate::metering) async fn insert(tx: &DatabaseTransaction, fresh: &[&Candidate]) -> Result<(), DbErr> {
    let (mut known, mut awaited) = (Vec::with_capacity(fresh.len()), Vec::new());
    for event in fresh.iter().map(|candidate| &candidate.event) {
        match &event.payer {
            Payer::Known(customer) => known.push((*customer, event)),
            Payer::Awaited(name) => awaited.push((name, event)),
        }
    }
    // Neighbours in the index are neighbours in time.
    known.sort_unstable_by_key(|(customer, event)| (event.tenant_id, *customer, event.timestamp));
    let customers = Cells::new("customer_id", known.iter().map(|(customer, _)| customer.0));
    insert_of(tx, customers, known.iter().map(|(_, event)| *event).collect()).await?;
    let names = Cells::new("awaited_customer", awaited.iter().map(|(name, _)| (*name).clone()));
    insert_of(tx, names, awaited.iter().map(|(_, event)| *event).collect()).await
}

async fn insert_of(tx: &DatabaseTransaction, payers: Cells, events: Vec<&UsageEvent>) -> Result<(), DbErr> {
    let columns = vec![
        payers,
        Cells::new("tenant_id", events.iter().map(|event| event.tenant_id.0)),
        Cells::new("id", events.iter().map(|event| event.id.0)),
        Cells::new("source", events.iter().map(|event| event.source.clone())),
        Cells::new("event_id", events.iter().map(|event| event.event_id.clone())),
        Cells::new("event_name", events.iter().map(|event| event.event_name.clone())),
        Cells::new("timestamp", events.iter().map(|event| event.timestamp)),
        Cells::new("metadata", events.iter().map(|event| event.metadata.clone())),
        Cells::new("received_at", events.iter().map(|event| event.received_at)),
    ];
    bulk::insert_new(tx, "usage_events", columns).await
}

pub(in crate::metering) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UsageEventId,
) -> Result<Option<UsageEvent>, DbErr> {
    Ok(rows::of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

pub(in crate::metering) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: UsageEventId,
) -> Result<Option<UsageEvent>, DbErr> {
    Ok(rows::of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

/// Has an event say what it says now.
pub(in crate::metering) async fn correct(tx: &DatabaseTransaction, event: &UsageEvent) -> Result<(), DbErr> {
    rows::Entity::update_many()
        .col_expr(Column::Timestamp, Expr::val(event.timestamp))
        .col_expr(Column::Metadata, Expr::val(event.metadata.clone()))
        .col_expr(Column::VoidedAt, Expr::val(event.voided_at))
        .col_expr(Column::AmendedAt, Expr::val(event.amended_at))
        .filter(Column::TenantId.eq(event.tenant_id))
        .filter(Column::Id.eq(event.id))
        .exec(tx)
        .await
        .map(drop)
}

/// The identifier of the event that was sent under this name by this source. It is remembered when the event is archived.
pub(in crate::metering) async fn find_id(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_id: &str,
    source: &str,
) -> Result<Option<UsageEventId>, DbErr> {
    let select = identities::of(tenant).filter(identities::Column::Id.eq(identity(source, event_id)));
    Ok(select.one(db).await?.map(|held| held.usage_event_id))
}

pub(in crate::metering) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    wanted: Wanted<'_>,
    page: &PageQuery,
) -> Result<Vec<UsageEvent>, PageError> {
    let mut select = rows::of(tenant);
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    if let Some(event_name) = wanted.event_name {
        select = select.filter(Column::EventName.eq(event_name));
    }
    if let Some(name) = wanted.awaited_customer {
        select = select.filter(Column::AwaitedCustomer.eq(name));
    }
    if let Some(source) = wanted.source {
        select = select.filter(Column::Source.eq(source));
    }
    if let Some(start) = wanted.start {
        select = select.filter(Column::Timestamp.gte(start));
    }
    if let Some(end) = wanted.end {
        select = select.filter(Column::Timestamp.lt(end));
    }
    let rows = page.fetch::<rows::Entity, UsageEventId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// An event as far as quantities depend on it.
pub(in crate::metering) struct Used {
    pub at: DateTime<Utc>,
    pub id: UsageEventId,
    pub properties: Properties,
}

/// The next `limit` events of a customer after `last`, in the order of time: `from` an instant, if there is one, to
/// before another.
pub(in crate::metering) async fn next_used(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    event_name: &str,
    (from, to): (Option<DateTime<Utc>>, DateTime<Utc>),
    last: Option<&Used>,
    limit: u64,
) -> Result<Vec<Used>, DbErr> {
    let mut select = rows::of(tenant)
        .select_only()
        .columns([Column::Timestamp, Column::Id, Column::Metadata])
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::EventName.eq(event_name))
        .filter(Column::VoidedAt.is_null())
        .filter(Column::Timestamp.lt(to))
        .order_by_asc(Column::Timestamp)
        .order_by_asc(Column::Id)
        .limit(limit);
    if let Some(from) = from {
        select = select.filter(Column::Timestamp.gte(from));
    }
    if let Some(last) = last {
        let place = Expr::tuple([Expr::col(Column::Timestamp), Expr::col(Column::Id)]);
        let last = Expr::tuple([Expr::val(last.at), Expr::val(last.id)]);
        select = select.filter(ExprTrait::gt(place, last));
    }
    let rows = select.into_tuple::<(DateTime<Utc>, UsageEventId, Json<Properties>)>().all(db).await?;
    Ok(rows.into_iter().map(|(at, id, properties)| Used { at, id, properties: properties.0 }).collect())
}

/// How many events of a name there are that count.
pub(in crate::metering) async fn count_named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_name: &str,
) -> Result<u64, DbErr> {
    let select = rows::of(tenant).filter(Column::EventName.eq(event_name));
    select.filter(Column::VoidedAt.is_null()).count(db).await
}

/// The next `limit` events of a name after `last`, in the order of arrival, with what they say.
pub(in crate::metering) async fn next_named(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_name: &str,
    last: Option<UsageEventId>,
    limit: u64,
) -> Result<Vec<(UsageEvent, Properties)>, DbErr> {
    let mut select = rows::of(tenant)
        .filter(Column::EventName.eq(event_name))
        .filter(Column::VoidedAt.is_null())
        .order_by_asc(Column::Id)
        .limit(limit);
    if let Some(last) = last {
        select = select.filter(Column::Id.gt(last));
    }
    with_properties(select.all(db).await?)
}

/// The next `limit` events after `last`, in the order of arrival, that are of the customer and the name of
/// `like` and happened in a period.
pub(in crate::metering) async fn next_within(
    tx: &DatabaseTransaction,
    like: &UsageEvent,
    period: Period,
    last: Option<UsageEventId>,
    limit: u64,
) -> Result<Vec<(UsageEvent, Properties)>, DbErr> {
    let mut select = rows::of(like.tenant_id)
        .filter(Column::CustomerId.eq(like.payer.customer()))
        .filter(Column::EventName.eq(&like.event_name))
        .filter(Column::VoidedAt.is_null())
        .filter(Column::Timestamp.gte(period.start))
        .filter(Column::Timestamp.lt(period.end))
        .order_by_asc(Column::Id)
        .limit(limit);
    if let Some(last) = last {
        select = select.filter(Column::Id.gt(last));
    }
    with_properties(select.all(tx).await?)
}

/// The next `limit` events that wait for a customer of this name, locked, with what they say.
pub(in crate::metering) async fn next_awaiting(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    name: &str,
    limit: u64,
) -> Result<Vec<(UsageEvent, Properties)>, DbErr> {
    let select = rows::of(tenant)
        .filter(Column::AwaitedCustomer.eq(name))
        .order_by_asc(Column::Id)
        .limit(limit)
        .lock_exclusive();
    with_properties(select.all(tx).await?)
}

/// Gives events the customer that they waited for, who appeared at an instant.
pub(in crate::metering) async fn give(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    ids: Vec<UsageEventId>,
    customer: CustomerId,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    for some in ids.chunks(bulk::LIST_MAX) {
        let ids = some.iter().map(|id| id.0).collect();
        rows::Entity::update_many()
            .col_expr(Column::CustomerId, Expr::val(customer))
            .col_expr(Column::AwaitedCustomer, Expr::val(None::<String>))
            .col_expr(Column::ReceivedAt, Expr::val(at))
            .filter(Column::TenantId.eq(tenant))
            .filter(bulk::one_of::<Uuid>(tx, Column::Id, ids))
            .exec(tx)
            .await?;
    }
    Ok(())
}

/// The next `limit` customers that events wait for, of all tenants, after `last`.
pub(in crate::metering) async fn awaited(
    db: &impl ConnectionTrait,
    last: Option<&(TenantId, String)>,
    limit: u64,
) -> Result<Vec<(TenantId, String)>, DbErr> {
    let mut select = rows::Entity::find()
        .select_only()
        .columns([Column::TenantId, Column::AwaitedCustomer])
        .distinct()
        .filter(Column::AwaitedCustomer.is_not_null())
        .order_by_asc(Column::TenantId)
        .order_by_asc(Column::AwaitedCustomer)
        .limit(limit);
    if let Some((tenant, name)) = last {
        let place = Expr::tuple([Expr::col(Column::TenantId), Expr::col(Column::AwaitedCustomer)]);
        let last = Expr::tuple([Expr::val(*tenant), Expr::val(name.clone())]);
        select = select.filter(ExprTrait::gt(place, last));
    }
    select.into_tuple().all(db).await
}

fn with_properties(rows: Vec<rows::Model>) -> Result<Vec<(UsageEvent, Properties)>, DbErr> {
    let read = |row: rows::Model| {
        let properties =
            serde_json::from_str(&row.metadata).map_err(|error| DbErr::Custom(error.to_string()))?;
        Ok((row.into(), properties))
    };
    rows.into_iter().map(read).collect()
}

impl From<rows::Model> for UsageEvent {
    fn from(row: rows::Model) -> Self {
        let rows::Model {
            tenant_id,
            id,
            source,
            event_id,
            event_name,
            customer_id,
            awaited_customer,
            timestamp,
            metadata,
            received_at,
            voided_at,
            amended_at,
        } = row;
        let awaited = || Payer::Awaited(awaited_customer.unwrap_or_default());
        Self {
            tenant_id,
            id,
            event_id,
            source,
            event_name,
            payer: customer_id.map_or_else(awaited, Payer::Known),
            timestamp,
            metadata,
            received_at,
            voided_at,
            amended_at,
        }
    }
}
