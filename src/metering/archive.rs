//! Months of events that leave the database: reading them, when they may go, what is true from then on, and taking them
//! out (decision 0024). Where they go to is not known here.

use accrue_core::{
    clock::Clock,
    id::{TenantId, UsageEventId},
    usage::{self, Filter, Split},
};
use accrue_platform::{db::Db, gate::Gate};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    body::UsageEventBody,
    model::{Archive, Contents, Grain, Hold, Month, UsageEvent, Version},
    service::MeteringError,
    store::{archives, closings, months, partitions, versions},
    tracking,
};
use crate::{
    auth::{self, Tenant},
    catalog::{self, Metric, Price},
};

/// Packs of events that are taken out in one transaction, and that may be moved while everybody waits.
const REMOVED_AT_ONCE: u64 = 5000;
const MOVED_MAX: u64 = 50_000;
/// How far clocks of processes may be apart.
const SKEW_MAX: TimeDelta = TimeDelta::hours(1);

/// The months before one in which a tenant received events, those first that came first. Those whose archive is made
/// are not among them.
pub async fn months_before(db: &Db, tenant: TenantId, end: Month) -> Result<Vec<Month>, DbErr> {
    let mut left = Vec::new();
    for month in months::before(db.reader(), tenant, end).await? {
        if archives::find(db.reader(), tenant, month).await?.is_none() {
            left.push(month);
        }
    }
    Ok(left)
}

/// How many events of a month there are.
pub async fn count(db: &Db, tenant: TenantId, month: Month) -> Result<u64, DbErr> {
    months::count(db.reader(), tenant, month).await
}

/// A month of a tenant's events, read page by page in the order of arrival.
pub struct Reading<'a> {
    db: &'a Db,
    tenant: &'a Tenant,
    month: Month,
    last: Option<UsageEventId>,
    contents: Contents,
}

impl<'a> Reading<'a> {
    pub fn new(db: &'a Db, tenant: &'a Tenant, month: Month) -> Self {
        Self { db, tenant, month, last: None, contents: Contents::nothing(month) }
    }

    /// The next events as the API shows each of them, with its history; none at the end.
    pub async fn next(&mut self) -> Result<Vec<String>, DbErr> {
        let (db, tenant) = (self.db.reader(), self.tenant.id);
        let events = months::next(db, tenant, self.month, self.last).await?;
        let Some((first, last)) = events.first().zip(events.last()) else { return Ok(Vec::new()) };
        let last_id = last.id;
        let versions = versions::between(db, tenant, (first.id, last_id)).await?;
        let mut versions = versions.into_iter().peekable();
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            let mut history = Vec::new();
            while let Some(version) = versions.next_if(|version| version.event <= event.id) {
                history.push(version);
            }
            self.contents.push(&event);
            lines.push(self.line(event, history));
        }
        self.last = Some(last_id);
        Ok(lines)
    }

    fn line(&self, event: UsageEvent, history: Vec<Version>) -> String {
        let body = UsageEventBody::new(event, self.tenant.livemode).with_history(history);
        serde_json::to_string(&body).expect("plain data")
    }

    /// What was read.
    pub fn contents(self) -> Contents {
        self.contents
    }
}

/// Has nobody take or correct a tenant's events until `tx` ends; waits until those who do are done.
pub async fn stop(tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
    Gate::Usage.close(tx, tenant).await
}

/// Until when usage becomes final if all events of before `until` are archived, or why they have to stay.
///
/// Periods that begin before and end after it become final as a whole: an event of their end would have them priced
/// again, and that takes the events of their beginning.
pub async fn until_final(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    until: DateTime<Utc>,
) -> Result<Result<DateTime<Utc>, Hold>, MeteringError> {
    let last = closings::end_of_those_around(tx, tenant.id, until).await?;
    let final_before = last.map_or(until, |end| end.max(until));
    let taken_until = final_before + TimeDelta::days(tenant.settings.usage_past_days_max.into());
    if clock.now() < taken_until {
        return Ok(Err(Hold::Late(taken_until)));
    }
    if let Some(subscription) = closings::unchecked_before(tx, tenant.id, until).await? {
        return Ok(Err(Hold::Unbilled(subscription)));
    }
    if let Some(name) = months::awaited(tx, tenant.id, final_before).await? {
        return Ok(Err(Hold::Awaited(name)));
    }
    let tracked = tracking::track(tx, clock, tenant.id).await?;
    for metric in tracked.metrics() {
        if !tracked.is_built(metric) {
            return Ok(Err(Hold::Building(metric.code.clone())));
        }
        if metric.rules.recurring && looks_at_all_events(tx, metric).await? {
            return Ok(Err(Hold::Recurring(metric.code.clone())));
        }
    }
    Ok(Ok(final_before))
}

/// Whether what a recurring metric carries over cannot be told by the hour, by itself or by one of its prices.
async fn looks_at_all_events(tx: &DatabaseTransaction, metric: &Metric) -> Result<bool, MeteringError> {
    let usage::Metric { aggregation, .. } = metric.rules;
    let looks = |price: &Price| {
        let filters: Vec<Filter> = price.filters.iter().map(|filter| filter.r#where.clone()).collect();
        let split = Split { filters: &filters, group_by: &price.group_by, by_event: price.prices_events() };
        let needed = split.properties();
        let tells = |grain: Grain| needed.iter().all(|name| grain.properties.contains(name));
        split.by_event || !aggregation.is_mergeable(price.prorate) || !Grain::all_of(metric).any(tells)
    };
    let prices = catalog::service::prices_of_metric(tx, metric.tenant_id, metric.id).await?;
    Ok(!aggregation.is_mergeable(false) || prices.iter().any(looks))
}

/// Whether an event of a month was corrected since somebody began to read it.
pub async fn was_corrected(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    month: Month,
    since: DateTime<Utc>,
) -> Result<bool, DbErr> {
    versions::any_since(tx, tenant, month, since - SKEW_MAX).await
}

/// Notes that a month's events are in a file. From now on they are neither counted again nor corrected.
pub async fn note(tx: &DatabaseTransaction, archive: &Archive, now: DateTime<Utc>) -> Result<(), DbErr> {
    archives::insert(tx, archive, now).await
}

/// The archive of a tenant's month, if it is made.
pub async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    month: Month,
) -> Result<Option<Archive>, DbErr> {
    archives::find(db, tenant, month).await
}

/// The archives whose events are still in the database.
pub async fn not_removed(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Archive>, DbErr> {
    archives::not_removed(db, tenant).await
}

/// Takes out some of an archive's events, or on PostgreSQL all of them with their partition; says how many, and none at
/// the end. Its file has to have been read once more: whose has not keeps its events.
pub async fn remove(tx: &DatabaseTransaction, archive: &Archive, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let others = archives::lock_tenants_of(tx, archive.month).await?;
    archives::set_checked(tx, archive, now).await?;
    let archived: Vec<TenantId> = others.into_iter().chain([archive.tenant_id]).collect();
    let tenants = auth::service::all_tenants(tx).await?.into_iter().map(|tenant| tenant.id);
    let staying: Vec<TenantId> = tenants.filter(|tenant| !archived.contains(tenant)).collect();
    if partitions::drop_month(tx, archive.month, &staying, MOVED_MAX).await? {
        return Ok(archive.contents.events.max(1));
    }
    let removed = months::remove(tx, archive, REMOVED_AT_ONCE).await?;
    if removed == 0 {
        archives::set_removed(tx, archive, now).await?;
    }
    Ok(removed)
}
