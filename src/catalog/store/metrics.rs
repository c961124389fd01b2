//! Metrics in the database.

use std::collections::BTreeSet;

use accrue_core::{
    id::{MetricId, TenantId},
    usage::{self, Conversion, MetricFilter, Rounding},
};
use accrue_platform::{
    check::Metadata,
    column::{Json, from_word, word},
    db::unless_referred,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::which;
use crate::catalog::model::{LateEvents, Metric};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "metrics")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MetricId,
    pub code: String,
    pub name: String,
    pub event_name: String,
    pub aggregation: String,
    pub property: Option<String>,
    pub recurring: bool,
    pub filters: Json<Vec<MetricFilter>>,
    pub conversion: Option<Json<Conversion>>,
    pub rounding: Option<Json<Rounding>>,
    pub late_events: LateEvents,
    pub splits: Json<BTreeSet<Vec<String>>>,
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

pub(in crate::catalog) async fn insert(tx: &DatabaseTransaction, metric: &Metric) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(metric.tenant_id),
        id: Set(metric.id),
        code: Set(metric.code.clone()),
        name: Set(metric.name.clone()),
        event_name: Set(metric.event_name.clone()),
        aggregation: Set(word(metric.rules.aggregation)),
        property: Set(metric.rules.property.clone()),
        recurring: Set(metric.rules.recurring),
        filters: Set(Json(metric.rules.filters.clone())),
        conversion: Set(metric.rules.conversion.map(Json)),
        rounding: Set(metric.rules.rounding.map(Json)),
        late_events: Set(metric.late_events),
        splits: Set(Json(metric.splits.clone())),
        metadata: Set(Json(metric.metadata.clone())),
        created_at: Set(metric.created_at),
        archived_at: Set(metric.archived_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(in crate::catalog) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Metric>, DbErr> {
    let found = of(tenant).filter(named(&[reference])).lock_exclusive().one(tx).await?;
    found.map(Metric::try_from).transpose()
}

/// Stores what may change of a metric.
pub(in crate::catalog) async fn save(tx: &DatabaseTransaction, metric: &Metric) -> Result<(), DbErr> {
    let row = ActiveModel {
        name: Set(metric.name.clone()),
        late_events: Set(metric.late_events),
        splits: Set(Json(metric.splits.clone())),
        metadata: Set(Json(metric.metadata.clone())),
        archived_at: Set(metric.archived_at),
        ..Default::default()
    };
    Entity::update_many()
        .set(row)
        .filter(Column::TenantId.eq(metric.tenant_id))
        .filter(Column::Id.eq(metric.id))
        .exec(tx)
        .await
        .map(drop)
}

/// `false` if something refers to it, and it is there still: a price, a feature, an alert, or usage that it counted.
pub(in crate::catalog) async fn delete(tx: &DatabaseTransaction, metric: &Metric) -> Result<bool, DbErr> {
    unless_referred(tx, async |tx| {
        Entity::delete_by_id((metric.tenant_id, metric.id)).exec(tx).await.map(drop)
    })
    .await
}

pub(in crate::catalog) async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: MetricId,
) -> Result<Option<Metric>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Metric::try_from).transpose()
}

/// By identifier or code.
pub(in crate::catalog) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Metric>, DbErr> {
    let named = named(&[reference]);
    of(tenant).filter(named).one(db).await?.map(Metric::try_from).transpose()
}

/// Those of the identifiers and codes that exist.
pub(in crate::catalog) async fn find_all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    references: &[&str],
) -> Result<Vec<Metric>, DbErr> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    of(tenant).filter(named(references)).all(db).await?.into_iter().map(Metric::try_from).collect()
}

/// What looks like an identifier is one.
fn named(references: &[&str]) -> Condition {
    let ids = references.iter().filter_map(|reference| reference.parse::<MetricId>().ok());
    let codes = references.iter().filter(|reference| reference.parse::<MetricId>().is_err());
    Condition::any().add(Column::Id.is_in(ids)).add(Column::Code.is_in(codes.copied()))
}

pub(in crate::catalog) async fn all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Metric>, DbErr> {
    let rows = of(tenant).order_by_asc(Column::Id).all(db).await?;
    rows.into_iter().map(Metric::try_from).collect()
}

pub(in crate::catalog) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Metric>, PageError> {
    let select = of(tenant).filter(which(Column::ArchivedAt, archived));
    let rows = page.fetch::<Entity, MetricId>(select, Column::Id, db).await?;
    rows.into_iter().map(|row| Metric::try_from(row).map_err(Into::into)).collect()
}

impl TryFrom<Model> for Metric {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let rules = usage::Metric {
            aggregation: from_word(row.aggregation)?,
            property: row.property,
            recurring: row.recurring,
            filters: row.filters.0,
            conversion: row.conversion.map(|Json(conversion)| conversion),
            rounding: row.rounding.map(|Json(rounding)| rounding),
        };
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            code: row.code,
            name: row.name,
            event_name: row.event_name,
            rules,
            late_events: row.late_events,
            splits: row.splits.0,
            metadata: row.metadata.0,
            created_at: row.created_at,
            archived_at: row.archived_at,
        })
    }
}
