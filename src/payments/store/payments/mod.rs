//! Payments and their attempts in the database. They are always read and locked together.

use std::collections::HashMap;

use accrue_core::id::{CustomerId, InvoiceId, PaymentAttemptId, PaymentId, TenantId, TestClockId};
use accrue_platform::{
    check::Metadata,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
};

use super::{currency, money};
use crate::payments::model::{DeclineClass, Payment, PaymentStatus};

pub(crate) mod attempts;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PaymentId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub invoice_id: InvoiceId,
    pub status: PaymentStatus,
    pub currency: String,
    pub amount_minor: i64,
    pub refunded_minor: i64,
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Which payments to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct PaymentFilter {
    pub customer: Option<CustomerId>,
    pub invoice: Option<InvoiceId>,
    pub status: Option<PaymentStatus>,
}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(crate) async fn insert(tx: &DatabaseTransaction, payment: &Payment) -> Result<(), DbErr> {
    Entity::insert(row(payment)).exec_without_returning(tx).await.map(drop)
}

/// Stores the payment, without its attempts.
pub(crate) async fn save(tx: &DatabaseTransaction, payment: &Payment) -> Result<(), DbErr> {
    Entity::update(row(payment)).exec(tx).await.map(drop)
}

pub(crate) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PaymentId,
) -> Result<Option<Payment>, DbErr> {
    with_attempts(db, of(tenant).filter(Column::Id.eq(id)).one(db).await?).await
}

pub(crate) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: PaymentId,
) -> Result<Option<Payment>, DbErr> {
    with_attempts(tx, of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?).await
}

pub(crate) async fn find_of_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Option<Payment>, DbErr> {
    with_attempts(db, of(tenant).filter(Column::InvoiceId.eq(invoice)).one(db).await?).await
}

pub(crate) async fn find_of_invoice_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Option<Payment>, DbErr> {
    let row = of(tenant).filter(Column::InvoiceId.eq(invoice)).lock_exclusive().one(tx).await?;
    with_attempts(tx, row).await
}

/// The payments of these invoices.
pub(crate) async fn of_invoices(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoices: &[InvoiceId],
) -> Result<Vec<Payment>, DbErr> {
    let select = of(tenant).filter(Column::InvoiceId.is_in(invoices.iter().copied()));
    complete(db, tenant, select.all(db).await?).await
}

/// The payment that an attempt belongs to.
pub(crate) async fn find_of_attempt(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    attempt: PaymentAttemptId,
) -> Result<Option<Payment>, DbErr> {
    match attempts::find_payment(db, tenant, attempt).await? {
        Some(payment) => find(db, tenant, payment).await,
        None => Ok(None),
    }
}

pub(crate) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: PaymentFilter,
    page: &PageQuery,
) -> Result<Vec<Payment>, PageError> {
    let PaymentFilter { customer, invoice, status } = filter;
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
    let rows = page.fetch::<Entity, PaymentId>(select, Column::Id, db).await?;
    Ok(complete(db, tenant, rows).await?)
}

/// Reads the attempts of all these payments at once.
async fn complete(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    rows: Vec<Model>,
) -> Result<Vec<Payment>, DbErr> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut by_payment: HashMap<PaymentId, Vec<attempts::Model>> = HashMap::new();
    for attempt in attempts::of_payments(db, tenant, ids).await? {
        by_payment.entry(attempt.payment_id).or_default().push(attempt);
    }
    let payments = rows.into_iter().map(|row| {
        let attempts = by_payment.remove(&row.id).unwrap_or_default();
        model(row, attempts)
    });
    payments.collect()
}

async fn with_attempts(db: &impl ConnectionTrait, row: Option<Model>) -> Result<Option<Payment>, DbErr> {
    let Some(row) = row else { return Ok(None) };
    let attempts = attempts::of_payments(db, row.tenant_id, vec![row.id]).await?;
    model(row, attempts).map(Some)
}

fn row(payment: &Payment) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(payment.tenant_id),
        id: Set(payment.id),
        customer_id: Set(payment.customer_id),
        test_clock_id: Set(payment.test_clock_id),
        invoice_id: Set(payment.invoice_id),
        status: Set(payment.status),
        currency: Set(payment.amount.currency().code().to_owned()),
        amount_minor: Set(payment.amount.minor()),
        refunded_minor: Set(payment.refunded.minor()),
        decline_code: Set(payment.decline_code.clone()),
        decline_class: Set(payment.decline_class),
        metadata: Set(Json(payment.metadata.clone())),
        created_at: Set(payment.created_at),
    }
}

fn model(row: Model, attempts: Vec<attempts::Model>) -> Result<Payment, DbErr> {
    let Model {
        tenant_id,
        id,
        customer_id,
        test_clock_id,
        invoice_id,
        status,
        currency: code,
        amount_minor,
        refunded_minor,
        decline_code,
        decline_class,
        metadata,
        created_at,
    } = row;
    let currency = currency(&code)?;
    let attempts = attempts.into_iter().map(|row| attempts::model(row, currency)).collect();
    Ok(Payment {
        tenant_id,
        id,
        customer_id,
        test_clock_id,
        invoice_id,
        status,
        amount: money(amount_minor, &code)?,
        refunded: money(refunded_minor, &code)?,
        decline_code,
        decline_class,
        attempts,
        metadata: metadata.0,
        created_at,
    })
}
