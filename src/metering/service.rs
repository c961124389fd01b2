//! The verbs of metering.

use std::collections::{BTreeMap, HashMap, HashSet};

use accrue_core::{
    arithmetic::Overflow,
    calendar::CalendarError,
    clock::Clock,
    id::{SubscriptionId, TenantId, TestClockId},
    usage::UsageError,
};
use accrue_platform::{
    db::Db,
    gate::Gate,
    page::{PageError, PageQuery},
    problem::FieldError,
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use uuid::Uuid;

use super::{
    memory::{Expectation, Memory, Standing},
    model::{
        Additions, Candidate, Closing, CorrectionError, Found, Ingested, Known, Month, Numbers, Payer,
        Rejection, Remembered, Sender, SentEvent, Strict, Tally, Terms, UnmatchedUsage, UsageEvent, Wanted,
        first_of_each,
    },
    store::{
        self, archives, closings, events, listing, packs,
        rollups::{self, KnownDays},
    },
    tracking::{Tracked, track_metrics},
    watching,
};
use crate::{
    app,
    catalog::{Metric, service::CatalogError},
    clocks,
    customers::{self, service::CustomerError},
};

pub use super::{
    reading::{month_of, quantity, usage_by_bucket},
    unbilled::{next_counted, tally},
    watching::{look_again, unwatch, watch, watch_all, watched_of},
};

/// Subscriptions whose closed periods are looked for at a time.
const CHECKS_AT_ONCE: u64 = 500;

/// Why usage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    #[error("usage event {0} does not exist")]
    NoSuchEvent(String),
    #[error(transparent)]
    Correction(#[from] CorrectionError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Period(#[from] CalendarError),
    #[error("more than {0} windows were asked for: take a larger granularity, or a shorter time")]
    TooManyWindows(usize),
    #[error(
        "the answer has more than {0} windows and groups: take a larger granularity, a shorter time, or group by less"
    )]
    TooMuchToTell(usize),
    #[error("its hours were built up anew meanwhile")]
    Rebuilt,
    #[error(
        "the events of before {0} are archived: usage that is not kept by the hour cannot be told any more"
    )]
    Archived(DateTime<Utc>),
    #[error("usage of before {0} is final, because its events are archived")]
    Final(DateTime<Utc>),
    #[error("what was received in {0} is archived, in {1}")]
    EventArchived(Month, String),
    #[error("the quantity is too large to be held exactly")]
    Overflow,
    #[error("taking usage events panicked")]
    Panicked,
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl From<UsageError> for MeteringError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Overflow(_) => Self::Overflow,
            UsageError::NotProratable | UsageError::ScopeMismatch | UsageError::NeedsEvents => {
                unreachable!("only what can be summed up is: {error}")
            }
        }
    }
}

impl From<Overflow> for MeteringError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// What a request sends. An event is already a rejection if it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub tenant: TenantId,
    pub events: Vec<Result<SentEvent, Rejection>>,
    pub terms: Terms,
    /// Who sends it by which request, for the audit log; none if whoever commits writes that down.
    pub by: Option<SentBy>,
}

/// A key, or the command line, and what it did.
#[derive(Clone, Debug)]
pub(super) struct SentBy {
    pub actor: String,
    pub action: &'static str,
    pub request_id: String,
}

/// What became of what several requests sent.
#[derive(Debug)]
pub(super) struct Taken {
    /// Of each request.
    pub outcomes: Vec<Ingested>,
    pub unmatched: Tally,
}

