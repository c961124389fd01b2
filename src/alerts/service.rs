//! The verbs of alerts.

use accrue_core::{
    calendar::CalendarError,
    clock::Clock,
    id::{CustomerId, TenantId, TestClockId, UsageAlertId},
    money::Currency,
};
use accrue_platform::{
    check::Metadata,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    body::UsageAlertBody,
    jobs,
    model::{Alert, Kind, Status, ThresholdError},
    store,
};
use crate::{
    auth::{Tenant, service::AuthError},
    catalog::{self, service::CatalogError},
    clocks,
    customers::{self, service::CustomerError},
    entitlements::service::EntitlementError,
    invoices::service::InvoiceError,
    metering::{self, Watched, Watcher, service::MeteringError},
    subscriptions::service::SubscriptionError,
};

/// Alerts that a customer may have on a metric, and that there may be for every customer: all of them are compared
/// whenever it is used.
const ALERTS_MAX: u64 = 20;

/// Why an alert cannot be had, made or looked at.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error("usage alert {0} does not exist")]
    NotFound(String),
    #[error("there are {ALERTS_MAX} such alerts on this metric, and cannot be more: change or delete one")]
    TooMany,
    #[error("it is what the alert {0} for every customer told of one of them: change or delete that one")]
    OfTemplate(UsageAlertId),
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the usage cannot be told")]
    Metering(#[from] MeteringError),
    #[error("the amount cannot be told")]
    Invoice(#[from] InvoiceError),
    #[error("the limit cannot be told")]
    Entitlement(#[from] EntitlementError),
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    #[error("the period cannot be told")]
    Calendar(#[from] CalendarError),
    #[error("the tenant is gone")]
    Tenant(#[from] AuthError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a new alert is. Customer and metric are as the caller calls them.
#[derive(Clone, Debug)]
pub(super) struct NewAlert {
    /// None if it holds for every customer.
    pub customer: Option<String>,
    /// Of an amount for every customer.
    pub currency: Option<Currency>,
    pub metric: String,
    pub kind: Kind,
    pub threshold: Decimal,
    /// The metric's name unless given.
    pub name: Option<String>,
    pub metadata: Metadata,
}

/// What to change of an alert; `None` for what stays.
#[derive(Clone, Debug, Default)]
pub(super) struct AlertChange {
    pub name: Option<String>,
    pub threshold: Option<Decimal>,
    pub active: Option<bool>,
    pub metadata: Option<Metadata>,
}

/// Which alerts to list. Names and identifiers are as the caller gave them.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub customer: Option<String>,
    pub metric: Option<String>,
    pub status: Option<Status>,
}

/// Makes an alert, which is looked at at once, for every customer if it holds for all: what was used before counts too.
pub(super) async fn create(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    new: NewAlert,
) -> Result<Alert, AlertError> {
    let NewAlert { customer, currency, metric, kind, threshold, name, metadata } = new;
    let customer = match customer {
        Some(customer) => Some(customers::service::resolve(tx, tenant.id, &customer).await?),
        None => None,
    };
    let metric = catalog::service::metric_to_use(tx, tenant.id, &metric).await?;
    let currency = customer.as_ref().map_or(currency, |customer| customer.currency);
    let currency = kind.currency_of(threshold, currency)?;
    let test_clock_id = customer.as_ref().and_then(|customer| customer.test_clock_id);
    let now = clocks::service::now_of(tx, clock, tenant.id, test_clock_id).await?;
    let alert = Alert {
        tenant_id: tenant.id,
        id: UsageAlertId::new(now),
        customer_id: customer.map(|customer| customer.id),
        template_id: None,
        test_clock_id,
        metric_id: metric.id,
        name: name.unwrap_or(metric.name),
        kind,
        threshold: threshold.normalize(),
        currency,
        is_active: true,
        is_triggered: false,
        last_trigger: None,
        review_at: None,
        metadata,
        created_at: now,
    };
    // From here on the tenant's requests for alerts follow one another: of two at once one is too many.
    watch(tx, clock.now(), &alert).await?;
    if store::count_on(tx, tenant.id, alert.customer_id, alert.metric_id).await? >= ALERTS_MAX {
        return Err(AlertError::TooMany);
    }
    store::insert(tx, &alert).await?;
    Ok(alert)
}

/// Changes an alert. One that has another threshold, or is active again, is looked at at once; of one that is not
/// active any more nothing is told.
pub(super) async fn update(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    reference: &str,
    change: AlertChange,
) -> Result<Alert, AlertError> {
    let before = get_own_for_update(tx, tenant, reference).await?;
    let AlertChange { name, threshold, active, metadata } = change;
    let mut after = before.clone();
    after.name = name.unwrap_or(after.name);
    after.threshold = threshold.map_or(after.threshold, |threshold| threshold.normalize());
    after.is_active = active.unwrap_or(after.is_active);
    after.metadata = metadata.unwrap_or(after.metadata);
    after.kind.currency_of(after.threshold, after.currency)?;
    if !after.is_active {
        after.review_at = None;
    }
    if after != before {
        store::save(tx, &after).await?;
        store::save_copies(tx, &after).await?;
    }
    match (before.is_active, after.is_active) {
        (false, true) => watch(tx, wall, &after).await?,
        (true, false) => metering::service::unwatch(tx, tenant, after.id.0).await?,
        (true, true) if after.threshold != before.threshold => look_again(tx, wall, &after).await?,
        _ => {}
    }
    Ok(after)
}

/// Forgets an alert; nothing is told of it any more.
pub(super) async fn delete(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<UsageAlertId, AlertError> {
    let alert = get_own_for_update(tx, tenant, reference).await?;
    metering::service::unwatch(tx, tenant, alert.id.0).await?;
    store::delete(tx, &alert).await?;
    Ok(alert.id)
}

/// Has usage compared with an alert from now on, and now.
async fn watch(tx: &DatabaseTransaction, wall: DateTime<Utc>, alert: &Alert) -> Result<(), AlertError> {
    let (tenant, by) = (alert.tenant_id, alert.id.0);
    if let Some(watched) = watched(alert, alert.customer_id, alert.test_clock_id) {
        return Ok(metering::service::watch(tx, wall, tenant, &[(by, watched)]).await?);
    }
    metering::service::watch_all(tx, tenant, by, alert.metric_id, Watcher::Alerts).await?;
    look_again(tx, wall, alert).await
}

/// Has usage compared with an alert now.
async fn look_again(tx: &DatabaseTransaction, wall: DateTime<Utc>, alert: &Alert) -> Result<(), AlertError> {
    match watched(alert, alert.customer_id, alert.test_clock_id) {
        Some(watched) => metering::service::look_again(tx, wall, [watched]).await?,
        None => jobs::look_at_everybody_later(tx, wall, alert).await?,
    }
    Ok(())
}

/// What is looked at for an alert and a customer, if there is one.
pub(super) fn watched(
    alert: &Alert,
    customer: Option<CustomerId>,
    test_clock: Option<TestClockId>,
) -> Option<Watched> {
    let (tenant, metric, watcher) = (alert.tenant_id, alert.metric_id, Watcher::Alerts);
    Some(Watched { tenant, customer: customer?, metric, test_clock, watcher })
}

/// What is not an identifier of an alert names none.
fn parse(reference: &str) -> Result<UsageAlertId, AlertError> {
    reference.parse().map_err(|_| AlertError::NotFound(reference.to_owned()))
}

pub(super) async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Alert, AlertError> {
    let found = store::find(db, tenant, parse(reference)?).await?;
    found.ok_or_else(|| AlertError::NotFound(reference.to_owned()))
}

/// One that people made, locked.
async fn get_own_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Alert, AlertError> {
    let found = store::find_for_update(tx, tenant, parse(reference)?).await?;
    let alert = found.ok_or_else(|| AlertError::NotFound(reference.to_owned()))?;
    alert.template_id.map_or(Ok(alert), |template| Err(AlertError::OfTemplate(template)))
}

/// A page of alerts, the newest first.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: Filter,
    page: &PageQuery,
) -> Result<Vec<Alert>, AlertError> {
    let customer = match &filter.customer {
        Some(customer) => Some(customers::service::resolve(db, tenant, customer).await?.id),
        None => None,
    };
    let metric = match &filter.metric {
        Some(metric) => Some(catalog::service::resolve_metric(db, tenant, metric).await?.id),
        None => None,
    };
    Ok(store::list(db, tenant, store::Which { customer, metric, status: filter.status }, page).await?)
}

/// As others see it.
pub(super) async fn body(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    alert: Alert,
) -> Result<UsageAlertBody, AlertError> {
    let metric = catalog::service::get_metric(db, tenant.id, alert.metric_id).await?;
    Ok(UsageAlertBody::new(alert, metric.code, tenant.livemode))
}

/// As others see them; reads the metrics once.
pub(super) async fn bodies(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    alerts: Vec<Alert>,
) -> Result<Vec<UsageAlertBody>, AlertError> {
    let metrics = catalog::service::all_metrics(db, tenant.id).await?;
    let body = |alert: Alert| {
        let metric = metrics.iter().find(|metric| metric.id == alert.metric_id);
        let code = metric.map(|metric| metric.code.clone()).unwrap_or_default();
        UsageAlertBody::new(alert, code, tenant.livemode)
    };
    Ok(alerts.into_iter().map(body).collect())
}
