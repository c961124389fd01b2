//! How far the hours of each metric are built up, grain by grain.

use accrue_core::id::{MetricId, TenantId};
use accrue_platform::column::Json;
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Condition, OnConflict},
};

use crate::metering::model::{Build, Grain, Series};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_builds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// [`Grain::id`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub metric_id: MetricId,
    pub properties: Json<Vec<String>>,
    pub build: i64,
    pub is_complete: bool,
    pub counts_from: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(in crate::metering) async fn all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Build>, DbErr> {
    Ok(of(tenant).all(db).await?.into_iter().map(Into::into).collect())
}

pub(in crate::metering) async fn of_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Vec<Build>, DbErr> {
    Ok(of(tenant).filter(Column::MetricId.eq(metric)).all(db).await?.into_iter().map(Into::into).collect())
}

/// That a series belongs to the build that is to be read.
pub(super) fn is_read(series: Series) -> Condition {
    Condition::all()
        .add(Column::TenantId.eq(series.tenant_id))
        .add(Column::Id.eq(series.grain_id))
        .add(Column::Build.eq(series.build))
        .add(Column::IsComplete.eq(true))
}

/// The same, locked for the rest of the transaction.
pub(in crate::metering) async fn of_metric_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Vec<Build>, DbErr> {
    let builds = of(tenant).filter(Column::MetricId.eq(metric)).order_by_asc(Column::Id).lock_exclusive();
    Ok(builds.all(tx).await?.into_iter().map(Into::into).collect())
}

pub(in crate::metering) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    grain: &Grain,
) -> Result<Option<Build>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(grain.id())).lock_exclusive().one(tx).await?.map(Into::into))
}

/// Begins a grain's first build; `false` if somebody else has begun one.
pub(in crate::metering) async fn begin(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    build: &Build,
) -> Result<bool, DbErr> {
    let known = OnConflict::columns([Column::TenantId, Column::Id]).do_nothing().to_owned();
    let rows = Entity::insert(row(tenant, build)).on_conflict(known).exec_without_returning(tx).await?;
    Ok(rows == 1)
}

pub(in crate::metering) async fn save(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    build: &Build,
) -> Result<(), DbErr> {
    let known = OnConflict::columns([Column::TenantId, Column::Id])
        .update_columns([Column::Build, Column::IsComplete, Column::CountsFrom])
        .to_owned();
    Entity::insert(row(tenant, build)).on_conflict(known).exec_without_returning(tx).await.map(drop)
}

fn row(tenant: TenantId, build: &Build) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(tenant),
        id: Set(build.grain.id()),
        metric_id: Set(build.grain.metric_id),
        properties: Set(Json(build.grain.properties.clone())),
        build: Set(build.number),
        is_complete: Set(build.is_complete),
        counts_from: Set(build.counts_from),
    }
}

impl From<Model> for Build {
    fn from(row: Model) -> Self {
        let Model { tenant_id: _, id: _, metric_id, properties, build, is_complete, counts_from } = row;
        let grain = Grain { metric_id, properties: properties.0 };
        Self { grain, number: build, is_complete, counts_from }
    }
}
