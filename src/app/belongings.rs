//! What capabilities keep of a customer, and how it goes when a test clock is deleted with its customers.

use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::db::Db;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};

use super::work::Boxed;

/// What a capability keeps of a customer. The next capability's rows may be referred to, those of the one before not any
/// more.
pub struct Belongings {
    /// Takes out some of what there may be much of, in transactions of its own; `false` once nothing of it is left.
    pub take_out: Option<TakeOut>,
    /// Deletes all of it.
    pub delete: for<'a> fn(&'a DatabaseTransaction, TenantId, CustomerId) -> Boxed<'a, Result<(), DbErr>>,
}

/// Takes out some of what a customer has.
pub type TakeOut = for<'a> fn(&'a Db, TenantId, CustomerId) -> Boxed<'a, Result<bool, DbErr>>;

/// Executes statements about a tenant, `$1`, and their customer, `$2`.
pub async fn execute_all(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
    statements: &[&str],
) -> Result<(), DbErr> {
    for sql in statements {
        let values = [tenant.into(), customer.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), *sql, values);
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

/// Locks rows by such statements. SQLite has one writer.
pub async fn lock_all(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
    statements: &[&str],
) -> Result<(), DbErr> {
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        execute_all(tx, tenant, customer, statements).await?;
    }
    Ok(())
}
