//! Features in the database.

use accrue_core::id::{FeatureId, MetricId, TenantId};
use accrue_platform::{
    check::Metadata,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::which;
use crate::catalog::model::{Feature, FeatureKind};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "features")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FeatureId,
    pub code: String,
    pub name: String,
    pub kind: FeatureKind,
    pub metric_id: Option<MetricId>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(in crate::catalog) async fn insert(tx: &DatabaseTransaction, feature: &Feature) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(feature.tenant_id),
        id: Set(feature.id),
        code: Set(feature.code.clone()),
        name: Set(feature.name.clone()),
        kind: Set(feature.kind),
        metric_id: Set(feature.metric_id),
        metadata: Set(Json(feature.metadata.clone())),
        created_at: Set(feature.created_at),
        archived_at: Set(feature.archived_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// Stores what may change of a feature.
pub(in crate::catalog) async fn save(tx: &DatabaseTransaction, feature: &Feature) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(feature.tenant_id),
        id: Set(feature.id),
        name: Set(feature.name.clone()),
        metadata: Set(Json(feature.metadata.clone())),
        archived_at: Set(feature.archived_at),
        ..Default::default()
    };
    row.update(tx).await.map(drop)
}

/// No plan may grant it.
pub(in crate::catalog) async fn delete(tx: &DatabaseTransaction, feature: &Feature) -> Result<(), DbErr> {
    Entity::delete_by_id((feature.tenant_id, feature.id)).exec(tx).await.map(drop)
}

/// By identifier or code.
pub(in crate::catalog) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Feature>, DbErr> {
    Ok(of(tenant).filter(named(&[reference])).one(db).await?.map(Into::into))
}

pub(in crate::catalog) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Feature>, DbErr> {
    Ok(of(tenant).filter(named(&[reference])).lock_exclusive().one(tx).await?.map(Into::into))
}

/// Those of the identifiers and codes that exist.
pub(in crate::catalog) async fn find_all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    references: &[&str],
) -> Result<Vec<Feature>, DbErr> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    Ok(of(tenant).filter(named(references)).all(db).await?.into_iter().map(Into::into).collect())
}

pub(in crate::catalog) async fn by_codes(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    codes: &[&str],
) -> Result<Vec<Feature>, DbErr> {
    let select = of(tenant).filter(Column::Code.is_in(codes.iter().copied()));
    Ok(select.all(db).await?.into_iter().map(Into::into).collect())
}

/// What looks like an identifier is one.
fn named(references: &[&str]) -> Condition {
    let ids = references.iter().filter_map(|reference| reference.parse::<FeatureId>().ok());
    let codes = references.iter().filter(|reference| reference.parse::<FeatureId>().is_err());
    Condition::any().add(Column::Id.is_in(ids)).add(Column::Code.is_in(codes.copied()))
}

pub(in crate::catalog) async fn all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Feature>, DbErr> {
    Ok(of(tenant).order_by_asc(Column::Id).all(db).await?.into_iter().map(Into::into).collect())
}

pub(in crate::catalog) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Feature>, PageError> {
    let select = of(tenant).filter(which(Column::ArchivedAt, archived));
    let rows = page.fetch::<Entity, FeatureId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

impl From<Model> for Feature {
    fn from(row: Model) -> Self {
        let Model {
            tenant_id,
            id,
            code,
            name,
            kind,
            metric_id,
            metadata: Json(metadata),
            created_at,
            archived_at,
        } = row;
        Self { tenant_id, id, code, name, kind, metric_id, metadata, created_at, archived_at }
    }
}