/// Takes what several requests sent, each event once, and says for each request what became of its events. They
/// are durable, and counted, when `tx` is committed.
///
/// If they are expected to be new and one is not, that is a unique violation: the whole transaction must be undone.
pub(super) async fn ingest(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    memory: &Memory,
    sent: Vec<Sent>,
    expectation: Expectation,
) -> Result<Taken, MeteringError> {
    let mut outcomes: Vec<Ingested> = sent.iter().map(|_| Ingested::default()).collect();
    let mut by_tenant = BTreeMap::<TenantId, Vec<(usize, Sent)>>::new();
    for (request, sent) in sent.into_iter().enumerate() {
        by_tenant.entry(sent.tenant).or_default().push((request, sent));
    }
    let (mut tracked, mut watched) = (BTreeMap::new(), Vec::new());
    let mut candidates = Vec::new();
    for (tenant, requests) in by_tenant {
        let closings = Gate::Usage.pass(tx, tenant).await?;
        let standing = memory.standing(tx, tenant, closings).await?;
        judge(tx, clock, tenant, &standing, requests, &mut outcomes, &mut candidates).await?;
        let of_tenant = track_metrics(tx, clock, tenant, standing.metrics.clone()).await?;
        watched.extend(standing.is_watched.then_some(tenant));
        tracked.insert(tenant, of_tenant);
    }
    let Stored { known, new, unmatched } =
        store(tx, clock, &tracked, &candidates, (&memory.days, expectation)).await?;
    let metrics: Vec<_> = watched.into_iter().map(|tenant| (tenant, tracked[&tenant].metrics())).collect();
    watching::moved(tx, clock.now(), &metrics, new.iter().map(|new| &new.event)).await?;
    for (request, candidate) in candidates {
        let held = known.get(&(candidate.event.tenant_id, candidate.identity)).copied();
        outcomes[request].settle(candidate, held);
    }
    for outcome in &mut outcomes {
        outcome.rejected.sort_by_key(|rejection| rejection.index);
    }
    Ok(Taken { outcomes, unmatched })
}

