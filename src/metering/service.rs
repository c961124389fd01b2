//! The verbs of metering.

use std::collections::HashMap;

use accrue_core::{
    arithmetic::Overflow,
    calendar::{Alignment, CalendarError, Grid, Interval, Period, Unit},
    clock::Clock,
    id::{CustomerId, TenantId},
    usage::{Fold, Sample, Scope},
};
use accrue_platform::{
    page::{PageError, PageQuery},
    problem::FieldError,
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    model::{Candidate, Ingested, Rejection, SentEvent, Usage, UsageEvent, first_of_each},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, Metric, service::CatalogError},
    clocks,
    customers::{self, Customer, service::CustomerError},
};

/// Events read at a time when a quantity is made: a customer may have millions.
const READ_AT_ONCE: usize = 5000;

/// Why usage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    #[error("usage event {0} does not exist")]
    NoSuchEvent(String),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Period(#[from] CalendarError),
    #[error("the quantity is too large to be held exactly")]
    Overflow,
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl From<Overflow> for MeteringError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// Takes events in, each once, and says what became of each. They are durable when `tx` is committed.
///
/// A sent event is already a rejection if it could not be read.
pub(super) async fn ingest(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    sent: Vec<Result<SentEvent, Rejection>>,
    backfill: bool,
) -> Result<Ingested, MeteringError> {
    let metrics = catalog::service::all_metrics(tx, tenant).await?;
    let mut customers = HashMap::new();
    let mut ingested = Ingested::default();
    let mut candidates = Vec::with_capacity(sent.len());
    for (index, sent) in sent.into_iter().enumerate() {
        let sent = match sent {
            Ok(sent) => sent,
            Err(rejection) => {
                ingested.rejected.push(rejection);
                continue;
            }
        };
        if !customers.contains_key(&sent.customer) {
            let found = find_customer(tx, clock, tenant, &sent.customer).await?;
            customers.insert(sent.customer.clone(), found);
        }
        let Some((customer, now)) = customers[&sent.customer] else {
            let detail = format!("there is no customer {}", sent.customer);
            let error = FieldError::new("/customer_id", "unknown_customer", detail);
            ingested.reject(index, Some(sent.event_id), error);
            continue;
        };
        candidates.push(Candidate::new(tenant, index, sent, customer, now, &metrics, backfill));
    }
    take(tx, tenant, candidates, &mut ingested).await?;
    Ok(ingested)
}

/// A customer and their time.
async fn find_customer(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<(CustomerId, DateTime<Utc>)>, MeteringError> {
    let customer = match customers::service::resolve(tx, tenant, reference).await {
        Ok(customer) => customer,
        Err(CustomerError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let now = clocks::service::now_of(tx, clock, tenant, customer.test_clock_id).await?;
    Ok(Some((customer.id, now)))
}

/// Stores what is new. Only if something was not does it look at what is stored.
async fn take(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    candidates: Vec<Candidate>,
    ingested: &mut Ingested,
) -> Result<(), DbErr> {
    let fresh = first_of_each(&candidates);
    let inserted = store::insert_new(tx, fresh.values().copied()).await?;
    if usize::try_from(inserted) == Ok(candidates.len()) {
        ingested.accepted += candidates.len();
        return Ok(());
    }
    let event_ids = candidates.iter().map(|candidate| candidate.event.event_id.as_str());
    let stored = store::remembered(tx, tenant, event_ids).await?;
    ingested.settle(candidates, &stored);
    Ok(())
}

/// How much of a metric a customer used in a period, exactly. Events belong to the period that holds their
/// timestamp (RULES 16). The raw aggregate: negative too, neither converted nor rounded.
pub async fn quantity(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: &Metric,
    period: Period,
) -> Result<Decimal, MeteringError> {
    let rules = rules(metric);
    let scope = Scope {
        aggregation: metric.aggregation,
        recurring: false,
        prorated: false,
        period,
        full: period,
        zone: Tz::UTC,
    };
    let mut fold = Fold::try_new(scope, Decimal::ZERO).expect("whatever is not prorated can be folded");
    let mut last = None;
    loop {
        let limit = READ_AT_ONCE as u64;
        let event_name = &metric.event_name;
        let used = store::next_used(db, tenant, customer, event_name, period, last.as_ref(), limit).await?;
        for event in &used {
            let arrival = event.id.0.as_u128();
            if let Some(sample) = Sample::of(&rules, event.at, arrival, &event.properties) {
                fold.push(sample)?;
            }
        }
        if used.len() < READ_AT_ONCE {
            return Ok(fold.quantity()?);
        }
        last = used.into_iter().next_back();
    }
}

/// A metric as far as quantities depend on it.
fn rules(metric: &Metric) -> accrue_core::usage::Metric {
    accrue_core::usage::Metric {
        aggregation: metric.aggregation,
        property: metric.property.clone(),
        recurring: false,
        filters: Vec::new(),
        conversion: None,
        rounding: None,
    }
}

/// How much of a metric a customer used in a period; unless told, in the month that it is for them now.
pub(super) async fn usage(
    db: &impl ConnectionTrait,
    clock: &dyn Clock,
    tenant: &Tenant,
    customer: &str,
    metric: &str,
    period: Option<Period>,
) -> Result<Usage, MeteringError> {
    let customer = customers::service::resolve(db, tenant.id, customer).await?;
    let metric = catalog::service::resolve_metric(db, tenant.id, metric).await?;
    let period = if let Some(period) = period {
        period
    } else {
        let now = clocks::service::now_of(db, clock, tenant.id, customer.test_clock_id).await?;
        month_of(&customer, &tenant.timezone, now)?
    };
    let quantity = quantity(db, tenant.id, customer.id, &metric, period).await?;
    Ok(Usage { customer: customer.id, metric, period, quantity })
}

fn month_of(customer: &Customer, tenant_zone: &str, now: DateTime<Utc>) -> Result<Period, CalendarError> {
    let month = Interval::every(Unit::Month);
    Grid::try_new(now, month, Alignment::Calendar, customer.zone(tenant_zone))?.containing(now)
}

/// An event by its identifier, or by the caller's own name for it.
pub(super) async fn get_event(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
    source: Option<&str>,
) -> Result<UsageEvent, MeteringError> {
    let found = match reference.parse() {
        Ok(id) => store::find(db, tenant, id).await?,
        Err(_) => store::find_by_event_id(db, tenant, reference, source).await?,
    };
    found.ok_or_else(|| MeteringError::NoSuchEvent(reference.to_owned()))
}

/// Events, the last to arrive first.
pub(super) async fn list_events(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<&str>,
    event_name: Option<&str>,
    page: &PageQuery,
) -> Result<Vec<UsageEvent>, MeteringError> {
    let customer = match customer {
        Some(reference) => Some(customers::service::resolve(db, tenant, reference).await?.id),
        None => None,
    };
    Ok(store::list(db, tenant, customer, event_name, page).await?)
}
