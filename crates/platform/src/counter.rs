//! Counters of a tenant that never skip and never repeat: invoice numbers, event sequences.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};

use accrue_core::id::TenantId;

const NEXT: &str = "
insert into counters (tenant_id, id, value) values ($1, $2, $3)
on conflict (tenant_id, id) do update set value = counters.value + excluded.value
returning value";

/// Takes the next `count` numbers and returns the first of them; they start at 1.
///
/// The row stays locked until the transaction ends, so numbers are given in the order of commits, and a
/// rollback gives them back: no gap (RULES 35).
pub async fn take(tx: &DatabaseTransaction, tenant: TenantId, name: &str, count: i64) -> Result<i64, DbErr> {
    let statement = Statement::from_sql_and_values(
        tx.get_database_backend(),
        NEXT,
        [tenant.into(), name.into(), count.into()],
    );
    let row = tx.query_one_raw(statement).await?.ok_or(DbErr::RecordNotInserted)?;
    let last: i64 = row.try_get_by_index(0)?;
    Ok(last - count + 1)
}

const GIVEN: &str = "select id, value from counters where tenant_id = $1 order by id";

/// The last number of each of a tenant's counters whose names begin alike, by the rest of the name.
pub async fn given(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    beginning: &str,
) -> Result<Vec<(String, i64)>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), GIVEN, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    let read = |row: &sea_orm::QueryResult| Ok((row.try_get("", "id")?, row.try_get("", "value")?));
    let all = rows.iter().map(read).collect::<Result<Vec<(String, i64)>, DbErr>>()?;
    let rest = |(name, value): (String, i64)| Some((name.strip_prefix(beginning)?.to_owned(), value));
    Ok(all.into_iter().filter_map(rest).collect())
}
