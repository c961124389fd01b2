//! Snapshots in the database. The customer's identifier is the row's.

use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::column::Json;
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
    sea_query::OnConflict,
};

use super::model::{Grants, Snapshot};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "entitlement_snapshots")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: CustomerId,
    pub version: i64,
    pub features: Json<Grants>,
    pub as_of: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Option<Snapshot>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(customer)).one(db).await?.map(Into::into))
}

/// The customer's snapshot, which nobody else can change until the transaction ends; an empty one of version
/// 0 is stored if there is none, so that there is a row to lock.
pub(super) async fn lock(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
    now: DateTime<Utc>,
) -> Result<Snapshot, DbErr> {
    let key = OnConflict::columns([Column::TenantId, Column::Id]).do_nothing().to_owned();
    let row = row(&Snapshot::nothing(tenant, customer, now));
    Entity::insert(row).on_conflict(key).exec_without_returning(tx).await?;
    let found = of(tenant).filter(Column::Id.eq(customer)).lock_exclusive().one(tx).await?;
    found.map(Into::into).ok_or_else(|| DbErr::RecordNotFound(customer.to_string()))
}

pub(super) async fn save(tx: &DatabaseTransaction, snapshot: &Snapshot) -> Result<(), DbErr> {
    Entity::update(row(snapshot).reset_all()).exec(tx).await.map(drop)
}

fn row(snapshot: &Snapshot) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(snapshot.tenant_id),
        id: Set(snapshot.customer_id),
        version: Set(snapshot.version),
        features: Set(Json(snapshot.grants.clone())),
        as_of: Set(snapshot.as_of),
    }
}

impl From<Model> for Snapshot {
    fn from(row: Model) -> Self {
        let Model { tenant_id, id: customer_id, version, features: Json(grants), as_of } = row;
        Self { tenant_id, customer_id, version, grants, as_of }
    }
}
