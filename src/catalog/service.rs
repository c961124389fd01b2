//! The verbs of the catalogue.

use accrue_core::id::{MetricId, PlanVersionId, TenantId};
use sea_orm::{ConnectionTrait, DbErr};

use super::model::{Feature, Metric, PlanVersion, Tax};

/// Why something of the catalogue cannot be had or made.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{what} {reference} does not exist")]
    NotFound { what: &'static str, reference: String },
    #[error("another {what} has the code {code}")]
    CodeTaken { what: &'static str, code: String },
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// A plan's present version, by the plan's identifier or code.
pub async fn resolve_plan(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<PlanVersion, CatalogError> {
    let _ = (db, tenant);
    Err(CatalogError::NotFound { what: "plan", reference: reference.to_owned() })
}

/// One version of a plan, by its own identifier.
pub async fn get_plan_version(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PlanVersionId,
) -> Result<PlanVersion, CatalogError> {
    let _ = (db, tenant);
    Err(CatalogError::NotFound { what: "plan version", reference: id.to_string() })
}

/// A metric, by identifier or code.
pub async fn resolve_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Metric, CatalogError> {
    let _ = (db, tenant);
    Err(CatalogError::NotFound { what: "metric", reference: reference.to_owned() })
}

pub async fn get_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: MetricId,
) -> Result<Metric, CatalogError> {
    let _ = (db, tenant);
    Err(CatalogError::NotFound { what: "metric", reference: id.to_string() })
}

/// Every metric of the tenant: for deciding which events matter.
pub async fn all_metrics(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Metric>, DbErr> {
    let _ = (db, tenant);
    Ok(Vec::new())
}

/// Every feature of the tenant.
pub async fn all_features(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Feature>, DbErr> {
    let _ = (db, tenant);
    Ok(Vec::new())
}

/// The tax that every invoice gets, if there is one.
pub async fn default_tax(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Option<Tax>, DbErr> {
    let _ = (db, tenant);
    Ok(None)
}
