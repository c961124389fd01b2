//! `accrue archive-usage`: old usage events into files. The service may run meanwhile on PostgreSQL.

use std::{path::Path, process::ExitCode, time::Duration};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::Db;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    archives::{self, service},
    auth::{self, Tenant},
    metering::{Month, archive},
};

/// Archive the live usage events of months before one.
///
/// A month that is still needed stays, with all that follow it, and the command says why. Whoever is killed, or comes
/// second, may run it again. On SQLite the service has to be stopped, as for every command that writes.
#[derive(clap::Args)]
pub(super) struct ArchiveUsage {
    #[command(flatten)]
    settings: super::Settings,
    /// The first month that stays, like 2026-01: of receipt, in UTC.
    #[arg(long, value_name = "YYYY-MM")]
    before: Month,
    /// Say what would be archived, and what would stay and why; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// One object for scripts: `dry_run`, `months`, each with tenant, month, events, file and why it stays.
    #[arg(long)]
    json: bool,
}

/// What became of a month.
#[derive(Serialize)]
struct Outcome {
    tenant: String,
    month: String,
    events: u64,
    /// Below the folder for archives; null if there is none.
    file: Option<String>,
    /// Why it stays; null if it does not.
    held: Option<String>,
}

impl ArchiveUsage {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load(&[])?;
        let db = Db::open(&config.database).await?;
        let folder = &config.usage_archive_dir;
        let mut tenants = auth::service::all_tenants(db.reader()).await?;
        tenants.retain(|tenant| tenant.livemode);
        let mut outcomes = Vec::new();
        for tenant in &tenants {
            for month in archive::months_before(&db, tenant.id, self.before).await? {
                let outcome = self.archive(&db, folder, tenant, month).await?;
                let is_held = outcome.held.is_some();
                outcomes.push(outcome);
                if is_held {
                    break;
                }
            }
        }
        if !self.dry_run {
            // After all are noted: a partition leaves whole.
            for tenant in &tenants {
                remove(&db, folder, tenant).await?;
            }
        }
        db.close().await?;
        self.print(folder, &outcomes);
        Ok(ExitCode::SUCCESS)
    }

    async fn archive(
        &self,
        db: &Db,
        folder: &Path,
        tenant: &Tenant,
        month: Month,
    ) -> anyhow::Result<Outcome> {
        let events = archive::count(db, tenant.id, month).await?;
        let outcome = |file, held: Option<archives::Hold>| Outcome {
            tenant: tenant.id.to_string(),
            month: month.to_string(),
            events,
            file,
            held: held.map(|held| held.to_string()),
        };
        let tx = db.begin().await?;
        let held = service::hold(&tx, &SystemClock, tenant, month).await?;
        if self.dry_run {
            tx.rollback().await?;
            return Ok(outcome(None, held));
        }
        tx.commit().await?;
        if held.is_some() {
            return Ok(outcome(None, held));
        }
        let bar = progress(month, events);
        let written =
            archives::write(db, &SystemClock, folder, (tenant, month), |more| bar.inc(more)).await?;
        bar.finish_and_clear();
        let tx = db.begin().await?;
        let noted = service::note(&tx, &SystemClock, tenant, written).await?;
        tx.commit().await?;
        Ok(match noted {
            Ok(archive) => outcome(Some(archive.file), None),
            Err(held) => outcome(None, Some(held)),
        })
    }

    fn print(&self, folder: &Path, outcomes: &[Outcome]) {
        if self.json {
            println!("{}", serde_json::json!({ "dry_run": self.dry_run, "months": outcomes }));
            return;
        }
        for Outcome { tenant, month, events, file, held } in outcomes {
            match (held, file) {
                (Some(why), _) => println!("{tenant}  {month}: {events} events stay: {why}"),
                (None, Some(file)) => {
                    println!("{tenant}  {month}: {events} events, {}", folder.join(file).display());
                }
                (None, None) => println!("{tenant}  {month}: {events} events would be archived"),
            }
        }
        if outcomes.is_empty() {
            println!("there is nothing to archive");
        }
    }
}

async fn remove(db: &Db, folder: &Path, tenant: &Tenant) -> anyhow::Result<()> {
    for archive in archive::not_removed(db.reader(), tenant.id).await? {
        archives::check(folder, &archive).await?;
        loop {
            let tx = db.begin().await?;
            let removed = archive::remove(&tx, &archive, SystemClock.now()).await?;
            tx.commit().await?;
            if removed == 0 {
                break;
            }
        }
        archives::tidy(folder, &archive).await?;
    }
    Ok(())
}

/// Seen on a terminal only.
fn progress(month: Month, events: u64) -> ProgressBar {
    let style = "{prefix} {wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left";
    let bar = ProgressBar::new(events).with_prefix(month.to_string());
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
