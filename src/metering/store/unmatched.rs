//! What nothing counts, by reason and name, and the hours in which that was told.

use accrue_core::id::{TenantId, UnmatchedUsageId, UsageEventId};
use accrue_platform::{
    bulk::{self, Column as Cells},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};

use crate::metering::model::{Tally, Unmatched, UnmatchedUsage};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_unmatched")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UnmatchedUsageId,
    pub reason: Unmatched,
    pub event_name: String,
    pub count: i64,
    pub told: i64,
    pub last_event_id: UsageEventId,
    pub last_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Adds to the counters, in the order of their keys, which all writers share; nothing if all is counted.
pub(in crate::metering) async fn add(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tally: &Tally,
) -> Result<(), DbErr> {
    let rows = &tally.0;
    let columns = vec![
        Cells::new("tenant_id", rows.keys().map(|(tenant, ..)| tenant.0)),
        Cells::new("id", rows.keys().map(|_| UnmatchedUsageId::new(now).0)),
        Cells::new("reason", rows.keys().map(|(_, why, _)| why.as_str().to_owned())),
        Cells::new("event_name", rows.keys().map(|(.., name)| name.clone())),
        Cells::new("count", rows.values().map(|(count, _)| *count)),
        Cells::new("told", rows.values().map(|_| 0)),
        Cells::new("last_event_id", rows.values().map(|(_, last)| last.0)),
        Cells::new("last_at", rows.values().map(|_| now)),
        Cells::new("created_at", rows.values().map(|_| now)),
    ];
    let key = "tenant_id, reason, event_name";
    bulk::add(tx, "usage_unmatched", columns, key, (&["count"], &["last_event_id", "last_at"]))
        .await
        .map(drop)
}

pub(in crate::metering) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<UnmatchedUsage>, PageError> {
    let rows = page.fetch::<Entity, UnmatchedUsageId>(of(tenant), Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// What was not told yet, the most first, and from now on is. Nobody else may be adding to it.
pub(in crate::metering) async fn take_untold(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    limit: u64,
) -> Result<Vec<UnmatchedUsage>, DbErr> {
    let untold = ExprTrait::sub(Expr::col(Column::Count), Expr::col(Column::Told));
    let news = of(tenant)
        .filter(ExprTrait::gt(Expr::col(Column::Count), Expr::col(Column::Told)))
        .order_by_desc(untold)
        .order_by_asc(Column::Id)
        .limit(limit);
    let news = news.all(tx).await?;
    for new in &news {
        Entity::update_many()
            .col_expr(Column::Told, Expr::val(new.count))
            .filter(Column::TenantId.eq(tenant))
            .filter(Column::Id.eq(new.id))
            .exec(tx)
            .await?;
    }
    Ok(news.into_iter().map(Into::into).collect())
}

/// Notes that it is told in this hour; `false` if it was told in this hour before.
pub(in crate::metering) async fn begin_report(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    hour: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let columns = vec![
        Cells::new("tenant_id", [tenant.0]),
        Cells::new("id", [report_id(hour)]),
        Cells::new("created_at", [hour]),
    ];
    Ok(bulk::insert(tx, "usage_unmatched_reports", columns, "tenant_id, id").await? == 1)
}

fn report_id(hour: DateTime<Utc>) -> String {
    hour.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

const DUE: &str = "
select distinct counted.tenant_id from usage_unmatched as counted
where counted.count > counted.told and not exists (
    select 1 from usage_unmatched_reports as told where told.tenant_id = counted.tenant_id and told.id = $1
)";

/// The tenants that have something new to hear and heard nothing in this hour.
pub(in crate::metering) async fn due_reports(
    db: &impl ConnectionTrait,
    hour: DateTime<Utc>,
) -> Result<Vec<TenantId>, DbErr> {
    let values = [report_id(hour).into()];
    let statement = sea_orm::Statement::from_sql_and_values(db.get_database_backend(), DUE, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Has a tenant something new to hear, and heard nothing in this hour?
pub(in crate::metering) async fn is_report_due(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    hour: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let values = [report_id(hour).into(), tenant.into()];
    let sql = format!("{DUE} and counted.tenant_id = $2");
    let statement = sea_orm::Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.query_one_raw(statement).await?.is_some())
}

/// Forgets what was seen last before an instant, whoever's it is.
pub(in crate::metering) async fn forget(
    tx: &DatabaseTransaction,
    before: DateTime<Utc>,
) -> Result<u64, DbErr> {
    let forgotten = Entity::delete_many().filter(Column::LastAt.lt(before)).exec(tx).await?;
    let sql = "delete from usage_unmatched_reports where created_at < $1";
    let backend = tx.get_database_backend();
    tx.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, [before.into()])).await?;
    Ok(forgotten.rows_affected)
}

impl From<Model> for UnmatchedUsage {
    fn from(row: Model) -> Self {
        let Model { tenant_id: _, id, reason, event_name, count, told, last_event_id, last_at, created_at } =
            row;
        Self { id, why: reason, event_name, count, told, last_event: last_event_id, last_at, created_at }
    }
}
