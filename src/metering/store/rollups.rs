//! Usage by the hour in the database: a row for each day, which holds its hours. Where usage is told apart a day has
//! more rows, and each holds the hours of the values that have their place in it.

use accrue_core::{
    exact::{Exact, every_digit},
    id::{CustomerId, TenantId, UsageEventId},
    usage::Partial,
};
use accrue_platform::{column::Json, gate::Gate};
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr,
    entity::prelude::*,
    sea_query::{Condition, Expr, Order, Query},
};
use serde::{Deserialize, Serialize};

use super::builds;
use crate::metering::model::{Build, Series, Slice, Values, WantedDays, end_of_day, end_of_hour};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollups")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// Of whose usage of what, and which day: [`Series::row_id`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub customer_id: CustomerId,
    pub grain_id: Uuid,
    pub build: i64,
    pub day: DateTime<Utc>,
    pub hours: Json<Vec<KeptHour>>,
    /// The same of the day as a whole, as of its first hour; of what is weighted by time, nothing.
    pub total: Json<Vec<KeptHour>>,
    /// Of the write that had it say this, and of the one before: another one each time.
    pub revision: Uuid,
    pub follows: Uuid,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// An hour as it is kept: what an aggregation does not need is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptHour {
    /// Of the day.
    hour: u32,
    /// The values of the grain's properties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    of: Values,
    count: u64,
    #[serde(skip_serializing_if = "Exact::is_zero", serialize_with = "every_digit::serialize")]
    sum: Exact,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greatest: Option<Decimal>,
    /// When it happened, which event it was, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<(DateTime<Utc>, UsageEventId, Decimal)>,
    #[serde(skip_serializing_if = "Exact::is_zero", serialize_with = "every_digit::serialize")]
    weighted: Exact,
}

/// Days, or parts of days, that are read at once: seven months of usage that is not told apart.
const DAYS_AT_ONCE: u64 = 200;

/// Days that were read.
pub(in crate::metering) struct ReadDays {
    pub slices: Vec<Slice>,
    /// The row to go on after, if there may be more.
    pub next: Option<Uuid>,
}

/// Somebody's usage of the next days after a row, by the hour where that is wanted, else by the day. `None` if this is
/// not the build that is to be read any more: whoever makes the next one takes the days of this one out. `None` too if the
/// tenant's gate was closed more often than that.
pub(in crate::metering) async fn next_days(
    db: &impl ConnectionTrait,
    series: Series,
    wanted: &WantedDays,
    after: Option<Uuid>,
    closings: Option<i64>,
) -> Result<Option<ReadDays>, DbErr> {
    let (first, last) = series.row_ids(wanted.from, wanted.to).into_inner();
    let is_by_hour = match &wanted.by_hour {
        None => Expr::val(true),
        Some(days) => Column::Day.is_in(days.iter().copied()),
    };
    let kept = Expr::case(is_by_hour.clone(), Column::Hours.into_expr()).finally(Column::Total.into_expr());
    let days = Condition::all()
        .add(Column::TenantId.eq(series.tenant_id))
        .add(Column::Id.between(after.unwrap_or(first), last))
        .add_option(after.map(|after| Column::Id.ne(after)));
    let unchanged = closings.map(|closings| Gate::Usage.was_closed(series.tenant_id, closings));
    // One statement, so that the build is looked at as it was when its days were.
    let select = Query::select()
        .columns([(Entity, Column::Id), (Entity, Column::Day)])
        .expr_as(is_by_hour, "is_by_hour")
        .expr_as(kept, "kept")
        .from(builds::Entity)
        .left_join(Entity, days)
        .cond_where(builds::is_read(series))
        .cond_where(Condition::all().add_option(unchanged))
        .order_by((Entity, Column::Id), Order::Asc)
        .limit(DAYS_AT_ONCE)
        .to_owned();
    let rows = db.query_all(&select).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut slices, mut last) = (Vec::new(), None);
    for row in &rows {
        let Some(id) = row.try_get("", "id")? else { break };
        last = Some(id);
        let (day, is_by_hour): (DateTime<Utc>, bool) =
            (row.try_get("", "day")?, row.try_get("", "is_by_hour")?);
        for kept in row.try_get::<Json<Vec<KeptHour>>>("", "kept")?.0 {
            let ((hour, values), partial) = kept.into_parts();
            let start = day + TimeDelta::hours(hour.into());
            let end = if is_by_hour { end_of_hour(start) } else { end_of_day(day) };
            slices.push(Slice { start, end, values, partial });
        }
    }
    Ok(Some(ReadDays { slices, next: last.filter(|_| rows.len() as u64 == DAYS_AT_ONCE) }))
}

/// Forgets the hours of every other build of a grain, to which nobody adds any more.
pub(in crate::metering) async fn delete_others(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    build: &Build,
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::GrainId.eq(build.grain.id()))
        .filter(Column::Build.ne(build.number))
        .exec(tx)
        .await
        .map(drop)
}

impl KeptHour {
    pub(super) fn new((hour, of): &(u32, Values), partial: &Partial) -> Self {
        let Partial { count, sum, least, greatest, latest, weighted } = partial.clone();
        let latest = latest.map(|((at, arrival), value)| (at, UsageEventId(Uuid::from_u128(arrival)), value));
        Self { hour: *hour, of: of.clone(), count, sum, least, greatest, latest, weighted }
    }

    pub(super) fn into_parts(self) -> ((u32, Values), Partial) {
        let Self { hour, of, count, sum, least, greatest, latest, weighted } = self;
        let latest = latest.map(|(at, event, value)| ((at, event.0.as_u128()), value));
        ((hour, of), Partial { count, sum, least, greatest, latest, weighted })
    }
}
