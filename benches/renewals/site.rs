//! An installation whose subscriptions all renew at the same instant.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accrue::{
    app::{App, start_workers, sweep_all, work_until_idle},
    auth::{self, Mode, Tenant},
    cli::{serve, wire},
    config::Config,
    metering::{Importer, Line},
};
use accrue_core::{
    clock::TestClock,
    id::{CustomerId, SubscriptionId},
};
use anyhow::{Context, Result, ensure};
use sea_orm::{ConnectionTrait, Database, DatabaseBackend, Statement, Value};
use tempfile::TempDir;

/// When everybody has subscribed, and when everybody renews.
const START: &str = "2026-01-01T00:00:00Z";
const RENEWAL: &str = "2026-02-01T00:00:00Z";
/// Rows that are made by one statement.
const AT_ONCE: u64 = 10_000;
const PATIENCE: Duration = Duration::from_hours(1);

/// Where the measured program runs, within this process.
pub struct Site {
    pub app: App,
    pub count: u64,
    tenant: Tenant,
    clock: Arc<TestClock>,
    _folder: TempDir,
}

impl Site {
    /// On PostgreSQL at this address, or on SQLite: so many customers, each with a subscription and some usage.
    pub async fn new(postgres: Option<&str>, count: u64) -> Result<Self> {
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
        let clock = Arc::new(TestClock::at(START));
        let app = wire::build(config, clock.clone()).await?;
        let key = serve::first_start(&app).await?.context("a new database")?;
        let tenant =
            auth::service::first_tenant(app.db.reader(), Mode::Test).await?.context("a new account")?;
        let site = Self { app, count, tenant, clock, _folder: folder };
        site.sell(&key).await?;
        site.multiply().await?;
        site.use_something().await?;
        Ok(site)
    }

