//! Usage events in the database.

use std::collections::HashMap;

use accrue_core::{
    calendar::Period,
    id::{CustomerId, TenantId, UsageEventId},
    usage::Properties,
};
use accrue_platform::{
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::model::{Candidate, Identity, Remembered, UsageEvent};

mod events {
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
        pub customer_id: CustomerId,
        pub timestamp: DateTime<Utc>,
        pub metadata: String,
        pub body_hash: Vec<u8>,
        pub received_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub(super) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

use events::Column;

/// Stores those whose identity is new and says how many these were.
pub(super) async fn insert_new(
    tx: &DatabaseTransaction,
    candidates: impl IntoIterator<Item = &Candidate>,
) -> Result<u64, DbErr> {
    let rows = candidates.into_iter().map(|Candidate { event, body_hash, .. }| events::ActiveModel {
        tenant_id: Set(event.tenant_id),
        id: Set(event.id),
        source: Set(event.source.clone()),
        event_id: Set(event.event_id.clone()),
        event_name: Set(event.event_name.clone()),
        customer_id: Set(event.customer_id),
        timestamp: Set(event.timestamp),
        metadata: Set(event.metadata.clone()),
        body_hash: Set(body_hash.clone()),
        received_at: Set(event.received_at),
    });
    let known =
        OnConflict::columns([Column::TenantId, Column::EventId, Column::Source]).do_nothing().to_owned();
    events::Entity::insert_many(rows).on_conflict(known).exec_without_returning(tx).await
}

/// What is stored under these names, whatever its source.
pub(super) async fn remembered(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    event_ids: impl IntoIterator<Item = &str>,
) -> Result<HashMap<Identity, Remembered>, DbErr> {
    let rows = events::of(tenant)
        .select_only()
        .columns([Column::Source, Column::EventId, Column::Id, Column::BodyHash])
        .filter(Column::EventId.is_in(event_ids))
        .into_tuple::<(String, String, UsageEventId, Vec<u8>)>()
        .all(tx)
        .await?;
    let remember = |(source, event_id, id, body_hash)| ((source, event_id), Remembered { id, body_hash });
    Ok(rows.into_iter().map(remember).collect())
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UsageEventId,
) -> Result<Option<UsageEvent>, DbErr> {
    Ok(events::of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

/// The first that was sent under this name, from this source or from any.
pub(super) async fn find_by_event_id(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_id: &str,
    source: Option<&str>,
) -> Result<Option<UsageEvent>, DbErr> {
    let mut select = events::of(tenant).filter(Column::EventId.eq(event_id)).order_by_asc(Column::Id);
    if let Some(source) = source {
        select = select.filter(Column::Source.eq(source));
    }
    Ok(select.one(db).await?.map(Into::into))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    event_name: Option<&str>,
    page: &PageQuery,
) -> Result<Vec<UsageEvent>, PageError> {
    let mut select = events::of(tenant);
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    if let Some(event_name) = event_name {
        select = select.filter(Column::EventName.eq(event_name));
    }
    let rows = page.fetch::<events::Entity, UsageEventId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// An event as far as quantities depend on it.
pub(super) struct Used {
    pub at: DateTime<Utc>,
    pub id: UsageEventId,
    pub properties: Properties,
}

/// The next `limit` events of a customer in a period after `last`, in the order of time.
pub(super) async fn next_used(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    event_name: &str,
    period: Period,
    last: Option<&Used>,
    limit: u64,
) -> Result<Vec<Used>, DbErr> {
    let mut select = events::of(tenant)
        .select_only()
        .columns([Column::Timestamp, Column::Id, Column::Metadata])
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::EventName.eq(event_name))
        .filter(Column::Timestamp.gte(period.start))
        .filter(Column::Timestamp.lt(period.end))
        .order_by_asc(Column::Timestamp)
        .order_by_asc(Column::Id)
        .limit(limit);
    if let Some(last) = last {
        let place = Expr::tuple([Expr::col(Column::Timestamp), Expr::col(Column::Id)]);
        let last = Expr::tuple([Expr::val(last.at), Expr::val(last.id)]);
        select = select.filter(ExprTrait::gt(place, last));
    }
    let rows = select.into_tuple::<(DateTime<Utc>, UsageEventId, Json<Properties>)>().all(db).await?;
    Ok(rows.into_iter().map(|(at, id, properties)| Used { at, id, properties: properties.0 }).collect())
}

impl From<events::Model> for UsageEvent {
    fn from(row: events::Model) -> Self {
        let events::Model {
            tenant_id,
            id,
            source,
            event_id,
            event_name,
            customer_id,
            timestamp,
            metadata,
            received_at,
            body_hash: _,
        } = row;
        Self { tenant_id, id, event_id, source, event_name, customer_id, timestamp, metadata, received_at }
    }
}
