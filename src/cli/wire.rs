//! Builds the program from its settings.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use accrue_core::clock::Clock;
use accrue_platform::{
    db::{Db, sqlite_path},
    egress::{Egress, EgressConfig},
    gateway::Gateway,
    idempotency::InFlight,
    mail::Mailer,
    queue,
    secrets::Vault,
};
use accrue_sandbox_gateway::Sandbox;
use anyhow::{Context, bail};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use secrecy::ExposeSecret;
use tokio::sync::Notify;

use crate::{
    app::{App, Gateways, LastLag},
    config::Config,
    metering,
    payments::SandboxGateway,
    worker::WORK,
};

/// Opens what the settings name, brings the schema up to date, and puts the program together.
pub async fn build(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<App> {
    let db = Db::open(&config.database).await?;
    db.migrate().await.context("the schema cannot be brought up to date")?;
    assemble(config, clock, db).await
}

/// The same on a database that is open and migrated.
pub async fn assemble(config: Config, clock: Arc<dyn Clock>, db: Db) -> anyhow::Result<App> {
    if db.is_sqlite() {
        // The file is locked: whoever held a lease is dead.
        queue::release_all(&db, clock.now()).await?;
        accrue_platform::lease::release_all(&db, clock.now()).await?;
    }
    if let Err(error) = metering::partitions::make_ahead(&db, clock.now()).await {
        // The sweep tries again; events are taken meanwhile.
        tracing::warn!(%error, "partitions of usage events could not be made");
    }
    let vault = Vault::try_new(&secret_key(&config, &db).await?)?;
    let mailer = match &config.smtp_url {
        Some(url) => Mailer::smtp(url)?,
        None => Mailer::folder(&config.mail_dir),
    };
    let egress = Egress::try_new(EgressConfig { allow: config.webhook_allow.clone(), ..Default::default() })?;
    let sandbox = Sandbox::open(&config.sandbox_gateway_file)
        .await
        .with_context(|| format!("the sandbox gateway's file {}", config.sandbox_gateway_file.display()))?;
    let gateways: Vec<Arc<dyn Gateway>> = vec![Arc::new(SandboxGateway::new(sandbox))];
    Ok(App {
        db,
        clock,
        vault,
        mailer: Arc::new(mailer),
        egress: Arc::new(egress),
        gateways: Gateways::new(gateways),
        in_flight: InFlight::default(),
        work: &WORK,
        last_lag: Arc::new(LastLag::new(LastLag::KEPT_FOR)),
        wake: Arc::new(Notify::new()),
        config: Arc::new(config),
    })
}

/// The key that seals secrets: from the settings, or made once and kept beside the SQLite file.
async fn secret_key(config: &Config, db: &Db) -> anyhow::Result<String> {
    if let Some(key) = &config.secret_key {
        return Ok(key.expose_secret().to_owned());
    }
    let path = key_path(&config.database.url);
    if let Ok(key) = fs::read_to_string(&path) {
        return Ok(key);
    }
    if !config.database.url.starts_with("sqlite://") {
        bail!("ACCRUE_SECRET_KEY is required with PostgreSQL");
    }
    if holds_secrets(db).await? {
        bail!(
            "the database holds sealed secrets, but their key is not in {}: put the file back beside the \
             database, or set ACCRUE_SECRET_KEY",
            path.display()
        );
    }
    let key = Vault::generate_key();
    write_private(&path, &key)
        .with_context(|| format!("cannot keep the secret key in {}", path.display()))?;
    Ok(key)
}

/// Was anything sealed with a key that a new one could not open?
async fn holds_secrets(db: &Db) -> Result<bool, DbErr> {
    let sql = "select 1 from payment_methods union all select 1 from webhook_endpoints limit 1";
    let statement = Statement::from_string(db.reader().get_database_backend(), sql);
    Ok(db.reader().query_one_raw(statement).await?.is_some())
}

fn key_path(database_url: &str) -> PathBuf {
    Path::new(sqlite_path(database_url)).with_extension("key")
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
