//! Archived months in the database.

use accrue_core::id::{TenantId, UsageEventId};
use accrue_platform::column::Json;
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use crate::metering::model::{Archive, Contents, Month};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_archives")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The least identifier of its month.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub month: String,
    pub event_names: Json<Vec<String>>,
    pub events_before: DateTime<Utc>,
    pub final_before: DateTime<Utc>,
    pub file: String,
    pub events: i64,
    pub bytes: i64,
    pub sha256: String,
    pub archived_at: DateTime<Utc>,
    /// When the file was last read once more, before the events leave.
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when the events are in the file alone.
    pub removed_at: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(in crate::metering) async fn insert(
    tx: &DatabaseTransaction,
    archive: &Archive,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let Archive { tenant_id, month, contents, final_before, file, bytes, sha256 } = archive.clone();
    let number = |number: u64| i64::try_from(number).map_err(|error| DbErr::Custom(error.to_string()));
    let row = ActiveModel {
        tenant_id: Set(tenant_id),
        id: Set(month.ids().0),
        month: Set(month.to_string()),
        event_names: Set(Json(contents.event_names.into_iter().collect())),
        events_before: Set(contents.events_before),
        final_before: Set(final_before),
        file: Set(file),
        events: Set(number(contents.events)?),
        bytes: Set(number(bytes)?),
        sha256: Set(sha256),
        archived_at: Set(now),
        checked_at: Set(None),
        removed_at: Set(None),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(in crate::metering) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    month: Month,
) -> Result<Option<Archive>, DbErr> {
    of(tenant).filter(Column::Id.eq(month.ids().0)).one(db).await?.map(TryInto::try_into).transpose()
}

/// The archive in which an event has to be that is not here any more.
pub(in crate::metering) async fn holding(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event: UsageEventId,
) -> Result<Option<Archive>, DbErr> {
    find(db, tenant, Month::of_id(event.0)).await
}

/// All whose events are still here, the oldest first.
pub(in crate::metering) async fn not_removed(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Archive>, DbErr> {
    let select = of(tenant).filter(Column::RemovedAt.is_null()).order_by_asc(Column::Id);
    select.all(db).await?.into_iter().map(TryInto::try_into).collect()
}

/// Whose events of a month may leave, because their files were read once more, locked: only one takes them out at a time.
pub(in crate::metering) async fn lock_tenants_of(
    tx: &DatabaseTransaction,
    month: Month,
) -> Result<Vec<TenantId>, DbErr> {
    let rows: Vec<(TenantId, Option<DateTime<Utc>>)> = Entity::find()
        .select_only()
        .columns([Column::TenantId, Column::CheckedAt])
        .filter(Column::Id.eq(month.ids().0))
        .order_by_asc(Column::TenantId)
        .lock_exclusive()
        .into_tuple()
        .all(tx)
        .await?;
    Ok(rows.into_iter().filter(|(_, checked_at)| checked_at.is_some()).map(|(tenant, _)| tenant).collect())
}

/// What was used before is final.
pub(in crate::metering) async fn final_before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let last = of(tenant).select_only().column_as(Column::FinalBefore.max(), "last");
    Ok(last.into_tuple::<Option<DateTime<Utc>>>().one(db).await?.flatten())
}

/// Until when events of a name are archived, if that is after an instant, or at all.
pub(in crate::metering) async fn events_before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event_name: &str,
    after: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let mut select = of(tenant).select_only().columns([Column::EventsBefore, Column::EventNames]);
    if let Some(after) = after {
        select = select.filter(Column::EventsBefore.gt(after));
    }
    let rows = select.into_tuple::<(DateTime<Utc>, Json<Vec<String>>)>().all(db).await?;
    let named = rows.into_iter().filter(|(_, names)| names.0.iter().any(|name| name == event_name));
    Ok(named.map(|(before, _)| before).max())
}

/// The file was read once more.
pub(in crate::metering) async fn set_checked(
    tx: &DatabaseTransaction,
    archive: &Archive,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    set(tx, archive, Column::CheckedAt, now).await
}

/// The events are in the file alone.
pub(in crate::metering) async fn set_removed(
    tx: &DatabaseTransaction,
    archive: &Archive,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    set(tx, archive, Column::RemovedAt, now).await
}

async fn set(
    tx: &DatabaseTransaction,
    archive: &Archive,
    column: Column,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(column, Expr::val(now))
        .filter(Column::TenantId.eq(archive.tenant_id))
        .filter(Column::Id.eq(archive.month.ids().0))
        .exec(tx)
        .await
        .map(drop)
}

impl TryFrom<Model> for Archive {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let number = |number: i64| u64::try_from(number).map_err(|error| DbErr::Custom(error.to_string()));
        let contents = Contents {
            events: number(row.events)?,
            event_names: row.event_names.0.into_iter().collect(),
            events_before: row.events_before,
        };
        Ok(Self {
            tenant_id: row.tenant_id,
            month: Month::of_id(row.id),
            contents,
            final_before: row.final_before,
            file: row.file,
            bytes: number(row.bytes)?,
            sha256: row.sha256,
        })
    }
}
