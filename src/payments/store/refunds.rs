//! Refunds in the database.

use accrue_core::id::{CreditNoteId, PaymentId, RefundId, TenantId, TestClockId};
use accrue_platform::{
    check::Metadata,
    column::Json,
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::money;
use crate::payments::model::{Refund, RefundStatus};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: RefundId,
    pub payment_id: PaymentId,
    pub test_clock_id: Option<TestClockId>,
    pub status: RefundStatus,
    pub currency: String,
    pub amount_minor: i64,
    pub reason: Option<String>,
    pub request_key: Option<String>,
    pub credit_note_id: Option<CreditNoteId>,
    pub gateway_reference: Option<String>,
    pub failure: Option<String>,
    pub look_up_at: Option<DateTime<Utc>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// When to look what became of each.
pub(crate) const LOOKS: DueColumn = DueColumn { table: "refunds", name: "look_up_at" };

/// Every query of a tenant starts here, so that none can forget it.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(crate) async fn insert(tx: &DatabaseTransaction, refund: &Refund) -> Result<(), DbErr> {
    Entity::insert(row(refund)).exec_without_returning(tx).await.map(drop)
}

pub(crate) async fn save(tx: &DatabaseTransaction, refund: &Refund) -> Result<(), DbErr> {
    Entity::update(row(refund)).exec(tx).await.map(drop)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: RefundId,
) -> Result<Option<Refund>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(TryInto::try_into).transpose()
}

pub(crate) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: RefundId,
) -> Result<Option<Refund>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(TryInto::try_into).transpose()
}

pub(crate) async fn of_payment(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    payment: PaymentId,
) -> Result<Vec<Refund>, DbErr> {
    let select = of(tenant).filter(Column::PaymentId.eq(payment)).order_by_asc(Column::Id);
    select.all(db).await?.into_iter().map(TryInto::try_into).collect()
}

pub(crate) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    payment: Option<PaymentId>,
    page: &PageQuery,
) -> Result<Vec<Refund>, PageError> {
    let mut select = of(tenant);
    if let Some(payment) = payment {
        select = select.filter(Column::PaymentId.eq(payment));
    }
    let rows = page.fetch::<Entity, RefundId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(TryInto::try_into).collect::<Result<_, DbErr>>()?)
}

fn row(refund: &Refund) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(refund.tenant_id),
        id: Set(refund.id),
        payment_id: Set(refund.payment_id),
        test_clock_id: Set(refund.test_clock_id),
        status: Set(refund.status),
        currency: Set(refund.amount.currency().code().to_owned()),
        amount_minor: Set(refund.amount.minor()),
        reason: Set(refund.reason.clone()),
        request_key: Set(refund.request_key.clone()),
        credit_note_id: Set(refund.credit_note_id),
        gateway_reference: Set(refund.gateway_reference.clone()),
        failure: Set(refund.failure.clone()),
        look_up_at: Set(refund.look_up_at),
        metadata: Set(Json(refund.metadata.clone())),
        created_at: Set(refund.created_at),
    }
}

impl TryFrom<Model> for Refund {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let Model {
            tenant_id,
            id,
            payment_id,
            test_clock_id,
            status,
            currency,
            amount_minor,
            reason,
            request_key,
            credit_note_id,
            gateway_reference,
            failure,
            look_up_at,
            metadata,
            created_at,
        } = row;
        Ok(Self {
            tenant_id,
            id,
            payment_id,
            test_clock_id,
            status,
            amount: money(amount_minor, &currency)?,
            reason,
            request_key,
            credit_note_id,
            gateway_reference,
            failure,
            look_up_at,
            metadata: metadata.0,
            created_at,
        })
    }
}
