//! Reading usage: by the hour where that is enough, event by event where it is not.

use std::sync::Arc;

use accrue_core::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit},
    clock::Clock,
    id::{CustomerId, TenantId},
    usage::{BucketUsage, Scope, Split},
};
use accrue_platform::gate::Gate;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use sea_orm::ConnectionTrait;
use tokio::task::yield_now;

use super::{
    memory::Memory,
    model::{Build, Filling, Granularity, Usage, WINDOWS_MAX, WantedDays, WindowUsage},
    service::MeteringError,
    store::{
        archives, builds,
        events::{self, Used},
        packs::{self, Span},
        rollups::{self, ReadDays},
    },
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric},
    clocks,
    customers::{self, Customer},
};

/// More than anybody reads: windows, or groups in them.
const TOLD_MAX: usize = 100_000;

/// How much of a metric a customer used in a period, exactly. Events belong to the period that holds their
/// timestamp (RULES 16). Negative too, rounded as the metric says, not converted.
///
/// Whole hours are read summed up; only what lies beside them, and what cannot be summed up, is read event by
/// event.
pub async fn quantity(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: &Metric,
    period: Period,
) -> Result<Decimal, MeteringError> {
    let builds = builds::of_metric(db, tenant, metric.id).await?;
    Reader { db, tenant, customer, metric, builds, closings: None }.quantity(period).await
}

/// The same as a price splits and sees it. What no filter matched is there even if it is nothing, unless the price
/// groups its usage; other buckets are if there was an event for them.
///
/// The scope's aggregation has to be the metric's.
pub async fn usage_by_bucket(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: &Metric,
    scope: Scope,
    split: Split<'_>,
) -> Result<Vec<BucketUsage>, MeteringError> {
    let builds = builds::of_metric(db, tenant, metric.id).await?;
    let reader = Reader { db, tenant, customer, metric, builds, closings: None };
    let mut windows = reader.read(split, &[scope], usize::MAX).await?.finish();
    let (_, usage) = windows.next().expect("as many windows as scopes")?;
    Ok(usage)
}

/// Which usage to tell.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub customer: &'a str,
    pub metric: &'a str,
    /// Unless told, the month that it is for the customer now.
    pub period: Option<Period>,
    pub granularity: Option<Granularity>,
    pub group_by: &'a [String],
}

/// How much of a metric a customer used, window by window if that is asked for.
pub(super) async fn usage(
    db: &impl ConnectionTrait,
    clock: &dyn Clock,
    memory: &Memory,
    tenant: &Tenant,
    question: Question<'_>,
) -> Result<Usage, MeteringError> {
    match tell(db, clock, memory, tenant, &question).await {
        Err(MeteringError::Rebuilt) => tell(db, clock, memory, tenant, &question).await,
        told => told,
    }
}

/// Whoever asks again for a quantity is told by one statement: it reads what was asked about the last time, and nothing if
/// that may have changed since.
async fn tell(
    db: &impl ConnectionTrait,
    clock: &dyn Clock,
    memory: &Memory,
    tenant: &Tenant,
    question: &Question<'_>,
) -> Result<Usage, MeteringError> {
    let Question { customer, metric, period, granularity, group_by } = *question;
    let key = (tenant.id, customer.to_owned(), metric.to_owned());
    if let Some(period) = period.filter(|_| granularity.is_none() && group_by.is_empty())
        && let Some(subject) = memory.subjects.get(&key)
        && let Ok(quantity) = Reader::unless_changed(db, tenant.id, &subject).quantity(period).await
    {
        let Subject { customer, metric, .. } = &*subject;
        return Ok(Usage {
            customer: *customer,
            metric: metric.clone(),
            period,
            quantity,
            windows: Vec::new(),
        });
    }
    let closings = Gate::Usage.closings(db, tenant.id).await?;
    let customer = async { Ok(customers::service::resolve(db, tenant.id, customer).await?) };
    let metric = async { Ok(catalog::service::resolve_metric(db, tenant.id, metric).await?) };
    let builds = async { Ok::<_, MeteringError>(builds::all(db, tenant.id).await?) };
    let (customer, metric, builds) = tokio::try_join!(customer, metric, builds)?;
    let builds = builds.into_iter().filter(|build| build.grain.metric_id == metric.id).collect();
    let billed_by = customers::service::billed_by(db, tenant, &customer).await?;
    let period = if let Some(period) = period {
        period
    } else {
        let now = clocks::service::now_of(db, clock, tenant.id, customer.test_clock_id).await?;
        month_of(&customer, &billed_by, now)?
    };
    let windows = match granularity {
        Some(granularity) => {
            let windows = granularity.windows(period, customer.zone(&billed_by))?;
            windows.ok_or(MeteringError::TooManyWindows(WINDOWS_MAX))?
        }
        None if group_by.is_empty() => Vec::new(),
        None => vec![period],
    };
    let subject = Subject { customer: customer.id, metric, builds, closings };
    let reader = Reader::of(db, tenant.id, &subject);
    let (quantity, windows) = tokio::try_join!(reader.quantity(period), reader.windows(&windows, group_by))?;
    let metric = subject.metric.clone();
    // Hours that are still being built up would be passed over when they are there.
    if subject.builds.iter().all(|build| build.is_complete) {
        memory.subjects.insert(key, Arc::new(subject));
    }
    Ok(Usage { customer: customer.id, metric, period, quantity, windows })
}

