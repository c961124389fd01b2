//! What a shell script would do for this repository. Owns the commands of `cargo xtask`, no billing.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command speaks on the terminal"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod budgets;
mod check;
mod debian;
mod licences;
mod node;
mod postgres;
mod process;
mod python;
mod test;

/// Checks and tests Accrue.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, licences and the budgets of the house.
    Check,
    /// The tests, on SQLite and on a private PostgreSQL that is gone afterwards.
    Test(test::Options),
    /// How fast it is, beside the floors it may not fall below.
    Bench(bench::Options),
    /// Starts a private PostgreSQL, prints its address and waits for Ctrl-C.
    Postgres,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(_) if process::is_stopping() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    process::stop_on_signals()?;
    match Cli::parse().task {
        Task::Check => check::run(),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Postgres => postgres::serve(),
    }
}
