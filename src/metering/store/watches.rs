//! Who watches whose usage of what, in the database.

use std::collections::{BTreeSet, HashSet};

use accrue_core::id::{CustomerId, MetricId, TenantId, TestClockId};
use accrue_platform::bulk;
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect,
    entity::prelude::*,
    sea_query::{ExprTrait, OnConflict},
};

use crate::metering::watching::{Watched, Watcher};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_watches")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// Whoever watches.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// None if everybody's usage is watched.
    pub customer_id: Option<CustomerId>,
    pub metric_id: MetricId,
    pub test_clock_id: Option<TestClockId>,
    pub watcher: Watcher,
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
    by: Uuid,
    watched: Watched,
) -> Result<(), DbErr> {
    let Watched { tenant, customer, metric, test_clock, watcher } = watched;
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(by),
        customer_id: Set(Some(customer)),
        metric_id: Set(metric),
        test_clock_id: Set(test_clock),
        watcher: Set(watcher),
    };
    insert_row(tx, row).await
}

/// Watches everybody's usage of a metric.
pub(in crate::metering) async fn insert_for_all(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    by: Uuid,
    (metric, watcher): (MetricId, Watcher),
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(by),
        customer_id: Set(None),
        metric_id: Set(metric),
        test_clock_id: Set(None),
        watcher: Set(watcher),
    };
    insert_row(tx, row).await
}

async fn insert_row(tx: &DatabaseTransaction, row: ActiveModel) -> Result<(), DbErr> {
    let known = OnConflict::columns([Column::TenantId, Column::Id]).do_nothing().to_owned();
    Entity::insert(row).on_conflict(known).exec_without_returning(tx).await.map(drop)
}

/// Those of whoever watches already.
pub(in crate::metering) async fn known(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    by: Vec<Uuid>,
) -> Result<HashSet<Uuid>, DbErr> {
    let ids = of(tenant).select_only().column(Column::Id).filter(bulk::one_of(tx, Column::Id, by));
    Ok(ids.into_tuple().all(tx).await?.into_iter().collect())
}

pub(in crate::metering) async fn delete(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    by: Uuid,
) -> Result<(), DbErr> {
    let of_tenant = Entity::delete_many().filter(Column::TenantId.eq(tenant));
    of_tenant.filter(Column::Id.eq(by)).exec(tx).await.map(drop)
}

/// Whether anybody watches in a tenant.
pub(in crate::metering) async fn is_any(tx: &DatabaseTransaction, tenant: TenantId) -> Result<bool, DbErr> {
    Ok(of(tenant).select_only().column(Column::Id).limit(1).into_tuple::<Uuid>().one(tx).await?.is_some())
}

/// What somebody wants to know of a customer.
pub(in crate::metering) type OfCustomer = (CustomerId, MetricId, Option<TestClockId>, Watcher);

/// What somebody wants to know of these customers, and of everybody.
pub(in crate::metering) async fn of_customers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[CustomerId],
) -> Result<(Vec<OfCustomer>, BTreeSet<(MetricId, Watcher)>), DbErr> {
    let (mut of_some, mut of_all) = (Vec::new(), BTreeSet::new());
    for some in customers.chunks(bulk::LIST_MAX) {
        let ids = some.iter().map(|customer| customer.0).collect();
        let theirs = bulk::one_of::<Uuid>(db, Column::CustomerId, ids);
        let rows = of(tenant)
            .select_only()
            .columns([Column::CustomerId, Column::MetricId, Column::TestClockId, Column::Watcher])
            .distinct()
            .filter(theirs.or(Column::CustomerId.is_null()))
            .into_tuple::<(Option<CustomerId>, MetricId, Option<TestClockId>, Watcher)>()
            .all(db)
            .await?;
        for (customer, metric, test_clock, watcher) in rows {
            match customer {
                Some(customer) => of_some.push((customer, metric, test_clock, watcher)),
                None => drop(of_all.insert((metric, watcher))),
            }
        }
    }
    Ok((of_some, of_all))
}
