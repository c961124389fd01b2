//! What was true of events before they were corrected. Rows are added and never changed.

use accrue_core::id::{TenantId, UsageEventId, first_uuid_v7, uuid_v7};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, entity::prelude::*,
};

use crate::metering::model::{Change, Month, Version};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_event_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub usage_event_id: UsageEventId,
    pub timestamp: DateTime<Utc>,
    pub metadata: String,
    pub change: String,
    pub changed_at: DateTime<Utc>,
    pub changed_by: String,
    pub reason: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// `wall` is the real time, by which versions are numbered.
pub(in crate::metering) async fn insert(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    wall: DateTime<Utc>,
    version: Version,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(uuid_v7(wall)),
        usage_event_id: Set(version.event),
        timestamp: Set(version.timestamp),
        metadata: Set(version.metadata),
        change: Set(version.change.as_str().to_owned()),
        changed_at: Set(version.at),
        changed_by: Set(version.by),
        reason: Set(version.reason),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// All of an event, the oldest first.
pub(in crate::metering) async fn of_event(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event: UsageEventId,
) -> Result<Vec<Version>, DbErr> {
    let select = of(tenant).filter(Column::UsageEventId.eq(event)).order_by_asc(Column::Id);
    Ok(select.all(db).await?.into_iter().map(Into::into).collect())
}

/// All of the events of a month from one to another, by event, the oldest first.
pub(in crate::metering) async fn between(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    (first, last): (UsageEventId, UsageEventId),
) -> Result<Vec<Version>, DbErr> {
    let select = of(tenant)
        .filter(Column::UsageEventId.between(first, last))
        .order_by_asc(Column::UsageEventId)
        .order_by_asc(Column::Id);
    Ok(select.all(db).await?.into_iter().map(Into::into).collect())
}

/// Whether an event of a month was corrected since an instant.
pub(in crate::metering) async fn any_since(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    month: Month,
    since: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let (from, to) = month.ids();
    let select = of(tenant)
        .filter(Column::Id.gte(first_uuid_v7(since)))
        .filter(Column::UsageEventId.gte(from))
        .filter(Column::UsageEventId.lt(to));
    Ok(select.one(db).await?.is_some())
}

impl From<Model> for Version {
    fn from(row: Model) -> Self {
        let change = if row.change == Change::Voided.as_str() { Change::Voided } else { Change::Amended };
        Self {
            event: row.usage_event_id,
            timestamp: row.timestamp,
            metadata: row.metadata,
            change,
            at: row.changed_at,
            by: row.changed_by,
            reason: row.reason,
        }
    }
}
