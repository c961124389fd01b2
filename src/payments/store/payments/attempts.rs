//! Attempts in the database.

use accrue_core::{
    id::{PaymentAttemptId, PaymentId, PaymentMethodId, TenantId, TestClockId},
    money::{Currency, Money},
};
use accrue_platform::due::DueColumn;
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use crate::payments::model::{AttemptStatus, DeclineClass, PaymentAttempt};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_attempts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PaymentAttemptId,
    pub payment_id: PaymentId,
    pub payment_method_id: PaymentMethodId,
    pub test_clock_id: Option<TestClockId>,
    pub position: i32,
    pub reason: String,
    pub automatic: bool,
    pub gateway: String,
    pub brand: String,
    pub last4: String,
    pub status: AttemptStatus,
    pub amount_minor: i64,
    pub idempotency_key: String,
    pub gateway_reference: Option<String>,
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    pub look_ups: i32,
    pub look_up_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// When to ask about each that nobody knows the outcome of.
pub(crate) const LOOKS: DueColumn = DueColumn { table: "payment_attempts", name: "look_up_at" };

/// Every query of a tenant starts here, so that none can forget it.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(crate) async fn insert(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    test_clock: Option<TestClockId>,
    attempt: &PaymentAttempt,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(attempt.id),
        payment_id: Set(attempt.payment_id),
        payment_method_id: Set(attempt.payment_method_id),
        test_clock_id: Set(test_clock),
        position: Set(attempt.position),
        reason: Set(attempt.reason.clone()),
        automatic: Set(attempt.automatic),
        gateway: Set(attempt.gateway.clone()),
        brand: Set(attempt.brand.clone()),
        last4: Set(attempt.last4.clone()),
        amount_minor: Set(attempt.amount.minor()),
        idempotency_key: Set(attempt.idempotency_key.clone()),
        created_at: Set(attempt.created_at),
        ..verdict(attempt)
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// Stores what is known of an attempt by now.
pub(crate) async fn save(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    attempt: &PaymentAttempt,
) -> Result<(), DbErr> {
    let row = ActiveModel { tenant_id: Set(tenant), id: Set(attempt.id), ..verdict(attempt) };
    Entity::update(row).exec(tx).await.map(drop)
}

/// What may change of an attempt.
fn verdict(attempt: &PaymentAttempt) -> ActiveModel {
    ActiveModel {
        status: Set(attempt.status),
        gateway_reference: Set(attempt.gateway_reference.clone()),
        decline_code: Set(attempt.decline_code.clone()),
        decline_class: Set(attempt.decline_class),
        look_ups: Set(attempt.look_ups),
        look_up_at: Set(attempt.look_up_at),
        updated_at: Set(attempt.updated_at),
        ..Default::default()
    }
}

pub(super) async fn find_payment(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PaymentAttemptId,
) -> Result<Option<PaymentId>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).select_only().column(Column::PaymentId).into_tuple().one(db).await
}

pub(super) async fn of_payments(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    payments: Vec<PaymentId>,
) -> Result<Vec<Model>, DbErr> {
    of(tenant).filter(Column::PaymentId.is_in(payments)).order_by_asc(Column::Position).all(db).await
}

pub(super) fn model(row: Model, currency: Currency) -> PaymentAttempt {
    let Model {
        tenant_id: _,
        id,
        payment_id,
        payment_method_id,
        test_clock_id: _,
        position,
        reason,
        automatic,
        gateway,
        brand,
        last4,
        status,
        amount_minor,
        idempotency_key,
        gateway_reference,
        decline_code,
        decline_class,
        look_ups,
        look_up_at,
        created_at,
        updated_at,
    } = row;
    PaymentAttempt {
        id,
        payment_id,
        payment_method_id,
        position,
        reason,
        automatic,
        gateway,
        brand,
        last4,
        status,
        amount: Money::from_minor(amount_minor, currency),
        idempotency_key,
        gateway_reference,
        decline_code,
        decline_class,
        look_ups,
        look_up_at,
        created_at,
        updated_at,
    }
}
