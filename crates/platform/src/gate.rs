//! A gate for each tenant and purpose, through which many transactions pass at once until one closes it.
//!
//! Whoever closes it waits until all who passed have ended, and is alone until it ends itself. On SQLite a
//! writing transaction is alone anyway.

use accrue_core::id::TenantId;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};

/// What the gate is for, and therefore which gate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Gate {
    /// Usage events are being taken.
    Usage = 1,
}

impl Gate {
    pub async fn pass(self, tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
        self.lock(tx, tenant, "select pg_advisory_xact_lock_shared($1, $2)").await
    }

    pub async fn close(self, tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
        self.lock(tx, tenant, "select pg_advisory_xact_lock($1, $2)").await
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
