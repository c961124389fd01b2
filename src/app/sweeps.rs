//! Sweeps look for what is due and enqueue jobs for it: for everybody by their schedules, for the customers of a test
//! clock while it is moved, and for one tenant when somebody says so.

use std::collections::{BTreeMap, VecDeque};

use accrue_core::id::TenantId;
use accrue_platform::{
    db::Db,
    due::{DueRow, PAGE, Place},
    queue::{self, NewJob},
    schedule::Schedule,
};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{App, work::Boxed};

pub use accrue_platform::due::Scope;

/// A thing that is due, and the job that does it.
#[derive(Clone, Debug)]
pub struct Found {
    /// As the API names it: `sub_…`.
    pub object: String,
    pub place: Place,
    pub job: NewJob,
}

/// Some of what is due.
#[derive(Debug)]
pub struct FoundPage {
    pub found: Vec<Found>,
    /// After which the next page begins; `None` on the last one.
    pub next: Option<Place>,
}

impl FoundPage {
    /// What was found in rows that were read as a page.
    pub fn of(rows: &[DueRow], found: impl FnMut(&DueRow) -> Result<Found, DbErr>) -> Result<Self, DbErr> {
        let next = rows.get(PAGE - 1).map(DueRow::place);
        Ok(Self { found: rows.iter().map(found).collect::<Result<_, _>>()?, next })
    }

    /// All there is.
    pub fn whole(found: Vec<Found>) -> Self {
        Self { found, next: None }
    }
}

/// The tenants of which something is due by the wall clock, and since when, the longest due first.
pub type FindTenants =
    for<'a> fn(&'a Db, DateTime<Utc>) -> Boxed<'a, Result<Vec<(TenantId, DateTime<Utc>)>, DbErr>>;

/// A page of what is due in a scope, after a place.
pub type FindDue =
    for<'a> fn(&'a Db, Scope, DateTime<Utc>, Option<Place>) -> Boxed<'a, Result<FoundPage, DbErr>>;

/// Enqueues the jobs of what was found, and answers how many were enqueued.
pub type Enqueue =
    for<'a> fn(&'a DatabaseTransaction, DateTime<Utc>, &'a [Found]) -> Boxed<'a, Result<u64, DbErr>>;

/// When something of a scope, or without one of everybody, is due first by the wall clock or that of the scope, whether that
/// is past or to come.
pub type NextDue = for<'a> fn(&'a Db, Option<Scope>) -> Boxed<'a, Result<Option<DateTime<Utc>>, DbErr>>;

/// Looks for what is due and enqueues jobs for it. Idempotent: what a run misses, the next one finds.
#[derive(Clone, Copy)]
pub struct Sweep {
    pub schedule: Schedule,
    pub tenants: FindTenants,
    pub find: FindDue,
    pub enqueue: Enqueue,
    /// `None` for what becomes due by nothing but the schedule: no test clock knows of it.
    pub next_due: Option<NextDue>,
}

/// Does what is to be done, and answers how much that was.
pub type RunUpkeep = for<'a> fn(&'a Db, DateTime<Utc>) -> Boxed<'a, Result<u64, DbErr>>;

/// Keeps the installation itself in order. It is no tenant's, so none runs it.
#[derive(Clone, Copy)]
pub struct Upkeep {
    pub schedule: Schedule,
    pub run: RunUpkeep,
}

/// [`Sweep::enqueue`] of jobs that are enqueued as all others are.
pub fn enqueue_found<'a>(
    tx: &'a DatabaseTransaction,
    _: DateTime<Utc>,
    found: &'a [Found],
) -> Boxed<'a, Result<u64, DbErr>> {
    Box::pin(queue::enqueue_all(tx, found.iter().map(|found| found.job.clone()).collect()))
}

/// [`Sweep::enqueue`] of jobs that look at what is true when they run: one that is there already runs once more,
/// and counts as enqueued.
pub fn enqueue_found_again<'a>(
    tx: &'a DatabaseTransaction,
    now: DateTime<Utc>,
    found: &'a [Found],
) -> Boxed<'a, Result<u64, DbErr>> {
    // Several things may have one job. All lock these jobs in the same order.
    let jobs: BTreeMap<_, _> =
        found.iter().map(|Found { job, .. }| ((job.tenant, &job.key), job.clone())).collect();
    Box::pin(async move {
        let count = jobs.len() as u64;
        queue::enqueue_again(tx, now, jobs.into_values().collect()).await?;
        Ok(count)
    })
}

/// What a sweep did, or would do.
#[derive(Debug, Default)]
pub struct Swept {
    pub found: u64,
    /// Jobs that were not there yet, and those that were told to run once more.
    pub enqueued: u64,
    /// The first of those that were found.
    pub first: Vec<Found>,
}

impl Swept {
    /// So many of those that were found are remembered.
    pub const FIRST: usize = 100;

    fn note(&mut self, found: &[Found]) {
        self.found += found.len() as u64;
        self.first.extend_from_slice(&found[..found.len().min(Self::FIRST - self.first.len())]);
    }
}

