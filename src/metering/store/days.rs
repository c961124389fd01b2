//! Adding to usage by the hour.
//!
//! A day is read before it is added to, and written whole: what several writers add is all there, and to the last digit,
//! for neither database's own arithmetic is needed. What this process wrote last it need not read again: a day has a revision
//! that is another one with every write, and is written only if it is still the one that was added to (decision 0048).

use std::collections::{BTreeMap, HashMap, HashSet};

use accrue_core::{exact::Exact, id::TenantId, usage::Partial};
use accrue_platform::{
    bulk::{self, Column as Cells, Insert},
    column::Json,
};
use chrono::{DateTime, Timelike, Utc};
use sea_orm::{
    DatabaseBackend, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, entity::prelude::*, sea_query::Expr,
};

use super::{
    kept_days::{Claim, KeptDays, Trust},
    rollups::{Column, Entity, KeptHour, of},
};
use crate::metering::model::{Additions, RollupKey, Series, Values, start_of_day};

const TABLE: &str = "usage_rollups";
const KEY: &str = "tenant_id, id";
/// In the order of the rows, each if it is as it was read.
const UNLESS_CHANGED: &str = "hours = excluded.hours, total = excluded.total, revision = excluded.revision, \
     follows = excluded.follows where usage_rollups.revision = excluded.follows";

/// By which a row is known.
pub(super) type DayId = (TenantId, Uuid);

/// The hours of a row, with the values that they are of.
pub(super) type Hours = BTreeMap<(u32, Values), Partial>;

/// What a row says, and since which write.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub revision: Uuid,
    pub hours: Hours,
}

/// A day of somebody's usage, or a part of it.
#[derive(Debug)]
struct UsageDay {
    series: Series,
    day: DateTime<Utc>,
    hours: Hours,
    /// The revision that is added to; nil if there is none.
    follows: Uuid,
    /// Whether it was there before this transaction.
    was_there: bool,
}

impl UsageDay {
    fn new(series: Series, day: DateTime<Utc>) -> Self {
        Self { series, day, hours: Hours::new(), follows: Uuid::nil(), was_there: false }
    }
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
            let new = || UsageDay::new(*series, day);
            days.entry(id).or_insert_with(new).hours.insert((hour.hour(), values.clone()), partial.clone());
        }
        Self(days)
    }
}

/// Adds to hours.
pub(in crate::metering) async fn add(tx: &DatabaseTransaction, added: &Additions) -> Result<(), DbErr> {
    change(tx, Days::of(added), Partial::merge).await
}

/// Has hours say what they say now, whatever they said before.
pub(in crate::metering) async fn set(tx: &DatabaseTransaction, hours: &Additions) -> Result<(), DbErr> {
    change(tx, Days::of(hours), Partial::clone_from).await
}

async fn change(
    tx: &DatabaseTransaction,
    days: Days,
    lay: impl Fn(&mut Partial, &Partial),
) -> Result<(), DbErr> {
    let nothing = KeptDays::default();
    let adding = Adding::begin(tx, days, &nothing, Trust::Nothing, lay).await?;
    let [written] = bulk::write_all(tx, [adding.insert()]).await?;
    adding.check(written)
}

/// Days that are being added to: what they come to is known, and has to be written.
#[derive(Debug)]
pub(in crate::metering) struct Adding<'a> {
    days: BTreeMap<DayId, UsageDay>,
    claim: Claim<'a>,
    revision: Uuid,
}

impl<'a> Adding<'a> {
    /// Reads days, or knows what they say, and adds to them. Nobody else in this process does until this is ended or
    /// dropped.
    pub async fn begin(
        tx: &DatabaseTransaction,
        Days(mut days): Days,
        kept: &'a KeptDays,
        trust: Trust,
        lay: impl Fn(&mut Partial, &Partial),
    ) -> Result<Self, DbErr> {
        let mut claim = kept.claim(days.keys().copied().collect()).await;
        let (mut held, made) = match claim.take_kept(trust) {
            Some(held) => (held, HashSet::new()),
            None => lock(tx, &days, &claim).await?,
        };
        for (id, day) in &mut days {
            let before = held.remove(id);
            day.was_there = before.is_some() && !made.contains(id);
            let before = before.unwrap_or_default();
            day.follows = before.revision;
            let added = std::mem::replace(&mut day.hours, before.hours);
            for (hour, partial) in added {
                lay(day.hours.entry(hour).or_default(), &partial);
            }
        }
        Ok(Self { days, claim, revision: Uuid::new_v4() })
    }

    /// What is to be written.
    pub fn insert(&self) -> Insert {
        Insert::new(TABLE, cells(&self.days, self.revision)).or_set(KEY, UNLESS_CHANGED)
    }

