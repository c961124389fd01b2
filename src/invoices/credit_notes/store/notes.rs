//! The rows of credit notes.

use accrue_core::{
    id::{CreditNoteId, CustomerId, InvoiceId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    column::{Json, currency},
};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, DbErr, entity::prelude::*};

use super::lines;
use crate::{
    customers::Exemption,
    invoices::{
        credit_notes::model::{Credit, CreditKind, CreditNote, CreditReason, RefundProgress},
        model::TaxRow,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credit_notes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: CreditNoteId,
    pub invoice_id: InvoiceId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub number: String,
    pub kind: CreditKind,
    pub reason: CreditReason,
    pub cause: Option<String>,
    pub memo: Option<String>,
    pub currency: String,
    pub subtotal_minor: i64,
    pub tax_minor: i64,
    pub total_minor: i64,
    pub credit_left_minor: i64,
    pub refund_status: Option<RefundProgress>,
    pub exemption: Exemption,
    pub taxes: Json<Vec<TaxRow>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// With the rows of its lines, in order.
pub(super) fn note(row: Model, lines: Vec<lines::Model>) -> Result<CreditNote, DbErr> {
    let currency = currency(&row.currency)?;
    let money = |minor| Money::from_minor(minor, currency);
    Ok(CreditNote {
        tenant_id: row.tenant_id,
        id: row.id,
        invoice_id: row.invoice_id,
        customer_id: row.customer_id,
        test_clock_id: row.test_clock_id,
        number: row.number,
        kind: row.kind,
        reason: row.reason,
        cause: row.cause,
        memo: row.memo,
        credit: Credit {
            currency,
            lines: lines.into_iter().map(|line| lines::line(line, currency)).collect(),
            subtotal: money(row.subtotal_minor),
            exemption: row.exemption,
            taxes: row.taxes.0,
            tax_total: money(row.tax_minor),
            total: money(row.total_minor),
        },
        credit_left: money(row.credit_left_minor),
        refund_status: row.refund_status,
        metadata: row.metadata.0,
        created_at: row.created_at,
    })
}

pub(super) fn row_of(note: &CreditNote) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(note.tenant_id),
        id: Set(note.id),
        invoice_id: Set(note.invoice_id),
        customer_id: Set(note.customer_id),
        test_clock_id: Set(note.test_clock_id),
        number: Set(note.number.clone()),
        kind: Set(note.kind),
        reason: Set(note.reason),
        cause: Set(note.cause.clone()),
        memo: Set(note.memo.clone()),
        currency: Set(note.credit.currency.code().to_owned()),
        subtotal_minor: Set(note.credit.subtotal.minor()),
        tax_minor: Set(note.credit.tax_total.minor()),
        total_minor: Set(note.credit.total.minor()),
        credit_left_minor: Set(note.credit_left.minor()),
        refund_status: Set(note.refund_status),
        exemption: Set(note.credit.exemption),
        taxes: Set(Json(note.credit.taxes.clone())),
        metadata: Set(Json(note.metadata.clone())),
        created_at: Set(note.created_at),
    }
}
