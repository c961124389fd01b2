//! Taxes in the database.

use accrue_core::id::{TaxId, TenantId};
use accrue_platform::{
    check::Metadata,
    column::{Dec, Json},
    counter,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
};

use super::which;
use crate::catalog::model::Tax;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "taxes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TaxId,
    pub code: String,
    pub name: String,
    pub rate: Dec,
    pub is_default: bool,
    pub first_default_at: Option<DateTime<Utc>>,
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

fn named(tenant: TenantId, reference: &str) -> Select<Entity> {
    match reference.parse::<TaxId>() {
        Ok(id) => of(tenant).filter(Column::Id.eq(id)),
        Err(_) => of(tenant).filter(Column::Code.eq(reference)),
    }
}

pub(in crate::catalog) async fn insert(tx: &DatabaseTransaction, tax: &Tax) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tax.tenant_id),
        id: Set(tax.id),
        code: Set(tax.code.clone()),
        name: Set(tax.name.clone()),
        rate: Set(Dec(tax.rate)),
        is_default: Set(tax.is_default),
        first_default_at: Set(tax.first_default_at),
        metadata: Set(Json(tax.metadata.clone())),
        created_at: Set(tax.created_at),
        archived_at: Set(tax.archived_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// By identifier or code.
pub(in crate::catalog) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Tax>, DbErr> {
    Ok(named(tenant, reference).one(db).await?.map(Into::into))
}

pub(in crate::catalog) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Tax>, DbErr> {
    Ok(named(tenant, reference).lock_exclusive().one(tx).await?.map(Into::into))
}

pub(in crate::catalog) async fn find_default(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Option<Tax>, DbErr> {
    Ok(of(tenant).filter(Column::IsDefault.eq(true)).one(db).await?.map(Into::into))
}

/// The counter is a lock: of two that make a default at once, the second one sees what the first one made.
pub(in crate::catalog) async fn lock_default(
    tx: &DatabaseTransaction,
    tenant: TenantId,
) -> Result<(), DbErr> {
    counter::take(tx, tenant, "default_tax", 0).await.map(drop)
}

/// Nothing is the default any more, until the transaction says what is.
pub(in crate::catalog) async fn unset_default(
    tx: &DatabaseTransaction,
    tenant: TenantId,
) -> Result<(), DbErr> {
    lock_default(tx, tenant).await?;
    Entity::update_many()
        .col_expr(Column::IsDefault, false.into())
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::IsDefault.eq(true))
        .exec(tx)
        .await
        .map(drop)
}

pub(in crate::catalog) async fn save(tx: &DatabaseTransaction, tax: &Tax) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tax.tenant_id),
        id: Set(tax.id),
        name: Set(tax.name.clone()),
        is_default: Set(tax.is_default),
        first_default_at: Set(tax.first_default_at),
        metadata: Set(Json(tax.metadata.clone())),
        archived_at: Set(tax.archived_at),
        ..Default::default()
    };
    row.update(tx).await.map(drop)
}

pub(in crate::catalog) async fn delete(tx: &DatabaseTransaction, tax: &Tax) -> Result<(), DbErr> {
    Entity::delete_by_id((tax.tenant_id, tax.id)).exec(tx).await.map(drop)
}

pub(in crate::catalog) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Tax>, PageError> {
    let select = of(tenant).filter(which(Column::ArchivedAt, archived));
    let rows = page.fetch::<Entity, TaxId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

impl From<Model> for Tax {
    fn from(row: Model) -> Self {
        Self {
            tenant_id: row.tenant_id,
            id: row.id,
            code: row.code,
            name: row.name,
            rate: row.rate.0,
            is_default: row.is_default,
            first_default_at: row.first_default_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
            archived_at: row.archived_at,
        }
    }
}
