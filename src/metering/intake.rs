//! The intake: requests that wait at the same time are taken in one transaction, so that a thousand events cost
//! one wait for the disk.
//!
//! Nobody waits for more to come: a writer that is free takes all that is there for it. But of the groups that are being
//! written at the same time only one is small: what a transaction costs is for many events. What is answered is
//! committed.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use accrue_core::{clock::Clock, id::TenantId};
use accrue_platform::{
    db::{Db, is_unique_violation},
    problem::{self, Problem},
};
use futures_util::FutureExt;
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    lanes::{Lanes, Load},
    memory::{Expectation, Memory},
    model::Ingested,
    service::{self, MeteringError, Sent, SentBy, Taken},
};
use crate::auth::{self, service::SharedDeed};

/// Of bodies that wait or are being written. More are refused: memory has an end.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parcels that are looked at at a time.
const PARCELS_AT_ONCE: usize = 1000;

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
        let desk = Desk { writer, lanes: Lanes::new(writers, events_at_once), writing: JoinSet::new() };
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
        let parcel = Parcel { sent, all_or_nothing, answer, room };
        let gone = || Problem::new(&problem::UNAVAILABLE, "the events were not taken; send them again");
        self.queue.send(parcel).map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
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
    writer: Writer,
    lanes: Lanes<Parcel>,
    /// Groups that are being written; each says of which lane it is.
    writing: JoinSet<usize>,
}

impl Desk {
    async fn run(mut self, mut brought: mpsc::UnboundedReceiver<Parcel>) {
        let (mut new, mut is_open) = (Vec::new(), true);
        while is_open || !self.writing.is_empty() {
            tokio::select! {
                count = brought.recv_many(&mut new, PARCELS_AT_ONCE), if is_open => is_open = count > 0,
                Some(written) = self.writing.join_next() => {
                    self.lanes.written(written.expect("a writer catches what panics"));
                }
            }
            for parcel in new.drain(..) {
                self.lanes.push(parcel);
            }
            while let Some(group) = self.lanes.next() {
                let writer = self.writer.clone();
                self.writing.spawn(async move {
                    // Whoever asked hears that nobody answers; the lane goes on.
                    drop(AssertUnwindSafe(writer.write(group.requests)).catch_unwind().await);
                    group.lane
                });
            }
        }
    }
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
        let outcomes = match unless_it_panics(self.commit(&sent)).await {
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

    async fn commit(&self, sent: &[Sent]) -> Result<Vec<Ingested>, MeteringError> {
        // SQLite finds out in passing whether an event is there already.
        let expectation = if self.db.is_sqlite() { Expectation::Mixed } else { self.memory.expectation() };
        match self.commit_as(expectation, sent.to_vec()).await {
            Err(MeteringError::Database(error))
                if expectation == Expectation::New && is_unique_violation(&error) =>
            {
                self.memory.expect_repeats();
                self.commit_as(Expectation::Mixed, sent.to_vec()).await
            }
            outcome => outcome,
        }
    }

    async fn commit_as(
        &self,
        expectation: Expectation,
        sent: Vec<Sent>,
    ) -> Result<Vec<Ingested>, MeteringError> {
        let senders = senders(&sent);
        let tx = self.db.begin().await?;
        let ingested = service::ingest(&tx, &*self.clock, &self.memory, sent, expectation).await;
        let Taken { outcomes, unmatched } = ingested?;
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
            service::ingest(&tx, &*self.clock, &self.memory, sent, Expectation::Mixed).await?;
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

/// Writes down who sent what was taken: what a key sent in several requests is one deed (decision 0036).
async fn note(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    senders: Vec<(TenantId, Option<SentBy>)>,
    outcomes: &[Ingested],
) -> Result<(), DbErr> {
    let mut deeds = BTreeMap::<_, (String, usize, usize)>::new();
    for ((tenant, by), outcome) in senders.into_iter().zip(outcomes) {
        let Some(SentBy { actor, action, request_id }) = by else { continue };
        let (_, requests, events) = deeds.entry((tenant, actor, action)).or_insert((request_id, 0, 0));
        *requests += 1;
        *events += outcome.accepted;
    }
    let deed = |((tenant, actor, action), (request_id, requests, events))| {
        let object_id = match requests {
            1 => format!("{events} usage events"),
            more => format!("{events} usage events of {more} requests"),
        };
        SharedDeed { tenant, actor, action, object_id, request_id }
    };
    auth::service::note_all(tx, clock.now(), deeds.into_iter().map(deed).collect()).await
}
