//! Runs of packs on SQLite (decision 0044).
//!
//! A group of events has a place for each of its customers in the index by which a customer's packs are found, and so would
//! change a page of the file for each. But packs that are stored one after the other are a run, and the index tells runs
//! apart before it tells customers apart: the part of it that changes is small. Whoever looks for packs of some time looks
//! in each run that reaches into it.
//!
//! PostgreSQL writes what changed of a page, not the page: there, packs are of no run.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use accrue_core::id::TenantId;
use accrue_platform::bulk::{self, Column as Cells};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    DatabaseTransaction, DbErr, QuerySelect, QueryTrait, entity::prelude::*, sea_query::SelectStatement,
};

/// So many that a customer stands in few runs, and so few that the index of one is some dozen pages.
const PACKS: usize = 4096;
/// Tenants whose runs are gone on with. Others begin a new one.
const TENANTS_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_event_runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// When it was begun, in microseconds.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// None of its packs begins before this, or ends after that.
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// When a tenant's packs begin and end, and how many they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub packs: usize,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

impl Reach {
    pub fn and(self, other: Self) -> Self {
        Self {
            packs: self.packs + other.packs,
            first_at: self.first_at.min(other.first_at),
            last_at: self.last_at.max(other.last_at),
        }
    }
}

/// A run that is gone on with. It may have been begun in the same microsecond as another one: then both are one that is
/// larger than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    id: i64,
    /// Those of transactions that were undone are counted too.
    packs: usize,
    /// As far as that is known to be committed.
    reaches: Option<Minutes>,
}

impl Run {
    fn begin(now: DateTime<Utc>) -> Self {
        Self { id: now.timestamp_micros(), packs: 0, reaches: None }
    }
}

/// From the start of a minute to the end of another: a run reaches to whole minutes, so that it seldom has to reach further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Minutes {
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl Minutes {
    fn of(reach: Reach) -> Self {
        Self {
            first_at: start_of_minute(reach.first_at),
            last_at: start_of_minute(reach.last_at) + TimeDelta::minutes(1),
        }
    }

    fn and(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self { first_at: self.first_at.min(other.first_at), last_at: self.last_at.max(other.last_at) }
    }
}

fn start_of_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = at.timestamp().div_euclid(60) * 60;
    DateTime::from_timestamp(seconds, 0).expect("chrono's time begins at the start of a minute")
}

/// The runs into which packs were put, and how far these reach.
#[derive(Debug, Default)]
pub(in crate::metering) struct Filed(Vec<(TenantId, i64, Minutes)>);

/// The runs that are gone on with. Their numbers need not be committed to be used; how far they reach is believed only once
/// it is, and runs never reach less far than they did.
#[derive(Debug, Default)]
pub(in crate::metering) struct Runs(Mutex<HashMap<TenantId, Run>>);

impl Runs {
    fn held(&self) -> MutexGuard<'_, HashMap<TenantId, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run that a tenant's packs go into, with what is known of it.
    fn take(&self, tenant: TenantId, packs: usize, now: DateTime<Utc>) -> Run {
        let mut held = self.held();
        if held.len() >= TENANTS_MAX && !held.contains_key(&tenant) {
            held.clear();
        }
        let run = held.entry(tenant).or_insert_with(|| Run::begin(now));
        if run.packs >= PACKS {
            *run = Run::begin(now);
        }
        run.packs += packs;
        *run
    }

    /// What was filed is committed.
    pub fn learn(&self, Filed(runs): Filed) {
        let mut held = self.held();
        for (tenant, id, reaches) in runs {
            if let Some(run) = held.get_mut(&tenant).filter(|run| run.id == id) {
                run.reaches = Some(reaches.and(run.reaches));
            }
        }
    }

    /// Nothing is sure any more, because it is not known what became of a transaction.
    pub fn forget(&self) {
        self.held().clear();
    }
}

