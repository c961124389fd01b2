//! Packs of usage events in the database: one row for events that came together (decision 0029).

use std::collections::BTreeMap;

use accrue_core::id::{CustomerId, TenantId, UsageEventId};
use accrue_platform::bulk::{self, Column as Cells, Insert};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};

use super::runs::{self, Filed, Reach, Runs};
use crate::metering::model::{Candidate, Packed, Payer, UsageEvent, pack, pack_of};

/// Packs that are read at a time: each may have 40 KiB.
pub(super) const READ_AT_ONCE: u64 = 500;
/// The events of a pack are from one hour.
const SPAN: TimeDelta = TimeDelta::hours(1);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_event_packs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// That of its events, with zeros in the place of their number.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub event_name: String,
    pub customer_id: Option<CustomerId>,
    pub awaited_customer: Option<String>,
    /// When the first and the last event of it happened, as they were sent.
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    /// Whether an event was ever amended to a time before `first_at` or after `last_at`.
    pub has_strays: bool,
    /// How many events it has, voided ones too.
    pub count: i64,
    /// An array of [`Packed`].
    pub events: String,
    pub received_at: DateTime<Utc>,
    /// With which other packs it stands in the index; on PostgreSQL with none.
    pub run: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

impl Model {
    pub fn packed(&self) -> Result<Vec<Packed<'_>>, DbErr> {
        serde_json::from_str(&self.events).map_err(|error| DbErr::Custom(error.to_string()))
    }

    /// An event of this pack as a whole.
    pub fn event(&self, packed: &Packed) -> UsageEvent {
        let awaited = || Payer::Awaited(self.awaited_customer.clone().unwrap_or_default());
        UsageEvent {
            tenant_id: self.tenant_id,
            id: packed.id(self.id),
            event_id: packed.event_id.to_string(),
            source: packed.source.to_string(),
            event_name: self.event_name.clone(),
            payer: self.customer_id.map_or_else(awaited, Payer::Known),
            timestamp: packed.timestamp,
            metadata: packed.metadata.get().to_owned(),
            received_at: self.received_at,
            voided_at: packed.voided_at,
            amended_at: packed.amended_at,
        }
    }

    /// All of its events, in the order of arrival.
    pub fn unpack(&self) -> Result<Vec<UsageEvent>, DbErr> {
        Ok(self.packed()?.iter().map(|packed| self.event(packed)).collect())
    }

    /// Whether an event was amended to a time at which its pack is not found.
    pub fn is_stray(&self, packed: &Packed) -> bool {
        packed.timestamp < self.first_at || packed.timestamp > self.last_at
    }
}

/// The events of packs, in their order.
pub(super) fn unpack_all(packs: &[Model]) -> Result<Vec<UsageEvent>, DbErr> {
    let mut events = Vec::new();
    for pack in packs {
        events.extend(pack.unpack()?);
    }
    Ok(events)
}

/// The last of packs that were read at once, if more may follow.
pub(super) fn end_of_full(packs: Vec<Model>) -> Option<Model> {
    if (packs.len() as u64) < READ_AT_ONCE { None } else { packs.into_iter().next_back() }
}

/// A pack as it is inserted.
struct New<'a> {
    first: &'a UsageEvent,
    id: Uuid,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    count: usize,
    events: String,
}

impl<'a> New<'a> {
    fn try_new(events: &[&'a UsageEvent]) -> Result<Self, DbErr> {
        let times = || events.iter().map(|event| event.timestamp);
        Ok(Self {
            first: events[0],
            id: pack_of(events[0].id),
            first_at: times().min().unwrap_or_default(),
            last_at: times().max().unwrap_or_default(),
            count: events.len(),
            events: pack(events).map_err(|error| DbErr::Custom(error.to_string()))?,
        })
    }
}

impl New<'_> {
    fn widen(&self, reaches: &mut BTreeMap<TenantId, Reach>) {
        let New { first, first_at, last_at, .. } = *self;
        let one = Reach { packs: 1, first_at, last_at };
        reaches.entry(first.tenant_id).and_modify(|reach| *reach = reach.and(one)).or_insert(one);
    }
}

/// The rows of events that were not there, those of a pack in one row.
#[derive(Debug)]
pub(in crate::metering) struct Rows {
    known: OfPayers,
    awaited: OfPayers,
    reaches: BTreeMap<TenantId, Reach>,
}

/// Rows of customers who are known, or of those who are awaited.
#[derive(Debug)]
struct OfPayers {
    tenants: Vec<TenantId>,
    cells: Vec<Cells>,
}

