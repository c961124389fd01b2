//! What tests stand on: a world with a server, a database of its own and a clock that stands still.

pub mod archiving;
pub mod database;
mod metered;
pub mod process;
mod receiver;
mod reply;
mod shop;

use std::{net::TcpListener, sync::Arc, sync::Once, time::Duration};

use accrue::{
    app::{App, LastLag, sweep_all, work_until_idle},
    auth::{self, KeyKind, Mode, NewKey},
    cli::{serve, wire},
    config::Config,
};
use accrue_core::clock::TestClock;
use accrue_platform::idempotency::InFlight;
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use archiving::Archiving;
pub use database::Engine;
pub use metered::Metered;
pub use receiver::Receiver;
pub use reply::Reply;
pub use shop::Shop;

/// The real time of every world, until a test moves it.
pub const START: &str = "2026-01-01T00:00:00Z";

/// A picture of one pixel.
pub const DOT: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

/// A server on a free port, its database, and a key that may do everything in test mode.
pub struct World {
    pub app: App,
    pub clock: Arc<TestClock>,
    pub url: String,
    pub key: String,
    pub folder: TempDir,
    client: reqwest::Client,
    server: actix_web::dev::ServerHandle,
}

impl World {
    /// `None` if this run leaves that database out.
    pub async fn new(engine: Engine) -> Option<Self> {
        Self::with(engine, &[]).await
    }

    /// The same with some settings.
    pub async fn with(engine: Engine, settings: &[(&'static str, &str)]) -> Option<Self> {
        install_tls();
        let folder = TempDir::new().unwrap();
        let database_url = database::create(engine, folder.path()).await?;
        let clock = Arc::new(TestClock::at(START));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let own = [
            ("database_url", database_url),
            ("listen", listen.clone()),
            ("secret_key", "5".repeat(64)),
            ("mail_dir", path("outbox")),
            ("usage_archive_dir", path("usage-archive")),
            ("sandbox_gateway_file", path("sandbox-gateway.db")),
            ("webhook_allow", "127.0.0.0/8".to_owned()),
        ];
        let given = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let config = Config::from_values(own.into_iter().chain(given).collect()).unwrap();

        // What a test changes is told at once.
        let last_lag = Arc::new(LastLag::new(Duration::ZERO));
        let app = App { last_lag, ..wire::build(config, clock.clone()).await.unwrap() };
        let key = serve::first_start(&app).await.unwrap().expect("a new database");
        let server = serve::start(&app, listener).unwrap();
        let handle = server.handle();
        tokio::spawn(server);
        let url = format!("http://{listen}");
        Some(Self { app, clock, url, key, folder, client: reqwest::Client::new(), server: handle })
    }

    /// Another server on the same database, which knows nothing of the first: its address.
    pub fn serve_again(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = App { in_flight: InFlight::default(), ..self.app.clone() };
        tokio::spawn(serve::start(&app, listener).unwrap());
        url
    }

    /// Does everything that is due now: tells events, runs jobs.
    pub async fn work(&self) {
        work_until_idle(&self.app).await.unwrap();
    }

    /// Ticks every schedule, then works.
    pub async fn sweep(&self) {
        sweep_all(&self.app).await.unwrap();
        self.work().await;
    }

    /// Changes the database behind the program's back, as a crash or a person would.
    pub async fn sql(&self, statement: &str) {
        let tx = self.app.db.begin().await.unwrap();
        tx.execute_unprepared(statement).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The same in the gateway's own books.
    pub async fn gateway_sql(&self, statement: &str) {
        let file = self.app.config.sandbox_gateway_file.display().to_string();
        let gateway = Database::connect(format!("sqlite://{file}")).await.unwrap();
        gateway.execute_unprepared(statement).await.unwrap();
        gateway.close().await.unwrap();
    }

    /// The dead jobs, the newest first.
    pub async fn dead_jobs(&self) -> Vec<Value> {
        self.list("/v1/jobs").await
    }

    /// Another key of the same account.
    pub async fn new_key(&self, mode: Mode, kind: KeyKind, scopes: &[&str]) -> String {
        let tx = self.app.db.begin().await.unwrap();
        let tenant = auth::service::first_tenant(&tx, mode).await.unwrap().unwrap();
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let new = NewKey { name: String::new(), kind, scopes, expires_at: None };
        let (_, key) = auth::service::create_key(&tx, &tenant, new, self.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        key
    }

    /// A key of another account's test mode.
    pub async fn stranger(&self) -> String {
        let tx = self.app.db.begin().await.unwrap();
        let (_, test) = auth::service::open_account(&tx, "Stranger", self.app.now()).await.unwrap();
        let new = NewKey { name: String::new(), kind: KeyKind::Secret, scopes: Vec::new(), expires_at: None };
        let (_, key) = auth::service::create_key(&tx, &test, new, self.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        key
    }

    /// A request with this world's key, not yet sent.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.request_as(&self.key, method, path)
    }

    /// A request with another key, not yet sent.
    pub fn request_as(&self, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(key)
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        Reply::of(self.request(method, path).json(body)).await
    }

    /// POSTs and expects that something was made.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.send("POST", path, &body).await.expect(201)
    }

    /// POSTs and expects 200.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.send("POST", path, &body).await.expect(200)
    }

    pub async fn get(&self, path: &str) -> Value {
        Reply::of(self.request("GET", path)).await.expect(200)
    }

    /// The `data` of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await["data"].as_array().expect("a list").clone()
    }

    /// A test clock that stands at `now`.
    pub async fn test_clock(&self, now: &str) -> String {
        text(&self.create("/v1/test_clocks", json!({"now": now})).await["id"])
    }

    /// Moves a test clock; answers with the timeline as lines `2026-02-01T00:00:00Z invoice.finalized`.
    pub async fn advance(&self, clock: &str, to: &str) -> Vec<String> {
        let (path, body) = (format!("/v1/test_clocks/{clock}/advance"), json!({"to": to}));
        let mut reply = self.send("POST", &path, &body).await;
        // A way that is too long for one request goes on with the next.
        while reply.status == 202 {
            reply = self.send("POST", &path, &body).await;
        }
        let moved = reply.expect(200);
        let happened = moved["timeline"].as_array().expect("a timeline").iter();
        happened.map(|entry| format!("{} {}", text(&entry["at"]), text(&entry["type"]))).collect()
    }

    /// The mails that were written, by name.
    pub fn mails(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.folder.path().join("outbox")) else { return Vec::new() };
        let mut names: Vec<_> =
            folder.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Not awaited: the server's threads end by themselves.
        drop(self.server.stop(false));
    }
}

/// A JSON string's text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected a string, not {value}")).to_owned()
}

fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}
