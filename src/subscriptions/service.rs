//! The verbs of subscriptions.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use accrue_core::{
    calendar::CalendarError,
    clock::Clock,
    id::{CustomerId, MetricId, PlanId, PlanVersionId, SubscriptionId, TenantId},
    invalid::Invalid,
    money::Currency,
};
use accrue_platform::{
    db::is_unique_violation,
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    body::SubscriptionBody,
    events,
    model::{
        Access, CancelReason, Change, Outcome, Phase, Refused, Status, Subscription, UsageInPause, Wanted,
        When,
    },
    store,
};
use crate::{
    auth::{
        Tenant,
        service::{self as auth, AuthError},
    },
    catalog::{
        PlanVersion,
        service::{self as catalog, CatalogError},
    },
    clocks,
    customers::{
        family::FamilyError,
        service::{self as customers, CustomerError},
    },
};

/// Why a subscription cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error("subscription {0} does not exist")]
    NotFound(String),
    #[error("customer {0} does not exist")]
    NoSuchCustomer(String),
    #[error("plan {0} does not exist")]
    NoSuchPlan(String),
    #[error("another subscription has the external id {0}")]
    ExternalIdTaken(String),
    #[error("the customer is billed in {0}")]
    CurrencyFixed(Currency),
    #[error("the customer's issuer bills in {0}: name another currency of the customer to bill in that")]
    IssuerCurrency(Currency),
    #[error("{} values cannot be taken", .0.len())]
    Invalid(Vec<Invalid>),
    #[error(transparent)]
    Refused(Refused),
    #[error("the calendar has no such period")]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Page(#[from] PageError),
    /// What a subscription holds on to cannot be had: its tenant, its customer, its plan's version.
    #[error("what the subscription needs cannot be had")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Which subscriptions to list. Names and identifiers are as the caller gave them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub customer: Option<String>,
    pub plan: Option<String>,
    pub status: Option<Status>,
}

/// Subscribes a customer to the present version of a plan. Its first turn is at its start, billed by whoever
/// asks for what is [`due`].
pub async fn create(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    customer: &str,
    plan: &str,
    wanted: Wanted,
) -> Result<Subscription, SubscriptionError> {
    let customer = customers::resolve(tx, tenant.id, customer).await?;
    let plan = catalog::plan_to_sell(tx, tenant.id, plan).await?;
    // Locks the customer as well: of two subscriptions at once only one finds that there was no trial.
    customers::fix_currency(tx, tenant.id, customer.id, plan.currency).await?;
    let had_trial = had_trial(tx, tenant.id, customer.id, plan.plan_id).await?;
    let now = clocks::service::now_of(tx, clock, tenant.id, customer.test_clock_id).await?;

    let billed_by = customers::billed_by(tx, tenant, &customer).await?;
    let made = Subscription::try_new(now, &billed_by, &customer, &plan, wanted, had_trial)
        .map_err(SubscriptionError::Invalid)?;
    refuse_second_meter(tx, &made, &plan, made.start_at).await?;
    store::insert(tx, &made, made.trial_notice_at(now)).await.map_err(|error| match &made.external_id {
        Some(taken) if is_unique_violation(&error) => SubscriptionError::ExternalIdTaken(taken.clone()),
        _ => error.into(),
    })?;
    let body = SubscriptionBody::new(&made, &plan, tenant.livemode);
    events::created(tx, now, tenant.id, &body).await?;
    Ok(made)
}

/// Has the customer a trial of the plan, or had one that began, whatever the subscription has now (RULES 13)?
async fn had_trial(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
    plan: PlanId,
) -> Result<bool, DbErr> {
    let tried = store::on_trial(tx, tenant, customer).await?;
    let former = former_phases(tx, tenant, &tried).await?;
    Ok(tried.iter().any(|subscription| {
        let in_trial = |from: DateTime<Utc>| subscription.trial_end_at.is_some_and(|end| from < end);
        let mut phases = former.get(&subscription.id).into_iter().flatten();
        (subscription.plan_id == plan && in_trial(subscription.phase_from))
            || phases.any(|phase| phase.plan_id == plan && in_trial(phase.from))
    }))
}

