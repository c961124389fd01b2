//! An installation to measure: a new database, its server, a thousand customers and a metric.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use accrue::{
    app::{App, work_until_idle},
    auth::{self, Mode},
    cli::{serve, wire},
    config::Config,
    metering::Grouping,
};
use accrue_core::{clock::SystemClock, id::TenantId};
use actix_web::dev::ServerHandle;
use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, Database};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    fill,
    load::{CUSTOMERS, ask},
};

/// A customer with very many events in one month; also the name of its events and its metric.
pub const BUSY: &str = "busy";
/// What everybody's events add up to.
pub const METRIC: &str = "tokens";

/// Of 16 MB, as many as the server's `min_wal_size` keeps.
const LOG_FILES: usize = 256;

/// Where the measured program runs, within this process.
pub struct Site {
    pub app: App,
    pub address: SocketAddr,
    pub key: String,
    pub tenant: TenantId,
    pub folder: TempDir,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

impl Site {
    /// On PostgreSQL at this address, or on SQLite.
    pub async fn new(postgres: Option<&str>, busy_events: u64) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let database_url = match postgres {
            Some(server) => new_database(server).await?,
            None => format!("sqlite://{}", path("accrue.db")),
        };
        let values = BTreeMap::from([
            ("database_url", database_url),
            ("secret_key", "5".repeat(64)),
            ("mail_dir", path("outbox")),
            ("sandbox_gateway_file", path("sandbox-gateway.db")),
        ]);
        let config = Config::from_values(values).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let app = wire::build(config, Arc::new(SystemClock)).await?;
        let key = serve::first_start(&app).await?.context("a new database")?;
        let tx = app.db.begin().await?;
        let tenant = auth::service::first_tenant(&tx, Mode::Test).await?.context("a new account")?.id;
        tx.rollback().await?;
        let (address, _) = start(&app, Grouping::default())?;
        let site = Self { app, address, key, tenant, folder };
        site.prepare(busy_events).await?;
        Ok(site)
    }

    async fn prepare(&self, busy_events: u64) -> Result<()> {
        for (code, event_name) in [(METRIC, "api.request.completed"), (BUSY, BUSY)] {
            let body = format!(
                r#"{{"code":"{code}","name":"Tokens","event_name":"{event_name}","aggregation":"sum","property":"tokens"}}"#
            );
            self.ask("POST", "/v1/metrics", &body).await?;
        }
        let names = (0..CUSTOMERS).map(|number| format!("customer-{number}")).chain([BUSY.to_owned()]);
        for name in names {
            let body = format!(r#"{{"external_id":"{name}","name":"{name}","email":"x@example.com"}}"#);
            let made = self.ask("POST", "/v1/customers", &body).await?;
            if name == BUSY {
                let made: Made = serde_json::from_str(&made)?;
                let id = made.id.parse()?;
                fill::busy_month(&self.app.db, self.tenant, id, busy_events).await?;
            }
        }
        // The first event has the hours built up.
        let first = format!(r#"{{"event_id":"first","customer_id":"{BUSY}","event_name":"first"}}"#);
        self.ask("POST", "/v1/usage_events", &first).await?;
        Ok(work_until_idle(&self.app).await?)
    }

    /// Changes the database beside the program.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let tx = self.app.db.begin().await?;
        tx.execute_unprepared(sql).await?;
        Ok(tx.commit().await?)
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        ask(&mut stream, &self.key, method, path, body).await
    }
}

async fn new_database(server: &str) -> Result<String> {
    static MADE: AtomicU64 = AtomicU64::new(0);

    let admin = Database::connect(format!("{server}/postgres")).await?;
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("accrue_bench_{}_{number}", std::process::id());
    admin.execute_unprepared(&format!("create database {name}")).await?;
    // A server that has run for a while writes over old files of its log; a new one makes each as it needs it, and
    // everybody waits for that.
    for _ in 0..LOG_FILES {
        admin.execute_unprepared("select pg_logical_emit_message(false, '', '')").await?;
        admin.execute_unprepared("select pg_switch_wal()").await?;
    }
    admin.execute_unprepared("checkpoint").await?;
    admin.close().await?;
    Ok(format!("{server}/{name}"))
}

/// Another server of the same program, that takes requests together in another way.
pub fn start(app: &App, grouping: Grouping) -> Result<(SocketAddr, ServerHandle)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = serve::start_with(app, listener, grouping)?;
    let handle = server.handle();
    tokio::spawn(server);
    Ok((address, handle))
}
