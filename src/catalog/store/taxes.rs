//! Taxes in the database.

use std::collections::BTreeSet;

use accrue_core::id::{TaxId, TenantId};
use accrue_platform::{
    check::Metadata,
    column::{Dec, Json},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
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
    pub inclusive: bool,
    pub jurisdiction: Option<String>,
    pub tax_codes: Json<BTreeSet<String>>,
    pub is_default: bool,
    pub first_applied_at: Option<DateTime<Utc>>,
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
        inclusive: Set(tax.inclusive),
        jurisdiction: Set(tax.jurisdiction.clone()),
        tax_codes: Set(Json(tax.tax_codes.clone())),
        is_default: Set(tax.is_default),
        first_applied_at: Set(tax.first_applied_at),
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

/// Those that prices have, the oldest first.
pub(in crate::catalog) async fn applied(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Tax>, DbErr> {
    let select = of(tenant).filter(Column::ArchivedAt.is_null()).filter(Column::FirstAppliedAt.is_not_null());
    let taxes = select.order_by_asc(Column::Id).all(db).await?.into_iter().map(Tax::from);
    Ok(taxes.filter(Tax::applies).collect())
}

pub(in crate::catalog) async fn save(tx: &DatabaseTransaction, tax: &Tax) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tax.tenant_id),
        id: Set(tax.id),
        name: Set(tax.name.clone()),
        rate: Set(Dec(tax.rate)),
        jurisdiction: Set(tax.jurisdiction.clone()),
        tax_codes: Set(Json(tax.tax_codes.clone())),
        is_default: Set(tax.is_default),
        first_applied_at: Set(tax.first_applied_at),
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
            inclusive: row.inclusive,
            jurisdiction: row.jurisdiction,
            tax_codes: row.tax_codes.0,
            is_default: row.is_default,
            first_applied_at: row.first_applied_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
            archived_at: row.archived_at,
        }
    }
}