/// Usage belongs to one subscription (RULES 16), and an event does not say which: of a customer's
/// subscriptions only one at a time may price a metric, or its events would be billed twice.
async fn refuse_second_meter(
    tx: &DatabaseTransaction,
    made: &Subscription,
    plan: &PlanVersion,
    from: DateTime<Utc>,
) -> Result<(), SubscriptionError> {
    let metrics = |plan: &PlanVersion| -> HashSet<MetricId> {
        plan.prices.iter().filter_map(|price| price.metric_id).collect()
    };
    let wanted = metrics(plan);
    let mut others = store::not_over_at(tx, made.tenant_id, made.customer_id, from).await?;
    others.retain(|other| other.id != made.id);
    let former = former_phases(tx, made.tenant_id, &others).await?;
    for other in others {
        // What it has, what it had since then, and what it will have.
        let phases = former.get(&other.id).into_iter().flatten().filter(|phase| from < phase.until);
        let had = phases.map(|phase| phase.plan_version_id);
        let versions = had.chain([other.plan_version_id]).chain(other.scheduled_version());
        for version in versions.collect::<HashSet<_>>() {
            let theirs = metrics(&catalog::get_plan_version(tx, made.tenant_id, version).await?);
            if !wanted.is_disjoint(&theirs) {
                let detail =
                    format!("subscription {} of the customer meters the same usage at that time", other.id);
                return Err(SubscriptionError::Invalid(vec![Invalid::new("/plan", "metric_taken", detail)]));
            }
        }
    }
    Ok(())
}

/// Locks the customer of a locked subscription: of two verbs at once, of any of its subscriptions, one comes after the other
/// and sees it.
pub async fn lock_customer(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
) -> Result<(), SubscriptionError> {
    let (tenant, customer) = (subscription.tenant_id, subscription.customer_id);
    customers::fix_currency(tx, tenant, customer, subscription.currency).await?;
    Ok(())
}

/// What somebody asks of a subscription.
#[derive(Clone, Debug)]
pub enum Verb {
    Cancel(When),
    Change(When, Change),
    Pause(UsageInPause, Option<DateTime<Utc>>),
    Resume,
    /// The trial ends then; at once without an instant.
    TrialEnd(Option<DateTime<Utc>>),
    Undo,
}

/// Does what is asked to the locked subscription, and stores nothing yet: what falls due by it is billed first, or else it
/// is [`keep`]t. Doing it twice is the same as once. `now` is the customer's time.
pub async fn act(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    subscription: &mut Subscription,
    verb: Verb,
) -> Result<Outcome, SubscriptionError> {
    let outcome = match verb {
        Verb::Cancel(when) => subscription.cancel(now, when, CancelReason::Requested)?,
        Verb::Change(when, change) => {
            let at = subscription.instant_of(now, when)?;
            fits(tx, subscription, &change, at).await?;
            subscription.change(now, at, change)?
        }
        Verb::Pause(usage, resume_at) => subscription.pause(now, usage, resume_at)?,
        Verb::Resume => subscription.resume(now)?,
        Verb::TrialEnd(Some(at)) => subscription.extend_trial(now, at)?,
        Verb::TrialEnd(None) => subscription.end_trial(now)?,
        Verb::Undo => {
            if let Some(end) = subscription.cancel_at.filter(|_| subscription.canceled_at.is_some()) {
                let plan =
                    catalog::get_plan_version(tx, subscription.tenant_id, subscription.plan_version_id);
                refuse_second_meter(tx, subscription, &plan.await?, end).await?;
            }
            subscription.undo(now)?
        }
    };
    Ok(outcome)
}

/// Stores what changed of the locked subscription, and tells it.
pub async fn keep(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    before: &Subscription,
    after: &Subscription,
) -> Result<(), SubscriptionError> {
    if let Some(phase) = before.phase_before(after) {
        store::insert_phase(tx, after, phase).await?;
    }
    if before.trial_end_at != after.trial_end_at {
        store::set_trial_notice(tx, after, after.trial_notice_at(now)).await?;
    }
    save(tx, now, before, after).await
}

/// Its customer may have the plan that a change leads to.
async fn fits(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    change: &Change,
    from: DateTime<Utc>,
) -> Result<(), SubscriptionError> {
    if change.plan_version_id == subscription.plan_version_id {
        return Ok(());
    }
    let plan = catalog::get_plan_version(tx, subscription.tenant_id, change.plan_version_id).await?;
    refuse_second_meter(tx, subscription, &plan, from).await
}

