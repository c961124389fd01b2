//! `cargo xtask bench renewals`: how fast subscriptions that renew at the same instant are billed, on a PostgreSQL with a
//! production's settings and on SQLite. What is measured and how stands in `benches/renewals`; here its tables are kept.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::results;
use crate::{
    postgres::{self, Purpose},
    process,
};

const TITLE: &str = "## Renewals";

#[derive(Args)]
pub(crate) struct Options {
    /// 100,000 subscriptions on PostgreSQL and 10,000 on SQLite: the figures to publish.
    #[arg(long)]
    full: bool,
    /// So many subscriptions, in place of 1,000.
    #[arg(long)]
    subscriptions: Option<u64>,
    /// Measure on one database only, `postgresql` or `sqlite`, and keep nothing.
    #[arg(long)]
    only: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    // PDF rendering is not measured, and takes longest to build.
    let cargo = || {
        let mut cargo = process::cargo(&["bench", "--package", "accrue", "--no-default-features"]);
        cargo.args(["--bench", "renewals"]);
        cargo
    };
    process::step("building the benchmark", || process::run(cargo().arg("--no-run")))?;
    let machine = results::machine()?;
    let mut tables = String::new();
    for database in ["postgresql", "sqlite"] {
        if options.only.as_ref().is_some_and(|only| !only.eq_ignore_ascii_case(database)) {
            continue;
        }
        // Ended with its turn: what PostgreSQL still writes back would have SQLite wait for the disk.
        let server = (database == "postgresql").then(|| postgres::start(Purpose::Benchmarks)).transpose()?;
        let mut bench = cargo();
        bench.arg("--");
        if let Some(server) = &server {
            bench.args(["--postgres", &server.url()]);
        }
        if options.full {
            bench.arg("--full");
        }
        if let Some(count) = options.subscriptions {
            bench.args(["--subscriptions", &count.to_string()]);
        }
        let output =
            bench.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        let table = String::from_utf8(output.stdout)?;
        println!("{table}");
        if !output.status.success() {
            bail!("the benchmark failed");
        }
        tables.push_str(&table);
    }
    if options.only.is_none() {
        results::keep(TITLE, &section(&tables, &machine, options))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn section(tables: &str, machine: &str, options: &Options) -> String {
    let mut command = String::from("cargo xtask bench renewals");
    command.push_str(if options.full { " --full" } else { "" });
    command.extend(options.subscriptions.map(|count| format!(" --subscriptions {count}")));
    let settings = Purpose::Benchmarks.settings().join("`, `");
    format!(
        "{TITLE}\n\n`{command}`, {machine}. PostgreSQL runs with `{settings}`. The program and the database share the \
         machine. What each figure is stands in `benches/renewals/README.md`.\n\n{}\n",
        tables.trim()
    )
}
