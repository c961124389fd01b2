//! How fast usage events are taken and usage is told, each figure beside the least that could be done with the same
//! data in the same run: `cargo xtask bench ingest` gives it a PostgreSQL and keeps the tables.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark tells what it measured")]

mod fill;
mod load;
mod reading;
mod site;
mod table;
mod yardstick;

use std::time::Instant;

use accrue::metering::Grouping;
use accrue_core::decimal::Number;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use sea_orm::{ConnectionTrait, Statement};
use serde::Deserialize;
use tokio::net::TcpStream;

use self::{
    fill::MONTH,
    load::{Load, Measured},
    site::{BUSY, Site},
    table::{Row, Table, micros},
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
    /// Large tables and long runs, as for the figures that are published.
    #[arg(long)]
    full: bool,
    /// Fill the tables with so many million events.
    #[arg(long)]
    millions: Option<u64>,
    /// Sends batches, or single events, for so many seconds and measures nothing else, to look at with a profiler; with
    /// 0 events it reads usage.
    #[arg(long, num_args = 2..=5, value_names = ["EVENTS_EACH", "SECONDS", "CONNECTIONS", "CUSTOMERS_EACH", "WRITERS"])]
    load: Option<Vec<usize>>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of the busy customer, where it does not matter.
const FEW_EVENTS: u64 = 1000;

/// How much is done.
struct Size {
    /// Each figure and its yardstick are taken in turns so often; the round in the middle counts.
    rounds: usize,
    /// Of each load.
    seconds: u64,
    busy_events: u64,
    filled_events: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    accrue_platform::telemetry::init_logs("warn", accrue_platform::telemetry::LogFormat::Json);
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut extent = if options.full {
        Size { rounds: 5, seconds: 10, busy_events: 1_000_000, filled_events: 50_000_000 }
    } else {
        Size { rounds: 3, seconds: 3, busy_events: 1_000_000, filled_events: 2_000_000 }
    };
    extent.filled_events = options.millions.map_or(extent.filled_events, |millions| millions * 1_000_000);
    let runtime = tokio::runtime::Runtime::new()?;
    let postgres = options.postgres.as_deref();
    if let Some([events_each, seconds, others @ ..]) = options.load.as_deref() {
        let seconds = u64::try_from(*seconds)?;
        return runtime.block_on(only_load(postgres, *events_each, seconds, others));
    }
    let table = runtime.block_on(measure(postgres, &extent))?;
    let name = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    println!("### {name}\n\n{table}");
    Ok(())
}

async fn measure(postgres: Option<&str>, extent: &Size) -> Result<Table> {
    let site = Site::new(postgres, extent.busy_events).await?;
    forget_peak()?;
    let mut table = Table::default();
    let mut rows = Vec::new();
    for _ in 0..extent.rounds {
        let rate = batches(&site, extent).await?.events_per_second;
        let raw = yardstick::raw_rows(&site, extent.seconds).await?;
        rows.push(Row::rate("events in batches of 1,000 ÷ raw rows", rate, raw, 250, 500));
    }
    table.push_middle(rows);
    singles(&site, extent, &mut table).await?;
    usage(&site, extent, &mut table).await?;

    let before = peak_memory()?;
    let started = Instant::now();
    fill::everybody(&site.app.db, site.tenant, extent.filled_events).await?;
    eprintln!("filled with {} events in {:.0?}", extent.filled_events, started.elapsed());
    let millions = extent.filled_events / 1_000_000;
    let name = format!("batches into {millions} million events ÷ into none");
    let empty = Site::new(postgres, FEW_EVENTS).await?;
    forget_peak()?;
    let mut rows = Vec::new();
    for _ in 0..extent.rounds {
        let [full, none] = [batches(&site, extent).await?, batches(&empty, extent).await?];
        rows.push(Row::rate(&name, full.events_per_second, none.events_per_second, 700, 900));
    }
    table.push_middle(rows);
    drop(empty);
    let memory = before.max(peak_memory()?);

    let started = Instant::now();
    let subscriptions = reading::prepare(&site).await?;
    eprintln!(
        "built up hours, and subscribed {} customers, in {:.0?}",
        subscriptions.len(),
        started.elapsed()
    );
    forget_peak()?;
    for (name, p99) in reading::slowest(&site, &subscriptions).await? {
        let name = format!("{name}, more than {millions} million events stored ÷ what it may take");
        table.push(Row::time(&name, p99, reading::LONGEST, 1_000, 2_000));
    }
    table.memory = memory.max(peak_memory()?);
    Ok(table)
}

async fn only_load(postgres: Option<&str>, events_each: usize, seconds: u64, others: &[usize]) -> Result<()> {
    let busy_events = if events_each == 0 { 1_000_000 } else { FEW_EVENTS };
    let site = Site::new(postgres, busy_events).await?;
    if events_each == 0 {
        let extent = Size { rounds: 1, seconds, busy_events, filled_events: 0 };
        let mut table = Table::default();
        usage(&site, &extent, &mut table).await?;
        println!("{table}");
        return Ok(());
    }
    let [connections, customers_each] = if events_each == 1 { [1000, 1] } else { [32, 100] };
    let connections = others.first().copied().unwrap_or(connections);
    let customers_each = others.get(1).copied().unwrap_or(customers_each);
    let load = load(&site, connections, events_each, customers_each, seconds);
    let Some(writers) = others.get(2).copied() else { return send(load).await.map(drop) };
    let (address, _) = site::start(&site.app, Grouping { writers, ..Grouping::default() })?;
    send(Load { address, ..load }).await.map(drop)
}

async fn batches(site: &Site, extent: &Size) -> Result<Measured> {
    send(load(site, 32, 1000, 100, extent.seconds)).await
}

/// Single events taken together, each alone, and only parsed: in turns, as the machine is not the same all the time.
async fn singles(site: &Site, extent: &Size, table: &mut Table) -> Result<()> {
    let single = load(site, 1000, 1, 1, extent.seconds);
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..extent.rounds {
        let together = send(single.clone()).await?;

        let grouping = Grouping { writers: 16, events_at_once: 1, ..Grouping::default() };
        let (address, server) = site::start(&site.app, grouping)?;
        let alone = send(Load { address, ..single.clone() }).await?;
        server.stop(true).await;

        let (address, server) = yardstick::parsing(site.app.config.http_workers)?;
        let parsed = send(Load { address, ..single.clone() }).await?;
        server.stop(true).await;

        let [rate, of_alone, of_parsed] = [together, alone, parsed].map(|load| load.events_per_second);
        rows[0].push(Row::rate("single events ÷ one transaction each", rate, of_alone, 10_000, 20_000));
        rows[1].push(Row::rate("single events ÷ parsed only", rate, of_parsed, 400, 600));
        let name = "their p99 ÷ one transaction each";
        rows[2].push(Row::time(name, together.p99, alone.p99, 5_000, 10_000));
    }
    for rows in rows {
        table.push_middle(rows);
    }
    Ok(())
}

/// Of usage, in each of several rounds.
const READS: usize = 200;

/// Usage of the busy customer's month, from hours and from events: both must say the same.
async fn usage(site: &Site, extent: &Size, table: &mut Table) -> Result<()> {
    #[derive(Deserialize)]
    struct Usage {
        quantity: Number,
    }

    let [start, end] = MONTH;
    let path = format!("/v1/customers/{BUSY}/usage?metric={BUSY}&start={start}&end={end}");
    let sql = summing(site);
    let mut stream = TcpStream::connect(site.address).await?;
    let (mut told, mut summed) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let tx = site.app.db.begin().await?;
        if !site.app.db.is_sqlite() {
            // Another half of the table is no reason to read all of it.
            tx.execute_unprepared("set local enable_seqscan = off").await?;
        }
        let started = Instant::now();
        let statement = Statement::from_string(tx.get_database_backend(), sql.as_str());
        let row = tx.query_one_raw(statement).await?.context("a sum")?;
        let sum: i64 = row.try_get_by_index(0)?;
        let by_events = started.elapsed();
        tx.rollback().await?;
        let mut by_hours = Vec::with_capacity(READS);
        for _ in 0..READS {
            let started = Instant::now();
            let usage: Usage =
                serde_json::from_str(&load::ask(&mut stream, &site.key, "GET", &path, "").await?)?;
            by_hours.push(started.elapsed());
            ensure!(usage.quantity.0 == sum.into(), "hours say {} and events {sum}", usage.quantity.0);
        }
        // The first round warms up.
        if round > 0 {
            summed.push(by_events);
            told.append(&mut by_hours);
        }
    }
    let millions = extent.busy_events / 1_000_000;
    let name = format!("usage of {millions} million events ÷ summing them by index");
    table.push(Row::time(&name, median(told), median(summed), 500_000, 1_000_000));
    Ok(())
}