/// Finds the customers of a tenant's events and looks which events may be stored.
async fn judge(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    standing: &Standing,
    requests: Vec<(usize, Sent)>,
    outcomes: &mut [Ingested],
    candidates: &mut Vec<(usize, Candidate)>,
) -> Result<(), MeteringError> {
    let readable = requests.iter().flat_map(|(_, sent)| &sent.events).flatten();
    let names: HashSet<&str> = readable.map(|event| event.customer.as_str()).collect();
    let customers = standing.customers(tx, names).await?;
    let wall = clock.now();
    let mut times = HashMap::from([(None, wall)]);
    for (_, test_clock) in customers.values() {
        if !times.contains_key(test_clock) {
            times.insert(*test_clock, clocks::service::now_of(tx, clock, tenant, *test_clock).await?);
        }
    }
    let first = candidates.len();
    let mut numbers = Numbers::new(wall);
    for (request, sent) in requests {
        let sender = Sender { tenant, metrics: &standing.metrics, terms: sent.terms };
        for (index, event) in sent.events.into_iter().enumerate() {
            let event = match event {
                Ok(event) => event,
                Err(rejection) => {
                    outcomes[request].rejected.push(rejection);
                    continue;
                }
            };
            let (payer, now) = match customers.get(event.customer.as_str()) {
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
    if let Some(until) = standing.final_before {
        refuse_final(until, &mut candidates[first..]);
    }
    refuse_late(tx, tenant, &standing.metrics, &mut candidates[first..]).await?;
    Ok(())
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
async fn refuse_late(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    metrics: &[Metric],
    candidates: &mut [(usize, Candidate)],
) -> Result<(), DbErr> {
    let Some(strict) = Strict::of(metrics) else { return Ok(()) };
    let earliest = candidates.iter().map(|(_, candidate)| candidate.event.timestamp).min();
    let Some(earliest) = earliest else { return Ok(()) };
    let strict = strict.with(closings::ending_after(tx, tenant, earliest).await?);
    for (_, candidate) in candidates.iter_mut().filter(|(_, candidate)| candidate.refused.is_none()) {
        candidate.refused = strict.refuses(&candidate.event, &candidate.properties);
    }
    Ok(())
}

/// What became of candidates.
struct Stored<'a> {
    /// What is stored under the identity of each.
    known: Known,
    new: Vec<&'a Candidate>,
    unmatched: Tally,
}

/// Stores and counts what is new.
async fn store<'a>(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tracked: &BTreeMap<TenantId, Tracked>,
    candidates: &'a [(usize, Candidate)],
    (days, expectation): (&KnownDays, Expectation),
) -> Result<Stored<'a>, MeteringError> {
    let fresh = first_of_each(candidates.iter().map(|(_, candidate)| candidate));
    let taken = events::take_identities(tx, &fresh, expectation == Expectation::New).await?;
    let mut known = Known::new();
    if taken == fresh.len() && fresh.len() == candidates.len() {
        let remembered = |new: &&Candidate| Remembered { id: new.event.id, body_hash: new.body_hash };
        known.extend(fresh.iter().map(|new| ((new.event.tenant_id, new.identity), remembered(new))));
    } else {
        for tenant in tracked.keys() {
            let of_tenant = candidates.iter().filter(|(_, candidate)| candidate.event.tenant_id == *tenant);
            let identities: HashSet<Uuid> = of_tenant.map(|(_, candidate)| candidate.identity).collect();
            known.extend(events::remembered(tx, *tenant, identities.into_iter().collect()).await?);
        }
    }
    let is_new = |candidate: &&Candidate| {
        known[&(candidate.event.tenant_id, candidate.identity)].id == candidate.event.id
    };
    let new: Vec<&Candidate> = fresh.into_iter().filter(is_new).collect();
    packs::insert(tx, &new).await?;
    let (mut added, mut unmatched) = (Additions::default(), Tally::default());
    for candidate in &new {
        let tracked = &tracked[&candidate.event.tenant_id];
        if let Some(why) = tracked.count(&mut added, &candidate.event, &candidate.properties) {
            unmatched.push(&candidate.event, why);
        }
    }
    rollups::add_to(tx, &added, days).await?;
    for (tenant, tracked) in tracked {
        let of_tenant = new.iter().map(|new| &new.event).filter(|event| event.tenant_id == *tenant);
        tracked.note_late(tx, *tenant, of_tenant).await?;
    }
    store::unmatched::add(tx, clock.now(), &unmatched).await?;
    Ok(Stored { known, new, unmatched })
}

/// From now on, what belongs to this period is late.
pub async fn close(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    closing: Closing,
) -> Result<(), MeteringError> {
    Ok(closings::insert(tx, &closing, Closing::first_check_at(now)).await?)
}

/// The closed periods of a subscription that may have been billed too early, locked: those that are to be looked at until
/// an instant, or all.
pub async fn to_check(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    subscription: SubscriptionId,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Closing>, MeteringError> {
    Ok(closings::to_check(tx, tenant, subscription, until).await?)
}

/// Has closed periods looked at at another time; `None` for when something comes for them.
pub async fn check_again(
    tx: &DatabaseTransaction,
    closings: &[Closing],
    at: Option<DateTime<Utc>>,
) -> Result<(), MeteringError> {
    let Some(first) = closings.first() else { return Ok(()) };
    let ids = closings.iter().map(Closing::id).collect();
    Ok(closings::set_check(tx, first.tenant_id, ids, at).await?)
}

/// Subscriptions whose closed periods are to be looked at, a page of them after the last of the page before.
pub async fn due_checks(
    db: &Db,
    scope: app::Scope,
    now: DateTime<Utc>,
    after: Option<SubscriptionId>,
) -> Result<Vec<(TenantId, SubscriptionId)>, DbErr> {
    closings::due(db.reader(), scope, now, after, CHECKS_AT_ONCE).await
}

/// When the closed periods of a test clock's subscriptions are next to be looked at.
pub async fn next_check(
    db: &Db,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    closings::next_check(db.reader(), tenant, clock).await
}

/// An event by its identifier, or by the caller's own name for it.
pub async fn get_event(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
    source: Option<&str>,
) -> Result<UsageEvent, MeteringError> {
    let no_such_event = || MeteringError::NoSuchEvent(reference.to_owned());
    let id = match reference.parse() {
        Ok(id) => Some(id),
        Err(_) => events::find_id(db, tenant, reference, source.unwrap_or_default()).await?,
    };
    let id = id.ok_or_else(no_such_event)?;
    if let Some(event) = events::find(db, tenant, id).await? {
        return Ok(event);
    }
    match archives::holding(db, tenant, id).await? {
        Some(archive) => Err(MeteringError::EventArchived(archive.month, archive.file)),
        None => Err(no_such_event()),
    }
}

/// What nothing counts, the last name to appear first.
pub(super) async fn list_unmatched(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<UnmatchedUsage>, MeteringError> {
    Ok(store::unmatched::list(db, tenant, page).await?)
}

/// Events, the last to arrive first.
pub(super) async fn list_events(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    wanted: Wanted<'_>,
    page: &PageQuery,
) -> Result<Found, MeteringError> {
    let customer = match wanted.customer {
        Some(reference) => Some(customers::service::resolve(db, tenant, reference).await?.id),
        None => None,
    };
    Ok(listing::list(db, tenant, customer, wanted, page).await?)
}