    /// A plan with three prices, one of them for usage, and one customer who has it, billed once.
    async fn sell(&self, key: &str) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = serve::start(&self.app, listener)?;
        let handle = server.handle();
        tokio::spawn(server);
        let client = reqwest::Client::new();
        for (path, body) in [
            (
                "metrics",
                r#"{"code":"calls","name":"Calls","event_name":"call","aggregation":"sum","property":"n"}"#,
            ),
            (
                "plans",
                r#"{"code":"pro","name":"Pro","currency":"USD","interval":{"unit":"month","count":1},"prices":[
                {"code":"base","name":"Base","kind":"fixed","model":{"type":"flat","amount":"30"}},
                {"code":"seats","name":"Seats","kind":"seat","model":{"type":"per_unit","unit_price":"5"}},
                {"code":"calls","name":"Calls","kind":"usage","metric":"calls",
                 "model":{"type":"per_unit","unit_price":"0.01"}}]}"#,
            ),
            ("customers", r#"{"external_id":"c0","name":"Customer"}"#),
            ("subscriptions", r#"{"customer":"c0","plan":"pro","collection":"send_invoice"}"#),
        ] {
            let request = client.post(format!("{url}/v1/{path}")).bearer_auth(key);
            let answer = request.header("content-type", "application/json").body(body).send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "{path}: {}", answer.text().await?);
        }
        sweep_all(&self.app).await?;
        work_until_idle(&self.app).await?;
        handle.stop(false).await;
        Ok(())
    }

    /// The same customer and the same subscription again and again, each with an identifier of its own.
    async fn multiply(&self) -> Result<()> {
        let [customers, subscriptions] =
            [self.columns("customers").await?, self.columns("subscriptions").await?];
        let copied = |columns: &[String], own: &[(&str, &str)]| {
            let one = |name: &String| {
                own.iter().find(|(own, _)| own == name).map_or(name.clone(), |(_, sql)| (*sql).to_owned())
            };
            columns.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let made = self.clock_now();
        for first in (1..self.count).step_by(usize::try_from(AT_ONCE)?) {
            let numbers = first..self.count.min(first + AT_ONCE);
            let mut values: Vec<Value> = Vec::new();
            for number in numbers.clone() {
                let (customer, subscription) = (CustomerId::new(made), SubscriptionId::new(made));
                values.extend([i64::try_from(number)?.into(), customer.0.into(), subscription.0.into()]);
            }
            let tx = self.app.db.begin().await?;
            let backend = tx.get_database_backend();
            let kind = if backend == DatabaseBackend::Postgres { "uuid" } else { "blob" };
            let sql = format!("create temporary table made (n bigint, customer {kind}, subscription {kind})");
            tx.execute_unprepared(&sql).await?;
            for some in values.chunks(3 * 1000) {
                let rows = (0..some.len() / 3)
                    .map(|row| format!("(${}, ${}, ${})", 3 * row + 1, 3 * row + 2, 3 * row + 3));
                let sql = format!("insert into made values {}", rows.collect::<Vec<_>>().join(", "));
                tx.execute_raw(Statement::from_sql_and_values(backend, sql, some.to_vec())).await?;
            }
            for (table, columns, own) in [
                (
                    "customers",
                    &customers,
                    [("id", "made.customer"), ("external_id", "'c' || made.n")].as_slice(),
                ),
                (
                    "subscriptions",
                    &subscriptions,
                    [("id", "made.subscription"), ("customer_id", "made.customer")].as_slice(),
                ),
            ] {
                let sql = format!(
                    "insert into {table} ({}) select {} from made, (select * from {table} order by created_at, id limit 1) as one",
                    columns.join(", "),
                    copied(columns, own)
                );
                tx.execute_unprepared(&sql).await?;
            }
            tx.execute_unprepared("drop table made").await?;
            tx.commit().await?;
        }
        Ok(())
    }

    fn clock_now(&self) -> chrono::DateTime<chrono::Utc> {
        self.app.now()
    }

    async fn columns(&self, table: &str) -> Result<Vec<String>> {
        let db = self.app.db.reader();
        let sql = if self.app.db.is_sqlite() {
            format!("select name from pragma_table_info('{table}')")
        } else {
            format!("select column_name as name from information_schema.columns where table_name = '{table}'")
        };
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
        let quoted = rows.iter().map(|row| Ok(format!("\"{}\"", row.try_get::<String>("", "name")?)));
        let names = quoted.collect::<Result<Vec<String>>>()?;
        Ok(names.into_iter().map(|name| name.trim_matches('"').to_owned()).collect())
    }

    /// Everybody uses something in January.
    async fn use_something(&self) -> Result<()> {
        let importer =
            Importer::new(self.app.db.clone(), self.clock.clone(), self.tenant.clone(), "usage".to_owned());
        self.clock.set("2026-01-20T00:00:00Z".parse()?);
        for first in (0..self.count).step_by(usize::try_from(AT_ONCE)?) {
            let numbers = first..self.count.min(first + AT_ONCE);
            let line = |number: u64| Line {
                number,
                json: Ok(format!(
                    r#"{{"event_id":"u-{number:09}","customer_id":"c{number}","event_name":"call","timestamp":"2026-01-15T10:00:00Z","metadata":{{"n":{}}}}}"#,
                    number % 1000
                )),
            };
            let lines: Vec<Line> = numbers.map(line).collect();
            let taken = importer.take(&lines).await.map_err(|problem| anyhow::anyhow!("{problem}"))?;
            ensure!(taken.refused.is_empty(), "{:?}", taken.refused.first());
        }
        Ok(work_until_idle(&self.app).await?)
    }

    /// Has everybody renewed, by the loops of the program as it runs.
    pub async fn renew(&self) -> Result<()> {
        self.clock.set(RENEWAL.parse()?);
        let workers = start_workers(&self.app);
        let due = format!("select count(*) as n from subscriptions where next_due_at <= '{RENEWAL}'");
        let waited = tokio::time::timeout(PATIENCE, async {
            // Each question looks at an index of what is still due.
            while self.number(&due).await? > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        });
        let renewed = waited.await.context("they did not all renew within an hour");
        workers.stop(Duration::from_mins(1)).await;
        renewed?
    }

    /// Each is billed once, for what it used.
    pub async fn check(&self) -> Result<()> {
        let billed = self.number("select count(*) as n from invoices where number is not null").await?;
        // The first subscription was billed before.
        ensure!(billed == self.count + 1, "{billed} invoices of {} subscriptions", self.count);
        let lines = self.number("select count(*) as n from invoice_lines").await?;
        ensure!(lines >= 3 * self.count, "{lines} lines");
        Ok(())
    }

    pub async fn number(&self, sql: &str) -> Result<u64> {
        let db = self.app.db.reader();
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql.to_owned())).await?;
        Ok(row.context("a number")?.try_get::<i64>("", "n")?.unsigned_abs())
    }
}

async fn new_database(server: &str) -> Result<String> {
    static MADE: AtomicU64 = AtomicU64::new(0);

    let admin = Database::connect(format!("{server}/postgres")).await?;
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("accrue_bench_{}_{number}", std::process::id());
    admin.execute_unprepared(&format!("create database {name}")).await?;
    admin.close().await?;
    Ok(format!("{server}/{name}"))
}
