//! Usage by the hour in the database.

use std::collections::{BTreeMap, HashMap};

use accrue_core::{
    arithmetic::Overflow,
    id::{CustomerId, MetricId, TenantId, UsageEventId},
    usage::{Aggregation, Partial},
};
use accrue_platform::{
    bulk::{self, Column as Cells},
    column::Dec,
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, entity::prelude::*};

use crate::metering::model::{Additions, Build, RollupKey};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollups")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// A digest of all that the hour is about.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub customer_id: CustomerId,
    pub metric_id: MetricId,
    pub build: i64,
    pub hour: DateTime<Utc>,
    pub count: i64,
    pub sum: Dec,
    pub least: Option<Dec>,
    pub greatest: Option<Dec>,
    pub latest: Option<Dec>,
    pub latest_at: Option<DateTime<Utc>>,
    pub latest_event_id: Option<UsageEventId>,
    pub weighted: Dec,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Why hours could not be added to.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Adds to hours.
///
/// Each hour is locked before it is read, all in the order of their identifiers, so that what several writers
/// add is all there, and to the last digit: neither database's own arithmetic is needed.
pub(in crate::metering) async fn add(tx: &DatabaseTransaction, added: &Additions) -> Result<(), RollupError> {
    let mut by_id: BTreeMap<(TenantId, Uuid), (&RollupKey, Partial)> =
        added.0.iter().map(|(key, partial)| ((key.tenant_id, key.id()), (key, partial.clone()))).collect();
    let mut held = lock(tx, by_id.keys().copied().collect()).await?;
    let missing: Vec<_> = by_id.iter().filter(|(id, _)| !held.contains_key(id)).collect();
    if !missing.is_empty() {
        let empty = Partial::default();
        let rows = missing.iter().map(|(id, (key, _))| (id.1, *key, &empty)).collect::<Vec<_>>();
        let ids = missing.iter().map(|(id, _)| **id).collect();
        bulk::insert(tx, TABLE, cells(&rows), KEY).await?;
        held.extend(lock(tx, ids).await?);
    }
    for (id, (_, partial)) in &mut by_id {
        let before =
            held.remove(id).ok_or_else(|| DbErr::RecordNotFound(format!("usage rollup {}", id.1)))?;
        partial.merge(&before)?;
    }
    let rows = by_id.iter().map(|(id, (key, partial))| (id.1, *key, partial)).collect::<Vec<_>>();
    bulk::upsert(tx, TABLE, cells(&rows), KEY, STATE).await?;
    Ok(())
}

/// Has hours say what they say now, whatever they said before. Whoever calls this holds them.
pub(in crate::metering) async fn set(tx: &DatabaseTransaction, hours: &Additions) -> Result<(), DbErr> {
    let mut rows: Vec<_> = hours.0.iter().map(|(key, partial)| (key.id(), key, partial)).collect();
    rows.sort_unstable_by_key(|(id, ..)| *id);
    bulk::upsert(tx, TABLE, cells(&rows), KEY, STATE).await.map(drop)
}

const TABLE: &str = "usage_rollups";
const KEY: &str = "tenant_id, id";
const STATE: &[&str] =
    &["count", "sum", "least", "greatest", "latest", "latest_at", "latest_event_id", "weighted"];

async fn lock(
    tx: &DatabaseTransaction,
    ids: Vec<(TenantId, Uuid)>,
) -> Result<HashMap<(TenantId, Uuid), Partial>, DbErr> {
    let mut held = HashMap::with_capacity(ids.len());
    for of_tenant in ids.chunk_by(|one, next| one.0 == next.0) {
        let tenant = of_tenant[0].0;
        for some in of_tenant.chunks(bulk::LIST_MAX) {
            let rows = of(tenant)
                .filter(bulk::one_of(tx, Column::Id, some.iter().map(|(_, id)| *id).collect()))
                .order_by_asc(Column::Id)
                .lock_exclusive()
                .all(tx)
                .await?;
            held.extend(rows.into_iter().map(|row| ((tenant, row.id), Partial::from(row))));
        }
    }
    Ok(held)
}

