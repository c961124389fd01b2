//! Who may do a thing that only one process may do at a time, by a row with an end and a fencing token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};

use crate::db::Db;

const TAKE: &str = "
insert into leases (name, holder, token, expires_at) values ($1, $2, 1, $3)
on conflict (name) do update
set holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
where leases.expires_at <= $4
returning token";

const RENEW: &str = "update leases set expires_at = $3 where name = $1 and token = $2 and expires_at > $4";

const HOLD: &str = "update leases set expires_at = expires_at where name = $1 and token = $2";

const RELEASE: &str = "update leases set expires_at = $3 where name = $1 and token = $2";

/// The right to do `name`, until it expires. Its token grows with every holder: an old holder that wakes
/// up is refused by [`Lease::fence`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub token: i64,
}

impl Lease {
    /// Takes the lease if nobody holds it.
    pub async fn take(
        db: &Db,
        name: &str,
        holder: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Self>, DbErr> {
        let tx = db.begin().await?;
        let values = [name.into(), holder.into(), (now + ttl).into(), now.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), TAKE, values);
        let row = tx.query_one_raw(statement).await?;
        let token = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        tx.commit().await?;
        Ok(token.map(|token| Self { name: name.to_owned(), token }))
    }

    /// Extends the lease; `false` means that it is lost.
    pub async fn renew(&self, db: &Db, now: DateTime<Utc>, ttl: Duration) -> Result<bool, DbErr> {
        let tx = db.begin().await?;
        let values = [self.name.as_str().into(), self.token.into(), (now + ttl).into(), now.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), RENEW, values);
        let renewed = tx.execute_raw(statement).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(renewed)
    }

    /// Call inside a transaction that only the holder may commit: locks the row, and says whether we still hold it.
    pub async fn fence(&self, tx: &DatabaseTransaction) -> Result<bool, DbErr> {
        let values = [self.name.as_str().into(), self.token.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), HOLD, values);
        Ok(tx.execute_raw(statement).await?.rows_affected() == 1)
    }

    /// Gives the lease back, so that nobody has to wait for its end.
    pub async fn release(&self, db: &Db, now: DateTime<Utc>) -> Result<(), DbErr> {
        let tx = db.begin().await?;
        let values = [self.name.as_str().into(), self.token.into(), now.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), RELEASE, values);
        tx.execute_raw(statement).await?;
        tx.commit().await
    }
}

const RELEASE_ALL: &str = "update leases set expires_at = $1 where expires_at > $1";

/// Ends every lease. Only for a process that knows it is alone: SQLite's, when it starts.
pub async fn release_all(db: &Db, now: DateTime<Utc>) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), RELEASE_ALL, [now.into()]);
    tx.execute_raw(statement).await?;
    tx.commit().await
}
