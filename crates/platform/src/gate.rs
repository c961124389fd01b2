//! A gate for each tenant and purpose, through which many transactions pass at once until one closes it.
//!
//! Whoever closes it waits until all who passed have ended, and is alone until it ends itself. On SQLite a
//! writing transaction is alone anyway. How often it was closed is counted: whoever passes knows whether what it
//! remembers may have changed.

use accrue_core::id::TenantId;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement, Value,
    sea_query::{Expr, ExprTrait, Query, SimpleExpr},
};

/// What the gate is for, and therefore which gate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Gate {
    /// Usage events are being taken.
    Usage = 1,
}

impl Gate {
    /// Passes, and says how often the gate was closed until now.
    pub async fn pass(self, tx: &DatabaseTransaction, tenant: TenantId) -> Result<i64, DbErr> {
        self.lock(tx, tenant, "select pg_advisory_xact_lock_shared($1, $2)").await?;
        // Asked in a statement of its own: one sees what was committed before it began, not before it got its lock.
        self.closings(tx, tenant).await
    }

    /// How often the gate was closed until now, for whoever reads only. What is read after that is not older.
    pub async fn closings(self, db: &impl ConnectionTrait, tenant: TenantId) -> Result<i64, DbErr> {
        let sql = "select closings from gates where tenant_id = $1 and id = $2";
        let row = db.query_one_raw(self.statement(db, tenant, sql)).await?;
        row.map_or(Ok(0), |row| row.try_get_by_index(0))
    }

    /// That the gate was closed so many times and not more often, as a part of a statement.
    pub fn was_closed(self, tenant: TenantId, closings: i64) -> SimpleExpr {
        let other = Query::select()
            .expr(Expr::val(1))
            .from("gates")
            .and_where(Expr::col(("gates", "tenant_id")).eq(tenant.0))
            .and_where(Expr::col(("gates", "id")).eq(self as i32))
            .and_where(Expr::col(("gates", "closings")).ne(closings))
            .take();
        Expr::exists(other).not()
    }

    /// Before any other lock that those who pass may want.
    pub async fn close(self, tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
        self.lock(tx, tenant, "select pg_advisory_xact_lock($1, $2)").await?;
        let sql = "insert into gates (tenant_id, id, closings) values ($1, $2, 1)
            on conflict (tenant_id, id) do update set closings = gates.closings + 1";
        tx.execute_raw(self.statement(tx, tenant, sql)).await.map(drop)
    }

    fn statement(self, db: &impl ConnectionTrait, tenant: TenantId, sql: &str) -> Statement {
        let values: [Value; 2] = [tenant.0.into(), (self as i32).into()];
        Statement::from_sql_and_values(db.get_database_backend(), sql, values)
    }

    async fn lock(self, tx: &DatabaseTransaction, tenant: TenantId, sql: &str) -> Result<(), DbErr> {
        if tx.get_database_backend() != DatabaseBackend::Postgres {
            return Ok(());
        }
        // Two tenants may share a gate by chance, which makes them wait for one another and does no harm.
        let (_, _, _, chance) = tenant.0.as_fields();
        let half = i32::from_be_bytes([chance[4], chance[5], chance[6], chance[7]]);
        let values = [(self as i32).into(), half.into()];
        let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values);
        tx.query_one_raw(statement).await.map(drop)
    }
}
