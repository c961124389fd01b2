//! The database: SQLite or PostgreSQL, one code path. Opens, migrates, begins writing transactions.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DatabaseTransaction,
    DbErr, IsolationLevel, QueryResult, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
    sqlx::{
        self, Connection,
        sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous},
    },
};

/// What the writer keeps in memory of the file: identities of events come in no order, and are looked up by millions.
const SQLITE_WRITER_CACHE_KIB: u32 = 64 * 1024;
/// The same of each reader, of which there are many.
const SQLITE_READER_CACHE_KIB: u32 = 2 * 1024;
/// Pages of 4 KiB in the log before they are written back: a page that changes again meanwhile is written once.
const SQLITE_WAL_PAGES: &str = "32000";
/// Rows that SQLite's thread reads ahead of whoever asked for them: waking each other for each row costs more.
const SQLITE_ROWS_AHEAD: usize = 1000;
/// A connection that nobody used for so long is asked whether it still is one.
const IDLE: Duration = Duration::from_secs(1);

/// How the database is reached.
#[derive(Clone, Debug)]
pub struct DbConfig {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// Connections to PostgreSQL, or readers of SQLite (which has one writer).
    pub connections_max: u32,
    /// How long a statement may run on PostgreSQL before the server ends it.
    pub statement_timeout: Duration,
    /// Start although PostgreSQL acknowledges commits before they are on disk.
    pub allow_unsafe_commit: bool,
}

