//! Which credit note paid what of which invoice.

use accrue_core::{
    id::{CreditApplicationId, CreditNoteId, InvoiceId, TenantId},
    money::Money,
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, entity::prelude::*,
};

use crate::invoices::{credit_notes::model::CreditNote, model::Invoice};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credit_applications")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: CreditApplicationId,
    pub credit_note_id: CreditNoteId,
    pub invoice_id: InvoiceId,
    pub amount_minor: i64,
    /// When the invoice was voided: it is the note's again.
    pub returned_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Notes that a credit note paid a part of an invoice.
pub(in crate::invoices::credit_notes) async fn apply(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    note: &CreditNote,
    invoice: InvoiceId,
    amount: Money,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(note.tenant_id),
        id: Set(CreditApplicationId::new(now)),
        credit_note_id: Set(note.id),
        invoice_id: Set(invoice),
        amount_minor: Set(amount.minor()),
        returned_at: Set(None),
        created_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// What each credit note paid of an invoice and still pays, the oldest note first.
pub(in crate::invoices::credit_notes) async fn applied_to(
    db: &impl ConnectionTrait,
    invoice: &Invoice,
) -> Result<Vec<(CreditNoteId, Money)>, DbErr> {
    let select = of(invoice.tenant_id)
        .filter(Column::InvoiceId.eq(invoice.id))
        .filter(Column::ReturnedAt.is_null())
        .order_by_asc(Column::CreditNoteId);
    let rows = select.all(db).await?;
    let amount = |row: &Model| Money::from_minor(row.amount_minor, invoice.currency);
    Ok(rows.iter().map(|row| (row.credit_note_id, amount(row))).collect())
}

/// Notes that an invoice keeps nothing of what credit notes paid of it.
pub(in crate::invoices::credit_notes) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &Invoice,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::ReturnedAt, now.into())
        .filter(Column::TenantId.eq(invoice.tenant_id))
        .filter(Column::InvoiceId.eq(invoice.id))
        .filter(Column::ReturnedAt.is_null())
        .exec(tx)
        .await
        .map(drop)
}
