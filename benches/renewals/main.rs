//! How fast subscriptions that renew at the same instant are billed, beside the least that could be done: writing the same
//! rows. `cargo xtask bench renewals` gives it a PostgreSQL and keeps the tables.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark tells what it measured")]

mod site;
#[path = "../ingest/table.rs"]
mod table;
mod yardstick;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::{
    site::Site,
    table::{Row, Table},
};

/// As the program has it.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
struct Options {
    /// Measures on the PostgreSQL that is there, without a database in its address; else on SQLite.
    #[arg(long)]
    postgres: Option<String>,
    /// 100,000 subscriptions, as for the figures that are published.
    #[arg(long)]
    full: bool,
    /// So many subscriptions.
    #[arg(long)]
    subscriptions: Option<u64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the issue asks of SQLite: 10,000 within 20 seconds.
const SQLITE_SUBSCRIPTIONS: u64 = 10_000;
const SQLITE_WITHIN: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let options = Options::parse();
    accrue_platform::telemetry::init_logs("warn", accrue_platform::telemetry::LogFormat::Json);
    drop(rustls::crypto::ring::default_provider().install_default());
    let few = match (&options.postgres, options.full) {
        (Some(_), true) => 100_000,
        (None, true) => SQLITE_SUBSCRIPTIONS,
        (_, false) => 1_000,
    };
    let count = options.subscriptions.unwrap_or(few);
    let table = tokio::runtime::Runtime::new()?.block_on(measure(options.postgres.as_deref(), count))?;
    let name = if options.postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("### {name}\n\n{table}");
    Ok(())
}

async fn measure(postgres: Option<&str>, count: u64) -> Result<Table> {
    let site = Site::new(postgres, count).await?;
    forget_peak()?;
    let started = Instant::now();
    site.renew().await?;
    let taken = started.elapsed();
    let memory = peak_memory()?;
    site.check().await?;
    let (rows, written) = yardstick::write_again(&site).await?;
    eprintln!("{count} renewals in {taken:.1?}, which wrote {rows} rows; the rows alone in {written:.1?}");

    let mut table = Table { memory, ..Table::default() };
    let per_second =
        |time: Duration| count * 1_000_000 / u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let name = format!("{count} renewals ÷ writing their rows");
    table.push(Row::rate(&name, per_second(taken), per_second(written), 250, 600));
    if postgres.is_none() {
        let within = SQLITE_WITHIN * u32::try_from(count)? / u32::try_from(SQLITE_SUBSCRIPTIONS)?;
        table.push(Row::time("all of them ÷ what it may take", taken, within, 1_000, 2_000));
    }
    Ok(table)
}

fn forget_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// Of this process, in MB.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak of memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    ensure!(kilobytes > 0, "no memory");
    Ok(kilobytes / 1000)
}
