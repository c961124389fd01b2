//! The rows of credit notes' lines.

use accrue_core::{
    id::{CreditNoteId, CreditNoteLineId, InvoiceLineId, TenantId},
    money::{Currency, Money},
};
use accrue_platform::column::{Dec, Json};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, entity::prelude::*};

use crate::invoices::{
    credit_notes::model::{CreditLine, CreditNote},
    model::TaxRow,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credit_note_lines")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: CreditNoteLineId,
    pub credit_note_id: CreditNoteId,
    pub invoice_line_id: InvoiceLineId,
    pub position: i32,
    pub description: String,
    pub quantity: Option<Dec>,
    pub amount_minor: i64,
    pub tax_minor: i64,
    pub taxes: Json<Vec<TaxRow>>,
    pub corrected_minor: Option<i64>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(super) fn line(row: Model, currency: Currency) -> CreditLine {
    CreditLine {
        invoice_line_id: row.invoice_line_id,
        description: row.description,
        quantity: row.quantity.map(|quantity| quantity.0),
        amount: Money::from_minor(row.amount_minor, currency),
        tax: Money::from_minor(row.tax_minor, currency),
        taxes: row.taxes.0,
        corrected: row.corrected_minor.map(|minor| Money::from_minor(minor, currency)),
    }
}

pub(super) fn row_of(note: &CreditNote, line: &CreditLine, position: i32) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(note.tenant_id),
        id: Set(CreditNoteLineId::new(note.created_at)),
        credit_note_id: Set(note.id),
        invoice_line_id: Set(line.invoice_line_id),
        position: Set(position),
        description: Set(line.description.clone()),
        quantity: Set(line.quantity.map(Dec)),
        amount_minor: Set(line.amount.minor()),
        tax_minor: Set(line.tax.minor()),
        taxes: Set(Json(line.taxes.clone())),
        corrected_minor: Set(line.corrected.map(Money::minor)),
        created_at: Set(note.created_at),
    }
}
