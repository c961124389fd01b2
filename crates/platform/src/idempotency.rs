//! Stored answers of requests that carried an `Idempotency-Key`. The answer commits with the change, so a
//! key has one effect, whatever dies in between.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use accrue_core::id::TenantId;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, QueryFilter, Statement,
    entity::prelude::*,
};
use sha2::{Digest, Sha256};

use crate::problem::{self, Problem};

/// How long answers are kept.
pub const KEPT: TimeDelta = TimeDelta::hours(72);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub fingerprint: Vec<u8>,
    pub status: i32,
    pub body: String,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An answer as it was first given.
pub type StoredAnswer = Model;

/// The key in a header: bare, or quoted as a structured field.
pub fn parse_key(header: &str) -> Option<String> {
    let key = header.trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let fits =
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    fits.then(|| key.to_owned())
}

pub async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    key: &str,
    now: DateTime<Utc>,
) -> Result<Option<StoredAnswer>, DbErr> {
    Entity::find()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::Id.eq(key))
        .filter(Column::CreatedAt.gt(now - KEPT))
        .one(db)
        .await
}

/// Whether the request is the only one with its key, in all processes, until `tx` ends; and none was answered.
///
/// SQLite has one process, of which [`InFlight`] knows.
pub async fn enter(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    key: &str,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    if tx.get_database_backend() == DatabaseBackend::Sqlite {
        return Ok(true);
    }
    let digest = Sha256::new().chain_update(tenant.0).chain_update(key).finalize();
    let lock = digest[..8].iter().fold(0, |lock: i64, byte| lock << 8 | i64::from(*byte));
    let try_lock = "select pg_try_advisory_xact_lock($1) as entered";
    let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, try_lock, [lock.into()]);
    let row = tx.query_one_raw(statement).await?;
    let entered = row.map_or(Ok(false), |row| row.try_get("", "entered"))?;
    // What another process was working on when we looked may have been answered since.
    Ok(entered && find(tx, tenant, key, now).await?.is_none())
}

/// Refuses a key that was used for another request.
pub fn same_request(stored: &StoredAnswer, fingerprint: &[u8; 32]) -> Result<(), Problem> {
    if stored.fingerprint == fingerprint {
        return Ok(());
    }
    Err(Problem::new(&problem::KEY_REUSED, "make a new key for a new request"))
}

/// Stores an answer beside the change that it tells of. Fails with a unique violation if another request
/// with the key was first: then this change must be rolled back.
pub async fn store(tx: &DatabaseTransaction, answer: StoredAnswer) -> Result<(), DbErr> {
    let expired = Entity::delete_many()
        .filter(Column::TenantId.eq(answer.tenant_id))
        .filter(Column::Id.eq(answer.id.as_str()))
        .filter(Column::CreatedAt.lte(answer.created_at - KEPT));
    expired.exec(tx).await?;
    let row = ActiveModel {
        tenant_id: Set(answer.tenant_id),
        id: Set(answer.id),
        fingerprint: Set(answer.fingerprint),
        status: Set(answer.status),
        body: Set(answer.body),
        created_at: Set(answer.created_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// Forgets answers of every tenant that are older than [`KEPT`].
pub async fn purge(tx: &DatabaseTransaction, now: DateTime<Utc>) -> Result<u64, DbErr> {
    Ok(Entity::delete_many().filter(Column::CreatedAt.lte(now - KEPT)).exec(tx).await?.rows_affected)
}

/// The keys whose requests this process is working on.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<HashSet<(TenantId, String)>>>);

/// Holds a key for the time of a request.
#[derive(Debug)]
pub struct InFlightGuard {
    keys: InFlight,
    key: (TenantId, String),
}

impl InFlight {
    /// `None` if a request with that key is being worked on.
    pub fn enter(&self, tenant: TenantId, key: &str) -> Option<InFlightGuard> {
        let key = (tenant, key.to_owned());
        let entered = self.0.lock().expect("unpoisoned").insert(key.clone());
        entered.then(|| InFlightGuard { keys: self.clone(), key })
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.keys.0.lock().expect("unpoisoned").remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_bare_or_quoted() {
        assert_eq!(parse_key("abc"), Some("abc".to_owned()));
        assert_eq!(parse_key("\"abc\""), Some("abc".to_owned()));
        assert_eq!(parse_key(""), None);
        assert_eq!(parse_key(&"x".repeat(256)), None);
    }
}
