//! Building up the hours of a metric, in one grain, from its events: those that came before hours were kept, or all of them anew.

use std::slice::from_ref;

use accrue_core::{
    id::{TenantId, UsageEventId},
    usage::Properties,
};
use accrue_platform::{db::Db, gate::Gate};
use sea_orm::DatabaseTransaction;

use super::{
    model::{Additions, Build, Grain, UsageEvent},
    service::MeteringError,
    store::{archives, builds, days, events, rollups},
    tracking,
};
use crate::catalog::Metric;

/// A build that is going on. It has a number of its own, so it may die anywhere: the next one starts anew, and until
/// one is complete the events are read.
pub struct Building {
    tenant: TenantId,
    metric: Metric,
    build: Build,
    /// The events as they were when the build began; what comes later is counted as it comes.
    snapshot: DatabaseTransaction,
    last: Option<UsageEventId>,
}

impl Building {
    /// Begins. It is on its way when `tx` is committed, which has to happen at once: the gate is closed until then,
    /// so that no events are being taken of which neither the snapshot nor their writer would know.
    ///
    /// `None` if the hours are complete and are not wanted `anew`. An error if they are complete and some of their events
    /// are archived: they could not be made again.
    pub async fn begin(
        db: &Db,
        tx: &DatabaseTransaction,
        tenant: TenantId,
        metric: Metric,
        grain: Grain,
        anew: bool,
    ) -> Result<Option<Self>, MeteringError> {
        // A connection may have to be waited for: not while the gate is closed, or those who have them all wait for it.
        let snapshot = db.begin_snapshot().await?;
        Gate::Usage.close(tx, tenant).await?;
        let before = builds::find_for_update(tx, tenant, &grain).await?;
        if before.as_ref().is_some_and(|build| build.is_complete) && !anew {
            return Ok(None);
        }
        let archived = archives::events_before(tx, tenant, &metric.event_name, None).await?;
        let is_complete = before.as_ref().is_some_and(|build| build.is_complete);
        if let Some(until) = archived.filter(|_| is_complete) {
            return Err(MeteringError::Archived(until));
        }
        let build = before.map_or_else(|| Build::first(grain), Build::again);
        let build = Build { counts_from: archived, ..build };
        builds::save(tx, tenant, &build).await?;
        Db::fix(&snapshot).await?;
        Ok(Some(Self { tenant, metric, build, snapshot, last: None }))
    }

    /// How many events there are to read, voided ones too.
    pub async fn count(&self) -> Result<u64, MeteringError> {
        Ok(events::count_named(&self.snapshot, self.tenant, &self.metric.event_name).await?)
    }

    /// Reads the next events; none if none is left. Nobody waits meanwhile.
    ///
    /// These are many, so that a day is written seldom: as long as the snapshot is held PostgreSQL keeps every version of its
    /// row, and walks through all of them to the last.
    pub async fn read(&mut self) -> Result<Option<Portion>, MeteringError> {
        let Self { tenant, metric, build, snapshot, last } = self;
        let mut portion = Portion::default();
        while portion.events < PORTION_EVENTS && portion.hours.0.len() < PORTION_HOURS {
            let hours = &mut portion.hours;
            let take = |event: &UsageEvent, properties: &Properties| {
                if event.voided_at.is_none() {
                    tracking::count(hours, metric, from_ref(build), event, properties);
                }
            };
            let taken = events::take_named(&*snapshot, *tenant, &metric.event_name, last, take).await?;
            if taken == 0 {
                break;
            }
            portion.events += taken;
        }
        Ok(Some(portion).filter(|portion| portion.events > 0))
    }

    /// Does all of it, and says of each portion how many events it has.
    pub async fn finish(mut self, db: &Db, told: impl Fn(u64)) -> Result<(), MeteringError> {
        while let Some(portion) = self.read().await? {
            let tx = db.begin().await?;
            portion.add(&tx).await?;
            tx.commit().await?;
            told(portion.events as u64);
        }
        let tx = db.begin().await?;
        self.end(&tx).await?;
        Ok(tx.commit().await?)
    }

    /// From now on the hours are read, unless another build began meanwhile.
    pub async fn end(self, tx: &DatabaseTransaction) -> Result<(), MeteringError> {
        self.snapshot.rollback().await?;
        if builds::find_for_update(tx, self.tenant, &self.build.grain).await?.as_ref() == Some(&self.build) {
            let complete = Build { is_complete: true, ..self.build };
            builds::save(tx, self.tenant, &complete).await?;
            rollups::delete_others(tx, self.tenant, &complete).await?;
        }
        Ok(())
    }
}

/// Events that are read before their hours are written, and a few more.
const PORTION_EVENTS: usize = 100_000;
/// Hours of customers, which are held in memory meanwhile: where there are many customers these are fewer events.
const PORTION_HOURS: usize = 5_000;

/// What some of the events add to hours.
#[derive(Debug, Default)]
pub struct Portion {
    hours: Additions,
    /// How many were read, voided ones too.
    pub events: usize,
}

impl Portion {
    /// Adds it, once.
    pub async fn add(&self, tx: &DatabaseTransaction) -> Result<(), MeteringError> {
        Ok(days::add(tx, &self.hours).await?)
    }
}
