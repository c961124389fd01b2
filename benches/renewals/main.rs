//! How fast subscriptions that renew at the same instant are billed, beside the least that could be done: writing the same
//! rows. `cargo xtask bench renewals` gives it a PostgreSQL and keeps the tables.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark tells what it measured")]

mod site;
#[path = "../ingest/table.rs"]
mod table;
mod yardstick;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
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
/// Of few subscriptions.
const ROUNDS: usize = 3;

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
    let rounds = if options.full { 1 } else { ROUNDS };
    let postgres = options.postgres.as_deref();
    let table = tokio::runtime::Runtime::new()?.block_on(measure(postgres, count, rounds))?;
    let name = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("### {name}\n\n{table}");
    Ok(())
}

/// Each with a new installation; the one in the middle counts.
async fn measure(postgres: Option<&str>, count: u64, rounds: usize) -> Result<Table> {
    let (mut table, mut rates, mut longest) = (Table::default(), Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        let site = Site::new(postgres, count).await?;
        forget_peak()?;
        let started = Instant::now();
        site.renew().await?;
        let taken = started.elapsed();
        table.memory = table.memory.max(peak_memory()?);
        site.check().await?;
        let (rows, written) = yardstick::write_again(&site).await?;
        eprintln!("{count} renewals in {taken:.1?} wrote {rows} rows; the rows alone take {written:.1?}");

        let name = format!("{count} renewals ÷ writing their rows");
        rates.push(Row::rate(&name, per_second(count, taken), per_second(count, written), 250, 600));
        longest = longest.max(taken);
    }
    table.push_middle(rates);
    if postgres.is_none() {
        let within = SQLITE_WITHIN * u32::try_from(count)? / u32::try_from(SQLITE_SUBSCRIPTIONS)?;
        table.push(Row::time(
            "all of them, at the longest ÷ what it may take",
            longest,
            within,
            1_000,
            2_000,
        ));
    }
    Ok(table)
}

fn per_second(count: u64, time: Duration) -> u64 {
    count * 1_000_000 / u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn forget_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// Of this process, in MB.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak of memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1000)
}
