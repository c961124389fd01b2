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
use chrono::{DateTime, Utc};
use sea_orm::{
    DatabaseTransaction, DbErr, QuerySelect, QueryTrait, entity::prelude::*, sea_query::SelectStatement,
};

use crate::metering::model::{end_of_hour, start_of_hour};

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

/// A run as it is committed. It may have been begun in the same microsecond as another one: then both are one that is
/// larger than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    id: i64,
    packs: usize,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl Run {
    fn begin(now: DateTime<Utc>, reach: Reach) -> Self {
        Self { id: now.timestamp_micros(), packs: 0, first_at: reach.first_at, last_at: reach.last_at }
            .with(Reach { packs: 0, ..reach })
    }

    /// Reaches to whole hours, so that it seldom reaches further than it did.
    fn with(self, reach: Reach) -> Self {
        Self {
            packs: self.packs + reach.packs,
            first_at: self.first_at.min(start_of_hour(reach.first_at)),
            last_at: self.last_at.max(end_of_hour(start_of_hour(reach.last_at))),
            ..self
        }
    }

    fn reaches_as_far_as(&self, other: &Self) -> bool {
        self.first_at <= other.first_at && other.last_at <= self.last_at
    }
}

/// The runs into which packs were put.
#[derive(Debug, Default)]
pub(in crate::metering) struct Filed(Vec<(TenantId, Run)>);

/// The runs that are gone on with. How far they reach holds because it is learned when it is committed, and runs never reach
/// less far.
#[derive(Debug, Default)]
pub(in crate::metering) struct Runs(Mutex<HashMap<TenantId, Run>>);

impl Runs {
    fn held(&self) -> MutexGuard<'_, HashMap<TenantId, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run that a tenant's packs go into, if it has room.
    fn open(&self, tenant: TenantId) -> Option<Run> {
        self.held().get(&tenant).copied().filter(|run| run.packs < PACKS)
    }

    /// What was filed is committed.
    pub fn learn(&self, Filed(runs): Filed) {
        let mut held = self.held();
        if held.len() + runs.len() > TENANTS_MAX {
            held.clear();
        }
        held.extend(runs);
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
        let before = runs.open(*tenant);
        let after = before.unwrap_or_else(|| Run::begin(now, *reach)).with(*reach);
        if before.is_none_or(|before| !before.reaches_as_far_as(&after)) {
            further.push((*tenant, after));
        }
        filed.push((*tenant, after));
    }
    let cells = vec![
        Cells::new("tenant_id", further.iter().map(|(tenant, _)| tenant.0)),
        Cells::new("id", further.iter().map(|(_, run)| run.id)),
        Cells::new("first_at", further.iter().map(|(_, run)| run.first_at)),
        Cells::new("last_at", further.iter().map(|(_, run)| run.last_at)),
    ];
    let set = "first_at = min(usage_event_runs.first_at, excluded.first_at), \
               last_at = max(usage_event_runs.last_at, excluded.last_at)";
    bulk::upsert_by(tx, "usage_event_runs", cells, "tenant_id, id", set).await?;
    Ok((filed.iter().map(|(tenant, run)| (*tenant, run.id)).collect(), Filed(filed)))
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

    fn reach(packs: usize, first_at: &str, last_at: &str) -> Reach {
        Reach { packs, first_at: at(first_at), last_at: at(last_at) }
    }

    #[test]
    fn a_run_reaches_to_whole_hours_and_never_less_far() {
        let now = at("2026-02-01T10:00:00Z");
        let run = Run::begin(now, reach(3, "2026-02-01T09:10:00Z", "2026-02-01T09:50:00Z"));
        assert_eq!((run.first_at, run.last_at), (at("2026-02-01T09:00:00Z"), at("2026-02-01T10:00:00Z")));

        let same = run.with(reach(2, "2026-02-01T09:00:00Z", "2026-02-01T09:59:59Z"));
        assert!(run.reaches_as_far_as(&same) && same.packs == 2);
        for (first_at, last_at) in [
            ("2026-02-01T08:59:59.999Z", "2026-02-01T09:30:00Z"),
            ("2026-02-01T09:30:00Z", "2026-02-01T10:00:00Z"),
        ] {
            let further = same.with(reach(1, first_at, last_at));
            assert!(!run.reaches_as_far_as(&further) && further.reaches_as_far_as(&run), "{first_at}");
        }
    }

    #[test]
    fn a_full_run_is_not_gone_on_with_and_too_many_are_forgotten() {
        let tenant = |number: u128| TenantId(Uuid::from_u128(number));
        let now = at("2026-02-01T10:00:00Z");
        let run = |packs| Run {
            packs,
            ..Run::begin(now, reach(0, "2026-02-01T09:10:00Z", "2026-02-01T09:10:00Z"))
        };
        let runs = Runs::default();
        runs.learn(Filed(vec![(tenant(1), run(PACKS - 1)), (tenant(2), run(PACKS))]));
        assert_eq!((runs.open(tenant(1)), runs.open(tenant(2))), (Some(run(PACKS - 1)), None));
        runs.learn(Filed((3..=TENANTS_MAX as u128 + 1).map(|number| (tenant(number), run(1))).collect()));
        assert_eq!((runs.open(tenant(1)), runs.open(tenant(3))), (None, Some(run(1))));
    }
}