/// Whose usage of what, and how far its hours were built up.
#[derive(Debug)]
pub(super) struct Subject {
    customer: CustomerId,
    metric: Metric,
    builds: Vec<Build>,
    /// Before it was looked up, the tenant's gate was closed so many times: whoever renames a customer or changes a metric
    /// closes it.
    closings: i64,
}

/// The calendar month that it is for a customer.
pub fn month_of(
    customer: &Customer,
    billed_by: &Tenant,
    now: DateTime<Utc>,
) -> Result<Period, CalendarError> {
    let month = Interval::every(Unit::Month);
    Grid::try_new(now, month, Alignment::Calendar, customer.zone(billed_by))?.containing(now)
}

/// A period that is nobody's billing period: whole in itself.
fn of_period(metric: &Metric, period: Period) -> Scope {
    Scope {
        aggregation: metric.rules.aggregation,
        recurring: metric.rules.recurring,
        prorated: false,
        period,
        full: period,
        zone: Tz::UTC,
    }
}

/// Reads one customer's usage of one metric.
struct Reader<'a, C> {
    db: &'a C,
    tenant: TenantId,
    customer: CustomerId,
    metric: &'a Metric,
    /// How far its hours are built up, grain by grain.
    builds: Vec<Build>,
    /// How often the tenant's gate may have been closed.
    closings: Option<i64>,
}

impl<'a, C: ConnectionTrait> Reader<'a, C> {
    fn of(db: &'a C, tenant: TenantId, subject: &'a Subject) -> Self {
        let Subject { customer, metric, builds, closings: _ } = subject;
        Self { db, tenant, customer: *customer, metric, builds: builds.clone(), closings: None }
    }

    /// Which reads hours only, and nothing if the subject may have changed.
    fn unless_changed(db: &'a C, tenant: TenantId, subject: &'a Subject) -> Self {
        Self { closings: Some(subject.closings), ..Self::of(db, tenant, subject) }
    }

    async fn quantity(&self, period: Period) -> Result<Decimal, MeteringError> {
        let told = self.windows(&[period], &[]).await?;
        Ok(told.first().map_or(Decimal::ZERO, |usage| usage.quantity))
    }

    /// The usage of windows that follow one another, each in itself, group by group if that is wanted.
    async fn windows(
        &self,
        windows: &[Period],
        group_by: &[String],
    ) -> Result<Vec<WindowUsage>, MeteringError> {
        let split = Split { filters: &[], group_by, by_event: false };
        let scopes: Vec<Scope> = windows.iter().map(|window| of_period(self.metric, *window)).collect();
        let mut told = Vec::new();
        for window in self.read(split, &scopes, TOLD_MAX).await?.finish() {
            let (period, usage) = window?;
            for BucketUsage { key, quantity, .. } in usage {
                told.push(WindowUsage { period, group: key.group, quantity: quantity.to_decimal()? });
            }
            if told.len() > TOLD_MAX {
                return Err(MeteringError::TooMuchToTell(TOLD_MAX));
            }
            yield_now().await;
        }
        Ok(told)
    }

