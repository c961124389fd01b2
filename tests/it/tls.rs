//! What `sslmode` in the database's URL means.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use accrue_platform::db::{Db, DbConfig};
use base64::{Engine, prelude::BASE64_STANDARD};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;

use crate::support::database;

async fn opens(url: &str) -> Result<(), String> {
    let opened = Db::open(&DbConfig::new(url)).await;
    let db = opened.map_err(|error| format!("{error:?}"))?;
    let row = db.reader().query_one_raw(sea_orm::Statement::from_string(
        sea_orm::DatabaseBackend::Postgres,
        "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
    ));
    let encrypted: bool = row.await.unwrap().unwrap().try_get_by_index(0).unwrap();
    db.close().await.unwrap();
    if encrypted { Ok(()) } else { Err("in the clear".to_owned()) }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Has the server write a file beside its data: a key must be its own, and nobody else's to read.
async fn write(admin: &DatabaseConnection, name: &str, text: &str) {
    let lines: Vec<_> = text.lines().map(|line| format!("('{line}')")).collect();
    let rows = lines.join(", ");
    let sql = format!("copy (select * from (values {rows}) as t) to program 'umask 077 && cat > {name}'");
    admin.execute_unprepared(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_decides_whether_the_server_must_be_encrypted_and_known() {
    let Some(server) = database::postgres() else { return };
    let admin = database::admin().await;
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, pem("CERTIFICATE", made.cert.der())).unwrap();
    let url = |query: &str| format!("{server}/postgres?{query}");
    let plain = opens(&url("sslmode=require")).await;
    assert!(plain.is_err(), "the server has no TLS yet");

    write(&admin, "server.crt", &pem("CERTIFICATE", made.cert.der())).await;
    write(&admin, "server.key", &pem("PRIVATE KEY", &made.signing_key.serialize_der())).await;
    admin.execute_unprepared("alter system set ssl = on").await.unwrap();
    admin.execute_unprepared("select pg_reload_conf()").await.unwrap();
    let started = Instant::now();
    while opens(&url("sslmode=require")).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", opens(&url("sslmode=require")).await);
    }

    let known = |path: &Path| url(&format!("sslmode=verify-full&sslrootcert={}", path.display()));
    let trusted = opens(&known(&root)).await;
    let unknown = opens(&url("sslmode=verify-full")).await;
    let disabled = opens(&url("sslmode=disable")).await;
    let stranger = folder.path().join("stranger.pem");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&stranger, pem("CERTIFICATE", other.cert.der())).unwrap();
    let mistaken = opens(&known(&stranger)).await;
    admin.execute_unprepared("alter system reset ssl").await.unwrap();
    admin.execute_unprepared("select pg_reload_conf()").await.unwrap();
    admin.close().await.unwrap();

    assert_eq!(trusted, Ok(()));
    assert_eq!(disabled, Err("in the clear".to_owned()));
    for refused in [unknown, mistaken] {
        assert!(
            refused.as_ref().is_err_and(|error| error.to_lowercase().contains("certificate")),
            "{refused:?}"
        );
    }
}
