//! Subscriptions from files: made as requests make them, each once.

use accrue_core::{clock::Clock, money::Money};
use accrue_platform::problem::Problem;
use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    http::{CreateSubscription, in_body},
    model::{Subscription, Wanted},
    service::{self, SubscriptionError},
    store,
};
use crate::{
    app::{Record, Taken, differs, nameless},
    auth::Tenant,
    catalog::service as catalog,
    clocks,
    customers::service as customers,
};

/// Makes the subscription that stands in a file, unless it is there already: known by its `external_id`, or by its `id` in
/// the account that it was exported from. One that is there is never changed: if the file says something else of it, that
/// is a conflict.
///
/// One that has ended is not made again. One that starts in the past is made only if `bill_past`: every period since
/// then is billed, which another system may have done.
pub async fn take(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    mut record: Record,
    bill_past: bool,
) -> Result<Taken, Problem> {
    let id = record.take_text("id");
    let ended_at = record.take_text("ended_at");
    let paused = record.take_text("usage_in_pause");
    if let Some(name) = record.take_text("customer_external_id") {
        // Names are the same in every account, identifiers are not.
        record.set_text("customer", &name);
    }
    let body: CreateSubscription = record.body()?;
    let (customer, plan, wanted) = body.read()?;
    if let Some(known) = find(tx, tenant, wanted.external_id.as_deref(), id.as_deref()).await? {
        let others = differences(tx, &known, (&customer, &plan, &wanted), |name| record.has(name));
        let others = others.await.map_err(in_body)?;
        return if others.is_empty() { Ok(Taken::Known) } else { Err(differs("subscription", &others)) };
    }
    if let Some(at) = ended_at {
        let detail = format!("the subscription has ended at {at}: it is not begun again");
        return Err(Problem::field("/ended_at", "ended", detail));
    }
    if paused.is_some() {
        let detail =
            "the subscription is paused, and what is made here begins at once: resume it before the export";
        return Err(Problem::field("/usage_in_pause", "paused", detail));
    }
    if wanted.external_id.is_none() {
        return Err(nameless());
    }
    if !bill_past {
        refuse_past(tx, clock, tenant, &customer, wanted.start_at).await?;
    }
    service::create(tx, clock, tenant, &customer, &plan, wanted).await.map_err(in_body)?;
    Ok(Taken::New)
}

async fn find(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    external_id: Option<&str>,
    id: Option<&str>,
) -> Result<Option<Subscription>, DbErr> {
    match (external_id, id.and_then(|id| id.parse().ok())) {
        (Some(name), _) => store::find_by_external_id(tx, tenant.id, name).await,
        (None, Some(id)) => store::find(tx, tenant.id, id).await,
        (None, None) => Ok(None),
    }
}

/// The customer's own time decides what is past.
async fn refuse_past(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    customer: &str,
    start_at: Option<DateTime<Utc>>,
) -> Result<(), Problem> {
    let Some(start_at) = start_at else { return Ok(()) };
    let customer = customers::resolve(tx, tenant.id, customer).await;
    let customer = customer.map_err(|error| in_body(error.into()))?;
    let now = clocks::service::now_of(tx, clock, tenant.id, customer.test_clock_id).await?;
    if start_at < now {
        let detail = "lies in the past, and every period since then would be billed: give the start of the first period \
                      that is to be billed, or say --bill-past";
        return Err(Problem::field("/start_at", "past", detail));
    }
    Ok(())
}

/// The fields that the file speaks of and that are otherwise.
async fn differences(
    tx: &DatabaseTransaction,
    known: &Subscription,
    (customer, plan, wanted): (&str, &str, &Wanted),
    is_given: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>, SubscriptionError> {
    let customer = customers::resolve(tx, known.tenant_id, customer).await?;
    let plan = catalog::resolve_plan(tx, known.tenant_id, plan).await?;
    let threshold = wanted.progressive_billing_threshold.map(|amount| amount.0);
    let quantities =
        wanted.quantities.iter().all(|(code, quantity)| known.quantities.get(code) == Some(quantity));
    let same = [
        ("customer", customer.id == known.customer_id),
        ("plan", plan.plan_id == known.plan_id),
        ("quantities", quantities),
        ("start_at", wanted.start_at.map(micros) == Some(known.start_at)),
        // The start itself means no trial.
        ("trial_end", wanted.trial_end.map(micros) == Some(known.trial_end_at.unwrap_or(known.start_at))),
        ("ends_at", wanted.ends_at.map(micros) == known.cancel_at),
        ("timezone", wanted.timezone == Some(known.timezone)),
        ("alignment", wanted.alignment == known.alignment),
        ("collection", wanted.collection == known.collection),
        ("net_terms_days", wanted.net_terms_days == Some(known.net_terms_days)),
        (
            "progressive_billing_threshold",
            threshold == known.progressive_billing_threshold.map(Money::to_decimal),
        ),
        ("metadata", wanted.metadata == known.metadata),
    ];
    Ok(same.into_iter().filter(|(name, same)| !same && is_given(name)).map(|(name, _)| name).collect())
}

/// As exact as the databases are.
fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}
