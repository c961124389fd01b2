//! Correcting events: what is true is put right everywhere in one transaction, and what was billed is looked at
//! again (RULES 18).

use std::collections::BTreeSet;

use accrue_core::{
    clock::Clock,
    id::TestClockId,
    usage::{Partial, Properties},
};
use accrue_platform::gate::Gate;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    events as facts, jobs,
    model::{
        Additions, Change, Closing, Correction, CorrectionError, Sender, Shelving, Strict, Terms, UsageEvent,
        Version, end_of_hour,
    },
    service::{self, MeteringError},
    store::{
        archives, builds, closings, days, events,
        packs::{self, Span},
        versions,
    },
    tracking, watching,
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric},
    clocks, customers,
};

/// Who corrects an event, and why.
pub(super) struct Corrector {
    pub by: String,
    pub reason: Option<String>,
    /// Whether its new time may lie anywhere in the past.
    pub backfill: bool,
}

/// Corrects an event, unless it is as wanted already; answers with what is true now, and what was before.
pub(super) async fn correct(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    (reference, source): (&str, Option<&str>),
    correction: Correction,
    corrector: Corrector,
) -> Result<(UsageEvent, Vec<Version>), MeteringError> {
    let found = service::get_event(tx, tenant.id, reference, source).await?;
    Gate::Usage.pass(tx, tenant.id).await?;
    let before = events::find_for_update(tx, tenant.id, found.id).await?;
    let before = before.ok_or_else(|| MeteringError::NoSuchEvent(reference.to_owned()))?;
    let test_clock = match before.payer.customer() {
        Some(customer) => customers::service::get(tx, tenant.id, customer).await?.test_clock_id,
        None => None,
    };
    let now = clocks::service::now_of(tx, clock, tenant.id, test_clock).await?;
    let mut metrics = catalog::service::all_metrics(tx, tenant.id).await?;
    metrics.retain(|metric| metric.event_name == before.event_name);
    metrics.sort_by_key(|metric| metric.id);

    let wall = clock.now();
    let terms = Terms::of(&tenant.settings, corrector.backfill);
    let sender = Sender { tenant: tenant.id, metrics: &metrics, terms, shelving: Shelving::of(tx) };
    if let Some((after, change)) = before.corrected(correction, sender, now)? {
        let earliest = before.timestamp.min(after.timestamp);
        if let Some(until) = archives::final_before(tx, tenant.id).await?.filter(|until| earliest < *until) {
            return Err(MeteringError::Final(until));
        }
        refuse_late(tx, &metrics, [&before, &after]).await?;
        let version = Version {
            event: before.id,
            timestamp: before.timestamp,
            metadata: before.metadata.clone(),
            change,
            at: now,
            by: corrector.by,
            reason: corrector.reason,
        };
        versions::insert(tx, tenant.id, wall, version).await?;
        packs::correct(tx, &after).await?;
        recount(tx, wall, &metrics, &before, &after).await?;
        look_again(tx, &metrics, &before, &after, now).await?;
        tell(tx, tenant, test_clock, (&before, &after, change), now).await?;
        watching::moved(tx, wall, &[(tenant.id, &metrics)], [&after].into_iter()).await?;
    }
    Ok(get_with_history(tx, before).await?)
}

/// An event as it is now, with what was true of it before.
pub(super) async fn get_with_history(
    db: &impl ConnectionTrait,
    event: UsageEvent,
) -> Result<(UsageEvent, Vec<Version>), DbErr> {
    let (tenant, id) = (event.tenant_id, event.id);
    let event = events::find(db, tenant, id).await?.unwrap_or(event);
    Ok((event, versions::of_event(db, tenant, id).await?))
}

async fn tell(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    test_clock: Option<TestClockId>,
    fact: (&UsageEvent, &UsageEvent, Change),
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    facts::corrected(tx, now, tenant.livemode, test_clock, fact).await
}

