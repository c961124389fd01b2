//! Usage by the hour in the database: a row for each day, which holds its hours. Where usage is told apart a day has
//! more rows, and each holds the hours of the values that have their place in it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use accrue_core::{
    exact::{Exact, every_digit},
    id::{CustomerId, TenantId, UsageEventId},
    usage::Partial,
};
use accrue_platform::{
    bulk::{self, Column as Cells},
    column::Json,
    gate::Gate,
};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Condition, Expr, Order, Query},
};
use serde::{Deserialize, Serialize};

use super::builds;
use crate::metering::model::{
    Additions, Build, RollupKey, Series, Slice, Values, WantedDays, end_of_day, end_of_hour, start_of_day,
};

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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
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

/// Adds to hours.
///
/// Each day is locked before it is read, so that what several writers add is all there, and to the last digit: neither
/// database's own arithmetic is needed.
pub(in crate::metering) async fn add(tx: &DatabaseTransaction, added: &Additions) -> Result<(), DbErr> {
    add_to(tx, Days::of(added), &KnownDays::default()).await
}

/// The same for whoever does it again and again.
pub(in crate::metering) async fn add_to(
    tx: &DatabaseTransaction,
    added: Days,
    known: &KnownDays,
) -> Result<(), DbErr> {
    change(tx, added, known, Partial::merge).await
}

/// Has hours say what they say now, whatever they said before.
pub(in crate::metering) async fn set(tx: &DatabaseTransaction, hours: &Additions) -> Result<(), DbErr> {
    change(tx, Days::of(hours), &KnownDays::default(), Partial::clone_from).await
}

/// Days that need not be looked for, because they were there before. Only those of a build that nobody reads any more
/// disappear.
#[derive(Debug, Default)]
pub(in crate::metering) struct KnownDays(Mutex<HashSet<DayId>>);

impl KnownDays {
    const MAX: usize = 100_000;

    fn held(&self) -> MutexGuard<'_, HashSet<DayId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_of<'a>(&self, days: impl Iterator<Item = &'a DayId>) -> Vec<DayId> {
        let held = self.held();
        days.filter(|day| !held.contains(*day)).copied().collect()
    }

    fn learn(&self, days: impl ExactSizeIterator<Item = DayId>) {
        let mut held = self.held();
        if held.len() + days.len() > Self::MAX {
            held.clear();
        }
        held.extend(days);
    }
}

const TABLE: &str = "usage_rollups";
const KEY: &str = "tenant_id, id";

/// The hours of a row, with the values that they are of.
type Hours = BTreeMap<(u32, Values), Partial>;

/// By which a row is known.
type DayId = (TenantId, Uuid);

/// A day of somebody's usage, or a part of it.
#[derive(Debug)]
struct UsageDay {
    series: Series,
    day: DateTime<Utc>,
    hours: Hours,
}

/// What hours come to, by the rows that keep them.
#[derive(Debug)]
pub(in crate::metering) struct Days(BTreeMap<DayId, UsageDay>);

impl Days {
    pub fn of(by_hour: &Additions) -> Self {
        let mut days = BTreeMap::new();
        for (RollupKey { series, hour, values }, partial) in &by_hour.0 {
            let day = start_of_day(*hour);
            let id = (series.tenant_id, series.row_id(day, values));
            let row =
                days.entry(id).or_insert_with(|| UsageDay { series: *series, day, hours: Hours::new() });
            row.hours.insert((hour.hour(), values.clone()), partial.clone());
        }
        Self(days)
    }
}

async fn change(
    tx: &DatabaseTransaction,
    Days(mut days): Days,
    known: &KnownDays,
    lay: impl Fn(&mut Partial, &Partial),
) -> Result<(), DbErr> {
    let mut held = lock(tx, &days, known).await?;
    for (id, day) in &mut days {
        let before = held.remove(id).unwrap_or_default();
        let added = std::mem::replace(&mut day.hours, before);
        for (hour, partial) in added {
            lay(day.hours.entry(hour).or_default(), &partial);
        }
    }
    bulk::upsert(tx, TABLE, cells(&days), KEY, &["hours", "total"]).await?;
    Ok(())
}

/// The hours of days that were there, locked.
///
/// PostgreSQL locks all of them in the order of their identifiers, those that it has to make too: whoever locked what is
/// there and then made the rest would wait for another one in a circle.
async fn lock(
    tx: &DatabaseTransaction,
    days: &BTreeMap<DayId, UsageDay>,
    known: &KnownDays,
) -> Result<HashMap<DayId, Hours>, DbErr> {
    let ids: Vec<DayId> = days.keys().copied().collect();
    if tx.get_database_backend() == DatabaseBackend::Postgres && are_missing(tx, &ids, known).await? {
        let empty = |day: &UsageDay| UsageDay { hours: Hours::new(), ..*day };
        let empty = days.iter().map(|(id, day)| (*id, empty(day))).collect();
        bulk::insert_or_lock(tx, TABLE, cells(&empty), KEY).await?;
    }
    let mut held = HashMap::with_capacity(ids.len());
    for (tenant, some) in by_tenant(&ids) {
        let rows = match tx.get_database_backend() {
            DatabaseBackend::Sqlite => read_as_one(tx, tenant, some).await?,
            _ => lock_some(tx, tenant, some).await?,
        };
        let hours = |kept: Vec<KeptHour>| kept.into_iter().map(KeptHour::into_parts).collect();
        held.extend(rows.into_iter().map(|(id, kept)| ((tenant, id), hours(kept))));
    }
    Ok(held)
}

