//! Reading usage: by the hour where that is enough, event by event where it is not.

use accrue_core::{
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit},
    clock::Clock,
    id::{CustomerId, TenantId},
    price::Measured,
    usage::{BucketKey, BucketUsage, Buckets, Fold, Sample, Scope, Split},
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
        rollups,
    },
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric},
    clocks,
    customers::{self, Customer},
};

/// Events read at a time: a customer may have millions.
const READ_AT_ONCE: usize = 5000;

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
    let fold = Reader::open(db, tenant, customer, metric).await?.fold(of_period(metric, period)).await?;
    Ok(metric.rules.round(fold.quantity()?).to_decimal()?)
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
    let rules = &metric.rules;
    let everything = BucketKey { filter: None, group: Vec::new() };
    let reader = Reader::open(db, tenant, customer, metric).await?;
    let is_whole = split.filters.is_empty() && split.group_by.is_empty() && !split.by_event;
    if is_whole && scope.aggregation.is_mergeable(scope.prorated) {
        let quantity = rules.round(reader.fold(scope).await?.quantity()?);
        let measured = Measured::Units(rules.convert(&quantity)?);
        return Ok(vec![BucketUsage { key: everything, quantity, measured }]);
    }
    let mut buckets = Buckets::try_new(rules, split, scope)?;
    if split.group_by.is_empty() {
        buckets.carry(everything, Decimal::ZERO);
    }
    let from = (!scope.recurring).then_some(scope.period.start);
    let take = |used: &Used| buckets.push(used.at, used.id.0.as_u128(), &used.properties);
    reader.each_event(from, scope.period.end, take).await?;
    Ok(buckets.finish()?)
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
    let build = builds.into_iter().find(|build| build.metric_id == metric.id && build.is_complete);
    let reader = Reader { db, tenant: tenant.id, customer: customer.id, metric: &metric, build };
    let total =
        metric.rules.round(reader.fold(of_period(&metric, period)).await?.quantity()?).to_decimal()?;
    let windows = if group_by.is_empty() {
        reader.windows(&windows).await?
    } else {
        reader.groups(&windows, group_by).await?
    };
    Ok(Usage { customer: customer.id, metric, period, quantity: total, windows })
}

fn month_of(customer: &Customer, tenant_zone: &str, now: DateTime<Utc>) -> Result<Period, CalendarError> {
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
    /// The hours, once they are all there.
    build: Option<Build>,
}

impl<'a, C: ConnectionTrait> Reader<'a, C> {
    async fn open(
        db: &'a C,
        tenant: TenantId,
        customer: CustomerId,
        metric: &'a Metric,
    ) -> Result<Self, MeteringError> {
        let build = builds::find(db, tenant, metric.id).await?.filter(|build| build.is_complete);
        Ok(Self { db, tenant, customer, metric, build })
    }

    /// The usage that a scope covers.
    async fn fold(&self, scope: Scope) -> Result<Fold, MeteringError> {
        let mut fold = Fold::try_new(scope, Decimal::ZERO)?;
        let from = (!scope.recurring).then_some(scope.period.start);
        let by_hour = self
            .build
            .filter(|build| scope.aggregation.is_mergeable(scope.prorated) && build.reaches_back_to(from));
        let Some(build) = by_hour else {
            self.each_event(from, scope.period.end, |used| self.push(&mut fold, used)).await?;
            return Ok(fold);
        };
        let stretch = Stretch::of(scope.period, scope.recurring);
        if let Some((from, to)) = stretch.read() {
            let hours = rollups::hours(self.db, build.series(self.tenant, self.customer), from, to).await?;
            for (hour, partial) in hours.iter().filter(|(hour, _)| stretch.holds(*hour)) {
                fold.absorb(partial, end_of_hour(*hour))?;
            }
        }
        for edge in stretch.edges {
            self.each_event(Some(edge.start), edge.end, |used| self.push(&mut fold, used)).await?;
        }
        Ok(fold)
    }

