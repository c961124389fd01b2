//! Taking usage events. What is remembered is enough to judge most of them before a transaction begins, so that it only
//! stores; if it is not, or does not hold any more, they are judged within.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use accrue_core::{
    clock::Clock,
    id::{TenantId, TestClockId},
    usage::Partial,
};
use accrue_platform::{
    bulk::{self, Column},
    gate::Gate,
    problem::FieldError,
};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::{
    deeds::{SentBy, notes},
    memory::{Customer, Expectation, Memory, Standing},
    model::{
        Additions, Candidate, Closing, Ingested, Known, Numbers, Payer, Rejection, Sender, SentEvent, Strict,
        Tally, Terms, first_of_each,
    },
    service::MeteringError,
    store::{
        self, closings,
        days::{Adding, Days},
        events, packs,
        runs::Filed,
    },
    tracking::{Tracked, track_metrics},
    watching,
};
use crate::{clocks, customers};

/// What a request sends. An event is already a rejection if it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub tenant: TenantId,
    pub events: Vec<Result<SentEvent, Rejection>>,
    pub terms: Terms,
    /// Who sends it by which request, for the audit log; none if whoever commits writes that down.
    pub by: Option<SentBy>,
}

/// What became of what several requests sent.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    /// Of each request.
    pub outcomes: Vec<Ingested>,
    pub unmatched: Tally,
    /// Whether there may be jobs to do now.
    pub has_work: bool,
    /// Where packs were put, to be learned once this is committed.
    pub filed: Filed,
    /// The days that were added to, to be ended when this is about to be committed.
    pub days: Adding<'a>,
}

/// Takes what several requests sent, each event once, and says for each request what became of its events. They
/// are durable, and counted, when `tx` is committed. What was judged ahead is not judged again if it still holds.
///
/// If they are not what they are expected to be, that is an error: the whole transaction must be undone.
pub(super) async fn ingest<'a>(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    memory: &'a Memory,
    (sent, ahead): (&[Sent], Option<Judged>),
    expectation: Expectation,
) -> Result<Taken<'a>, MeteringError> {
    let tenants = by_tenant(sent);
    let mut closings = BTreeMap::new();
    for tenant in tenants.keys() {
        closings.insert(*tenant, Gate::Usage.pass(tx, *tenant).await?);
    }
    if let Some(judged) = ahead.filter(|judged| judged.holds(&closings)) {
        return judged.store(tx, clock, memory, sent, expectation).await;
    }
    let mut grounds = BTreeMap::new();
    for (tenant, requests) in tenants {
        let standing = memory.standing(tx, tenant, closings[&tenant]).await?;
        grounds.insert(tenant, Ground::survey(tx, clock, tenant, standing, &requests).await?);
    }
    let judged = Judged::new(clock.now(), grounds, sent.to_vec())?;
    judged.store(tx, clock, memory, sent, expectation).await
}

/// Judges what several requests sent by what is remembered, if that is enough.
pub(super) fn judge_ahead(
    clock: &dyn Clock,
    memory: &Memory,
    sent: &[Sent],
) -> Result<Option<Judged>, DbErr> {
    let wall = clock.now();
    let mut grounds = BTreeMap::new();
    for (tenant, requests) in by_tenant(sent) {
        let recalled = memory.recall(tenant).and_then(|standing| Ground::recall(wall, standing, &requests));
        let Some(ground) = recalled else { return Ok(None) };
        grounds.insert(tenant, ground);
    }
    Judged::new(wall, grounds, sent.to_vec()).map(Some)
}

fn by_tenant(sent: &[Sent]) -> BTreeMap<TenantId, Vec<&Sent>> {
    let mut by_tenant = BTreeMap::<_, Vec<_>>::new();
    for sent in sent {
        by_tenant.entry(sent.tenant).or_default().push(sent);
    }
    by_tenant
}

