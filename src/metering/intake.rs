//! The intake: requests that wait at the same time are taken in one transaction, so that a thousand events cost
//! one wait for the disk.
//!
//! Nobody waits for more to come: a writer that is free takes all that is there for it. But of the groups that are being
//! written at the same time only one is small: what a transaction costs is for many events. What is answered is
//! committed.

use std::{
    iter,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use accrue_core::{clock::Clock, id::TenantId};
use accrue_platform::{
    db::{Db, is_unique_violation},
    problem::{self, Problem},
};
use futures_util::FutureExt;
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::yield_now,
};

use super::{
    lanes::{Group, Lanes, Load},
    memory::{Expectation, Memory},
    model::Ingested,
    service::MeteringError,
    store::kept_days::Trust,
    taking::{self, Sent, Taken},
};

/// How many requests are taken together.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    /// Transactions at a time on PostgreSQL; SQLite has one writer.
    pub writers: usize,
    /// Events that one transaction takes before it looks for no more.
    pub events_at_once: usize,
    /// Of bodies that wait or are being written. More are refused: memory has an end.
    pub waiting_bytes_max: u32,
}

impl Default for Grouping {
    fn default() -> Self {
        Self { writers: 8, events_at_once: 10_000, waiting_bytes_max: 64 * 1024 * 1024 }
    }
}

/// Where requests bring their events. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    desk: Arc<Desk>,
    room: Arc<Semaphore>,
    room_max: u32,
    pub(super) memory: Memory,
}

/// What a request brings, and whom to answer.
#[derive(Debug)]
struct Parcel {
    sent: Sent,
    all_or_nothing: bool,
    answer: oneshot::Sender<Result<Ingested, MeteringError>>,
    /// Given back when the parcel is answered.
    room: OwnedSemaphorePermit,
}

impl Intake {
    /// Writers are started when something is brought, as parts of the runtime in which this is called.
    pub fn start(db: &Db, clock: &Arc<dyn Clock>, wake: &Arc<Notify>, grouping: Grouping) -> Self {
        let Grouping { writers, events_at_once, waiting_bytes_max } = grouping;
        let writers = if db.is_sqlite() { 1 } else { writers };
        let memory = Memory::default();
        let writer =
            Writer { db: db.clone(), clock: clock.clone(), memory: memory.clone(), wake: wake.clone() };
        let lanes = Mutex::new(Lanes::new(writers, events_at_once));
        let desk = Arc::new(Desk { lanes, writer, home: Handle::current() });
        let room = usize::try_from(waiting_bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self { desk, room: Arc::new(Semaphore::new(room)), room_max: waiting_bytes_max, memory }
    }

    /// Takes what a request of `bytes` sends; durable when it answers.
    pub(super) async fn take(
        &self,
        sent: Sent,
        all_or_nothing: bool,
        bytes: usize,
    ) -> Result<Ingested, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.room_max);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| {
            metrics::counter!("usage_requests_refused_total").increment(1);
            Problem::new(
                &problem::UNAVAILABLE,
                "more usage events are waiting than can be held; send them again",
            )
        })?;
        let (answer, answered) = oneshot::channel();
        let parcel = Parcel { sent, all_or_nothing, answer, room };
        self.desk.change(|lanes| lanes.push(parcel));
        let gone = |_| Problem::new(&problem::UNAVAILABLE, "the events were not taken; send them again");
        Ok(answered.await.map_err(gone)??)
    }
}

impl Load for Parcel {
    fn events(&self) -> usize {
        self.sent.events.len().max(1)
    }

    fn customer(&self) -> Option<(TenantId, &str)> {
        let first = self.sent.events.iter().flatten().next()?;
        Some((self.sent.tenant, &first.customer))
    }
}

/// Groups what is brought and has it written.
struct Desk {
    lanes: Mutex<Lanes<Parcel>>,
    writer: Writer,
    home: Handle,
}

impl Desk {
    /// After each change of the lanes, what can be written then is.
    ///
    /// To the first group that begins now, a transaction may be handed on.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Lanes<Parcel>)) -> Option<HandOn> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut lanes);
        let groups: Vec<_> = iter::from_fn(|| lanes.next()).collect();
        drop(lanes);
        let mut first = None;
        for Group { lane, requests } in groups {
            let (hand_on, handed) = oneshot::channel();
            first.get_or_insert(hand_on);
            let lane = LaneInUse { desk: self.clone(), lane, is_free: false, handed: Some(handed) };
            // Whoever asked hears that nobody answers if it panics; the lane goes on.
            self.home.spawn(async move { lane.desk.clone().writer.write(requests, lane).await });
        }
        first
    }
}

/// By which a group hands the next one a transaction that has just begun. If it is dropped, there is none, and the next one
/// begins by itself.
type HandOn = oneshot::Sender<DatabaseTransaction>;
type Handed = oneshot::Receiver<DatabaseTransaction>;

/// Nothing else of a lane is written until it is freed, or dropped.
struct LaneInUse {
    desk: Arc<Desk>,
    lane: usize,
    is_free: bool,
    handed: Option<Handed>,
}

impl LaneInUse {
    /// The next group may begin; if one does, a transaction may be handed on to it.
    fn free(&mut self) -> Option<HandOn> {
        if std::mem::replace(&mut self.is_free, true) {
            return None;
        }
        self.desk.change(|lanes| lanes.written(self.lane))
    }
}

impl Drop for LaneInUse {
    fn drop(&mut self) {
        drop(self.free());
    }
}

/// Writes groups of requests.
struct Writer {
    db: Db,
    clock: Arc<dyn Clock>,
    memory: Memory,
    /// Told when there are jobs to do: each time it is, they are looked for.
    wake: Arc<Notify>,
}

