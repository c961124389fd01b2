//! Dunnings in the database.

use accrue_core::{
    id::{CustomerId, DunningId, InvoiceId, SubscriptionId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    column::{self, Json},
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::model::{Dunning, DunningStatus, Failure};
use crate::subscriptions::Access;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dunnings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DunningId,
    pub customer_id: CustomerId,
    pub invoice_id: InvoiceId,
    pub subscription_id: Option<SubscriptionId>,
    pub test_clock_id: Option<TestClockId>,
    pub status: DunningStatus,
    pub access: Access,
    pub retries_stopped: bool,
    pub step: i32,
    pub next_step_at: Option<DateTime<Utc>>,
    pub look_again_at: Option<DateTime<Utc>>,
    pub invoice_number: Option<String>,
    pub currency: String,
    pub amount_minor: i64,
    pub failure: Json<Failure>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Which dunnings to list.
#[derive(Clone, Debug, Default)]
pub(super) struct DunningFilter {
    pub customer: Option<CustomerId>,
    pub invoice: Option<InvoiceId>,
    pub status: Option<DunningStatus>,
}

/// When the next step is to be taken.
pub(super) const STEPS: DueColumn = DueColumn { table: "dunnings", name: "next_step_at" };

/// When to look what became of a step, if nobody has told.
pub(super) const LOOKS: DueColumn = DueColumn { table: "dunnings", name: "look_again_at" };

/// Every query of a tenant starts here, so that none can forget it.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(super) async fn insert(tx: &DatabaseTransaction, dunning: &Dunning) -> Result<(), DbErr> {
    Entity::insert(row(dunning)).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn save(tx: &DatabaseTransaction, dunning: &Dunning) -> Result<(), DbErr> {
    Entity::update(row(dunning)).exec(tx).await.map(drop)
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: DunningId,
) -> Result<Option<Dunning>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: DunningId,
) -> Result<Option<Dunning>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn find_of_invoice_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Option<Dunning>, DbErr> {
    let select = of(tenant).filter(Column::InvoiceId.eq(invoice)).lock_exclusive();
    select.one(tx).await?.map(TryInto::try_into).transpose()
}

/// Locks a customer's running ones, the oldest first.
pub(super) async fn running_of_customer_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Dunning>, DbErr> {
    let select = of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::Status.eq(DunningStatus::Running))
        .order_by_asc(Column::Id)
        .lock_exclusive();
    select.all(tx).await?.into_iter().map(TryInto::try_into).collect()
}

/// What each running one leaves of the access to a subscription.
pub(super) async fn running_accesses(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    subscription: SubscriptionId,
) -> Result<Vec<Access>, DbErr> {
    of(tenant)
        .filter(Column::SubscriptionId.eq(subscription))
        .filter(Column::Status.eq(DunningStatus::Running))
        .select_only()
        .column(Column::Access)
        .into_tuple()
        .all(tx)
        .await
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: DunningFilter,
    page: &PageQuery,
) -> Result<Vec<Dunning>, PageError> {
    let DunningFilter { customer, invoice, status } = filter;
    let mut select = of(tenant);
    if let Some(customer) = customer {
        select = select.filter(Column::CustomerId.eq(customer));
    }
    if let Some(invoice) = invoice {
        select = select.filter(Column::InvoiceId.eq(invoice));
    }
    if let Some(status) = status {
        select = select.filter(Column::Status.eq(status));
    }
    let rows = page.fetch::<Entity, DunningId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(TryInto::try_into).collect::<Result<_, DbErr>>()?)
}

fn row(dunning: &Dunning) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(dunning.tenant_id),
        id: Set(dunning.id),
        customer_id: Set(dunning.customer_id),
        invoice_id: Set(dunning.invoice_id),
        subscription_id: Set(dunning.subscription_id),
        test_clock_id: Set(dunning.test_clock_id),
        status: Set(dunning.status),
        access: Set(dunning.access),
        retries_stopped: Set(dunning.retries_stopped),
        step: Set(dunning.step),
        next_step_at: Set(dunning.next_step_at),
        look_again_at: Set(dunning.look_again_at),
        invoice_number: Set(dunning.invoice_number.clone()),
        currency: Set(dunning.amount.currency().code().to_owned()),
        amount_minor: Set(dunning.amount.minor()),
        failure: Set(Json(dunning.failure.clone())),
        started_at: Set(dunning.started_at),
        ended_at: Set(dunning.ended_at),
        metadata: Set(Json(dunning.metadata.clone())),
        created_at: Set(dunning.created_at),
    }
}

impl TryFrom<Model> for Dunning {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let currency = column::currency(&row.currency)?;
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            customer_id: row.customer_id,
            invoice_id: row.invoice_id,
            subscription_id: row.subscription_id,
            test_clock_id: row.test_clock_id,
            status: row.status,
            access: row.access,
            retries_stopped: row.retries_stopped,
            step: row.step,
            next_step_at: row.next_step_at,
            look_again_at: row.look_again_at,
            invoice_number: row.invoice_number,
            amount: Money::from_minor(row.amount_minor, currency),
            failure: row.failure.0,
            started_at: row.started_at,
            ended_at: row.ended_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
        })
    }
}