/// Events that could be read.
fn readable<'a>(requests: &'a [&Sent]) -> impl Iterator<Item = &'a SentEvent> + Clone {
    requests.iter().flat_map(|sent| &sent.events).flatten()
}

/// By what a tenant's events are judged.
#[derive(Debug)]
struct Ground {
    standing: Arc<Standing>,
    tracked: Arc<Tracked>,
    /// Of each event that could be read, in their order; `None` if there is none of this name.
    customers: Vec<Option<Customer>>,
    /// By the test clocks of these customers.
    times: HashMap<Option<TestClockId>, DateTime<Utc>>,
    /// Periods that were billed, if there is a metric for which that matters.
    closed: Vec<Closing>,
    /// Whether hours begin to be kept by this transaction.
    begins: bool,
}

impl Ground {
    /// What is remembered, if nothing else has to be known.
    fn recall(wall: DateTime<Utc>, standing: Arc<Standing>, requests: &[&Sent]) -> Option<Self> {
        let tracked = standing.tracked.get()?.clone();
        let customers = standing.recall(readable(requests).map(|event| event.customer.as_str()));
        let is_enough = Strict::of(&standing.metrics).is_none()
            && customers.iter().all(|customer| matches!(customer, Some((_, None))));
        let times = HashMap::from([(None, wall)]);
        is_enough.then_some(Self { standing, tracked, customers, times, closed: Vec::new(), begins: false })
    }

    /// The same, with what has to be asked for.
    async fn survey(
        tx: &DatabaseTransaction,
        clock: &dyn Clock,
        tenant: TenantId,
        standing: Arc<Standing>,
        requests: &[&Sent],
    ) -> Result<Self, MeteringError> {
        let names: Vec<&str> = readable(requests).map(|event| event.customer.as_str()).collect();
        let customers = standing.customers(tx, names).await?;
        let wall = clock.now();
        let mut times = HashMap::from([(None, wall)]);
        for (_, test_clock) in customers.iter().flatten() {
            if !times.contains_key(test_clock) {
                times.insert(*test_clock, clocks::service::now_of(tx, clock, tenant, *test_clock).await?);
            }
        }
        let closed = match Strict::of(&standing.metrics) {
            Some(_) => {
                let happened = readable(requests).filter_map(|event| event.timestamp);
                let earliest = happened.chain(times.values().copied()).min();
                closings::ending_after(tx, tenant, earliest.unwrap_or(wall)).await?
            }
            None => Vec::new(),
        };
        let (tracked, begins) = tracked(tx, clock, tenant, &standing).await?;
        Ok(Self { standing, tracked, customers, times, closed, begins })
    }
}

async fn tracked(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    standing: &Standing,
) -> Result<(Arc<Tracked>, bool), DbErr> {
    if let Some(tracked) = standing.tracked.get() {
        return Ok((tracked.clone(), false));
    }
    let (tracked, begins) = track_metrics(tx, clock, tenant, standing.metrics.clone()).await?;
    let tracked = Arc::new(tracked);
    // What this transaction begins is not there until it is committed.
    if !begins {
        standing.tracked.get_or_init(|| tracked.clone());
    }
    Ok((tracked, begins))
}

/// What several requests sent, as it would be stored.
#[derive(Debug)]
pub(super) struct Judged {
    grounds: BTreeMap<TenantId, Ground>,
    outcomes: Vec<Ingested>,
    /// Each with the request that it came with.
    candidates: Vec<(usize, Candidate)>,
    identities: Vec<Column>,
    /// If all that may be stored is new.
    rows: Rows,
}