impl Writer {
    async fn write(&self, group: Vec<Parcel>, lane: LaneInUse) {
        let (alone, together): (Vec<_>, Vec<_>) = group.into_iter().partition(|parcel| parcel.all_or_nothing);
        let mut lane = Some(lane);
        let mut none = None;
        if !alone.is_empty() {
            // Each of them begins by itself.
            lane.as_mut().and_then(|lane| lane.handed.take());
        }
        self.take_together(together, if alone.is_empty() { &mut lane } else { &mut none }).await;
        for parcel in alone {
            let outcome = unless_it_panics(self.take_alone(parcel.sent, true)).await;
            drop(parcel.answer.send(outcome));
        }
    }

    async fn take_together(&self, parcels: Vec<Parcel>, lane: &mut Option<LaneInUse>) {
        if parcels.is_empty() {
            return;
        }
        let (sent, answers): (Vec<_>, Vec<_>) =
            parcels.into_iter().map(|parcel| (parcel.sent, (parcel.answer, parcel.room))).unzip();
        let outcomes = match unless_it_panics(self.commit(&sent, lane)).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => {
                self.memory.runs.forget();
                // One of them may be the trouble: each for itself, so that it is nobody else's.
                tracing::warn!(%error, requests = sent.len(), "usage events could not be taken together");
                let mut outcomes = Vec::with_capacity(sent.len());
                for sent in sent {
                    outcomes.push(unless_it_panics(self.take_alone(sent, false)).await);
                }
                outcomes
            }
        };
        for ((answer, room), outcome) in answers.into_iter().zip(outcomes) {
            // Whoever is gone has not heard that the events are stored, and will send them again.
            drop(answer.send(outcome));
            drop(room);
        }
    }

    async fn commit(
        &self,
        sent: &[Sent],
        lane: &mut Option<LaneInUse>,
    ) -> Result<Vec<Ingested>, MeteringError> {
        // Not held any longer than until it is known whether it is of use: who begins anew would wait for it.
        let mut handed = lane.as_mut().and_then(|lane| lane.handed.take());
        let mut expectation = self.memory.expectation();
        // SQLite finds out in passing whether an event is there already.
        expectation.are_new &= !self.db.is_sqlite();
        loop {
            match self.commit_as(expectation, sent, lane, handed.take()).await {
                Err(MeteringError::Database(error)) if expectation.are_new && is_unique_violation(&error) => {
                    self.memory.expect_repeats();
                    expectation.are_new = false;
                }
                Err(MeteringError::Database(DbErr::RecordNotUpdated)) if expectation.days == Trust::Kept => {
                    metrics::counter!("usage_days_changed_by_others_total").increment(1);
                    self.memory.days.expect_changes();
                    expectation.days = Trust::Nothing;
                }
                outcome => return outcome,
            }
        }
    }

    async fn commit_as(
        &self,
        expectation: Expectation,
        sent: &[Sent],
        lane: &mut Option<LaneInUse>,
        handed: Option<Handed>,
    ) -> Result<Vec<Ingested>, MeteringError> {
        let ahead = taking::judge_ahead(&*self.clock, &self.memory, sent)?;
        let handed = match handed {
            Some(handed) => handed.await.ok(),
            None => None,
        };
        let tx = match handed {
            Some(tx) => tx,
            None => self.db.begin().await?,
        };
        let taken = taking::ingest(&tx, &*self.clock, &self.memory, (sent, ahead), expectation).await?;
        self.end(tx, taken, lane).await
    }

    /// Takes one request's events; if all or nothing is wanted and one is rejected, nothing is left behind.
    async fn take_alone(&self, sent: Sent, all_or_nothing: bool) -> Result<Ingested, MeteringError> {
        let sent = [sent];
        let tx = self.db.begin().await?;
        let mut taken =
            taking::ingest(&tx, &*self.clock, &self.memory, (&sent, None), Expectation::NOTHING).await?;
        if all_or_nothing && taken.outcomes.iter().any(|outcome| !outcome.rejected.is_empty()) {
            tx.rollback().await?;
            return Ok(taken.outcomes.pop().expect("an outcome for each request"));
        }
        Ok(self.end(tx, taken, &mut None).await?.pop().expect("an outcome for each request"))
    }

    async fn end(
        &self,
        tx: DatabaseTransaction,
        taken: Taken<'_>,
        lane: &mut Option<LaneInUse>,
    ) -> Result<Vec<Ingested>, MeteringError> {
        let Taken { outcomes, unmatched, has_work, filed, days } = taken;
        days.end();
        // While the disk is waited for, the next group is got ready.
        let hand_on = lane.take().and_then(|mut lane| lane.free());
        if let Some(hand_on) = hand_on.filter(|_| self.db.may_go_on()) {
            let next = Db::commit_and_begin(tx).await?;
            self.memory.runs.learn(filed);
            // If the next group has come to nothing, this is undone, and is nothing.
            drop(hand_on.send(next));
        } else {
            tx.commit().await?;
            self.memory.runs.learn(filed);
        }
        // Whoever waits for the connection gets it before hundreds are answered.
        yield_now().await;
        let taken: usize = outcomes.iter().map(|outcome| outcome.accepted).sum();
        metrics::counter!("usage_events_total").increment(taken as u64);
        unmatched.tell();
        if has_work {
            self.wake.notify_one();
        }
        Ok(outcomes)
    }
}

/// A bug that one request finds ends no writer, and is the trouble of that request alone.
async fn unless_it_panics<T>(
    work: impl Future<Output = Result<T, MeteringError>>,
) -> Result<T, MeteringError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(MeteringError::Panicked))
}
