//! Comparing usage with thresholds: read with no transaction open, decide, write what was decided, if anything was.
//!
//! Only one job at a time does this for a customer's usage of a metric, and it runs again after whatever happened
//! while it ran; so what it read is not older than what another one has written.

use std::collections::HashSet;

use accrue_core::id::{CustomerId, MetricId, UsageAlertId};
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use super::{
    events,
    model::{Alert, Kind, Reading, Step},
    reading,
    service::AlertError,
    store,
};
use crate::{
    app::{JobContext, JobError},
    auth,
    catalog::{self, Metric},
};

/// Looks at a customer's alerts on a metric.
pub(super) async fn check(
    context: &JobContext,
    customer: CustomerId,
    metric: MetricId,
) -> Result<(), JobError> {
    let (tenant, now, db) = (context.tenant, context.now, context.app.db.reader());
    let alerts = store::active_on(db, tenant, customer, metric).await.map_err(AlertError::from)?;
    if alerts.is_empty() {
        return Ok(());
    }
    let metric = catalog::service::get_metric(db, tenant, metric).await.map_err(AlertError::from)?;
    let mut readings: Vec<(Kind, Option<Reading>)> = Vec::new();
    for alert in of_customer(alerts, context, customer) {
        if !readings.iter().any(|(kind, _)| *kind == alert.kind) {
            let reading = reading::read(db, now, (tenant, customer, &metric), alert.kind).await?;
            readings.push((alert.kind, reading));
        }
        let reading =
            readings.iter().find(|(kind, _)| *kind == alert.kind).and_then(|(_, reading)| reading.as_ref());
        let review_at = reading.map(|reading| reading.period.end);
        let is_settled = alert.review_at == review_at || alert.is_quiet_copy();
        if alert.step(reading, now) == Step::Nothing && is_settled {
            continue;
        }
        let tx = context.begin().await?;
        let told = write(&tx, now, &alert, reading, &metric).await?;
        context.commit(tx).await?;
        if let Some(outcome) = told {
            metrics::counter!("usage_alerts_total", "outcome" => outcome).increment(1);
        }
    }
    Ok(())
}

/// What alerts are for a customer: those for every customer are what is stored of them for this one, or else new.
fn of_customer(alerts: Vec<Alert>, context: &JobContext, customer: CustomerId) -> Vec<Alert> {
    let stored: HashSet<UsageAlertId> = alerts.iter().filter_map(|alert| alert.template_id).collect();
    let alerts = alerts.into_iter().filter(|alert| !stored.contains(&alert.id));
    let of_customer = |alert: Alert| match alert.customer_id {
        Some(_) => alert,
        None => alert.of_customer(context.now, customer, context.test_clock),
    };
    alerts.map(of_customer).collect()
}

/// Stores what an alert for every customer is for one of them, unless that alert was changed or deleted meanwhile.
async fn store_copy(tx: &DatabaseTransaction, copy: &Alert) -> Result<Option<Alert>, AlertError> {
    let Some(template) = copy.template_id else { return Ok(None) };
    let template = store::find_for_update(tx, copy.tenant_id, template).await?;
    let Some((template, customer)) = template.zip(copy.customer_id) else { return Ok(None) };
    let as_it_is = template.of_customer(copy.created_at, customer, copy.test_clock_id);
    if as_it_is != (Alert { id: as_it_is.id, ..copy.clone() }) || !store::insert_copy(tx, copy).await? {
        return Ok(None);
    }
    Ok(Some(copy.clone()))
}

/// Writes what follows from a reading, and says what was told. Nothing follows for an alert that was changed
/// meanwhile: it is looked at again.
async fn write(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    seen: &Alert,
    reading: Option<&Reading>,
    metric: &Metric,
) -> Result<Option<&'static str>, AlertError> {
    let found = if seen.is_quiet_copy() {
        store_copy(tx, seen).await?
    } else {
        store::find_for_update(tx, seen.tenant_id, seen.id).await?
    };
    let Some(before) = found.filter(|found| found == seen) else { return Ok(None) };
    let mut after = before.clone();
    after.review_at = reading.map(|reading| reading.period.end);
    let told = match before.step(reading, now) {
        Step::Nothing => None,
        Step::Triggers(trigger) => {
            if store::insert_trigger(tx, &before, &trigger).await? {
                after.trigger(trigger);
                Some("triggered")
            } else {
                // It was told of this period and this threshold, with another one in between.
                after.is_triggered = before.is_triggered;
                None
            }
        }
        Step::Recovers => {
            after.recover(reading, now);
            Some("recovered")
        }
    };
    store::save(tx, &after).await?;
    if told.is_some() {
        let livemode = auth::service::get_tenant(tx, after.tenant_id).await?.livemode;
        events::moved(tx, now, (&before, &after), &metric.code, livemode).await?;
    }
    Ok(told)
}
