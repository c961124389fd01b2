//! What `accrue verify` asks of invoices.

use accrue_core::{
    id::{CustomerId, InvoiceId, TenantId},
    money::Money,
};
use accrue_platform::column::currency;
use sea_orm::{ConnectionTrait, DbErr, QuerySelect, Statement, entity::prelude::*};

use super::invoices;
use crate::invoices::model::InvoiceStatus;

const OWED: &str = "
select customer_id, currency,
    cast(sum(case when status = 'open' then total_minor - credits_applied_minor - balance_applied_minor - offset_minor - amount_paid_minor else 0 end) as bigint) as owed
from invoices where tenant_id = $1 and status <> 'draft' group by customer_id, currency";

/// What each customer owes in each currency by open invoices, zeros included.
pub(in crate::invoices) async fn owed(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), OWED, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    let owed = rows.iter().map(|row| {
        let currency = currency(&row.try_get::<String>("", "currency")?)?;
        Ok((row.try_get("", "customer_id")?, Money::from_minor(row.try_get("", "owed")?, currency)))
    });
    owed.collect()
}

const UNLIKE_THEIR_LINES: &str = "
select i.id from invoices i
left join invoice_lines l on l.tenant_id = i.tenant_id and l.invoice_id = i.id
where i.tenant_id = $1
group by i.id, i.subtotal_minor, i.discount_minor, i.tax_minor, i.total_minor, i.balance_credited_minor
having i.subtotal_minor <> coalesce(sum(l.amount_minor), 0)
    or i.tax_minor <> coalesce(sum(l.tax_minor), 0)
    or i.total_minor - i.balance_credited_minor <> coalesce(sum(l.taxable_minor + l.tax_minor), 0)";

/// Invoices whose sums are not those of their lines.
pub(in crate::invoices) async fn unlike_their_lines(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), UNLIKE_THEIR_LINES, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

const UNLIKE_THE_REPLACED: &str = "
select n.id from invoices n join invoices o on o.tenant_id = n.tenant_id and o.id = n.replaces
where n.tenant_id = $1 and (o.replaced_by is null or o.replaced_by <> n.id)
union
select o.id from invoices o join invoices n on n.tenant_id = o.tenant_id and n.id = o.replaced_by
where o.tenant_id = $1 and (n.replaces is null or n.replaces <> o.id)";

/// Invoices that say of another one that they replace it, or are replaced by it, which says something else.
pub(in crate::invoices) async fn unlike_the_replaced(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), UNLIKE_THE_REPLACED, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

const REMOVED: &str = "select id from removed_numbers where tenant_id = $1";

/// The numbers of what was deleted with a test clock, of one kind.
pub(in crate::invoices) async fn removed_numbers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    kind: &str,
) -> Result<Vec<String>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), REMOVED, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    let ids = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<String>, DbErr>>()?;
    Ok(ids.iter().filter_map(|id| id.strip_prefix(kind)?.strip_prefix(':').map(str::to_owned)).collect())
}

/// Every number that was given, in no order.
pub(in crate::invoices) async fn numbers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<String>, DbErr> {
    invoices::of(tenant)
        .select_only()
        .column(invoices::Column::Number)
        .filter(invoices::Column::Number.is_not_null())
        .into_tuple()
        .all(db)
        .await
}

/// The void invoices.
pub(in crate::invoices) async fn void_ids(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    invoices::of(tenant)
        .select_only()
        .column(invoices::Column::Id)
        .filter(invoices::Column::Status.eq(InvoiceStatus::Void))
        .into_tuple()
        .all(db)
        .await
}