    /// So many rows were written. If somebody has changed one meanwhile, that is [`DbErr::RecordNotUpdated`]: all has to be
    /// undone.
    pub fn check(&self, written: u64) -> Result<(), DbErr> {
        if written == self.days.len() as u64 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
    }

    /// It is about to be committed: who comes next may go by it, and finds out if it was not.
    pub fn end(self) {
        // A row that was made is not there if this is undone after all: it would be made again from what is remembered.
        let there = self.days.into_iter().filter(|(_, day)| day.was_there);
        let revision = self.revision;
        self.claim.keep(there.map(|(id, day)| (id, Read { revision, hours: day.hours })));
    }
}

/// What days say, locked, and those of them that were made for that.
///
/// PostgreSQL locks all of them in the order of their identifiers, those that it has to make too: whoever locked what is
/// there and then made the rest would wait for another one in a circle.
async fn lock(
    tx: &DatabaseTransaction,
    days: &BTreeMap<DayId, UsageDay>,
    claim: &Claim<'_>,
) -> Result<(HashMap<DayId, Read>, HashSet<DayId>), DbErr> {
    let ids: Vec<DayId> = days.keys().copied().collect();
    let is_postgres = tx.get_database_backend() == DatabaseBackend::Postgres;
    let mut made = HashSet::new();
    if is_postgres {
        made = missing(tx, &claim.not_known_to_be_there()).await?;
    }
    if !made.is_empty() {
        let empty = days.iter().map(|(id, day)| (*id, UsageDay::new(day.series, day.day))).collect();
        bulk::insert_or_lock(tx, TABLE, cells(&empty, Uuid::new_v4()), KEY).await?;
    }
    let mut held = HashMap::with_capacity(ids.len());
    for (tenant, some) in by_tenant(&ids) {
        let rows = if is_postgres {
            lock_some(tx, tenant, some).await?
        } else {
            read_as_one(tx, tenant, some).await?
        };
        let read = |(id, revision, kept): (Uuid, Uuid, Vec<KeptHour>)| {
            let hours = kept.into_iter().map(KeptHour::into_parts).collect();
            ((tenant, id), Read { revision, hours })
        };
        held.extend(rows.into_iter().map(read));
    }
    Ok((held, made))
}

type Rows = Vec<(Uuid, Uuid, Vec<KeptHour>)>;

async fn lock_some(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Result<Rows, DbErr> {
    let rows = among(tx, tenant, ids)
        .columns([Column::Id, Column::Revision, Column::Hours])
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_tuple::<(Uuid, Uuid, Json<Vec<KeptHour>>)>()
        .all(tx)
        .await?;
    Ok(rows.into_iter().map(|(id, revision, kept)| (id, revision, kept.0)).collect())
}

/// SQLite has locked everything. It hands over row by row from thread to thread: as one text that is one row.
async fn read_as_one(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Result<Rows, DbErr> {
    const AS_ONE: &str =
        "'[' || group_concat('[\"' || hex(id) || '\",\"' || hex(revision) || '\",' || hours || ']') || ']'";

    let all = among(tx, tenant, ids).expr_as(Expr::cust(AS_ONE), "days");
    let text = all.into_tuple::<Option<String>>().one(tx).await?.flatten().unwrap_or_else(|| "[]".to_owned());
    serde_json::from_str(&text).map_err(|error| DbErr::Custom(error.to_string()))
}

/// Those of these days that are not there yet, as in the first group of a day.
async fn missing(tx: &DatabaseTransaction, ids: &[DayId]) -> Result<HashSet<DayId>, DbErr> {
    let mut missing: HashSet<DayId> = ids.iter().copied().collect();
    for (tenant, some) in by_tenant(ids) {
        for id in among(tx, tenant, some).column(Column::Id).into_tuple::<Uuid>().all(tx).await? {
            missing.remove(&(tenant, id));
        }
    }
    Ok(missing)
}

fn by_tenant(ids: &[DayId]) -> impl Iterator<Item = (TenantId, &[DayId])> {
    let of_tenants = ids.chunk_by(|one, next| one.0 == next.0);
    of_tenants.flat_map(|ids| ids.chunks(bulk::LIST_MAX)).map(|some| (some[0].0, some))
}

fn among(tx: &DatabaseTransaction, tenant: TenantId, ids: &[DayId]) -> Select<Entity> {
    let ids = ids.iter().map(|(_, id)| *id).collect();
    of(tenant).select_only().filter(bulk::one_of(tx, Column::Id, ids))
}

fn cells(days: &BTreeMap<DayId, UsageDay>, revision: Uuid) -> Vec<Cells> {
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
        Cells::new("revision", days.values().map(|_| revision)),
        Cells::new("follows", days.values().map(|day| day.follows)),
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
