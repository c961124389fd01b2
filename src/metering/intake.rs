//! The intake: requests that wait at the same time are taken in one transaction, so that a thousand events cost
//! one wait for the disk.
//!
//! Nobody waits for more to come: a writer that is free takes all that is there for it. But of the groups that are being
//! written at the same time only one is small: what a transaction costs is for many events. What is answered is
//! committed.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use accrue_core::{clock::Clock, id::TenantId};
use accrue_platform::{
    db::Db,
    problem::{self, Problem},
};
use futures_util::FutureExt;
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{Id, JoinSet},
};

use super::{
    memory::Memory,
    model::Ingested,
    service::{self, MeteringError, Sent, SentBy, Taken},
};
use crate::auth::{self, service::SharedDeed};

/// Of bodies that wait or are being written. More are refused: memory has an end.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parcels that are looked at at a time.
const PARCELS_AT_ONCE: usize = 1000;
/// Events for which a transaction is worth its cost while another one is small.
const LARGE: usize = 100;

/// How many requests are taken together.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    /// Transactions at a time on PostgreSQL; SQLite has one writer.
    pub writers: usize,
    /// Events that one transaction takes before it looks for no more.
    pub events_at_once: usize,
}

impl Default for Grouping {
    fn default() -> Self {
        Self { writers: 6, events_at_once: 10_000 }
    }
}

/// Where requests bring their events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: mpsc::UnboundedSender<Parcel>,
    room: Arc<Semaphore>,
    pub(super) memory: Memory,
}

/// What a request brings, and whom to answer.
#[derive(Debug)]
struct Parcel {
    /// In the order of arrival.
    number: u64,
    sent: Sent,
    all_or_nothing: bool,
    answer: oneshot::Sender<Result<Ingested, MeteringError>>,
    /// Given back when the parcel is answered.
    room: OwnedSemaphorePermit,
}

impl Intake {
    /// Starts the writers. They end when the last handle is dropped and all that was brought is answered.
    pub fn start(db: &Db, clock: &Arc<dyn Clock>, grouping: Grouping) -> Self {
        let Grouping { writers, events_at_once } = grouping;
        let (queue, brought) = mpsc::unbounded_channel();
        let writers = if db.is_sqlite() { 1 } else { writers };
        let memory = Memory::default();
        let writer = Writer { db: db.clone(), clock: clock.clone(), memory: memory.clone() };
        let lanes = std::iter::repeat_with(Lane::default).take(writers).collect();
        let desk = Desk { writer, events_at_once, lanes, brought: 0, writing: JoinSet::new(), small: None };
        tokio::spawn(desk.run(brought));
        Self { queue, room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)), memory }
    }

    /// Takes what a request of `bytes` sends; durable when it answers.
    pub(super) async fn take(
        &self,
        sent: Sent,
        all_or_nothing: bool,
        bytes: usize,
    ) -> Result<Ingested, Problem> {
        let bytes = u32::try_from(bytes.min(WAITING_BYTES_MAX)).expect("less than 64 MiB");
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| {
            metrics::counter!("usage_requests_refused_total").increment(1);
            Problem::new(
                &problem::UNAVAILABLE,
                "more usage events are waiting than can be held; send them again",
            )
        })?;
        let (answer, answered) = oneshot::channel();
        let parcel = Parcel { number: 0, sent, all_or_nothing, answer, room };
        let gone = || Problem::new(&problem::UNAVAILABLE, "the events were not taken; send them again");
        self.queue.send(parcel).map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }
}

/// Groups what is brought and has it written.
struct Desk {
    writer: Writer,
    events_at_once: usize,
    lanes: Vec<Lane>,
    /// Parcels until now.
    brought: u64,
    /// Groups that are being written.
    writing: JoinSet<()>,
    /// The one of them that is small.
    small: Option<Id>,
}

/// What waits for the same writer. Events of one customer change the same rows: two writers would wait for each other.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Parcel>,
    events: usize,
    /// What is being written of it.
    writing: Option<Id>,
}

impl Desk {
    async fn run(mut self, mut brought: mpsc::UnboundedReceiver<Parcel>) {
        let (mut new, mut is_open) = (Vec::new(), true);
        while is_open || !self.writing.is_empty() {
            tokio::select! {
                count = brought.recv_many(&mut new, PARCELS_AT_ONCE), if is_open => is_open = count > 0,
                Some(written) = self.writing.join_next_with_id() => {
                    self.written(written.map_or_else(|error| error.id(), |(id, ())| id));
                }
            }
            for mut parcel in new.drain(..) {
                self.brought += 1;
                parcel.number = self.brought;
                self.lane_of(&parcel).push(parcel);
            }
            while let Some(lane) = self.next() {
                self.start(lane);
            }
        }
    }

    fn written(&mut self, id: Id) {
        self.small.take_if(|small| *small == id);
        for lane in &mut self.lanes {
            lane.writing.take_if(|writing| *writing == id);
        }
    }

    /// That of the customer whose events a request brings; of several customers, the shortest.
    fn lane_of(&mut self, parcel: &Parcel) -> &mut Lane {
        let mut events = parcel.sent.events.iter().flatten();
        let first = events.next().map(|event| event.customer.as_str());
        let index = if let Some(customer) = first.filter(|first| events.all(|event| event.customer == *first))
        {
            let mut hasher = DefaultHasher::new();
            (parcel.sent.tenant, customer).hash(&mut hasher);
            usize::try_from(hasher.finish() % self.lanes.len() as u64).expect("less than there are lanes")
        } else {
            let shortest = self.lanes.iter().enumerate().min_by_key(|(_, lane)| lane.load());
            shortest.map_or(0, |(index, _)| index)
        };
        &mut self.lanes[index]
    }

