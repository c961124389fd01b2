//! Emails in the database.

use std::str::FromStr;

use accrue_core::id::{CustomerId, EmailId, EventId, TenantId};
use accrue_platform::page::{PageError, PageQuery};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, IntoActiveModel, QuerySelect, QueryTrait, TryInsertResult,
    entity::prelude::*,
};

use super::{
    model::{Email, EmailStatus},
    render::Kind,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "emails")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: EmailId,
    pub customer_id: CustomerId,
    pub event_id: EventId,
    pub kind: Kind,
    pub recipient: String,
    pub recipient_name: String,
    pub subject: Option<String>,
    pub status: EmailStatus,
    pub error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// `false` if the event has caused an email of that kind to that address already.
pub(super) async fn insert(tx: &DatabaseTransaction, email: &Email) -> Result<bool, DbErr> {
    let row = Model::from(email.clone()).into_active_model();
    let inserted = Entity::insert(row)
        .on_conflict_do_nothing_on([Column::TenantId, Column::EventId, Column::Kind, Column::Recipient])
        .exec_without_returning(tx)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(1)))
}

pub(super) async fn save(tx: &DatabaseTransaction, email: &Email) -> Result<(), DbErr> {
    Model::from(email.clone()).into_active_model().reset_all().update(tx).await.map(drop)
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: EmailId,
) -> Result<Option<Email>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: EmailId,
) -> Result<Option<Email>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

/// The cursors are identifiers of emails, or others that sort among them.
pub(super) async fn list<I: FromStr<Err: ToString> + Into<Value>>(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<Email>, PageError> {
    let select = of(tenant).apply_if(customer, |select, id| select.filter(Column::CustomerId.eq(id)));
    let rows = page.fetch::<Entity, I>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

impl From<Model> for Email {
    fn from(row: Model) -> Self {
        let Model {
            tenant_id,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            recipient_name,
            subject,
            status,
            error,
            created_at,
            sent_at,
        } = row;
        Self {
            tenant_id,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            recipient_name,
            subject,
            status,
            error,
            created_at,
            sent_at,
        }
    }
}

impl From<Email> for Model {
    fn from(email: Email) -> Self {
        let Email {
            tenant_id,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            recipient_name,
            subject,
            status,
            error,
            created_at,
            sent_at,
        } = email;
        Self {
            tenant_id,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            recipient_name,
            subject,
            status,
            error,
            created_at,
            sent_at,
        }
    }
}
