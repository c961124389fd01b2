//! How far the hours of each metric are built up.

use accrue_core::id::{MetricId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
    sea_query::OnConflict,
};

use crate::metering::model::Build;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_builds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The metric.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MetricId,
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

pub(in crate::metering) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Option<Build>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(metric)).one(db).await?.map(Into::into))
}

pub(in crate::metering) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Option<Build>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(metric)).lock_exclusive().one(tx).await?.map(Into::into))
}

pub(in crate::metering) async fn save(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    build: Build,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(build.metric_id),
        build: Set(build.number),
        is_complete: Set(build.is_complete),
        counts_from: Set(build.counts_from),
    };
    let known = OnConflict::columns([Column::TenantId, Column::Id])
        .update_columns([Column::Build, Column::IsComplete, Column::CountsFrom])
        .to_owned();
    Entity::insert(row).on_conflict(known).exec_without_returning(tx).await.map(drop)
}

impl From<Model> for Build {
    fn from(row: Model) -> Self {
        let Model { tenant_id: _, id, build, is_complete, counts_from } = row;
        Self { metric_id: id, number: build, is_complete, counts_from }
    }
}
