//! A private database for each test. PostgreSQL's are cloned from one that was migrated once.
#![expect(clippy::disallowed_methods, reason = "tests read from the environment where their server is")]

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use accrue_platform::db::{Db, DbConfig};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use tokio::sync::OnceCell;

const IN_THE_CLEAR: &str = "sslmode=disable";

/// The two databases that everything runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The address of a new, empty database, or `None` if this run leaves the engine out.
pub async fn create(engine: Engine, folder: &Path) -> Option<String> {
    match engine {
        Engine::Sqlite if only() == Some("postgres") => None,
        Engine::Sqlite => Some(format!("sqlite://{}", folder.join("accrue.db").display())),
        Engine::Postgres if only() == Some("sqlite") => None,
        Engine::Postgres => Some(clone_of_template().await),
    }
}

fn only() -> Option<&'static str> {
    match std::env::var("ACCRUE_TEST_ONLY").as_deref() {
        Ok("sqlite") => Some("sqlite"),
        Ok("postgres") => Some("postgres"),
        _ => None,
    }
}

fn server() -> String {
    std::env::var("ACCRUE_TEST_POSTGRES")
        .expect("run the tests by `cargo xtask test`, which starts PostgreSQL")
}

/// Where PostgreSQL is, without a database; `None` if this run leaves it out.
pub fn postgres() -> Option<String> {
    (only() != Some("sqlite")).then(server)
}

/// A connection that may do everything to the PostgreSQL server.
pub async fn admin() -> DatabaseConnection {
    Database::connect(format!("{}/postgres?{IN_THE_CLEAR}", server())).await.unwrap()
}

/// Drops a PostgreSQL database, with whatever connections it has.
pub async fn drop(url: &str) {
    let (address, _) = url.split_once('?').unwrap_or((url, ""));
    let name = address.rsplit('/').next().unwrap();
    let admin = admin().await;
    admin.execute_unprepared(&format!("drop database {name} with (force)")).await.unwrap();
    admin.close().await.unwrap();
}

async fn clone_of_template() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Cloning locks the template: tests that start together take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    let template = TEMPLATE.get_or_init(make_template).await;
    let name = format!("{template}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let admin = admin().await;
    let turn = TURN.lock().await;
    admin.execute_unprepared(&format!("create database {name} template {template}")).await.unwrap();
    std::mem::drop(turn);
    admin.close().await.unwrap();
    // In the clear: a test turns the server's TLS on and off beside the others.
    format!("{}/{name}?{IN_THE_CLEAR}", server())
}

async fn make_template() -> String {
    let name = format!("accrue_test_{}", std::process::id());
    let admin = admin().await;
    admin.execute_unprepared(&format!("drop database if exists {name}")).await.unwrap();
    admin.execute_unprepared(&format!("create database {name}")).await.unwrap();
    admin.close().await.unwrap();
    let db = Db::open(&DbConfig::new(format!("{}/{name}", server()))).await.unwrap();
    db.migrate().await.unwrap();
    db.close().await.unwrap();
    name
}
