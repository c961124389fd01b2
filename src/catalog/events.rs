//! What others may know of changes in the catalogue.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::PlanBody, model::PlanVersion};
use crate::auth::Tenant;

pub(super) async fn plan_created(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    plan: &PlanVersion,
) -> Result<(), DbErr> {
    tell(tx, now, tenant, "plan.created", plan).await
}

/// It is gone with all its versions: nobody ever had one. The object is what it was.
pub(super) async fn plan_deleted(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    plan: &PlanVersion,
) -> Result<(), DbErr> {
    tell(tx, now, tenant, "plan.deleted", plan).await
}

async fn tell(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    kind: &'static str,
    plan: &PlanVersion,
) -> Result<(), DbErr> {
    let body = PlanBody::of(plan.clone(), tenant.livemode);
    outbox::append(tx, now, tenant.id, Fact::new(kind, plan.plan_id, &body)).await.map(drop)
}

/// Its name or notes have changed, it has a new version, or it is archived or is no longer.
pub(super) async fn plan_updated(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    before: &PlanVersion,
    plan: &PlanVersion,
) -> Result<(), DbErr> {
    let before = PlanBody::of(before.clone(), tenant.livemode);
    let body = PlanBody::of(plan.clone(), tenant.livemode);
    let fact = Fact::new("plan.updated", plan.plan_id, &body).changed_from(&before);
    outbox::append(tx, now, tenant.id, fact).await.map(drop)
}
