//! A payment gateway to try Accrue against. It owns its customers, methods, charges, refunds, disputes
//! and ledger, in a file of its own. It knows nothing of Accrue: it stands in for another company.
//!
//! What a card does is fixed by the token it was attached with ([`tokens`]): it pays, declines, asks for
//! an action, or fails the way networks fail. Calls that move money carry an idempotency key and happen
//! once per key. Errors are not answers and are not remembered: after any but [`SandboxError::Timeout`] and
//! [`SandboxError::Database`] nothing has happened.

mod answers;
mod cards;
mod charges;
mod customers;
mod disputes;
mod error;
mod ledger;
mod lookup;
mod model;
mod refunds;
mod row;
mod steps;

use std::{path::Path, time::Duration};

use sea_orm::sqlx::{
    self, ConnectOptions, Sqlite, SqlitePool, Transaction,
    error::DatabaseError,
    raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use crate::{
    cards::tokens,
    error::SandboxError,
    model::{
        Charge, ChargeRequest, ChargeStatus, Dispute, DisputeStatus, Entry, EntryKind, IllegalStep, Method,
        Refund, RefundRequest, Step,
    },
};

/// How long a connection waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const READERS_MAX: u32 = 4;
const SLOW_DELAY: Duration = Duration::from_secs(2);

/// The gateway, opened on its file. Cheap to clone; several processes may open one file at once.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// One connection, so that the writers of this process queue in order instead of polling the file.
    writer: SqlitePool,
    readers: SqlitePool,
    delay: Duration,
    slow_delay: Duration,
}

impl Sandbox {
    /// Opens the file, and makes it if it is not there. Its folder must exist.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, SandboxError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .disable_statement_logging();
        let writer = connect_writer(&options).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS_MAX).connect_lazy_with(options);
        let sandbox = Self { writer, readers, delay: Duration::ZERO, slow_delay: SLOW_DELAY };

        let mut tx = sandbox.write().await?;
        raw_sql(include_str!("schema.sql")).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(sandbox)
    }

    /// Lets every call of a merchant take this much longer, as a network would. None by default.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// How long a charge of `tok_slow` takes to answer. Two seconds by default.
    pub fn with_slow_delay(self, slow_delay: Duration) -> Self {
        Self { slow_delay, ..self }
    }

    /// IMMEDIATE: what is read here is still true when it is written.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("begin immediate").await
    }

    /// The way back to the merchant. What was done is already durable.
    async fn travel(&self) {
        pause(self.delay).await;
    }
}

/// A new file turns to WAL in a moment when nobody else has it. SQLite does not wait for that moment by itself.
async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let mut waited = Duration::ZERO;
    loop {
        match SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && waited < BUSY_TIMEOUT => {
                pause(BUSY_PAUSE).await;
                waited += BUSY_PAUSE;
            }
            connected => return connected,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    const SQLITE_BUSY: &str = "5";
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == SQLITE_BUSY)
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// What the gateway calls a thing of its own: `ch_5f0c…`.
fn new_reference(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use sea_orm::sqlx::query_scalar;

    use super::*;

    #[tokio::test]
    async fn every_commit_reaches_the_disk_before_it_is_acknowledged() {
        let path = std::env::temp_dir().join(format!("sandbox-{}.db", uuid::Uuid::new_v4()));
        let sandbox = Sandbox::open(&path).await.unwrap();

        let full = 2;
        let synchronous: i64 = query_scalar("pragma synchronous").fetch_one(&sandbox.writer).await.unwrap();
        let journal: String = query_scalar("pragma journal_mode").fetch_one(&sandbox.writer).await.unwrap();
        assert_eq!((synchronous, journal.as_str()), (full, "wal"));

        sandbox.readers.close().await;
        sandbox.writer.close().await;
        std::fs::remove_file(path).unwrap();
    }
}