impl Rows {
    pub fn of(fresh: &[&Candidate]) -> Result<Self, DbErr> {
        let mut events: Vec<&UsageEvent> = fresh.iter().map(|candidate| &candidate.event).collect();
        events.sort_unstable_by_key(|event| (event.tenant_id, event.id));
        let of_one = |one: &&UsageEvent, next: &&UsageEvent| {
            (one.tenant_id, pack_of(one.id)) == (next.tenant_id, pack_of(next.id))
        };
        let (mut known, mut awaited, mut reaches) = (Vec::new(), Vec::new(), BTreeMap::new());
        for events in events.chunk_by(of_one) {
            let pack = New::try_new(events)?;
            pack.widen(&mut reaches);
            match &pack.first.payer {
                Payer::Known(customer) => known.push((*customer, pack)),
                Payer::Awaited(name) => awaited.push((name.clone(), pack)),
            }
        }
        // Neighbours in the index are neighbours in time.
        known.sort_unstable_by_key(|(customer, pack)| (pack.first.tenant_id, *customer, pack.first_at));
        let (customers, packs): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        let known =
            of_payers(Cells::new("customer_id", customers.into_iter().map(|customer| customer.0)), packs);
        let (names, packs): (Vec<_>, Vec<_>) = awaited.into_iter().unzip();
        Ok(Self { known, awaited: of_payers(Cells::new("awaited_customer", names), packs), reaches })
    }
}

fn of_payers(payers: Cells, packs: Vec<New<'_>>) -> OfPayers {
    let count = |pack: &New| i64::try_from(pack.count).unwrap_or(i64::MAX);
    let tenants = packs.iter().map(|pack| pack.first.tenant_id).collect();
    let cells = vec![
        payers,
        Cells::new("tenant_id", packs.iter().map(|pack| pack.first.tenant_id.0)),
        Cells::new("id", packs.iter().map(|pack| pack.id)),
        Cells::new("event_name", packs.iter().map(|pack| pack.first.event_name.clone())),
        Cells::new("first_at", packs.iter().map(|pack| pack.first_at)),
        Cells::new("last_at", packs.iter().map(|pack| pack.last_at)),
        Cells::new("count", packs.iter().map(count)),
        Cells::new("received_at", packs.iter().map(|pack| pack.first.received_at)),
        Cells::new("events", packs.into_iter().map(|pack| pack.events)),
    ];
    OfPayers { tenants, cells }
}

/// Inserts packs, and says into which runs, for [`Runs::learn`] once they are committed.
pub(in crate::metering) async fn insert(
    tx: &DatabaseTransaction,
    rows: Rows,
    now: DateTime<Utc>,
    runs: &Runs,
) -> Result<Filed, DbErr> {
    let (packs, filed) = inserts(tx, rows, now, runs).await?;
    bulk::write_all(tx, packs).await?;
    Ok(filed)
}

/// What is to be inserted: packs of customers who are known, and of those who are awaited.
pub(super) async fn inserts(
    tx: &DatabaseTransaction,
    Rows { known, awaited, reaches }: Rows,
    now: DateTime<Utc>,
    runs: &Runs,
) -> Result<([Insert; 2], Filed), DbErr> {
    let (mut run_of, mut filed) = (None, Filed::default());
    if has_runs(tx) {
        let (of_tenants, put) = runs::file(tx, now, &reaches, runs).await?;
        (run_of, filed) = (Some(of_tenants), put);
    }
    let inserts = [known, awaited].map(|OfPayers { tenants, mut cells }| {
        if let Some(run_of) = &run_of {
            cells.push(Cells::new("run", tenants.iter().map(|tenant| run_of[tenant])));
        }
        Insert::new("usage_event_packs", cells)
    });
    Ok((inserts, filed))
}

fn has_runs(db: &impl ConnectionTrait) -> bool {
    db.get_database_backend() == DatabaseBackend::Sqlite
}

/// Has an event of a pack say what it says now; whoever does has the pack's row locked.
pub(in crate::metering) async fn correct(tx: &DatabaseTransaction, event: &UsageEvent) -> Result<(), DbErr> {
    let Some(pack) = find(tx, event.tenant_id, event.id).await? else { return Ok(()) };
    let mut packed = pack.packed()?;
    for held in packed.iter_mut().filter(|held| held.id(pack.id) == event.id) {
        *held = Packed::try_new(event).map_err(|error| DbErr::Custom(error.to_string()))?;
    }
    // A stray that went home may be counted where it was by somebody who is reading just now.
    let has_strays = pack.has_strays || packed.iter().any(|packed| pack.is_stray(packed));
    let events = serde_json::to_string(&packed).map_err(|error| DbErr::Custom(error.to_string()))?;
    Entity::update_many()
        .col_expr(Column::Events, Expr::val(events))
        .col_expr(Column::HasStrays, Expr::val(has_strays))
        .filter(Column::TenantId.eq(pack.tenant_id))
        .filter(Column::Id.eq(pack.id))
        .exec(tx)
        .await
        .map(drop)
}