impl Judged {
    fn new(wall: DateTime<Utc>, grounds: BTreeMap<TenantId, Ground>, sent: Vec<Sent>) -> Result<Self, DbErr> {
        let mut outcomes: Vec<Ingested> = sent.iter().map(|_| Ingested::default()).collect();
        let mut by_tenant = BTreeMap::<TenantId, Vec<(usize, Sent)>>::new();
        for (request, sent) in sent.into_iter().enumerate() {
            by_tenant.entry(sent.tenant).or_default().push((request, sent));
        }
        let mut candidates = Vec::new();
        for (tenant, requests) in by_tenant {
            judge(wall, &grounds[&tenant], requests, &mut outcomes, &mut candidates);
        }
        let fresh = first_of_each(candidates.iter().map(|(_, candidate)| candidate));
        let (identities, rows) = (events::identity_rows(&fresh), Rows::of(&grounds, &fresh)?);
        Ok(Self { grounds, outcomes, candidates, identities, rows })
    }

    /// Whether it was judged by what holds for tenants whose gates were closed so many times.
    fn holds(&self, closings: &BTreeMap<TenantId, i64>) -> bool {
        self.grounds.iter().all(|(tenant, ground)| closings.get(tenant) == Some(&ground.standing.closings))
    }

    /// Stores and counts what is new, and writes down who sent it.
    async fn store<'a>(
        self,
        tx: &DatabaseTransaction,
        clock: &dyn Clock,
        memory: &'a Memory,
        sent: &[Sent],
        expectation: Expectation,
    ) -> Result<Taken<'a>, MeteringError> {
        let Self { grounds, mut outcomes, candidates, identities, mut rows } = self;
        let mut new = first_of_each(candidates.iter().map(|(_, candidate)| candidate));
        let mut known = None;
        let filed = if expectation.are_new {
            events::insert_new(tx, identities, rows.packs, clock.now(), &memory.runs).await?
        } else {
            if events::take_identities(tx, identities).await? != new.len() {
                let held = remembered(tx, grounds.keys(), &candidates).await?;
                new.retain(|new| held[&(new.event.tenant_id, new.identity)].id == new.event.id);
                rows = Rows::of(&grounds, &new)?;
                known = Some(held);
            }
            packs::insert(tx, rows.packs, clock.now(), &memory.runs).await?
        };
        let known = match known {
            Some(known) => known,
            None if new.len() == candidates.len() => remembered_by(&new),
            // What is refused, or came twice, may be known from before.
            None => remembered(tx, grounds.keys(), &candidates).await?,
        };
        let Rows { added, unmatched, .. } = rows;
        for (request, candidate) in &candidates {
            let held = known.get(&(candidate.event.tenant_id, candidate.identity)).copied();
            outcomes[*request].settle(candidate, held);
        }
        let notes = notes(clock.now(), sent, &outcomes);
        let days = Adding::begin(tx, added, &memory.days, expectation.days, Partial::merge).await?;
        let [_, written] = bulk::write_all(tx, [notes, days.insert()]).await?;
        days.check(written)?;
        for (tenant, ground) in &grounds {
            let of_tenant = new.iter().map(|new| &new.event).filter(|event| event.tenant_id == *tenant);
            ground.tracked.note_late(tx, *tenant, of_tenant).await?;
        }
        store::unmatched::add(tx, clock.now(), &unmatched).await?;
        let watched = grounds.iter().filter(|(_, ground)| ground.standing.is_watched);
        let watched: Vec<_> = watched.map(|(tenant, ground)| (*tenant, ground.tracked.metrics())).collect();
        watching::moved(tx, clock.now(), &watched, new.iter().map(|new| &new.event)).await?;
        for outcome in &mut outcomes {
            outcome.rejected.sort_by_key(|rejection| rejection.index);
        }
        let has_work = !watched.is_empty() || grounds.values().any(|ground| ground.begins);
        Ok(Taken { outcomes, unmatched, has_work, filed, days })
    }
}

fn remembered_by(new: &[&Candidate]) -> Known {
    new.iter().map(|new| ((new.event.tenant_id, new.identity), new.remembered())).collect()
}

