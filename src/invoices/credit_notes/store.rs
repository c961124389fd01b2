//! Credit notes, their lines, and what they paid, in the database.

mod applications;
mod checks;
mod lines;
mod notes;

use std::collections::HashMap;

use accrue_core::{
    id::{CreditNoteId, CustomerId, InvoiceId, InvoiceLineId, TenantId},
    money::Currency,
};
use accrue_platform::page::{PageError, PageQuery};
use rust_decimal::Decimal;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, QueryTrait, entity::prelude::*,
};

use super::model::{CreditLine, CreditNote};

pub(super) use applications::{applied_to, apply, give_back};
pub(super) use checks::{credit_left, numbers, unlike_their_lines, unlike_their_notes};

/// A statement has an end: a whole invoice may have thousands of lines.
const LINES_AT_ONCE: usize = 500;

/// What a usage correction took back of a line's amount.
#[derive(Clone, Copy, Debug)]
pub(in crate::invoices) struct Corrected {
    pub line: InvoiceLineId,
    pub note: CreditNoteId,
    pub quantity: Decimal,
    pub minor: i64,
}

/// Which credit notes to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreditNoteFilter {
    pub customer: Option<CustomerId>,
    pub invoice: Option<InvoiceId>,
}

/// Stores a credit note with its lines. Another one of the same cause, or with its number, is a unique violation.
pub(super) async fn insert(tx: &DatabaseTransaction, note: &CreditNote) -> Result<(), DbErr> {
    notes::Entity::insert(notes::row_of(note)).exec_without_returning(tx).await?;
    let rows = note.credit.lines.iter().zip(0..).map(|(line, position)| lines::row_of(note, line, position));
    let rows: Vec<_> = rows.collect();
    for some in rows.chunks(LINES_AT_ONCE) {
        lines::Entity::insert_many(some.to_vec()).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// Saves what may still change of a credit note.
pub(super) async fn save(tx: &DatabaseTransaction, note: &CreditNote) -> Result<(), DbErr> {
    use notes::Column;

    let saved = notes::Entity::update_many()
        .col_expr(Column::CreditLeftMinor, note.credit_left.minor().into())
        .col_expr(Column::RefundStatus, Expr::value(note.refund_status))
        .filter(Column::TenantId.eq(note.tenant_id))
        .filter(Column::Id.eq(note.id))
        .exec(tx)
        .await?;
    if saved.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: CreditNoteId,
) -> Result<Option<CreditNote>, DbErr> {
    let row = notes::of(tenant).filter(notes::Column::Id.eq(id)).one(db).await?;
    Ok(complete(db, tenant, row.into_iter().collect()).await?.pop())
}

pub(super) async fn find_by_number(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    number: &str,
) -> Result<Option<CreditNote>, DbErr> {
    let row = notes::of(tenant).filter(notes::Column::Number.eq(number)).one(db).await?;
    Ok(complete(db, tenant, row.into_iter().collect()).await?.pop())
}

/// These credit notes, locked, the oldest first.
pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    ids: &[CreditNoteId],
) -> Result<Vec<CreditNote>, DbErr> {
    let select = notes::of(tenant).filter(notes::Column::Id.is_in(ids.iter().copied()));
    let rows = select.order_by_asc(notes::Column::Id).lock_exclusive().all(tx).await?;
    complete(tx, tenant, rows).await
}

/// Locks a customer's credit notes, the oldest first.
pub(super) async fn lock_of_customer(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<(), DbErr> {
    let select = notes::of(tenant).filter(notes::Column::CustomerId.eq(customer));
    select.order_by_asc(notes::Column::Id).lock_exclusive().all(tx).await.map(drop)
}

/// A customer's credit notes in a currency of which something is left, locked, the oldest first (RULES 31).
pub(super) async fn with_credit_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
    currency: Currency,
) -> Result<Vec<CreditNote>, DbErr> {
    let select = notes::of(tenant)
        .filter(notes::Column::CustomerId.eq(customer))
        .filter(notes::Column::Currency.eq(currency.code()))
        .filter(notes::Column::CreditLeftMinor.gt(0));
    let rows = select.order_by_asc(notes::Column::Id).lock_exclusive().all(tx).await?;
    complete(tx, tenant, rows).await
}

/// What was taken back of an invoice so far, by however many credit notes.
pub(super) async fn lines_of_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
    currency: Currency,
) -> Result<Vec<CreditLine>, DbErr> {
    let ids: Vec<CreditNoteId> = notes::of(tenant)
        .select_only()
        .column(notes::Column::Id)
        .filter(notes::Column::InvoiceId.eq(invoice))
        .into_tuple()
        .all(db)
        .await?;
    let rows = lines::of(tenant).filter(lines::Column::CreditNoteId.is_in(ids)).all(db).await?;
    Ok(rows.into_iter().map(|row| lines::line(row, currency)).collect())
}

/// The credit notes of an invoice, the oldest first.
pub(super) async fn of_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
) -> Result<Vec<CreditNote>, DbErr> {
    let select = notes::of(tenant).filter(notes::Column::InvoiceId.eq(invoice));
    complete(db, tenant, select.order_by_asc(notes::Column::Id).all(db).await?).await
}

/// What usage corrections took back of these lines, and by which note, of the lines that have any.
pub(in crate::invoices) async fn corrected(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice_lines: &[InvoiceLineId],
) -> Result<Vec<Corrected>, DbErr> {
    let mut corrected = Vec::new();
    for some in invoice_lines.chunks(LINES_AT_ONCE) {
        let by_usage = notes::of(tenant)
            .select_only()
            .column(notes::Column::Id)
            .filter(notes::Column::Cause.is_not_null())
            .into_query();
        let found = lines::of(tenant)
            .filter(lines::Column::InvoiceLineId.is_in(some.iter().copied()))
            .filter(lines::Column::CreditNoteId.in_subquery(by_usage))
            .all(db)
            .await?;
        corrected.extend(found.into_iter().map(|line| Corrected {
            line: line.invoice_line_id,
            note: line.credit_note_id,
            quantity: line.quantity.map_or(Decimal::ZERO, |quantity| quantity.0),
            minor: line.corrected_minor.unwrap_or_default(),
        }));
    }
    Ok(corrected)
}

/// A page of them.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: CreditNoteFilter,
    page: &PageQuery,
) -> Result<Vec<CreditNote>, PageError> {
    let select = notes::of(tenant)
        .apply_if(filter.customer, |select, id| select.filter(notes::Column::CustomerId.eq(id)))
        .apply_if(filter.invoice, |select, id| select.filter(notes::Column::InvoiceId.eq(id)));
    let rows = page.fetch::<notes::Entity, CreditNoteId>(select, notes::Column::Id, db).await?;
    Ok(complete(db, tenant, rows).await?)
}

/// Reads the lines of all these credit notes at once.
async fn complete(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    rows: Vec<notes::Model>,
) -> Result<Vec<CreditNote>, DbErr> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let found = lines::of(tenant)
        .filter(lines::Column::CreditNoteId.is_in(rows.iter().map(|row| row.id)))
        .order_by_asc(lines::Column::Position)
        .all(db)
        .await?;
    let mut lines: HashMap<CreditNoteId, Vec<lines::Model>> = HashMap::new();
    for line in found {
        lines.entry(line.credit_note_id).or_default().push(line);
    }
    rows.into_iter()
        .map(|row| {
            let lines = lines.remove(&row.id).unwrap_or_default();
            notes::note(row, lines)
        })
        .collect()
}
