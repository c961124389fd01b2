//! Jobs as people look at them. Nothing is changed here.

use accrue_core::id::{JobId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryOrder, QuerySelect, entity::prelude::*};
use serde::{Deserialize, Serialize};

use crate::page::{PageError, PageQuery};

/// Where a job is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Dead,
}

/// What is known of a job, for people.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: JobId,
    pub name: String,
    pub state: JobState,
    pub unique_key: String,
    pub payload: String,
    pub test_clock_id: Option<TestClockId>,
    pub run_at: DateTime<Utc>,
    pub runs: i32,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// A row of the queue.
pub type JobRow = Model;

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId, state: JobState) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant)).filter(Column::State.eq(state))
}

/// The tenant's jobs in a state, the newest first, at most `limit`.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    state: JobState,
    limit: u64,
) -> Result<Vec<JobRow>, DbErr> {
    of(tenant, state).order_by_desc(Column::Id).limit(limit).all(db).await
}

/// One page of the tenant's jobs in a state.
pub async fn page(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    state: JobState,
    page: &PageQuery,
) -> Result<Vec<JobRow>, PageError> {
    page.fetch::<Entity, JobId>(of(tenant, state), Column::Id, db).await
}
