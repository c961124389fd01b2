//! `accrue verify`: do the books, the invoices and the jobs agree with themselves?

use std::process::ExitCode;

use accrue_core::{
    clock::{Clock, SystemClock},
    id::TenantId,
};
use accrue_platform::{
    db::Db,
    queue::{self, JobState},
};
use chrono::TimeDelta;

use crate::{
    auth::{self, Tenant},
    credit_notes, invoices, ledger,
};

/// A job that should have run so long ago is stuck.
const STUCK_AFTER: TimeDelta = TimeDelta::hours(1);

/// Check the books, the invoices and the jobs. Exit code 1 if something is wrong.
#[derive(clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    settings: super::Settings,
    /// One object for scripts: {"ok","tenants":[{"tenant","livemode","findings":[…]}]}.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        anyhow::ensure!(
            db.pending_migrations().await?.is_empty(),
            "the schema is not up to date: run `accrue migrate up`"
        );
        let mut results = Vec::new();
        for tenant in auth::service::all_tenants(db.reader()).await? {
            let findings = findings_of(&db, tenant.id).await?;
            results.push((tenant, findings));
        }
        let ok = results.iter().all(|(_, findings)| findings.is_empty());
        if self.json {
            print_json(ok, &results);
        } else {
            print_text(ok, &results);
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn findings_of(db: &Db, tenant: TenantId) -> anyhow::Result<Vec<String>> {
    let reader = db.reader();
    let mut findings: Vec<String> =
        ledger::service::verify(reader, tenant).await?.iter().map(ToString::to_string).collect();
    findings.extend(invoices::service::verify(reader, tenant).await?);
    findings.extend(credit_notes::verify(reader, tenant).await?);
    for job in queue::list(reader, tenant, JobState::Dead, 1000).await? {
        let error = job.last_error.unwrap_or_default();
        findings.push(format!("job {} ({}) is dead after {} runs: {error}", job.id, job.name, job.runs));
    }
    let stuck_before = SystemClock.now() - STUCK_AFTER;
    for (id, name, run_at) in queue::stuck(reader, tenant, stuck_before).await? {
        findings.push(format!("job {id} ({name}) should have run at {run_at}"));
    }
    Ok(findings)
}

fn mode(tenant: &Tenant) -> &'static str {
    if tenant.livemode { "live" } else { "test" }
}

fn print_text(ok: bool, results: &[(Tenant, Vec<String>)]) {
    for (tenant, findings) in results {
        let verdict =
            if findings.is_empty() { "ok".to_owned() } else { format!("{} findings", findings.len()) };
        println!("{} {} ({}): {verdict}", tenant.id, tenant.name, mode(tenant));
        for finding in findings {
            println!("  - {finding}");
        }
    }
    println!(
        "{}",
        if ok {
            "books balance, invoices match receivables, numbers have no gaps, no job is stuck"
        } else {
            "something is wrong"
        }
    );
}

fn print_json(ok: bool, results: &[(Tenant, Vec<String>)]) {
    let tenants: Vec<_> = results
        .iter()
        .map(|(tenant, findings)| {
            serde_json::json!({"tenant": tenant.id, "livemode": tenant.livemode, "findings": findings})
        })
        .collect();
    println!("{}", serde_json::json!({"ok": ok, "tenants": tenants}));
}
