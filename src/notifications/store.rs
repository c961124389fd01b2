//! Mails in the database: which were written for which event, and what became of them.

use accrue_core::id::{CustomerId, EmailId, EventId, TenantId};
use accrue_platform::page::{PageError, PageQuery};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, DeriveActiveEnum, EnumIter,
    entity::prelude::*, sea_query::OnConflict,
};
use serde::Serialize;

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, utoipa::ToSchema)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EmailStatus {
    Pending,
    Sent,
    /// The server refused it for good.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "emails")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: EmailId,
    pub customer_id: CustomerId,
    pub event_id: EventId,
    pub kind: String,
    pub recipient: String,
    pub subject: Option<String>,
    pub status: EmailStatus,
    pub error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A mail as it is remembered.
pub(super) type Email = Model;

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Stores a mail to be sent; `false` if one was stored for the event already.
pub(super) async fn insert(tx: &DatabaseTransaction, email: &Email) -> Result<bool, DbErr> {
    let row = ActiveModel {
        tenant_id: Set(email.tenant_id),
        id: Set(email.id),
        customer_id: Set(email.customer_id),
        event_id: Set(email.event_id),
        kind: Set(email.kind.clone()),
        recipient: Set(email.recipient.clone()),
        subject: Set(email.subject.clone()),
        status: Set(email.status),
        error: Set(email.error.clone()),
        created_at: Set(email.created_at),
        sent_at: Set(email.sent_at),
    };
    let once = OnConflict::columns([Column::TenantId, Column::EventId, Column::Kind]).do_nothing().to_owned();
    Ok(Entity::insert(row).on_conflict(once).exec_without_returning(tx).await? == 1)
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: EmailId,
) -> Result<Option<Email>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await
}

/// Writes down what became of it.
pub(super) async fn save_outcome(tx: &DatabaseTransaction, email: &Email) -> Result<(), DbErr> {
    let outcome = ActiveModel {
        subject: Set(email.subject.clone()),
        status: Set(email.status),
        error: Set(email.error.clone()),
        sent_at: Set(email.sent_at),
        ..Default::default()
    };
    Entity::update_many()
        .set(outcome)
        .filter(Column::TenantId.eq(email.tenant_id))
        .filter(Column::Id.eq(email.id))
        .exec(tx)
        .await
        .map(drop)
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<Email>, PageError> {
    let mut select = of(tenant);
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    page.fetch::<Entity, EmailId>(select, Column::Id, db).await
}