fn cells(rows: &[(Uuid, &RollupKey, &Partial)]) -> Vec<Cells> {
    let latest = |partial: &Partial| partial.latest.map(|((at, arrival), _)| (at, Uuid::from_u128(arrival)));
    vec![
        Cells::new("tenant_id", rows.iter().map(|(_, key, _)| key.tenant_id.0)),
        Cells::new("id", rows.iter().map(|(id, ..)| *id)),
        Cells::new("customer_id", rows.iter().map(|(_, key, _)| key.customer_id.0)),
        Cells::new("metric_id", rows.iter().map(|(_, key, _)| key.metric_id.0)),
        Cells::new("build", rows.iter().map(|(_, key, _)| key.build)),
        Cells::new("hour", rows.iter().map(|(_, key, _)| key.hour)),
        Cells::new("count", rows.iter().map(|(_, _, partial)| partial.count.cast_signed())),
        Cells::new("sum", rows.iter().map(|(_, _, partial)| partial.sum)),
        Cells::new("least", rows.iter().map(|(_, _, partial)| partial.least)),
        Cells::new("greatest", rows.iter().map(|(_, _, partial)| partial.greatest)),
        Cells::new("latest", rows.iter().map(|(_, _, partial)| partial.latest.map(|(_, value)| value))),
        Cells::new("latest_at", rows.iter().map(|(_, _, partial)| latest(partial).map(|(at, _)| at))),
        Cells::new("latest_event_id", rows.iter().map(|(_, _, partial)| latest(partial).map(|(_, id)| id))),
        Cells::new("weighted", rows.iter().map(|(_, _, partial)| partial.weighted)),
    ]
}

/// The hours of a customer's usage, as far as the aggregation needs them, from `from`, if there is one, to before `to`.
pub(in crate::metering) async fn hours(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    build: Build,
    aggregation: Aggregation,
    from: Option<DateTime<Utc>>,
    to: DateTime<Utc>,
) -> Result<Vec<(DateTime<Utc>, Partial)>, DbErr> {
    let mut select = of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::MetricId.eq(build.metric_id))
        .filter(Column::Build.eq(build.number))
        .filter(Column::Hour.lt(to));
    if let Some(from) = from {
        select = select.filter(Column::Hour.gte(from));
    }
    if matches!(aggregation, Aggregation::Count | Aggregation::Sum | Aggregation::Average) {
        // Most metrics, and a month has 744 hours: what is not needed is not read.
        let select = select.select_only().columns([Column::Hour, Column::Count, Column::Sum]);
        let rows = select.into_tuple::<(DateTime<Utc>, i64, Dec)>().all(db).await?;
        let partial =
            |count: i64, sum: Dec| Partial { count: count.cast_unsigned(), sum: sum.0, ..Partial::default() };
        return Ok(rows.into_iter().map(|(hour, count, sum)| (hour, partial(count, sum))).collect());
    }
    Ok(select.all(db).await?.into_iter().map(|row| (row.hour, row.into())).collect())
}

/// Forgets the hours of every other build of a metric.
pub(in crate::metering) async fn delete_others(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    build: Build,
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::MetricId.eq(build.metric_id))
        .filter(Column::Build.ne(build.number))
        .exec(tx)
        .await
        .map(drop)
}

impl From<Model> for Partial {
    fn from(row: Model) -> Self {
        let latest = row.latest.zip(row.latest_at.zip(row.latest_event_id));
        Self {
            count: row.count.cast_unsigned(),
            sum: row.sum.0,
            least: row.least.map(|least| least.0),
            greatest: row.greatest.map(|greatest| greatest.0),
            latest: latest.map(|(value, (at, id))| ((at, id.0.as_u128()), value.0)),
            weighted: row.weighted.0,
        }
    }
}
