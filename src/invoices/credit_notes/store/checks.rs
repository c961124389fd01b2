//! What `accrue verify` asks of credit notes.

use accrue_core::{
    id::{CreditNoteId, CustomerId, InvoiceId, TenantId},
    money::Money,
};
use accrue_platform::column::currency;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, QuerySelect, Statement};

use super::notes;

/// What each customer has with us by credit notes in each currency, zeros included: what is left of them, and what is
/// on its way back.
const CREDIT_LEFT: &str = "
select customer_id, currency,
    cast(sum(credit_left_minor + case when refund_status = 'pending' then total_minor else 0 end) as bigint) as credit
from credit_notes where tenant_id = $1 group by customer_id, currency";

/// What customers have with us by credit notes.
pub(in crate::invoices::credit_notes) async fn credit_left(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    let read = |row: &QueryResult| {
        let currency = currency(&row.try_get::<String>("", "currency")?)?;
        Ok((row.try_get("", "customer_id")?, Money::from_minor(row.try_get("", "credit")?, currency)))
    };
    ask(db, CREDIT_LEFT, tenant).await?.iter().map(read).collect()
}

const UNLIKE_THEIR_LINES: &str = "
select n.id from credit_notes n
left join credit_note_lines l on l.tenant_id = n.tenant_id and l.credit_note_id = n.id
where n.tenant_id = $1
group by n.id, n.subtotal_minor, n.tax_minor
having n.subtotal_minor <> coalesce(sum(l.amount_minor), 0) or n.tax_minor <> coalesce(sum(l.tax_minor), 0)";

/// Credit notes whose sums are not those of their lines.
pub(in crate::invoices::credit_notes) async fn unlike_their_lines(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<CreditNoteId>, DbErr> {
    ask(db, UNLIKE_THEIR_LINES, tenant).await?.iter().map(|row| row.try_get("", "id")).collect()
}

const UNLIKE_THEIR_NOTES: &str = "
select i.id from invoices i where i.tenant_id = $1 and (
    i.credited_minor <> coalesce((select sum(n.total_minor) from credit_notes n
        where n.tenant_id = i.tenant_id and n.invoice_id = i.id), 0)
    or i.offset_minor <> coalesce((select sum(n.total_minor) from credit_notes n
        where n.tenant_id = i.tenant_id and n.invoice_id = i.id and n.kind = 'offset'), 0)
    or case when i.status = 'void' then 0 else i.credits_applied_minor end <> coalesce((
        select sum(a.amount_minor) from credit_applications a
        where a.tenant_id = i.tenant_id and a.invoice_id = i.id and a.returned_at is null), 0))";

/// Invoices that say something else of credit notes than these do.
pub(in crate::invoices::credit_notes) async fn unlike_their_notes(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    ask(db, UNLIKE_THEIR_NOTES, tenant).await?.iter().map(|row| row.try_get("", "id")).collect()
}

/// Every number that was given, in no order.
pub(in crate::invoices::credit_notes) async fn numbers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<String>, DbErr> {
    notes::of(tenant).select_only().column(notes::Column::Number).into_tuple().all(db).await
}

async fn ask(db: &impl ConnectionTrait, question: &str, tenant: TenantId) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), question, [tenant.into()]);
    db.query_all_raw(statement).await
}