    /// Fills windows that follow one another: from hours that are kept as finely as the usage is split, which are read
    /// once for all windows, or else from events. An error if that makes more than `most` buckets.
    async fn read<'s>(
        &self,
        split: Split<'s>,
        scopes: &[Scope],
        most: usize,
    ) -> Result<Filling<'s>, MeteringError>
    where
        'a: 's,
    {
        let build = scopes.first().and_then(|first| {
            let from = (!first.recurring).then_some(first.period.start);
            self.build_for(split, first.prorated, from)
        });
        let mut filling = Filling::try_new(self.metric, split, scopes, build.is_some())?;
        let wanted = build.zip(filling.days());
        if wanted.is_none() && self.closings.is_some() {
            return Err(MeteringError::Rebuilt);
        }
        let mut edges = filling.edges();
        let mut looked_at = edges.first().copied();
        if let Some((build, wanted)) = wanted {
            self.each_day(build, &wanted, &mut filling, most).await?;
            // Looked at after the hour was read: whatever comes meanwhile is seen.
            if let Some((edge, rest)) = filling.open_edge() {
                looked_at.get_or_insert(edge);
                if packs::happened(self.db, self.span(rest)).await? {
                    edges.push(edge);
                } else {
                    filling.take_open_hour(&build.grain)?;
                }
            }
        }
        for edge in &edges {
            self.each_event(*edge, &mut filling, most).await?;
        }
        if let Some(first) = looked_at {
            self.refuse_archived(first).await?;
        }
        Ok(filling)
    }

    /// Gives the hours and days that are wanted, a stretch of days at a time.
    async fn each_day(
        &self,
        build: &Build,
        wanted: &WantedDays,
        filling: &mut Filling<'_>,
        most: usize,
    ) -> Result<(), MeteringError> {
        let series = build.series(self.tenant, self.customer);
        let mut last = None;
        loop {
            let read = rollups::next_days(self.db, series, wanted, last, self.closings).await?;
            let ReadDays { slices, next } = read.ok_or(MeteringError::Rebuilt)?;
            for slice in slices {
                filling.take_slice(&build.grain, slice)?;
            }
            if filling.buckets() > most {
                return Err(MeteringError::TooMuchToTell(most));
            }
            if next.is_none() {
                return Ok(());
            }
            last = next;
            yield_now().await;
        }
    }

    /// The coarsest of the complete builds that tell usage apart as finely as a split needs, from an instant on or from
    /// the first event, if it can be read by the hour at all.
    fn build_for(&self, split: Split<'_>, prorated: bool, from: Option<DateTime<Utc>>) -> Option<&Build> {
        if split.by_event || !self.metric.rules.aggregation.is_mergeable(prorated) {
            return None;
        }
        let needed = split.properties();
        let tells = |build: &&Build| needed.iter().all(|name| build.grain.properties.contains(name));
        let complete = self.builds.iter().filter(|build| build.is_complete && build.reaches_back_to(from));
        complete.filter(tells).min_by_key(|build| build.grain.properties.len())
    }

    fn span(&self, stretch: Period) -> Span<'_> {
        let (tenant, customer, event_name) = (self.tenant, self.customer, &*self.metric.event_name);
        Span { tenant, customer, event_name, from: begin(stretch), to: stretch.end }
    }

    /// Gives the events of a stretch of time.
    async fn each_event(
        &self,
        edge: Period,
        filling: &mut Filling<'_>,
        most: usize,
    ) -> Result<(), MeteringError> {
        let span = self.span(edge);
        let take = |used: Used| filling.take_event(used.at, used.id.0.as_u128(), &used.properties);
        events::each_used(self.db, span, take).await?;
        if filling.buckets() > most {
            return Err(MeteringError::TooMuchToTell(most));
        }
        Ok(())
    }

    /// An error if events are archived since the beginning of a stretch of time. Asked last: what was taken out while
    /// events were being read, or looked for, is noticed too.
    async fn refuse_archived(&self, since: Period) -> Result<(), MeteringError> {
        let name = &self.metric.event_name;
        match archives::events_before(self.db, self.tenant, name, begin(since)).await? {
            Some(until) => Err(MeteringError::Archived(until)),
            None => Ok(()),
        }
    }
}

/// When a stretch of time begins; none if with the first event.
fn begin(stretch: Period) -> Option<DateTime<Utc>> {
    (stretch.start > DateTime::<Utc>::MIN_UTC).then_some(stretch.start)
}