type KeptDays = Vec<(Uuid, Vec<KeptHour>)>;

async fn lock_some(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Result<KeptDays, DbErr> {
    let rows = among(tx, tenant, ids)
        .columns([Column::Id, Column::Hours])
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_tuple::<(Uuid, Json<Vec<KeptHour>>)>()
        .all(tx)
        .await?;
    Ok(rows.into_iter().map(|(id, kept)| (id, kept.0)).collect())
}

/// SQLite has locked everything. It hands over row by row from thread to thread: as one text that is one row.
async fn read_as_one(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Result<KeptDays, DbErr> {
    const AS_ONE: &str = "'[' || group_concat('[\"' || hex(id) || '\",' || hours || ']') || ']'";

    let all = among(tx, tenant, ids).expr_as(Expr::cust(AS_ONE), "days");
    let text = all.into_tuple::<Option<String>>().one(tx).await?.flatten().unwrap_or_else(|| "[]".to_owned());
    serde_json::from_str(&text).map_err(|error| DbErr::Custom(error.to_string()))
}

/// Whether some of these days are not there yet, as they are not in the first group of a day.
async fn are_missing(tx: &DatabaseTransaction, ids: &[DayId], known: &KnownDays) -> Result<bool, DbErr> {
    let others = known.others_of(ids.iter());
    let mut found = 0;
    for (tenant, some) in by_tenant(&others) {
        let there = among(tx, tenant, some).column(Column::Id).into_tuple::<Uuid>().all(tx).await?;
        found += there.len();
        known.learn(there.into_iter().map(|id| (tenant, id)));
    }
    Ok(found < others.len())
}

fn by_tenant(ids: &[DayId]) -> impl Iterator<Item = (TenantId, &[DayId])> {
    let of_tenants = ids.chunk_by(|one, next| one.0 == next.0);
    of_tenants.flat_map(|ids| ids.chunks(bulk::LIST_MAX)).map(|some| (some[0].0, some))
}

fn among(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Select<Entity> {
    let ids = ids.iter().map(|(_, id)| *id).collect();
    of(tenant).select_only().filter(bulk::one_of(tx, Column::Id, ids))
}

fn cells(days: &BTreeMap<DayId, UsageDay>) -> Vec<Cells> {
    let text = |hours: &Hours| {
        let kept: Vec<_> = hours.iter().map(|(of, partial)| KeptHour::new(of, partial)).collect();
        serde_json::to_string(&kept).expect("plain data")
    };
    vec![
        Cells::new("tenant_id", days.values().map(|day| day.series.tenant_id.0)),
        Cells::new("id", days.keys().map(|(_, id)| *id)),
        Cells::new("customer_id", days.values().map(|day| day.series.customer_id.0)),
        Cells::new("grain_id", days.values().map(|day| day.series.grain_id)),
        Cells::new("build", days.values().map(|day| day.series.build)),
        Cells::new("day", days.values().map(|day| day.day)),
        Cells::new("hours", days.values().map(|day| text(&day.hours))),
        Cells::new("total", days.values().map(|day| text(&total(&day.hours)))),
    ]
}

/// A day's hours as one. What is weighted by time depends on when each hour ends: it is left out.
fn total(hours: &Hours) -> Hours {
    let mut total = Hours::new();
    for ((_, values), partial) in hours {
        total.entry((0, values.clone())).or_default().merge(partial);
    }
    for partial in total.values_mut() {
        partial.weighted = Exact::default();
    }
    total
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

/// Forgets the hours of every other build of a grain.
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
    fn new((hour, of): &(u32, Values), partial: &Partial) -> Self {
        let Partial { count, sum, least, greatest, latest, weighted } = partial.clone();
        let latest = latest.map(|((at, arrival), value)| (at, UsageEventId(Uuid::from_u128(arrival)), value));
        Self { hour: *hour, of: of.clone(), count, sum, least, greatest, latest, weighted }
    }

    fn into_parts(self) -> ((u32, Values), Partial) {
        let Self { hour, of, count, sum, least, greatest, latest, weighted } = self;
        let latest = latest.map(|(at, event, value)| ((at, event.0.as_u128()), value));
        ((hour, of), Partial { count, sum, least, greatest, latest, weighted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_known_until_there_are_too_many() {
        let day = |number: usize| (TenantId(Uuid::nil()), Uuid::from_u128(number as u128));
        let others = |known: &KnownDays, days: &[usize]| {
            let days: Vec<DayId> = days.iter().copied().map(day).collect();
            known.others_of(days.iter())
        };
        let known = KnownDays::default();
        known.learn([day(1), day(2)].into_iter());
        assert_eq!(others(&known, &[1, 2, 3]), [day(3)]);
        known.learn((3..=KnownDays::MAX).map(day).collect::<Vec<_>>().into_iter());
        assert!(others(&known, &[1, KnownDays::MAX]).is_empty());
        known.learn([day(0)].into_iter());
        assert_eq!(others(&known, &[0, 1]), [day(1)], "the others are forgotten");
    }
}