async fn remembered(
    tx: &DatabaseTransaction,
    tenants: impl Iterator<Item = &TenantId>,
    candidates: &[(usize, Candidate)],
) -> Result<Known, DbErr> {
    let mut known = Known::new();
    for tenant in tenants {
        let of_tenant = candidates.iter().filter(|(_, candidate)| candidate.event.tenant_id == *tenant);
        let identities: HashSet<Uuid> = of_tenant.map(|(_, candidate)| candidate.identity).collect();
        known.extend(events::remembered(tx, *tenant, identities.into_iter().collect()).await?);
    }
    Ok(known)
}

/// Of events that are new: the rows that hold them, and what they add up to.
#[derive(Debug)]
struct Rows {
    packs: packs::Rows,
    added: Days,
    unmatched: Tally,
}

impl Rows {
    fn of(grounds: &BTreeMap<TenantId, Ground>, new: &[&Candidate]) -> Result<Self, DbErr> {
        let (mut added, mut unmatched) = (Additions::default(), Tally::default());
        for candidate in new {
            let tracked = &grounds[&candidate.event.tenant_id].tracked;
            if let Some(why) = tracked.count(&mut added, &candidate.event, &candidate.properties) {
                unmatched.push(&candidate.event, why);
            }
        }
        Ok(Self { packs: packs::Rows::of(new)?, added: Days::of(&added), unmatched })
    }
}

/// Looks which of a tenant's events may be stored.
fn judge(
    wall: DateTime<Utc>,
    ground: &Ground,
    requests: Vec<(usize, Sent)>,
    outcomes: &mut [Ingested],
    candidates: &mut Vec<(usize, Candidate)>,
) {
    let Ground { standing, customers, times, .. } = ground;
    let first = candidates.len();
    let mut numbers = Numbers::new(wall);
    let mut customers = customers.iter();
    for (request, sent) in requests {
        let Standing { metrics, shelving, .. } = &**standing;
        let sender = Sender { tenant: sent.tenant, metrics, terms: sent.terms, shelving: *shelving };
        for (index, event) in sent.events.into_iter().enumerate() {
            let event = match event {
                Ok(event) => event,
                Err(rejection) => {
                    outcomes[request].rejected.push(rejection);
                    continue;
                }
            };
            let (payer, now) = match customers.next().expect("one of each event that could be read") {
                Some((customer, test_clock)) => (Payer::Known(*customer), times[test_clock]),
                None if sent.terms.unknown_customer && customers::service::may_appear(&event.customer) => {
                    (Payer::Awaited(event.customer.clone()), wall)
                }
                None => {
                    let detail = format!("there is no customer {}", event.customer);
                    let error = FieldError::new("/customer_id", "unknown_customer", detail);
                    outcomes[request].reject(index, Some(event.event_id), error);
                    continue;
                }
            };
            candidates.push((request, Candidate::new(sender, &mut numbers, index, event, payer, now)));
        }
    }
    let candidates = &mut candidates[first..];
    if let Some(until) = standing.final_before {
        refuse_final(until, candidates);
    }
    refuse_late(ground, candidates);
}

/// Refuses what would change usage whose events are archived: it could not be billed right.
fn refuse_final(until: DateTime<Utc>, candidates: &mut [(usize, Candidate)]) {
    let too_old = candidates.iter_mut().filter(|(_, candidate)| candidate.event.timestamp < until);
    for (_, candidate) in too_old {
        let detail = MeteringError::Final(until).to_string();
        candidate.refused.get_or_insert(FieldError::new("/timestamp", "usage_archived", detail));
    }
}

/// Refuses what comes for a period that was billed, where a metric wants that (RULES 18).
fn refuse_late(ground: &Ground, candidates: &mut [(usize, Candidate)]) {
    let Some(strict) = Strict::of(&ground.standing.metrics) else { return };
    let strict = strict.with(&ground.closed);
    for (_, candidate) in candidates.iter_mut().filter(|(_, candidate)| candidate.refused.is_none()) {
        candidate.refused = strict.refuses(&candidate.event, &candidate.properties);
    }
}
