//! The former phases of subscriptions: the present one stands in the subscription.

use std::collections::HashMap;

use accrue_core::{
    calendar::Interval,
    id::{PlanId, PlanVersionId, SubscriptionId, TenantId},
};
use accrue_platform::{bulk, column::Json};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, entity::prelude::*,
};

use crate::subscriptions::model::{Phase, Subscription};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subscription_phases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub subscription_id: SubscriptionId,
    /// Phases of a subscription follow each other: each begins once.
    pub from_at: DateTime<Utc>,
    pub until_at: DateTime<Utc>,
    pub plan_id: PlanId,
    pub plan_version_id: PlanVersionId,
    pub interval: Json<Interval>,
    pub anchor_at: DateTime<Utc>,
    pub trial_end_at: Option<DateTime<Utc>>,
    pub usage_ignored: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Keeps a phase that is over.
pub(in crate::subscriptions) async fn insert_phase(
    tx: &DatabaseTransaction,
    of: &Subscription,
    phase: Phase,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(of.tenant_id),
        id: Set(Uuid::new_v4()),
        subscription_id: Set(of.id),
        from_at: Set(phase.from),
        until_at: Set(phase.until),
        plan_id: Set(phase.plan_id),
        plan_version_id: Set(phase.plan_version_id),
        interval: Set(Json(phase.interval)),
        anchor_at: Set(phase.anchor_at),
        trial_end_at: Set(phase.trial_end_at),
        usage_ignored: Set(phase.usage_ignored),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// The former phases of some subscriptions, the oldest first.
pub(in crate::subscriptions) async fn phases_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    subscriptions: &[SubscriptionId],
) -> Result<HashMap<SubscriptionId, Vec<Phase>>, DbErr> {
    let mut found = HashMap::<SubscriptionId, Vec<Phase>>::new();
    for some in subscriptions.chunks(bulk::LIST_MAX) {
        let theirs = bulk::one_of(db, Column::SubscriptionId, some.iter().map(|id| id.0).collect());
        let select = Entity::find().filter(Column::TenantId.eq(tenant)).filter(theirs);
        for row in select.order_by_asc(Column::FromAt).all(db).await? {
            found.entry(row.subscription_id).or_default().push(Phase {
                from: row.from_at,
                until: row.until_at,
                plan_id: row.plan_id,
                plan_version_id: row.plan_version_id,
                interval: row.interval.0,
                anchor_at: row.anchor_at,
                trial_end_at: row.trial_end_at,
                usage_ignored: row.usage_ignored,
            });
        }
    }
    Ok(found)
}
