//! Endpoints, deliveries and attempts in the database.

use accrue_core::id::{DeliveryAttemptId, DeliveryId, EventId, TenantId, WebhookEndpointId};
use accrue_platform::{
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, IntoActiveModel, PaginatorTrait,
    QueryOrder, QuerySelect, QueryTrait, TryInsertResult, entity::prelude::*, sea_query::LockType,
};

use super::model::{Answered, Attempt, Delivery, DeliveryStatus, DisabledReason, Endpoint, Filter};

mod endpoints {
    use accrue_platform::{check::Metadata, column::Json};
    use sea_orm::entity::prelude::*;

    use super::{DateTime, DisabledReason, Filter, TenantId, Utc, WebhookEndpointId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_endpoints")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: WebhookEndpointId,
        pub url: String,
        pub events: Json<Vec<Filter>>,
        pub secret_sealed: String,
        pub previous_secret_sealed: Option<String>,
        pub previous_secret_until_at: Option<DateTime<Utc>>,
        pub enabled: bool,
        pub disabled_reason: Option<DisabledReason>,
        pub failing_since_at: Option<DateTime<Utc>>,
        pub metadata: Json<Metadata>,
        pub created_at: DateTime<Utc>,
        pub deleted_at: Option<DateTime<Utc>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }

    /// Those that were not deleted.
    pub fn present(tenant: TenantId) -> Select<Entity> {
        of(tenant).filter(Column::DeletedAt.is_null())
    }
}

mod deliveries {
    use sea_orm::entity::prelude::*;

