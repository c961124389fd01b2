//! Takes out of the catalogue what is not wanted any more. What nothing holds on to is deleted. What is used is archived:
//! nothing new may name it, and it goes on counting, granting, billing and being explained for what has it (decision 0047).

use accrue_platform::gate::Gate;
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use tracing::instrument;

use super::{
    events,
    model::{Feature, Metric, PlanVersion, Tax},
    service::{CatalogError, lock_plan, tax_table},
    store::{self, features, metrics, plans, taxes},
};
use crate::auth::Tenant;

/// What became of something that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    pub id: String,
    pub code: String,
    /// Since when it is archived, because it is used; none if it is gone.
    pub archived_at: Option<DateTime<Utc>>,
}

/// Archives a metric at an instant, or takes it back. What was archived before stays archived since then.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn archive_metric(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    at: Option<DateTime<Utc>>,
) -> Result<Metric, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    Ok(put_metric_aside(tx, lock_metric(tx, tenant, reference).await?, at).await?)
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn remove_metric(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
) -> Result<Removed, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    // Whoever takes events at this moment may begin to keep hours of it: they end first, and the next know it is gone.
    Gate::Usage.close(tx, tenant.id).await?;
    let metric = lock_metric(tx, tenant, reference).await?;
    let (id, code) = (metric.id.to_string(), metric.code.clone());
    let is_gone = metrics::delete(tx, &metric).await?;
    let archived_at = if is_gone { None } else { put_metric_aside(tx, metric, Some(now)).await?.archived_at };
    Ok(Removed { id, code, archived_at })
}

async fn lock_metric(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
) -> Result<Metric, CatalogError> {
    let found = metrics::find_for_update(tx, tenant.id, reference).await?;
    found.ok_or_else(|| CatalogError::no("metric", reference))
}

async fn put_metric_aside(
    tx: &DatabaseTransaction,
    mut metric: Metric,
    at: Option<DateTime<Utc>>,
) -> Result<Metric, DbErr> {
    metric.archived_at = at.map(|now| metric.archived_at.unwrap_or(now));
    metrics::save(tx, &metric).await?;
    Ok(metric)
}

/// As [`archive_metric`].
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn archive_feature(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    at: Option<DateTime<Utc>>,
) -> Result<Feature, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    Ok(put_feature_aside(tx, lock_feature(tx, tenant, reference).await?, at).await?)
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn remove_feature(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
) -> Result<Removed, CatalogError> {
    // Plans name features by their codes, so no foreign key says who grants it: they take turns with this.
    store::take_turns(tx, tenant.id).await?;
    let feature = lock_feature(tx, tenant, reference).await?;
    let (id, code) = (feature.id.to_string(), feature.code.clone());
    if plans::grant(tx, tenant.id, &code).await? {
        let archived_at = put_feature_aside(tx, feature, Some(now)).await?.archived_at;
        return Ok(Removed { id, code, archived_at });
    }
    features::delete(tx, &feature).await?;
    Ok(Removed { id, code, archived_at: None })
}

pub(super) async fn lock_feature(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
) -> Result<Feature, CatalogError> {
    let found = features::find_for_update(tx, tenant.id, reference).await?;
    found.ok_or_else(|| CatalogError::no("feature", reference))
}

async fn put_feature_aside(
    tx: &DatabaseTransaction,
    mut feature: Feature,
    at: Option<DateTime<Utc>>,
) -> Result<Feature, DbErr> {
    feature.archived_at = at.map(|now| feature.archived_at.unwrap_or(now));
    features::save(tx, &feature).await?;
    Ok(feature)
}

/// As [`archive_metric`]; refused for a default, which would silently leave invoices without a tax.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn archive_tax(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    at: Option<DateTime<Utc>>,
) -> Result<Tax, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    put_tax_aside(tx, lock_tax(tx, tenant, reference).await?, at).await
}

/// A tax that prices ever had may stand on invoices, which hold copies of it and name it.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn remove_tax(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
) -> Result<Removed, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    let tax = lock_tax(tx, tenant, reference).await?;
    let (id, code) = (tax.id.to_string(), tax.code.clone());
    if tax.first_applied_at.is_some() {
        let archived_at = put_tax_aside(tx, tax, Some(now)).await?.archived_at;
        return Ok(Removed { id, code, archived_at });
    }
    taxes::delete(tx, &tax).await?;
    Ok(Removed { id, code, archived_at: None })
}

pub(super) async fn lock_tax(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
) -> Result<Tax, CatalogError> {
    let found = taxes::find_for_update(tx, tenant.id, reference).await?;
    found.ok_or_else(|| CatalogError::no("tax", reference))
}

async fn put_tax_aside(
    tx: &DatabaseTransaction,
    mut tax: Tax,
    at: Option<DateTime<Utc>>,
) -> Result<Tax, CatalogError> {
    if tax.is_default && at.is_some() {
        return Err(CatalogError::IsDefault(tax.code));
    }
    tax.archived_at = at.map(|now| tax.archived_at.unwrap_or(now));
    if tax.applies() {
        tax_table(tx, tax.tenant_id).await?.check(&tax)?;
    }
    taxes::save(tx, &tax).await?;
    Ok(tax)
}

/// As [`archive_metric`]. Subscriptions that have the plan keep it.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn archive_plan(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
    at: Option<DateTime<Utc>>,
) -> Result<PlanVersion, CatalogError> {
    let plan = lock_plan(tx, tenant, reference).await?;
    Ok(put_plan_aside(tx, now, tenant, plan, at).await?)
}

/// Deletes a plan with all its versions, unless a subscription has or had one of them.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn remove_plan(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
) -> Result<Removed, CatalogError> {
    let plan = lock_plan(tx, tenant, reference).await?;
    let (id, code) = (plan.plan_id.to_string(), plan.code.clone());
    if plans::delete(tx, &plan).await? {
        events::plan_deleted(tx, now, tenant, &plan).await?;
        return Ok(Removed { id, code, archived_at: None });
    }
    let archived_at = put_plan_aside(tx, now, tenant, plan, Some(now)).await?.archived_at;
    Ok(Removed { id, code, archived_at })
}

/// A change that changes nothing is not told.
async fn put_plan_aside(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    before: PlanVersion,
    at: Option<DateTime<Utc>>,
) -> Result<PlanVersion, DbErr> {
    let archived_at = at.map(|now| before.archived_at.unwrap_or(now));
    let plan = PlanVersion { archived_at, ..before.clone() };
    if plan != before {
        plans::save(tx, &plan).await?;
        events::plan_updated(tx, now, tenant, &before, &plan).await?;
    }
    Ok(plan)
}