/// The pack that holds an event, if it is there.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    event: UsageEventId,
) -> Result<Option<Model>, DbErr> {
    of(tenant).filter(Column::Id.eq(pack_of(event))).one(db).await
}

/// The same, and nobody else corrects its events until `tx` ends.
pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    event: UsageEventId,
) -> Result<Option<Model>, DbErr> {
    of(tenant).filter(Column::Id.eq(pack_of(event))).lock_exclusive().one(tx).await
}

/// How many events these packs have, voided ones too.
pub(super) async fn count(db: &impl ConnectionTrait, packs: Select<Entity>) -> Result<u64, DbErr> {
    // The sum of integers is a decimal on PostgreSQL.
    let sum = Expr::col(Column::Count).sum().cast_as("bigint");
    let sum = packs.select_only().column_as(sum, "events").into_tuple::<Option<i64>>().one(db).await?;
    Ok(sum.flatten().map_or(0, i64::unsigned_abs))
}

/// A customer's events of a name, from an instant, if there is one, to before another.
#[derive(Clone, Copy)]
pub(in crate::metering) struct Span<'a> {
    pub tenant: TenantId,
    pub customer: CustomerId,
    pub event_name: &'a str,
    pub from: Option<DateTime<Utc>>,
    pub to: DateTime<Utc>,
}

/// Whether anything happened then: events that were voided, or are somewhere else by now, count too.
pub(in crate::metering) async fn happened(db: &impl ConnectionTrait, span: Span<'_>) -> Result<bool, DbErr> {
    let one = |packs: Select<Entity>| packs.select_only().column(Column::Id).limit(1).into_tuple::<Uuid>();
    Ok(one(span.packs(db, None)).one(db).await?.is_some()
        || one(span.packs_with_strays()).one(db).await?.is_some())
}

impl Span<'_> {
    pub fn holds(&self, at: DateTime<Utc>) -> bool {
        at < self.to && self.from.is_none_or(|from| at >= from)
    }

    fn of_customer(&self) -> Select<Entity> {
        of(self.tenant)
            .filter(Column::CustomerId.eq(self.customer))
            .filter(Column::EventName.eq(self.event_name))
    }

    /// Packs that have events of this time, but for strays; where there are runs, from one on if it is given.
    fn packs(&self, db: &impl ConnectionTrait, first_run: Option<i64>) -> Select<Entity> {
        let mut select = self.of_customer().filter(Column::FirstAt.lt(self.to));
        if has_runs(db) {
            let runs = runs::reaching_into(self.tenant, self.from, self.to, first_run);
            select = select.filter(Column::Run.in_subquery(runs));
        }
        let Some(from) = self.from else { return select };
        let earliest = from.checked_sub_signed(SPAN).unwrap_or(from);
        select.filter(Column::FirstAt.gt(earliest)).filter(Column::LastAt.gte(from))
    }

    /// Packs that have strays, of whatever time.
    fn packs_with_strays(&self) -> Select<Entity> {
        // As the partial index has it: compared with a value that is bound, SQLite would not find them by it.
        self.of_customer().filter(Expr::col(Column::HasStrays))
    }

    /// The next of [`Span::packs`] after `last`.
    pub async fn next(&self, db: &impl ConnectionTrait, last: Option<&Model>) -> Result<Vec<Model>, DbErr> {
        let mut select = self.packs(db, last.and_then(|last| last.run));
        if let Some(last) = last {
            let mut place = vec![Expr::col(Column::FirstAt), Expr::col(Column::Id)];
            let mut last_place = vec![Expr::val(last.first_at), Expr::val(last.id)];
            if has_runs(db) {
                // With its sign, so that SQLite looks for the run and the customer, not for the run and all that follows.
                place.insert(0, Expr::cust("+run"));
                last_place.insert(0, Expr::val(last.run));
            }
            select = select.filter(ExprTrait::gt(Expr::tuple(place), Expr::tuple(last_place)));
        }
        if has_runs(db) {
            select = select.order_by_asc(Column::Run);
        }
        let select = select.order_by_asc(Column::FirstAt).order_by_asc(Column::Id);
        select.limit(READ_AT_ONCE).all(db).await
    }

    /// The next of [`Span::packs_with_strays`] after `last`.
    pub async fn next_with_strays(
        &self,
        db: &impl ConnectionTrait,
        last: Option<&Model>,
    ) -> Result<Vec<Model>, DbErr> {
        let mut select = self.packs_with_strays();
        if let Some(last) = last {
            select = select.filter(Column::Id.gt(last.id));
        }
        select.order_by_asc(Column::Id).limit(READ_AT_ONCE).all(db).await
    }
}