/// The run into which each tenant's packs go. How far they reach is said in the database unless it says so already.
pub(super) async fn file(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    packs: &BTreeMap<TenantId, Reach>,
    runs: &Runs,
) -> Result<(HashMap<TenantId, i64>, Filed), DbErr> {
    let (mut filed, mut further) = (Vec::with_capacity(packs.len()), Vec::new());
    for (tenant, reach) in packs {
        let run = runs.take(*tenant, reach.packs, now);
        let reaches = Minutes::of(*reach).and(run.reaches);
        if run.reaches != Some(reaches) {
            further.push((*tenant, run.id, reaches));
        }
        filed.push((*tenant, run.id, reaches));
    }
    let cells = vec![
        Cells::new("tenant_id", further.iter().map(|(tenant, ..)| tenant.0)),
        Cells::new("id", further.iter().map(|(_, run, _)| *run)),
        Cells::new("first_at", further.iter().map(|(.., reaches)| reaches.first_at)),
        Cells::new("last_at", further.iter().map(|(.., reaches)| reaches.last_at)),
    ];
    let set = "first_at = min(usage_event_runs.first_at, excluded.first_at), \
               last_at = max(usage_event_runs.last_at, excluded.last_at)";
    bulk::upsert_by(tx, "usage_event_runs", cells, "tenant_id, id", set).await?;
    Ok((filed.iter().map(|(tenant, run, _)| (*tenant, *run)).collect(), Filed(filed)))
}

/// The runs, from one on if it is given, that may have packs which begin before an instant and end at another or later.
pub(super) fn reaching_into(
    tenant: TenantId,
    from: Option<DateTime<Utc>>,
    to: DateTime<Utc>,
    first: Option<i64>,
) -> SelectStatement {
    let mut select = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::FirstAt.lt(to));
    if let Some(from) = from {
        select = select.filter(Column::LastAt.gte(from));
    }
    if let Some(first) = first {
        select = select.filter(Column::Id.gte(first));
    }
    select.into_query()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn reach(first_at: &str, last_at: &str) -> Reach {
        Reach { packs: 1, first_at: at(first_at), last_at: at(last_at) }
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn a_run_reaches_to_whole_minutes_and_never_less_far() {
        let run = Minutes::of(reach("2026-02-01T09:10:30Z", "2026-02-01T09:50:30Z"));
        assert_eq!((run.first_at, run.last_at), (at("2026-02-01T09:10:00Z"), at("2026-02-01T09:51:00Z")));

        let within = Minutes::of(reach("2026-02-01T09:10:00Z", "2026-02-01T09:50:59.999Z"));
        assert_eq!(within.and(Some(run)), run);
        for (first_at, last_at) in [
            ("2026-02-01T09:09:59.999Z", "2026-02-01T09:30:00Z"),
            ("2026-02-01T09:30:00Z", "2026-02-01T09:51:00Z"),
        ] {
            let further = Minutes::of(reach(first_at, last_at)).and(Some(run));
            assert!(further != run && run.and(Some(further)) == further, "{first_at}");
        }
    }

    #[test]
    fn a_run_is_full_at_some_time_and_too_many_are_forgotten() {
        let now = at("2026-02-01T10:00:00Z");
        let later = now + TimeDelta::seconds(1);
        let runs = Runs::default();
        let first = runs.take(tenant(1), PACKS - 1, now);
        assert_eq!(runs.take(tenant(1), 1, later).id, first.id, "what was not committed has a run too");
        assert_ne!(runs.take(tenant(1), 1, later).id, first.id, "it is full");

        for number in 2..=TENANTS_MAX as u128 {
            runs.take(tenant(number), 1, now);
        }
        let known = runs.take(tenant(2), 1, later);
        assert_eq!(known.id, now.timestamp_micros(), "as many are held");
        runs.take(tenant(0), 1, now);
        assert_eq!(runs.take(tenant(2), 1, later).id, later.timestamp_micros());
    }

    #[test]
    fn how_far_a_run_reaches_is_believed_once_it_is_committed() {
        let now = at("2026-02-01T10:00:00Z");
        let runs = Runs::default();
        let reaches = Minutes::of(reach("2026-02-01T09:10:30Z", "2026-02-01T09:50:30Z"));
        let run = runs.take(tenant(1), PACKS, now);
        assert_eq!(runs.held()[&tenant(1)].reaches, None);

        runs.learn(Filed(vec![(tenant(1), run.id, reaches)]));
        assert_eq!(runs.held()[&tenant(1)].reaches, Some(reaches));
        let next = runs.take(tenant(1), 1, now + TimeDelta::seconds(1));
        runs.learn(Filed(vec![(tenant(1), run.id, reaches)]));
        assert_eq!((next.reaches, runs.held()[&tenant(1)].reaches), (None, None), "that was another run");

        runs.learn(Filed(vec![(tenant(1), next.id, reaches)]));
        runs.forget();
        assert_eq!(runs.take(tenant(1), 1, now).reaches, None);
    }
}
