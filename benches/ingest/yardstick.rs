//! What the program is measured by: the least that could be done with the same data.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use accrue_platform::db::{Db, DbConfig};
use actix_web::{App, HttpResponse, HttpServer, post, web};
use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement, Value, sqlx::postgres::PgPoolCopyExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{fill::COLUMNS, site::Site};

/// Of which one transaction holds so many.
const ROWS: usize = 10_000;
/// Rows of one statement on SQLite.
const SQLITE_ROWS: usize = 1000;
const CONNECTIONS: usize = 4;
/// As long as those that are sent.
const NAME: &str = "request-000000000000";
const EVENT_NAME: &str = "api.request.completed";
const METADATA: &str = r#"{"model":"pro","region":"eu-central-1","tokens":100}"#;

#[derive(Deserialize)]
struct RawRow {
    event_id: String,
    customer_id: String,
    event_name: String,
    timestamp: String,
    metadata: Box<RawValue>,
}

#[derive(Serialize)]
struct Parsed {
    object: &'static str,
    accepted: usize,
    bytes: usize,
}

#[post("/v1/usage_events")]
async fn parse(event: web::Json<RawRow>) -> HttpResponse {
    let RawRow { event_id, customer_id, event_name, timestamp, metadata } = event.into_inner();
    let bytes =
        event_id.len() + customer_id.len() + event_name.len() + timestamp.len() + metadata.get().len();
    HttpResponse::Ok().json(Parsed { object: "usage_ingest", accepted: 1, bytes })
}

/// A server that only parses and answers, with as many threads.
pub fn parsing(threads: usize) -> Result<(SocketAddr, actix_web::dev::ServerHandle)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(|| App::new().service(parse)).listen(listener)?.workers(threads).run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok((address, handle))
}

/// Rows per second into a table without an index: by binary COPY over four connections on PostgreSQL, by inserts of
/// many rows on SQLite. Durable every 10,000 rows.
pub async fn raw_rows(site: &Site, seconds: u64) -> Result<u64> {
    if site.app.db.is_sqlite() { insert_rows(site, seconds).await } else { copy_rows(site, seconds).await }
}

async fn copy_rows(site: &Site, seconds: u64) -> Result<u64> {
    site.execute("create table if not exists copied (like plain_events)").await?;
    let rows = Arc::new(binary_rows(site.tenant.0)?);
    let (started, written) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let time = Duration::from_secs(seconds);
    let copiers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let pool = site.app.db.reader().get_postgres_connection_pool().clone();
            let (rows, written) = (rows.clone(), written.clone());
            let sql = format!("copy copied ({COLUMNS}) from stdin (format binary)");
            tokio::spawn(async move {
                while started.elapsed() < time {
                    let mut copy = pool.copy_in_raw(&sql).await?;
                    copy.send(rows.as_slice()).await?;
                    written.fetch_add(copy.finish().await?, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for copier in copiers {
        copier.await??;
    }
    let millis = u64::try_from(started.elapsed().as_millis())?;
    site.execute("drop table copied").await?;
    Ok(written.load(Ordering::Relaxed) * 1000 / millis)
}

/// The columns of `plain_events`, as COPY reads them.
fn binary_rows(tenant: Uuid) -> Result<Vec<u8>> {
    /// Microseconds since the year 2000.
    const AT: i64 = 848_000_000_000_000;
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for _ in 0..ROWS {
        let id = Uuid::new_v4();
        let customer = Uuid::new_v4();
        let at = AT.to_be_bytes();
        let cells: [&[u8]; 9] = [
            tenant.as_bytes(),
            id.as_bytes(),
            b"",
            NAME.as_bytes(),
            EVENT_NAME.as_bytes(),
            customer.as_bytes(),
            &at,
            METADATA.as_bytes(),
            &at,
        ];
        bytes.extend(9_i16.to_be_bytes());
        for cell in cells {
            bytes.extend(i32::try_from(cell.len())?.to_be_bytes());
            bytes.extend(cell);
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    Ok(bytes)
}

async fn insert_rows(site: &Site, seconds: u64) -> Result<u64> {
    let folder = TempDir::new_in(site.folder.path())?;
    let url = format!("sqlite://{}", folder.path().join("yardstick.db").display());
    let db = Db::open(&DbConfig::new(url)).await?;
    let tx = db.begin().await?;
    tx.execute_unprepared(
        "create table copied (tenant_id uuid, id uuid, source text, event_id text, event_name text, \
         customer_id uuid, timestamp timestamptz, metadata text, received_at timestamptz)",
    )
    .await?;
    tx.commit().await?;
    let tuples = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; SQLITE_ROWS].join(", ");
    let sql = format!("insert into copied values {tuples}");
    let at = site.app.now();
    let mut values: Vec<Value> = Vec::new();
    for _ in 0..SQLITE_ROWS {
        values.extend([
            site.tenant.0.into(),
            Uuid::new_v4().into(),
            "".into(),
            NAME.into(),
            EVENT_NAME.into(),
            Uuid::new_v4().into(),
            at.into(),
            METADATA.into(),
            at.into(),
        ]);
    }
    let (started, time, mut written) = (Instant::now(), Duration::from_secs(seconds), 0);
    while started.elapsed() < time {
        let tx = db.begin().await?;
        for _ in 0..ROWS / SQLITE_ROWS {
            let statement =
                Statement::from_sql_and_values(DatabaseBackend::Sqlite, sql.as_str(), values.clone());
            written += tx.execute_raw(statement).await?.rows_affected();
        }
        tx.commit().await?;
    }
    let millis = u64::try_from(started.elapsed().as_millis())?;
    db.close().await.context("the yardstick's file")?;
    Ok(written * 1000 / millis)
}