/// Ends it now, for the reason that it was not paid. Repeating changes nothing.
pub async fn cancel_unpaid(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<(), SubscriptionError> {
    let mut subscription = get_for_update(tx, tenant, id).await?;
    let before = subscription.clone();
    match subscription.cancel(now, When::Now, CancelReason::Unpaid)? {
        Outcome::AlreadyDone => {}
        Outcome::Changed => save(tx, now, &before, &subscription).await?,
    }
    Ok(())
}

/// A subscription as it was in each of its phases, the oldest first, and from when to when; the present one last, and
/// without an end.
pub async fn phases(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
) -> Result<Vec<(DateTime<Utc>, Option<DateTime<Utc>>, Subscription)>, DbErr> {
    let mut all = Vec::new();
    if subscription.phase_from != subscription.start_at {
        let former = store::phases_of(db, subscription.tenant_id, &[subscription.id]).await?;
        for phase in former.into_values().flatten() {
            all.push((phase.from, Some(phase.until), subscription.in_phase(&phase)));
        }
    }
    all.push((subscription.phase_from, None, subscription.clone()));
    Ok(all)
}

/// The former phases of those of several subscriptions that have any.
pub async fn former_phases(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    subscriptions: &[Subscription],
) -> Result<HashMap<SubscriptionId, Vec<Phase>>, DbErr> {
    let changed =
        subscriptions.iter().filter(|subscription| subscription.phase_from != subscription.start_at);
    let changed: Vec<SubscriptionId> = changed.map(|subscription| subscription.id).collect();
    store::phases_of(db, tenant, &changed).await
}

/// What payment says about it: `PastDue` unless access is full (dunning calls this). Repeating changes nothing.
pub async fn set_access(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
    access: Access,
) -> Result<(), SubscriptionError> {
    let mut subscription = get_for_update(tx, tenant, id).await?;
    let before = subscription.clone();
    subscription.set_access(access);
    save(tx, now, &before, &subscription).await
}

/// Tells once that the trial ends soon, unless that is no longer true.
pub(super) async fn tell_trial_end(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<(), SubscriptionError> {
    let subscription = get_for_update(tx, tenant, id).await?;
    if !store::settle_trial_notice(tx, &subscription).await? || !subscription.goes_on_after_trial(now) {
        return Ok(());
    }
    let body = body(tx, &subscription).await?;
    Ok(events::trial_will_end(tx, now, tenant, &body).await?)
}

/// Stores what changed, and tells it if others can see it.
async fn save(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    before: &Subscription,
    after: &Subscription,
) -> Result<(), SubscriptionError> {
    if before == after {
        return Ok(());
    }
    store::save(tx, after).await?;
    let tenant = auth::get_tenant(tx, after.tenant_id).await?;
    let plan = catalog::get_plan_version(tx, after.tenant_id, after.plan_version_id).await?;
    let old = if before.plan_version_id == after.plan_version_id {
        plan.clone()
    } else {
        catalog::get_plan_version(tx, after.tenant_id, before.plan_version_id).await?
    };
    let [before, after] = [(before, old), (after, plan)]
        .map(|(subscription, plan)| SubscriptionBody::new(subscription, &plan, tenant.livemode));
    Ok(events::changed(tx, now, tenant.id, &before, &after).await?)
}

/// By identifier, or by the tenant's own name for it.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Subscription, SubscriptionError> {
    let by_id = match reference.parse() {
        Ok(id) => store::find(db, tenant, id).await?,
        Err(_) => None,
    };
    match by_id {
        Some(subscription) => Ok(subscription),
        None => store::find_by_external_id(db, tenant, reference)
            .await?
            .ok_or_else(|| SubscriptionError::NotFound(reference.to_owned())),
    }
}

pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, SubscriptionError> {
    store::find(db, tenant, id).await?.ok_or_else(|| SubscriptionError::NotFound(id.to_string()))
}

/// Locks it for the rest of the transaction.
pub async fn get_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Subscription, SubscriptionError> {
    store::find_for_update(tx, tenant, id).await?.ok_or_else(|| SubscriptionError::NotFound(id.to_string()))
}

/// A customer's subscriptions that ran at an instant, the oldest first.
pub async fn running_at(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    at: DateTime<Utc>,
) -> Result<Vec<Subscription>, DbErr> {
    let mut found = store::not_over_at(db, tenant, customer, at).await?;
    found.retain(|subscription| subscription.covers(at));
    Ok(found)
}

/// The same, each as it was then: with the plan that it had, and without those whose usage a pause left out.
pub async fn as_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    at: DateTime<Utc>,
) -> Result<Vec<Subscription>, DbErr> {
    let mut found = running_at(db, tenant, customer, at).await?;
    let former = former_phases(db, tenant, &found).await?;
    for subscription in &mut found {
        let phases = former.get(&subscription.id).into_iter().flatten();
        if let Some(phase) = phases.into_iter().find(|phase| phase.from <= at && at < phase.until) {
            *subscription = subscription.in_phase(phase);
        }
    }
    found.retain(Subscription::counts_usage);
    Ok(found)
}

