//! `accrue doctor`: is everything there that the program needs?

use std::{fs, path::Path, process::ExitCode};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::{
    db::{Db, sqlite_path},
    mail::Mailer,
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Statement};

use crate::{
    config::Config,
    metering::{self, Month},
};

/// How far the database's clock may be from ours.
const SKEW_MAX_SECONDS: i64 = 5;

/// Check everything the program needs, and say what to do. Nothing is changed. Exit code 1 if something is missing.
#[derive(clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: super::Settings,
    /// One object for scripts: {"ok","checks":[{"name","ok","detail"}]}.
    #[arg(long)]
    json: bool,
}

struct Check {
    name: &'static str,
    outcome: Result<String, String>,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load(&[])?;
        let mut checks = vec![Check { name: "settings", outcome: Ok("no mistakes".to_owned()) }];
        match Db::open_to_look(&config.database).await {
            Ok(None) => {
                let detail = format!("{} is made at the first start", sqlite_path(&config.database.url));
                checks.push(Check { name: "database", outcome: Ok(detail) });
            }
            Ok(Some(db)) => {
                checks.push(Check { name: "database", outcome: Ok("reached".to_owned()) });
                checks.push(Check { name: "schema", outcome: schema(&db).await });
                checks.push(Check { name: "partitions", outcome: partitions(&db).await });
                checks.push(Check { name: "clock", outcome: clock(&db).await });
            }
            Err(error) => checks.push(Check { name: "database", outcome: Err(error.to_string()) }),
        }
        checks.push(Check { name: "archive", outcome: archive(&config) });
        checks.push(Check { name: "mail", outcome: mail(&config).await });
        checks.push(Check { name: "gateway", outcome: gateway(&config.sandbox_gateway_file) });
        let ok = checks.iter().all(|check| check.outcome.is_ok());
        print(&checks, ok, self.json);
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn schema(db: &Db) -> Result<String, String> {
    let pending = db.pending_migrations().await.map_err(|error| error.to_string())?;
    if pending.is_empty() {
        return Ok("up to date".to_owned());
    }
    Err(format!("{} migrations are missing: run `accrue migrate up`", pending.len()))
}

async fn partitions(db: &Db) -> Result<String, String> {
    if db.is_sqlite() {
        return Ok("SQLite has none".to_owned());
    }
    let missing = metering::partitions::missing(db, SystemClock.now()).await;
    let missing: Vec<_> = missing.map_err(|error| error.to_string())?.iter().map(Month::to_string).collect();
    if missing.is_empty() {
        return Ok("usage of this month and the next has its own".to_owned());
    }
    Err(format!(
        "usage of {} has none and goes into the default one: run a process with the role all or worker, \
         whose log says what keeps it from making them",
        missing.join(" and ")
    ))
}

async fn clock(db: &Db) -> Result<String, String> {
    if db.is_sqlite() {
        return Ok("SQLite has none of its own".to_owned());
    }
    let statement = Statement::from_string(db.reader().get_database_backend(), "select now()");
    let row = db.reader().query_one_raw(statement).await.map_err(|error| error.to_string())?;
    let theirs: DateTime<Utc> =
        row.ok_or("no answer")?.try_get_by_index(0).map_err(|error: sea_orm::DbErr| error.to_string())?;
    let apart = (SystemClock.now() - theirs).num_seconds().abs();
    if apart <= SKEW_MAX_SECONDS {
        return Ok(format!("{apart} s from the database's"));
    }
    Err(format!("{apart} s from the database's: let both machines follow NTP"))
}

fn archive(config: &Config) -> Result<String, String> {
    let Some(months) = config.usage_retention_months else { return Ok("usage stays for ever".to_owned()) };
    can_be_written(&config.usage_archive_dir)?;
    Ok(format!("usage older than {months} months goes to {}/", config.usage_archive_dir.display()))
}

async fn mail(config: &Config) -> Result<String, String> {
    match &config.smtp_url {
        None => {
            can_be_written(&config.mail_dir)?;
            Ok(format!(
                "written to {}/ as .eml files; set ACCRUE_SMTP_URL to send them",
                config.mail_dir.display()
            ))
        }
        Some(url) => {
            let mailer = Mailer::smtp(url).map_err(|error| error.to_string())?;
            mailer.check().await.map_err(|error| format!("the mail server does not answer: {error}"))?;
            Ok("the mail server answers".to_owned())
        }
    }
}

fn gateway(file: &Path) -> Result<String, String> {
    can_be_written(file)?;
    Ok(format!("sandbox, in {}", file.display()))
}

/// Looks at the file or folder, or at the one in which it would be made, without touching it.
fn can_be_written(path: &Path) -> Result<(), String> {
    let path = std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(&path);
    let found = fs::metadata(there).map_err(|error| format!("{}: {error}", there.display()))?;
    if found.permissions().readonly() {
        return Err(format!("{} cannot be written to", there.display()));
    }
    Ok(())
}

fn print(checks: &[Check], ok: bool, json: bool) {
    if json {
        let rows: Vec<_> = checks
            .iter()
            .map(|check| {
                let (Ok(detail) | Err(detail)) = &check.outcome;
                serde_json::json!({"name": check.name, "ok": check.outcome.is_ok(), "detail": detail})
            })
            .collect();
        println!("{}", serde_json::json!({"ok": ok, "checks": rows}));
        return;
    }
    for check in checks {
        match &check.outcome {
            Ok(detail) => println!("ok    {:<10} {detail}", check.name),
            Err(detail) => println!("WRONG {:<10} {detail}", check.name),
        }
    }
}