/// Makes the hours anew in which the event was and is: the least, the greatest and the latest of an hour cannot
/// be taken back, so all of it is read again.
///
/// The hours are locked first, all in the order of their identifiers as the intake does it. What another writer
/// has stored but not counted yet is not seen here, and added by that writer afterwards.
async fn recount(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    metrics: &[Metric],
    before: &UsageEvent,
    after: &UsageEvent,
) -> Result<(), MeteringError> {
    let Some(customer) = before.payer.customer() else { return Ok(()) };
    let mut counted = Vec::new();
    let mut touched = Additions::default();
    for metric in metrics {
        let builds = builds::of_metric_for_update(tx, before.tenant_id, metric.id).await?;
        let (complete, begun): (Vec<_>, Vec<_>) = builds.into_iter().partition(|build| build.is_complete);
        for build in begun {
            // Whoever builds the hours may have read the event as it was: all over again.
            let again = build.again();
            builds::save(tx, before.tenant_id, &again).await?;
            jobs::build_later(tx, wall, before.tenant_id, &again).await?;
        }
        for event in [before, after] {
            tracking::count(&mut touched, metric, &complete, event, &properties(event)?);
        }
        counted.push((metric, complete));
    }
    let mut hours = touched.0;
    for partial in hours.values_mut() {
        *partial = Partial::default();
    }
    // Adding nothing makes the hours that are missing, and locks all.
    days::add(tx, &Additions(hours.clone())).await?;

    for hour in hours.keys().map(|key| key.hour).collect::<BTreeSet<_>>() {
        let (from, to) = (Some(hour), end_of_hour(hour));
        let span = Span { tenant: before.tenant_id, customer, event_name: &before.event_name, from, to };
        let mut anew = Additions::default();
        let mut event = before.clone();
        events::each_used(tx, span, |used| {
            (event.id, event.timestamp) = (used.id, used.at);
            for (metric, builds) in &counted {
                tracking::count(&mut anew, metric, builds, &event, &used.properties);
            }
        })
        .await?;
        for (key, partial) in anew.0 {
            if let Some(hour) = hours.get_mut(&key) {
                hour.merge(&partial);
            }
        }
    }
    Ok(days::set(tx, &Additions(hours)).await?)
}

fn properties(event: &UsageEvent) -> Result<Properties, DbErr> {
    serde_json::from_str(&event.metadata).map_err(|error| DbErr::Custom(error.to_string()))
}

/// Refuses to correct what was billed by a metric that takes nothing late.
async fn refuse_late(
    tx: &DatabaseTransaction,
    metrics: &[Metric],
    events: [&UsageEvent; 2],
) -> Result<(), MeteringError> {
    let Some(strict) = Strict::of(metrics) else { return Ok(()) };
    let [before, after] = events;
    let earliest = before.timestamp.min(after.timestamp);
    let strict = strict.with(&closings::ending_after(tx, before.tenant_id, earliest).await?);
    for event in events {
        if let Some(error) = strict.refuses(event, &properties(event)?) {
            return Err(CorrectionError::Refused(error).into());
        }
    }
    Ok(())
}

/// Has the closed periods looked at again to which the event belonged, or belongs now.
async fn look_again(
    tx: &DatabaseTransaction,
    metrics: &[Metric],
    before: &UsageEvent,
    after: &UsageEvent,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let tenant = before.tenant_id;
    let closings = closings::ending_after(tx, tenant, before.timestamp.min(after.timestamp)).await?;
    for metric in metrics {
        let holds_either = |closing: &&Closing| {
            let holds = |event| closing.holds(event, metric.rules.recurring);
            closing.metric_id == metric.id && (holds(before) || holds(after))
        };
        let ids = closings.iter().filter(holds_either).map(Closing::id).collect();
        closings::check_by(tx, tenant, ids, Closing::check_by(metric, now)).await?;
    }
    Ok(())
}
