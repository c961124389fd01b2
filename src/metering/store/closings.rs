//! Billed periods in the database.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, MetricId, SubscriptionId, TenantId, TestClockId},
};
use accrue_platform::{
    bulk,
    due::{DueColumn, PAGE},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, QueryTrait,
    entity::prelude::*, sea_query::OnConflict,
};

use crate::{app::Scope, metering::model::Closing};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_closings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// A digest of all that it is about.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub subscription_id: SubscriptionId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub metric_id: MetricId,
    pub start_at: DateTime<Utc>,
    pub end_at: DateTime<Utc>,
    /// When to compare what was billed with what was used; null if there is no reason to.
    pub check_at: Option<DateTime<Utc>>,
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
    closing: &Closing,
    check_at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(closing.tenant_id),
        id: Set(closing.id()),
        subscription_id: Set(closing.subscription_id),
        customer_id: Set(closing.customer_id),
        test_clock_id: Set(closing.test_clock_id),
        metric_id: Set(closing.metric_id),
        start_at: Set(closing.period.start),
        end_at: Set(closing.period.end),
        check_at: Set(Some(check_at)),
    };
    let known = OnConflict::columns([Column::TenantId, Column::Id]).do_nothing().to_owned();
    Entity::insert(row).on_conflict(known).exec_without_returning(tx).await.map(drop)
}

/// Those of a tenant that end after an instant.
pub(in crate::metering) async fn ending_after(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    at: DateTime<Utc>,
) -> Result<Vec<Closing>, DbErr> {
    Ok(of(tenant).filter(Column::EndAt.gt(at)).all(db).await?.into_iter().map(Into::into).collect())
}

/// When the last of a tenant's closed periods ends that begin before an instant and end after it.
pub(in crate::metering) async fn end_of_those_around(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    at: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let around = of(tenant).filter(Column::StartAt.lt(at)).filter(Column::EndAt.gt(at));
    let last = around.select_only().column_as(Column::EndAt.max(), "last");
    Ok(last.into_tuple::<Option<DateTime<Utc>>>().one(tx).await?.flatten())
}

/// A subscription with a closed period that begins before an instant and is to be checked yet.
pub(in crate::metering) async fn unchecked_before(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    at: DateTime<Utc>,
) -> Result<Option<SubscriptionId>, DbErr> {
    let select = of(tenant).filter(Column::StartAt.lt(at)).filter(Column::CheckAt.is_not_null());
    Ok(select.one(tx).await?.map(|row| row.subscription_id))
}

/// Those of a subscription that are to be checked until an instant, or whenever, the oldest first.
pub(in crate::metering) async fn to_check(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    subscription: SubscriptionId,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Closing>, DbErr> {
    let select = of(tenant)
        .filter(Column::SubscriptionId.eq(subscription))
        .filter(Column::CheckAt.is_not_null())
        .apply_if(until, |select, until| select.filter(Column::CheckAt.lte(until)))
        .order_by_asc(Column::StartAt)
        .order_by_asc(Column::Id)
        .lock_exclusive();
    Ok(select.all(tx).await?.into_iter().map(Into::into).collect())
}

/// Has them checked at another time, or not any more.
pub(in crate::metering) async fn set_check(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    ids: Vec<Uuid>,
    check_at: Option<DateTime<Utc>>,
) -> Result<(), DbErr> {
    for some in ids.chunks(bulk::LIST_MAX) {
        Entity::update_many()
            .col_expr(Column::CheckAt, Expr::val(check_at))
            .filter(Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, Column::Id, some.to_vec()))
            .exec(tx)
            .await?;
    }
    Ok(())
}

/// Has them checked at an instant at the latest. Each is written, also if it is checked before: whoever checks it at this
/// moment locks it, and either sees what came or ends first.
pub(in crate::metering) async fn check_by(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    ids: Vec<Uuid>,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let earlier = Expr::case(Column::CheckAt.lt(at), Expr::col(Column::CheckAt)).finally(at);
    for some in ids.chunks(bulk::LIST_MAX) {
        Entity::update_many()
            .col_expr(Column::CheckAt, earlier.clone().into())
            .filter(Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, Column::Id, some.to_vec()))
            .exec(tx)
            .await?;
    }
    Ok(())
}

/// When each is to be checked.
pub(in crate::metering) const CHECKS: DueColumn = DueColumn { table: "usage_closings", name: "check_at" };

/// Subscriptions with a period that is to be checked at `now`, and since when, a page of them after the last of the page
/// before.
pub(in crate::metering) async fn due(
    db: &impl ConnectionTrait,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<SubscriptionId>,
) -> Result<Vec<(SubscriptionId, DateTime<Utc>)>, DbErr> {
    let clock = match scope.test_clock() {
        None => Column::TestClockId.is_null(),
        Some(clock) => Column::TestClockId.eq(clock),
    };
    of(scope.tenant())
        .select_only()
        .column(Column::SubscriptionId)
        .column_as(Column::CheckAt.min(), "due_at")
        .filter(clock)
        .filter(Column::CheckAt.lte(now))
        .apply_if(after, |select, last| select.filter(Column::SubscriptionId.gt(last)))
        .group_by(Column::SubscriptionId)
        .order_by_asc(Column::SubscriptionId)
        .limit(PAGE as u64)
        .into_tuple()
        .all(db)
        .await
}

impl From<Model> for Closing {
    fn from(row: Model) -> Self {
        let Model {
            tenant_id,
            id: _,
            subscription_id,
            customer_id,
            test_clock_id,
            metric_id,
            start_at,
            end_at,
            ..
        } = row;
        let period = Period { start: start_at, end: end_at };
        Self { tenant_id, subscription_id, customer_id, test_clock_id, metric_id, period }
    }
}
