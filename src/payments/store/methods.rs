//! Payment methods in the database.

use accrue_core::id::{CustomerId, PaymentMethodId, TenantId};
use accrue_platform::{
    check::Metadata,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
};

use crate::payments::model::PaymentMethod;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_methods")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PaymentMethodId,
    pub customer_id: CustomerId,
    pub gateway: String,
    pub reference_sealed: String,
    pub brand: String,
    pub last4: String,
    pub expires_on: Option<String>,
    pub detached_at: Option<DateTime<Utc>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(crate) async fn insert(tx: &DatabaseTransaction, method: &PaymentMethod) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(method.tenant_id),
        id: Set(method.id),
        customer_id: Set(method.customer_id),
        gateway: Set(method.gateway.clone()),
        reference_sealed: Set(method.reference_sealed.clone()),
        brand: Set(method.brand.clone()),
        last4: Set(method.last4.clone()),
        expires_on: Set(method.expires_on.clone()),
        detached_at: Set(method.detached_at),
        metadata: Set(Json(method.metadata.clone())),
        created_at: Set(method.created_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PaymentMethodId,
) -> Result<Option<PaymentMethod>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

pub(crate) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: PaymentMethodId,
) -> Result<Option<PaymentMethod>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

/// It is never charged again: what could charge it is forgotten.
pub(crate) async fn detach(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: PaymentMethodId,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::DetachedAt, at.into())
        .col_expr(Column::ReferenceSealed, "".into())
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::Id.eq(id))
        .exec(tx)
        .await
        .map(drop)
}

/// Those that can be charged.
pub(crate) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<PaymentMethod>, PageError> {
    let mut select = of(tenant).filter(Column::DetachedAt.is_null());
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    let rows = page.fetch::<Entity, PaymentMethodId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

impl From<Model> for PaymentMethod {
    fn from(row: Model) -> Self {
        let Model {
            tenant_id,
            id,
            customer_id,
            gateway,
            reference_sealed,
            brand,
            last4,
            expires_on,
            detached_at,
            metadata,
            created_at,
        } = row;
        Self {
            tenant_id,
            id,
            customer_id,
            gateway,
            reference_sealed,
            brand,
            last4,
            expires_on,
            detached_at,
            metadata: metadata.0,
            created_at,
        }
    }
}
