//! Test clocks in the database.

use accrue_core::id::{CustomerId, TenantId, TestClockId};
use accrue_platform::{
    check::Metadata,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, Statement, entity::prelude::*,
};

use super::model::{Advance, TestClock};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "test_clocks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TestClockId,
    pub name: String,
    pub now_at: DateTime<Utc>,
    pub advancing_to: Option<DateTime<Utc>>,
    pub advancing_since: Option<i64>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// Since when nothing is left of its customers.
    pub emptied_at: Option<DateTime<Utc>>,
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
    id: TestClockId,
) -> Result<Option<TestClock>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
) -> Result<Option<TestClock>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

/// Locks it so that it is not deleted before the transaction ends.
pub(super) async fn find_to_hang_on(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: TestClockId,
) -> Result<Option<TestClock>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).lock_shared().one(db).await?.map(Into::into))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<TestClock>, PageError> {
    let there = of(tenant).filter(Column::DeletedAt.is_null());
    let rows = page.fetch::<Entity, TestClockId>(there, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The tenants with clocks whose movement is under way, or was when a process died.
pub(super) async fn tenants_with_advancing(db: &impl ConnectionTrait) -> Result<Vec<TenantId>, DbErr> {
    let select = Entity::find().select_only().column(Column::TenantId).distinct();
    select.filter(Column::AdvancingTo.is_not_null()).into_tuple().all(db).await
}

/// A tenant's clocks whose movement is under way, or was when a process died.
pub(super) async fn advancing(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<TestClock>, DbErr> {
    let rows = of(tenant).filter(Column::AdvancingTo.is_not_null()).all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

pub(super) async fn insert(tx: &DatabaseTransaction, clock: &TestClock) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(clock.tenant_id),
        id: Set(clock.id),
        name: Set(clock.name.clone()),
        metadata: Set(Json(clock.metadata.clone())),
        created_at: Set(clock.created_at),
        ..movable(clock)
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn save(tx: &DatabaseTransaction, clock: &TestClock) -> Result<(), DbErr> {
    Entity::update_many()
        .set(movable(clock))
        .filter(Column::TenantId.eq(clock.tenant_id))
        .filter(Column::Id.eq(clock.id))
        .exec(tx)
        .await
        .map(drop)
}

/// Customers keep the clock that they hang on; of them only this much is known here.
const CUSTOMERS: &str = "select id from customers where tenant_id = $1 and test_clock_id = $2 \
     order by case when exists (select 1 from invoices where invoices.tenant_id = customers.tenant_id \
     and invoices.for_customer_id = customers.id) then 1 else 0 end, id limit 100";

/// Some of the customers who hang on a clock: who paid for others before those.
pub(super) async fn some_customers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: TestClockId,
) -> Result<Vec<CustomerId>, DbErr> {
    let values = [tenant.into(), id.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), CUSTOMERS, values);
    db.query_all_raw(statement).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Nothing is left of its customers.
pub(super) async fn set_emptied(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: TestClockId,
    wall: DateTime<Utc>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::EmptiedAt, Expr::value(wall))
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::Id.eq(id))
        .exec(tx)
        .await
        .map(drop)
}

fn movable(clock: &TestClock) -> ActiveModel {
    ActiveModel {
        now_at: Set(clock.now_at),
        advancing_to: Set(clock.advancing.map(|advance| advance.to)),
        advancing_since: Set(clock.advancing.map(|advance| advance.since)),
        deleted_at: Set(clock.deleted_at),
        ..Default::default()
    }
}

impl From<Model> for TestClock {
    fn from(row: Model) -> Self {
        let advancing = row.advancing_to.zip(row.advancing_since).map(|(to, since)| Advance { to, since });
        Self {
            tenant_id: row.tenant_id,
            id: row.id,
            name: row.name,
            now_at: row.now_at,
            advancing,
            metadata: row.metadata.0,
            created_at: row.created_at,
            deleted_at: row.deleted_at,
        }
    }
}