    /// The usage of windows that follow one another; the hours are read once for all of them.
    async fn windows(&self, windows: &[Period]) -> Result<Vec<WindowUsage>, MeteringError> {
        let Some((first, last)) = windows.first().zip(windows.last()) else { return Ok(Vec::new()) };
        let is_recurring = self.metric.rules.recurring;
        let mut folds = Vec::with_capacity(windows.len());
        for window in windows {
            folds.push(Fold::try_new(of_period(self.metric, *window), Decimal::ZERO)?);
        }
        let from = (!is_recurring).then_some(first.start);
        let is_mergeable = self.metric.rules.aggregation.is_mergeable(false);
        if let Some(build) = self.build.filter(|build| is_mergeable && build.reaches_back_to(from)) {
            let whole = Stretch::of(Period { start: first.start, end: last.end }, is_recurring);
            let hours = match whole.read() {
                Some((from, to)) => {
                    rollups::hours(self.db, build.series(self.tenant, self.customer), from, to).await?
                }
                None => Vec::new(),
            };
            for (fold, window) in folds.iter_mut().zip(windows) {
                let stretch = Stretch::of(*window, is_recurring);
                for (hour, partial) in hours.iter().filter(|(hour, _)| stretch.holds(*hour)) {
                    fold.absorb(partial, end_of_hour(*hour))?;
                }
                for edge in stretch.edges {
                    self.each_event(Some(edge.start), edge.end, |used| self.push(fold, used)).await?;
                }
            }
        } else {
            let all = |used: &Used| folds.iter_mut().for_each(|fold| self.push(fold, used));
            self.each_event(from, last.end, all).await?;
        }
        let told = folds.iter().zip(windows).map(|(fold, window)| {
            let quantity = self.metric.rules.round(fold.quantity()?).to_decimal()?;
            Ok(WindowUsage { period: *window, group: Vec::new(), quantity })
        });
        told.collect()
    }

    /// The same, group by group, from the events.
    async fn groups(
        &self,
        windows: &[Period],
        group_by: &[String],
    ) -> Result<Vec<WindowUsage>, MeteringError> {
        let Some((first, last)) = windows.first().zip(windows.last()) else { return Ok(Vec::new()) };
        let split = Split { filters: &[], group_by, by_event: false };
        let mut buckets = Vec::with_capacity(windows.len());
        for window in windows {
            buckets.push(Buckets::try_new(&self.metric.rules, split, of_period(self.metric, *window))?);
        }
        let from = (!self.metric.rules.recurring).then_some(first.start);
        let all = |used: &Used| {
            let arrival = used.id.0.as_u128();
            for window in &mut buckets {
                window.push(used.at, arrival, &used.properties);
            }
        };
        self.each_event(from, last.end, all).await?;
        let mut told = Vec::new();
        for (held, window) in buckets.into_iter().zip(windows) {
            for BucketUsage { key, quantity, .. } in held.finish()? {
                told.push(WindowUsage {
                    period: *window,
                    group: key.group,
                    quantity: quantity.to_decimal()?,
                });
            }
        }
        Ok(told)
    }

    fn push(&self, fold: &mut Fold, used: &Used) {
        if let Some(sample) = Sample::of(&self.metric.rules, used.at, used.id.0.as_u128(), &used.properties) {
            fold.push(sample);
        }
    }

    /// Takes the events of a stretch of time in their order: from an instant, if there is one, to before another. An
    /// error if some of them are archived.
    async fn each_event(
        &self,
        from: Option<DateTime<Utc>>,
        to: DateTime<Utc>,
        mut take: impl FnMut(&Used),
    ) -> Result<(), MeteringError> {
        let mut last = None;
        loop {
            let (name, limit) = (&self.metric.event_name, READ_AT_ONCE as u64);
            let (tenant, customer) = (self.tenant, self.customer);
            let used =
                events::next_used(self.db, tenant, customer, name, (from, to), last.as_ref(), limit).await?;
            used.iter().for_each(&mut take);
            if used.len() < READ_AT_ONCE {
                break;
            }
            last = used.into_iter().next_back();
        }
        // Asked last: what was taken out while the events were being read is noticed too.
        match archives::events_before(self.db, self.tenant, &self.metric.event_name, from).await? {
            Some(until) => Err(MeteringError::Archived(until)),
            None => Ok(()),
        }
    }
}
