//! Reading usage: by the hour where that is enough, event by event where it is not.

use std::{collections::HashMap, slice::from_mut};

use accrue_core::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit},
    clock::Clock,
    id::{CustomerId, TenantId},
    usage::{BucketKey, BucketUsage, Buckets, Scope, Split},
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use rust_decimal::Decimal;
use sea_orm::ConnectionTrait;

use super::{
    model::{Build, Granularity, Stretch, Usage, WINDOWS_MAX, WindowUsage, end_of_hour},
    service::MeteringError,
    store::{
        archives, builds,
        events::{self, Used},
        packs::Span,
        rollups::{self, Hour},
    },
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric},
    clocks,
    customers::{self, Customer},
};

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
    Reader { db, tenant, customer, metric, builds }.quantity(period).await
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
    let reader = Reader { db, tenant, customer, metric, builds };
    let mut windows = [(scope.period, buckets(metric, split, scope)?)];
    reader.read(split, scope.prorated, &mut windows).await?;
    let [(_, buckets)] = windows;
    Ok(buckets.finish()?)
}

/// Buckets to be filled. Ungrouped usage is there even if it is nothing.
fn buckets<'a>(metric: &'a Metric, split: Split<'a>, scope: Scope) -> Result<Buckets<'a>, MeteringError> {
    let mut buckets = Buckets::try_new(&metric.rules, split, scope)?;
    if split.group_by.is_empty() {
        buckets.carry(BucketKey { filter: None, group: Vec::new() }, Decimal::ZERO);
    }
    Ok(buckets)
}

/// Which usage to tell.
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
    tenant: &Tenant,
    question: Question<'_>,
) -> Result<Usage, MeteringError> {
    let Question { customer, metric, period, granularity, group_by } = question;
    let customer = async { Ok(customers::service::resolve(db, tenant.id, customer).await?) };
    let metric = async { Ok(catalog::service::resolve_metric(db, tenant.id, metric).await?) };
    let builds = async { Ok::<_, MeteringError>(builds::all(db, tenant.id).await?) };
    let (customer, metric, builds) = tokio::try_join!(customer, metric, builds)?;
    let period = if let Some(period) = period {
        period
    } else {
        let now = clocks::service::now_of(db, clock, tenant.id, customer.test_clock_id).await?;
        month_of(&customer, &tenant.timezone, now)?
    };
    let windows = match granularity {
        Some(granularity) => {
            let windows = granularity.windows(period, customer.zone(&tenant.timezone))?;
            windows.ok_or(MeteringError::TooManyWindows(WINDOWS_MAX))?
        }
        None if group_by.is_empty() => Vec::new(),
        None => vec![period],
    };
    let builds = builds.into_iter().filter(|build| build.grain.metric_id == metric.id).collect();
    let reader = Reader { db, tenant: tenant.id, customer: customer.id, metric: &metric, builds };
    let quantity = reader.quantity(period).await?;
    let windows = reader.windows(&windows, group_by).await?;
    Ok(Usage { customer: customer.id, metric, period, quantity, windows })
}

/// The calendar month that it is for a customer.
pub fn month_of(customer: &Customer, tenant_zone: &str, now: DateTime<Utc>) -> Result<Period, CalendarError> {
    let month = Interval::every(Unit::Month);
    Grid::try_new(now, month, Alignment::Calendar, customer.zone(tenant_zone))?.containing(now)
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
}

impl<C: ConnectionTrait> Reader<'_, C> {
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
        let begun = windows
            .iter()
            .map(|window| Ok((*window, buckets(self.metric, split, of_period(self.metric, *window))?)));
        let mut begun = begun.collect::<Result<Vec<_>, MeteringError>>()?;
        self.read(split, false, &mut begun).await?;
        let mut told = Vec::new();
        for (period, buckets) in begun {
            for BucketUsage { key, quantity, .. } in buckets.finish()? {
                told.push(WindowUsage { period, group: key.group, quantity: quantity.to_decimal()? });
            }
        }
        Ok(told)
    }

    /// Fills the buckets of windows that follow one another: from hours that are kept as finely as the usage is split,
    /// which are read once for all windows, or else from events.
    async fn read(
        &self,
        split: Split<'_>,
        prorated: bool,
        windows: &mut [(Period, Buckets<'_>)],
    ) -> Result<(), MeteringError> {
        let Some(((first, _), (last, _))) = windows.first().zip(windows.last()) else { return Ok(()) };
        let (start, end) = (first.start, last.end);
        let is_recurring = self.metric.rules.recurring;
        let from = (!is_recurring).then_some(start);
        let Some(build) = self.build_for(split, prorated, from) else {
            return self.each_event(from, end, |used| push(windows, used)).await;
        };
        let hours = match Stretch::of(Period { start, end }, is_recurring).read() {
            Some((from, to)) => {
                rollups::hours(self.db, build.series(self.tenant, self.customer), from, to).await?
            }
            None => Vec::new(),
        };
        let mut keys = HashMap::<&[Option<String>], BucketKey>::new();
        for window in windows {
            let stretch = Stretch::of(window.0, is_recurring);
            // An hour whose events were all voided is none.
            for Hour { start, values, partial } in
                hours.iter().filter(|hour| hour.partial.count > 0 && stretch.holds(hour.start))
            {
                let key = || split.key_of(&build.grain.properties_of(values));
                window.1.absorb(keys.entry(values).or_insert_with(key), partial, end_of_hour(*start))?;
            }
            for edge in stretch.edges {
                let window = from_mut(&mut *window);
                self.each_event(Some(edge.start), edge.end, |used| push(window, used)).await?;
            }
        }
        Ok(())
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

    /// Takes the events of a stretch of time: from an instant, if there is one, to before another. An error if some of
    /// them are archived.
    async fn each_event(
        &self,
        from: Option<DateTime<Utc>>,
        to: DateTime<Utc>,
        mut take: impl FnMut(&Used),
    ) -> Result<(), MeteringError> {
        let (tenant, customer, event_name) = (self.tenant, self.customer, &*self.metric.event_name);
        let span = Span { tenant, customer, event_name, from, to };
        events::each_used(self.db, span, |used| take(&used)).await?;
        // Asked last: what was taken out while the events were being read is noticed too.
        match archives::events_before(self.db, self.tenant, &self.metric.event_name, from).await? {
            Some(until) => Err(MeteringError::Archived(until)),
            None => Ok(()),
        }
    }
}

fn push(windows: &mut [(Period, Buckets<'_>)], used: &Used) {
    for (_, buckets) in windows {
        buckets.push(used.at, used.id.0.as_u128(), &used.properties);
    }
}