impl DbConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_max: 16,
            statement_timeout: Duration::from_secs(30),
            allow_unsafe_commit: false,
        }
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{0}` is neither sqlite://… nor postgres://…")]
    UnknownUrl(String),
    #[error("{0} is in use by another process: SQLite serves one process, use PostgreSQL for several")]
    InUse(String),
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "PostgreSQL runs with synchronous_commit={0}: a power loss would undo acknowledged commits; \
         turn it on, or set ACCRUE_DATABASE_ALLOW_UNSAFE_COMMIT=true"
    )]
    UnsafeCommit(String),
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
}

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// How many wait for a connection to write with.
    waiting: Arc<AtomicUsize>,
    /// Held as long as the process uses a SQLite file.
    _lock: Option<Arc<File>>,
}

impl Db {
    /// Connects, without touching the schema.
    pub async fn open(config: &DbConfig) -> Result<Self, OpenError> {
        match config.url.split_once("://").map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::open_sqlite(config).await,
            Some("postgres" | "postgresql") => Self::open_postgres(config).await,
            _ => Err(OpenError::UnknownUrl(config.url.clone())),
        }
    }

    async fn open_sqlite(config: &DbConfig) -> Result<Self, OpenError> {
        let path = sqlite_path(&config.url);
        let lock = lock_file(path)?;
        let connect = |connections: u32, cache_kib: u32| {
            let mut options = ConnectOptions::new(format!("sqlite://{path}?mode=rwc"));
            options
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(Duration::from_secs(30))
                .test_before_acquire(false)
                .sqlx_logging(false)
                .map_sqlx_sqlite_pool_opts(|pool| {
                    pool.after_release(|connection, _| Box::pin(is_at_rest(connection)))
                })
                .map_sqlx_sqlite_opts(move |options| {
                    options
                        .row_buffer_size(SQLITE_ROWS_AHEAD)
                        .pragma("cache_size", format!("-{cache_kib}"))
                        .pragma("wal_autocheckpoint", SQLITE_WAL_PAGES)
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Full)
                        .foreign_keys(true)
                        .busy_timeout(Duration::from_secs(30))
                        .pragma("temp_store", "memory")
                });
            Database::connect(options)
        };
        let writer = connect(1, SQLITE_WRITER_CACHE_KIB).await?;
        let reader = connect(config.connections_max.max(1), SQLITE_READER_CACHE_KIB).await?;
        Ok(Self { writer, reader, waiting: Arc::default(), _lock: Some(Arc::new(lock)) })
    }

    /// Opens what is there and changes nothing: no file is made, none is locked, so that it may be in use.
    /// `None` if there is no SQLite file yet.
    pub async fn open_to_look(config: &DbConfig) -> Result<Option<Self>, OpenError> {
        if !config.url.starts_with("sqlite://") {
            return Self::open(config).await.map(Some);
        }
        let path = sqlite_path(&config.url);
        if !Path::new(path).exists() {
            return Ok(None);
        }
        // Nobody has the file open if there is no log beside it: it can be read without making one.
        let at_rest = !Path::new(&format!("{path}-wal")).exists();
        let mut options = ConnectOptions::new(format!("sqlite://{path}?mode=ro"));
        options
            .max_connections(1)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |options| options.immutable(at_rest));
        let reader = Database::connect(options).await?;
        Ok(Some(Self { writer: reader.clone(), reader, waiting: Arc::default(), _lock: None }))
    }

    async fn open_postgres(config: &DbConfig) -> Result<Self, OpenError> {
        let mut options = ConnectOptions::new(config.url.clone());
        let timeout = config.statement_timeout.as_millis().to_string();
        options
            .max_connections(config.connections_max.max(2))
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire_if_idle_for(IDLE)
            .sqlx_logging(false)
            .map_sqlx_postgres_opts(move |options| {
                options.application_name("accrue").options([
                    ("statement_timeout", timeout.as_str()),
                    ("lock_timeout", "10s"),
                    ("idle_in_transaction_session_timeout", "60s"),
                    ("timezone", "UTC"),
                ])
            });
        let pool = Database::connect(options).await?;
        let setting = pool
            .query_one_raw(sea_orm::Statement::from_string(
                DatabaseBackend::Postgres,
                "show synchronous_commit",
            ))
            .await?
            .map(|row| row.try_get_by_index::<String>(0))
            .transpose()?
            .unwrap_or_default();
        if matches!(setting.as_str(), "off" | "local") && !config.allow_unsafe_commit {
            return Err(OpenError::UnsafeCommit(setting));
        }
        Ok(Self { writer: pool.clone(), reader: pool, waiting: Arc::default(), _lock: None })
    }

    /// Applies every migration that is missing.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        if self.writer.get_database_backend() == DatabaseBackend::Postgres {
            return self.migrate_postgres().await;
        }
        Migrator::up(&self.writer, None).await
    }

    /// Several replicas may start at once: one migrates, the others wait for it.
    async fn migrate_postgres(&self) -> Result<(), DbErr> {
        const LOCK: &str = "select pg_advisory_xact_lock(4702394921427289928)";
        let guard = self.writer.begin().await?;
        guard.execute_unprepared(LOCK).await?;
        Migrator::up(&self.writer, None).await?;
        guard.commit().await
    }

    /// Names of the migrations that are not applied yet.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbErr> {
        let pending = Migrator::get_pending_migrations(&self.reader).await?;
        Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
    }

    /// Begins a writing transaction: the only way to get one.
    ///
    /// SQLite takes its write lock at once (IMMEDIATE), so that a transaction that reads, decides and
    /// writes sees no other writer in between, as row locks guarantee on PostgreSQL.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let _waits = Waits::new(&self.waiting);
        self.writer
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            })
            .await
    }

    /// Runs one statement that writes, and is a transaction by itself: neither a beginning nor an end is sent for it.
    pub async fn write_alone(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let _waits = Waits::new(&self.waiting);
        self.writer.query_all_raw(statement).await
    }

    /// Whether a transaction that ends may be followed by the next on its connection, by [`Db::commit_and_begin`]: SQLite has
    /// one to write with, and nobody else waits for it.
    pub fn may_go_on(&self) -> bool {
        self.is_sqlite() && self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Commits what `tx` wrote to SQLite, and begins the next transaction by the same message.
    pub async fn commit_and_begin(tx: DatabaseTransaction) -> Result<DatabaseTransaction, DbErr> {
        tx.execute_unprepared("commit; begin immediate").await?;
        Ok(tx)
    }

    /// Begins to read the database as it is when [`Db::fix`] is called, whatever is committed from then on.
    pub async fn begin_snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            isolation_level: (!self.is_sqlite()).then_some(IsolationLevel::RepeatableRead),
            ..Default::default()
        };
        self.reader.begin_with_options(options).await
    }

    /// What a snapshot holds is as it is now. Both databases take it at the first read, not at the beginning.
    pub async fn fix(snapshot: &DatabaseTransaction) -> Result<(), DbErr> {
        snapshot.execute_unprepared("select 1 from tenants limit 1").await.map(drop)
    }

    /// Begins a writing transaction of which all processes together have one at a time: for a decision about
    /// what is not there yet, so that no row of it can be locked.
    pub async fn begin_alone(&self) -> Result<DatabaseTransaction, DbErr> {
        const LOCK: &str = "select pg_advisory_xact_lock(4702394921427289929)";
        let tx = self.begin().await?;
        if !self.is_sqlite() {
            tx.execute_unprepared(LOCK).await?;
        }
        Ok(tx)
    }

    /// For reading. Never ask it inside a writing transaction: it does not see that transaction's changes.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    pub fn is_sqlite(&self) -> bool {
        self.writer.get_database_backend() == DatabaseBackend::Sqlite
    }

    /// Closes every connection; a SQLite file is then free for another process.
    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await
    }
}

/// Whether a connection that is given back may be used again.
///
/// SQLite undoes a transaction by itself when the disk is full or fails. Then there is nothing to roll back, and sqlx counts
/// the transaction as open for ever: the next would be a part of it, never to be committed.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind a rollback that is still to be done.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Counts as one who waits until this is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The path in `sqlite://path?options`.
pub fn sqlite_path(url: &str) -> &str {
    let path = url.strip_prefix("sqlite://").unwrap_or(url);
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Two processes on one SQLite file would each believe to be the only writer, scheduler and worker.
fn lock_file(path: &str) -> Result<File, OpenError> {
    let cannot = |source| OpenError::Lock { path: format!("{path}.lock"), source };
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let make = |path: &Path| File::options().create(true).write(true).truncate(false).open(path);
    // The lock lies beside the file itself, whatever links lead there. An empty file is a new database.
    make(Path::new(path)).map_err(cannot)?;
    let mut lock_path = std::fs::canonicalize(path).map_err(cannot)?.into_os_string();
    lock_path.push(".lock");
    let file = make(Path::new(&lock_path)).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(cannot(source)),
    }
}

/// Is this error a violated unique key? Then somebody else was first.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// Is this error a violated reference?
pub fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}

/// Does what a foreign key may forbid, and says whether it was done. If not, nothing of it was, and the transaction goes on.
pub async fn unless_referred(
    tx: &DatabaseTransaction,
    deed: impl AsyncFnOnce(&DatabaseTransaction) -> Result<(), DbErr>,
) -> Result<bool, DbErr> {
    let savepoint = tx.begin().await?;
    let done = deed(&savepoint).await;
    if done.is_ok() {
        savepoint.commit().await?;
        return Ok(true);
    }
    savepoint.rollback().await?;
    match done {
        Err(error) if !is_foreign_key_violation(&error) => Err(error),
        _ => Ok(false),
    }
}