    use super::{DateTime, DeliveryId, DeliveryStatus, EventId, TenantId, Utc, WebhookEndpointId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_deliveries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: DeliveryId,
        pub endpoint_id: WebhookEndpointId,
        pub event_id: EventId,
        pub event_type: String,
        pub status: DeliveryStatus,
        pub attempts: i32,
        pub next_attempt_at: Option<DateTime<Utc>>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

mod attempts {
    use sea_orm::entity::prelude::*;

    use super::{DateTime, DeliveryAttemptId, DeliveryId, TenantId, Utc};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "webhook_attempts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: DeliveryAttemptId,
        pub delivery_id: DeliveryId,
        pub position: i32,
        pub answered_status: Option<i32>,
        pub answered_body: Option<String>,
        pub error: Option<String>,
        pub duration_ms: i64,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliveryFilter {
    pub endpoint: Option<WebhookEndpointId>,
    pub event: Option<EventId>,
    pub status: Option<DeliveryStatus>,
}

pub(super) async fn insert_endpoint(tx: &DatabaseTransaction, endpoint: &Endpoint) -> Result<(), DbErr> {
    let row = endpoints::Model::from(endpoint.clone()).into_active_model();
    endpoints::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn save_endpoint(tx: &DatabaseTransaction, endpoint: &Endpoint) -> Result<(), DbErr> {
    let row = endpoints::Model::from(endpoint.clone()).into_active_model().reset_all();
    row.update(tx).await.map(drop)
}

/// Also a deleted one: for its deliveries.
pub(super) async fn get_endpoint(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Endpoint, DbErr> {
    let row = endpoints::of(tenant).filter(endpoints::Column::Id.eq(id)).one(db).await?;
    row.map(Into::into).ok_or_else(|| DbErr::RecordNotFound(id.to_string()))
}

pub(super) async fn find_endpoint(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Option<Endpoint>, DbErr> {
    let row = endpoints::present(tenant).filter(endpoints::Column::Id.eq(id)).one(db).await?;
    Ok(row.map(Into::into))
}

pub(super) async fn find_endpoint_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Option<Endpoint>, DbErr> {
    // Leaves alone who only refers to the endpoint: new deliveries of other events.
    let select = endpoints::present(tenant).filter(endpoints::Column::Id.eq(id)).lock(LockType::NoKeyUpdate);
    Ok(select.one(tx).await?.map(Into::into))
}

pub(super) async fn count_endpoints(db: &impl ConnectionTrait, tenant: TenantId) -> Result<u64, DbErr> {
    endpoints::present(tenant).count(db).await
}

pub(super) async fn list_endpoints(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<Endpoint>, PageError> {
    let select = endpoints::present(tenant);
    let rows = page.fetch::<endpoints::Entity, WebhookEndpointId>(select, endpoints::Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The endpoints that want to be told of something.
pub(super) async fn enabled_endpoints(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<Endpoint>, DbErr> {
    let rows = endpoints::present(tenant).filter(endpoints::Column::Enabled.eq(true)).all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// `false` if the endpoint has a delivery of the event already.
pub(super) async fn insert_delivery(tx: &DatabaseTransaction, delivery: &Delivery) -> Result<bool, DbErr> {
    use deliveries::Column::{EndpointId, EventId, TenantId};

    let row = deliveries::Model::from(delivery.clone()).into_active_model();
    let inserted = deliveries::Entity::insert(row)
        .on_conflict_do_nothing_on([TenantId, EndpointId, EventId])
        .exec_without_returning(tx)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(1)))
}

pub(super) async fn save_delivery(tx: &DatabaseTransaction, delivery: &Delivery) -> Result<(), DbErr> {
    let row = deliveries::Model::from(delivery.clone()).into_active_model().reset_all();
    row.update(tx).await.map(drop)
}

pub(super) async fn find_delivery(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Option<Delivery>, DbErr> {
    let row = deliveries::of(tenant).filter(deliveries::Column::Id.eq(id)).one(db).await?;
    Ok(row.map(Into::into))
}

pub(super) async fn find_delivery_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Option<Delivery>, DbErr> {
    let select = deliveries::of(tenant).filter(deliveries::Column::Id.eq(id)).lock_exclusive();
    Ok(select.one(tx).await?.map(Into::into))
}

/// What an endpoint has of an event.
pub(super) async fn find_delivery_of_event_for_update(
    tx: &DatabaseTransaction,
    endpoint: &Endpoint,
    event: EventId,
) -> Result<Option<Delivery>, DbErr> {
    let select = deliveries::of(endpoint.tenant_id)
        .filter(deliveries::Column::EndpointId.eq(endpoint.id))
        .filter(deliveries::Column::EventId.eq(event))
        .lock_exclusive();
    Ok(select.one(tx).await?.map(Into::into))
}

pub(super) async fn list_deliveries(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: &DeliveryFilter,
    page: &PageQuery,
) -> Result<Vec<Delivery>, PageError> {
    use deliveries::Column;

    let select = deliveries::of(tenant)
        .apply_if(filter.endpoint, |select, id| select.filter(Column::EndpointId.eq(id)))
        .apply_if(filter.event, |select, id| select.filter(Column::EventId.eq(id)))
        .apply_if(filter.status, |select, status| select.filter(Column::Status.eq(status)));
    let rows = page.fetch::<deliveries::Entity, DeliveryId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Ends everything that is still on its way to an endpoint.
pub(super) async fn cancel_deliveries(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    endpoint: WebhookEndpointId,
) -> Result<(), DbErr> {
    use deliveries::Column;

    deliveries::Entity::update_many()
        .col_expr(Column::Status, Expr::value(DeliveryStatus::Canceled))
        .col_expr(Column::NextAttemptAt, Expr::value(Option::<DateTime<Utc>>::None))
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::EndpointId.eq(endpoint))
        .filter(Column::Status.eq(DeliveryStatus::Pending))
        .exec(tx)
        .await
        .map(drop)
}

/// Stores the delivery's latest attempt.
pub(super) async fn insert_attempt(
    tx: &DatabaseTransaction,
    delivery: &Delivery,
    attempt: &Attempt,
) -> Result<(), DbErr> {
    let answered = attempt.answered.as_ref();
    let row = attempts::ActiveModel {
        tenant_id: Set(delivery.tenant_id),
        id: Set(attempt.id),
        delivery_id: Set(delivery.id),
        position: Set(delivery.attempts),
        answered_status: Set(answered.map(|answered| i32::from(answered.status))),
        answered_body: Set(answered.map(|answered| answered.body.clone())),
        error: Set(attempt.error.clone()),
        duration_ms: Set(attempt.duration_ms),
        created_at: Set(attempt.created_at),
    };
    attempts::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// The attempts at a delivery, the oldest first.
pub(super) async fn attempts_of(
    db: &impl ConnectionTrait,
    delivery: &Delivery,
) -> Result<Vec<Attempt>, DbErr> {
    let rows = attempts::Entity::find()
        .filter(attempts::Column::TenantId.eq(delivery.tenant_id))
        .filter(attempts::Column::DeliveryId.eq(delivery.id))
        .order_by_asc(attempts::Column::Position)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

impl From<endpoints::Model> for Endpoint {
    fn from(row: endpoints::Model) -> Self {
        Self {
            tenant_id: row.tenant_id,
            id: row.id,
            url: row.url,
            filters: row.events.0,
            secret_sealed: row.secret_sealed,
            previous_secret: row.previous_secret_sealed.zip(row.previous_secret_until_at),
            disabled: row.disabled_reason,
            failing_since_at: row.failing_since_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
            deleted_at: row.deleted_at,
        }
    }
}

impl From<Endpoint> for endpoints::Model {
    fn from(endpoint: Endpoint) -> Self {
        let (previous_secret_sealed, previous_secret_until_at) = endpoint.previous_secret.unzip();
        Self {
            tenant_id: endpoint.tenant_id,
            id: endpoint.id,
            url: endpoint.url,
            events: Json(endpoint.filters),
            secret_sealed: endpoint.secret_sealed,
            previous_secret_sealed,
            previous_secret_until_at,
            enabled: endpoint.disabled.is_none(),
            disabled_reason: endpoint.disabled,
            failing_since_at: endpoint.failing_since_at,
            metadata: Json(endpoint.metadata),
            created_at: endpoint.created_at,
            deleted_at: endpoint.deleted_at,
        }
    }
}

impl From<deliveries::Model> for Delivery {
    fn from(row: deliveries::Model) -> Self {
        let deliveries::Model {
            tenant_id,
            id,
            endpoint_id,
            event_id,
            event_type,
            status,
            attempts,
            next_attempt_at,
            created_at,
        } = row;
        Self {
            tenant_id,
            id,
            endpoint_id,
            event_id,
            event_type,
            status,
            attempts,
            next_attempt_at,
            created_at,
        }
    }
}

impl From<Delivery> for deliveries::Model {
    fn from(delivery: Delivery) -> Self {
        let Delivery {
            tenant_id,
            id,
            endpoint_id,
            event_id,
            event_type,
            status,
            attempts,
            next_attempt_at,
            created_at,
        } = delivery;
        Self {
            tenant_id,
            id,
            endpoint_id,
            event_id,
            event_type,
            status,
            attempts,
            next_attempt_at,
            created_at,
        }
    }
}

impl From<attempts::Model> for Attempt {
    fn from(row: attempts::Model) -> Self {
        let status = row.answered_status.and_then(|status| u16::try_from(status).ok());
        let answered =
            status.zip(row.answered_body).map(|(status, body)| Answered { status, body, retry_after: None });
        Self {
            id: row.id,
            answered,
            error: row.error,
            duration_ms: row.duration_ms,
            created_at: row.created_at,
        }
    }
}