fn summing(site: &Site) -> String {
    let db = &site.app.db;
    let [start, end] = MONTH;
    let (number, start, end) = if db.is_sqlite() {
        let at = |instant: &str| format!("'{}'", instant.replace('Z', "+00:00"));
        ("json_extract(metadata, '$.tokens')", at(start), at(end))
    } else {
        let at = |instant: &str| format!("timestamptz '{instant}'");
        ("(metadata::json ->> 'tokens')::bigint", at(start), at(end))
    };
    let tenant = fill::literal(db, site.tenant.0);
    format!(
        "select cast(sum({number}) as bigint) from plain_events where tenant_id = {tenant} and customer_id = \
         (select id from customers where tenant_id = {tenant} and external_id = '{BUSY}') \
         and event_name = '{BUSY}' and timestamp >= {start} and timestamp < {end}"
    )
}

fn load(site: &Site, connections: usize, events_each: usize, customers_each: usize, seconds: u64) -> Load {
    let at = site.app.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let (address, key) = (site.address, site.key.clone());
    Load { address, key, connections, events_each, seconds, customers_each, at }
}

/// What waits meanwhile is the server, on other threads.
async fn send(load: Load) -> Result<Measured> {
    let measured = tokio::task::spawn_blocking(move || {
        let measured = load::send(&load);
        (load, measured)
    });
    let (load, measured) = measured.await?;
    let measured = measured?;
    eprintln!(
        "{} connections of {} events: {} events/s, median {}, p99 {}",
        load.connections,
        load.events_each,
        measured.events_per_second,
        micros(measured.median),
        micros(measured.p99)
    );
    Ok(measured)
}

fn median<T: Copy + Ord>(mut figures: Vec<T>) -> T {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// SQLite fills its tables within this process, which is not measured: the peak begins anew.
fn forget_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// Of the server and the sender together, in MB.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak of memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1000)
}
