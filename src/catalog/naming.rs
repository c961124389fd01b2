//! What something new may name of the catalogue: what is there, and not archived.

use accrue_core::id::{FeatureId, MetricId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    model::{Feature, Metric, PlanVersion, TaxTable},
    service::{CatalogError, tax_table},
    store::{self, features, metrics, plans},
};

/// What a plan's prices and features name, as far as it exists.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub metrics: Vec<Metric>,
    pub features: Vec<Feature>,
    pub taxes: TaxTable,
}

impl Named {
    pub(super) fn metric(&self, reference: &str) -> Option<&Metric> {
        let id = reference.parse::<MetricId>();
        let is_it = |metric: &&Metric| id.map_or(metric.code == reference, |id| metric.id == id);
        self.metrics.iter().find(is_it)
    }

    pub(super) fn feature(&self, reference: &str) -> Option<&Feature> {
        let id = reference.parse::<FeatureId>();
        let is_it = |feature: &&Feature| id.map_or(feature.code == reference, |id| feature.id == id);
        self.features.iter().find(is_it)
    }
}

/// Looks up what is named, by identifiers or codes. Until the transaction ends nobody else archives or deletes any of it.
pub(super) async fn named(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    metric_references: &[&str],
    feature_references: &[&str],
) -> Result<Named, DbErr> {
    store::take_turns(tx, tenant).await?;
    Ok(Named {
        metrics: metrics::find_all(tx, tenant, metric_references).await?,
        features: features::find_all(tx, tenant, feature_references).await?,
        taxes: tax_table(tx, tenant).await?,
    })
}

/// A metric, for something that will refer to it: when the transaction ends it is there and not archived.
pub async fn metric_to_use(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Metric, CatalogError> {
    store::take_turns(tx, tenant).await?;
    let found = metrics::find(tx, tenant, reference).await?;
    let metric = found.ok_or_else(|| CatalogError::no("metric", reference))?;
    refuse_archived("metric", &metric.code, metric.archived_at)?;
    Ok(metric)
}

/// A plan in its present version, for a subscription: when the transaction ends it is there and sold.
pub async fn plan_to_sell(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<PlanVersion, CatalogError> {
    let found = plans::find_to_sell(tx, tenant, reference).await?;
    let plan = found.ok_or_else(|| CatalogError::no("plan", reference))?;
    refuse_archived("plan", &plan.code, plan.archived_at)?;
    Ok(plan)
}

pub(super) fn refuse_archived(
    what: &'static str,
    code: &str,
    archived_at: Option<DateTime<Utc>>,
) -> Result<(), CatalogError> {
    match archived_at {
        Some(_) => Err(CatalogError::Archived { what, code: code.to_owned() }),
        None => Ok(()),
    }
}