    /// The lane of which something is to be written now, if there is one: the fullest, if it has many events; of few, the
    /// first that came, unless another lane's few are being written.
    fn next(&self) -> Option<usize> {
        let free = || self.lanes.iter().enumerate().filter(|(_, lane)| lane.writing.is_none());
        let (fullest, lane) = free().max_by_key(|(_, lane)| lane.events)?;
        if lane.events >= self.large() {
            return Some(fullest);
        }
        let waiting = free().filter_map(|(index, lane)| Some((lane.waiting.front()?.number, index)));
        waiting.min().filter(|_| self.small.is_none()).map(|(_, index)| index)
    }

    fn start(&mut self, lane: usize) {
        let large = self.large();
        let lane = &mut self.lanes[lane];
        let group = lane.take(self.events_at_once);
        let is_small = events_of(&group) < large;
        let writer = self.writer.clone();
        let id = self.writing.spawn(async move { writer.write(group).await }).id();
        lane.writing = Some(id);
        if is_small {
            self.small = Some(id);
        }
    }

    fn large(&self) -> usize {
        LARGE.min(self.events_at_once)
    }
}

impl Lane {
    fn push(&mut self, parcel: Parcel) {
        // An empty request is answered, too.
        self.events += parcel.sent.events.len().max(1);
        self.waiting.push_back(parcel);
    }

    fn load(&self) -> (usize, bool) {
        (self.events, self.writing.is_some())
    }

    /// Requests of so many events, and the one that goes beyond.
    fn take(&mut self, events_max: usize) -> Vec<Parcel> {
        let mut events = 0;
        let mut group = Vec::new();
        while events < events_max
            && let Some(parcel) = self.waiting.pop_front()
        {
            events += parcel.sent.events.len().max(1);
            group.push(parcel);
        }
        self.events -= events;
        group
    }
}

fn events_of<'a>(parcels: impl IntoIterator<Item = &'a Parcel>) -> usize {
    parcels.into_iter().map(|parcel| parcel.sent.events.len()).sum()
}

/// Writes groups of requests.
#[derive(Clone)]
struct Writer {
    db: Db,
    clock: Arc<dyn Clock>,
    memory: Memory,
}

impl Writer {
    async fn write(&self, group: Vec<Parcel>) {
        let (alone, together): (Vec<_>, Vec<_>) = group.into_iter().partition(|parcel| parcel.all_or_nothing);
        self.take_together(together).await;
        for parcel in alone {
            let outcome = unless_it_panics(self.take_alone(parcel.sent, true)).await;
            drop(parcel.answer.send(outcome));
        }
    }

    async fn take_together(&self, parcels: Vec<Parcel>) {
        if parcels.is_empty() {
            return;
        }
        let (sent, answers): (Vec<_>, Vec<_>) =
            parcels.into_iter().map(|parcel| (parcel.sent, (parcel.answer, parcel.room))).unzip();
        let outcomes = match unless_it_panics(self.commit(sent.clone())).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => {
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

    async fn commit(&self, sent: Vec<Sent>) -> Result<Vec<Ingested>, MeteringError> {
        let senders = senders(&sent);
        let tx = self.db.begin().await?;
        let Taken { outcomes, unmatched } = service::ingest(&tx, &*self.clock, &self.memory, sent).await?;
        note(&tx, &*self.clock, senders, &outcomes).await?;
        tx.commit().await?;
        let taken: usize = outcomes.iter().map(|outcome| outcome.accepted).sum();
        metrics::counter!("usage_events_total").increment(taken as u64);
        unmatched.tell();
        Ok(outcomes)
    }

    /// Takes one request's events; if all or nothing is wanted and one is rejected, nothing is left behind.
    async fn take_alone(&self, sent: Sent, all_or_nothing: bool) -> Result<Ingested, MeteringError> {
        let sent = vec![sent];
        let senders = senders(&sent);
        let tx = self.db.begin().await?;
        let Taken { mut outcomes, unmatched } =
            service::ingest(&tx, &*self.clock, &self.memory, sent).await?;
        if all_or_nothing && outcomes.iter().any(|outcome| !outcome.rejected.is_empty()) {
            tx.rollback().await?;
            return Ok(outcomes.pop().expect("an outcome for each request"));
        }
        note(&tx, &*self.clock, senders, &outcomes).await?;
        tx.commit().await?;
        let outcome = outcomes.pop().expect("an outcome for each request");
        metrics::counter!("usage_events_total").increment(outcome.accepted as u64);
        unmatched.tell();
        Ok(outcome)
    }
}

/// A bug that one request finds ends no writer, and is the trouble of that request alone.
async fn unless_it_panics<T>(
    work: impl Future<Output = Result<T, MeteringError>>,
) -> Result<T, MeteringError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(MeteringError::Panicked))
}

fn senders(sent: &[Sent]) -> Vec<(TenantId, Option<SentBy>)> {
    sent.iter().map(|sent| (sent.tenant, sent.by.clone())).collect()
}

/// Writes down who sent what was taken.
async fn note(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    senders: Vec<(TenantId, Option<SentBy>)>,
    outcomes: &[Ingested],
) -> Result<(), DbErr> {
    let deed = |((tenant, by), outcome): ((TenantId, Option<SentBy>), &Ingested)| {
        let SentBy { actor, action, request_id } = by?;
        let object_id = format!("{} usage events", outcome.accepted);
        Some(SharedDeed { tenant, actor, action, object_id, request_id })
    };
    let deeds = senders.into_iter().zip(outcomes).filter_map(deed).collect();
    auth::service::note_all(tx, clock.now(), deeds).await
}