/// All subscriptions of some customers, those that are over too.
pub async fn of_customers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: Vec<CustomerId>,
) -> Result<Vec<Subscription>, DbErr> {
    store::of_customers(db, tenant, &customers).await
}

/// A customer's subscriptions that are not canceled, the oldest first; those that start later are among them.
pub async fn running_of_customer(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Subscription>, DbErr> {
    store::running_of_customer(db, tenant, customer).await
}

/// The plan versions of subscriptions with a period that began before an instant and is not billed yet.
pub async fn unbilled_before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    at: DateTime<Utc>,
) -> Result<Vec<PlanVersionId>, DbErr> {
    store::unbilled_before(db, tenant, at).await
}

/// One page of subscriptions, the newest first.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: Filter,
    page: &PageQuery,
) -> Result<Vec<Subscription>, SubscriptionError> {
    let customer = match &filter.customer {
        Some(customer) => Some(customers::resolve(db, tenant, customer).await?.id),
        None => None,
    };
    let plan = match &filter.plan {
        Some(plan) => Some(catalog::resolve_plan(db, tenant, plan).await?.plan_id),
        None => None,
    };
    let filter = store::Filter { customer, plan, status: filter.status };
    Ok(store::list(db, tenant, filter, page).await?)
}

/// When the next turn of each is due.
pub const TURNS: DueColumn = store::TURNS;

/// As others see it.
pub async fn body(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
) -> Result<SubscriptionBody, SubscriptionError> {
    let tenant = auth::get_tenant(db, subscription.tenant_id).await?;
    let plan = catalog::get_plan_version(db, tenant.id, subscription.plan_version_id).await?;
    Ok(SubscriptionBody::new(subscription, &plan, tenant.livemode))
}

/// As others see them; reads each version of a plan once.
pub(super) async fn bodies(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    subscriptions: &[Subscription],
) -> Result<Vec<SubscriptionBody>, SubscriptionError> {
    let mut plans: HashMap<PlanVersionId, PlanVersion> = HashMap::new();
    let mut bodies = Vec::with_capacity(subscriptions.len());
    for subscription in subscriptions {
        let id = subscription.plan_version_id;
        let plan = match plans.entry(id) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(catalog::get_plan_version(db, tenant.id, id).await?),
        };
        bodies.push(SubscriptionBody::new(subscription, plan, tenant.livemode));
    }
    Ok(bodies)
}

impl From<CustomerError> for SubscriptionError {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::NotFound(reference) => Self::NoSuchCustomer(reference),
            CustomerError::CurrencyFixed(currency)
            | CustomerError::Family(FamilyError::Currency(currency)) => Self::CurrencyFixed(currency),
            CustomerError::IssuerCurrency(currency) => Self::IssuerCurrency(currency),
            CustomerError::Database(error) => Self::Database(error),
            error @ (CustomerError::ExternalIdTaken(_)
            | CustomerError::NoSuchMethod(_)
            | CustomerError::Family(_)) => Self::Broken(error.into()),
        }
    }
}

impl From<CatalogError> for SubscriptionError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { reference, .. } => Self::NoSuchPlan(reference),
            CatalogError::Database(error) => Self::Database(error),
            error @ CatalogError::Archived { .. } => {
                Self::Invalid(vec![Invalid::new("/plan", "archived", error.to_string())])
            }
            error @ (CatalogError::CodeTaken { .. }
            | CatalogError::IsDefault(_)
            | CatalogError::TaxConflict(_)
            | CatalogError::TooManySplits(_)
            | CatalogError::NotGrouped(_)) => Self::Broken(error.into()),
        }
    }
}

impl From<Refused> for SubscriptionError {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Calendar(error) => Self::Calendar(error),
            Refused::Invalid(mistake) => Self::Invalid(vec![mistake]),
            error => Self::Refused(error),
        }
    }
}

impl From<AuthError> for SubscriptionError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Database(error) => Self::Database(error),
            error => Self::Broken(error.into()),
        }
    }
}