impl Sweep {
    /// Finds what is due in a scope and enqueues it, a page in a transaction.
    pub async fn run(&self, db: &Db, scope: Scope, now: DateTime<Utc>) -> Result<Swept, DbErr> {
        self.sweep(db, scope, now, true).await
    }

    /// Finds what is due in a scope, and writes nothing.
    pub async fn look(&self, db: &Db, scope: Scope, now: DateTime<Utc>) -> Result<Swept, DbErr> {
        self.sweep(db, scope, now, false).await
    }

    async fn sweep(&self, db: &Db, scope: Scope, now: DateTime<Utc>, enqueues: bool) -> Result<Swept, DbErr> {
        let (mut swept, mut after) = (Swept::default(), None);
        loop {
            let page = (self.find)(db, scope, now, after).await?;
            swept.note(&page.found);
            if enqueues {
                swept.enqueued += self.enqueue(db, now, &page.found).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(swept);
            }
        }
    }

    /// Does the same for everybody who lives by the wall clock. Tenants take turns, a page each: whoever has many due
    /// things does not keep the others from theirs.
    async fn run_for_all(&self, db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
        let tenants = (self.tenants)(db, now).await?;
        let mut turns: VecDeque<_> = tenants.into_iter().map(|(tenant, _)| (tenant, None)).collect();
        let (mut count, mut found) = (0, Vec::new());
        while let Some((tenant, after)) = turns.pop_front() {
            match (self.find)(db, Scope::Tenant(tenant), now, after).await {
                Ok(page) => {
                    count += page.found.len() as u64;
                    found.extend(page.found);
                    turns.extend(page.next.map(|next| (tenant, Some(next))));
                }
                // One tenant's trouble is not the others'.
                Err(error) => self.failed_for(tenant, &error),
            }
            if found.len() >= PAGE || turns.is_empty() {
                self.enqueue_for_all(db, now, &found).await;
                found.clear();
            }
        }
        Ok(count)
    }

    /// Enqueues what was found of several tenants together; if that fails, each one's by itself, for the sake of those with
    /// whom nothing is wrong.
    async fn enqueue_for_all(&self, db: &Db, now: DateTime<Utc>, found: &[Found]) {
        let Err(error) = self.enqueue(db, now, found).await else { return };
        tracing::warn!(sweep = self.schedule.name, %error, "jobs could not be enqueued together");
        let mut by_tenant = BTreeMap::<_, Vec<Found>>::new();
        for found in found {
            by_tenant.entry(found.job.tenant).or_default().push(found.clone());
        }
        for (tenant, found) in by_tenant {
            if let Err(error) = self.enqueue(db, now, &found).await {
                self.failed_for(tenant, &error);
            }
        }
    }

    fn failed_for(&self, tenant: TenantId, error: &DbErr) {
        let (sweep, error) = (self.schedule.name, error as &dyn std::error::Error);
        tracing::error!(sweep, tenant.id = %tenant, error, "a sweep failed for a tenant");
    }

    async fn enqueue(&self, db: &Db, now: DateTime<Utc>, found: &[Found]) -> Result<u64, DbErr> {
        if found.is_empty() {
            return Ok(0);
        }
        let tx = db.begin().await?;
        let enqueued = (self.enqueue)(&tx, now, found).await?;
        tx.commit().await?;
        Ok(enqueued)
    }
}

/// What is done by a schedule.
pub(super) enum Duty {
    Sweep(&'static Sweep),
    Upkeep(&'static Upkeep),
}

/// Everything that is done by schedules.
pub(super) fn duties(app: &App) -> impl Iterator<Item = Duty> + use<> {
    app.work.sweeps().map(Duty::Sweep).chain(app.work.upkeep().map(Duty::Upkeep))
}

impl Duty {
    pub(super) fn schedule(&self) -> Schedule {
        match self {
            Self::Sweep(sweep) => sweep.schedule,
            Self::Upkeep(upkeep) => upkeep.schedule,
        }
    }

    async fn run(&self, db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
        match self {
            Self::Sweep(sweep) => sweep.run_for_all(db, now).await,
            Self::Upkeep(upkeep) => (upkeep.run)(db, now).await,
        }
    }

    /// What fails is done again at the next tick, and keeps nothing else from its work.
    pub(super) async fn do_once(&self, app: &App, now: DateTime<Utc>) {
        let sweep = self.schedule().name;
        match self.run(&app.db, now).await {
            Ok(0) => {}
            Ok(found) => {
                tracing::info!(sweep, found, "swept");
                app.wake.notify_waiters();
            }
            Err(error) => {
                tracing::error!(sweep, error = &error as &dyn std::error::Error, "a sweep failed");
            }
        }
    }
}

/// Does everything that is done by schedules once, whatever the time of day.
pub async fn sweep_all(app: &App) -> Result<(), DbErr> {
    for duty in duties(app) {
        duty.run(&app.db, app.now()).await?;
    }
    Ok(())
}
