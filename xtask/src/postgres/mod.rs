//! A private PostgreSQL for tests, development and measuring: its own folder, its own port, gone afterwards.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{self, step};

mod account;
mod programs;

use account::Account;
use programs::Programs;

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// `port` and the folder are chosen per server. No socket: its path could be longer than the system allows.
const SETTINGS: &[&str] = &["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300"];

/// What the server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `fsync` is off: nothing tested here shows what survives a power cut, only what survives a killed process.
    Tests,
    /// As in production: durable, with memory for the indexes, and checkpoints so far apart that they do not write
    /// each page anew all the time.
    Benchmarks,
}

impl Purpose {
    pub(crate) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Tests => &["fsync=off", "full_page_writes=off"],
            Self::Benchmarks => &[
                "fsync=on",
                "full_page_writes=on",
                "synchronous_commit=on",
                "shared_buffers=4GB",
                "wal_buffers=64MB",
                "wal_compression=lz4",
                "min_wal_size=4GB",
                "max_wal_size=16GB",
                "checkpoint_timeout=15min",
            ],
        }
    }
}

/// A running server. Dropping it stops the server and removes its folder.
pub(crate) struct Server {
    process: Child,
    port: u16,
    /// Declared last: the folder goes when nobody writes to it any more.
    folder: TempDir,
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !is_ready(self.folder.path()) {
            let ended = self.process.try_wait()?.is_some();
            if ended || started.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL did not start:\n{log}");
            }
            process::pause()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT is "immediate": nothing is written, for the folder is thrown away.
        if let Err(error) = process::end(&mut self.process, Signal::SIGQUIT, process::GRACE) {
            eprintln!("xtask: PostgreSQL, process {}, may still run: {error:#}", self.process.id());
        }
    }
}

/// Installs PostgreSQL if there is none, then starts a new server.
pub(crate) fn start(purpose: Purpose) -> Result<Server> {
    let programs = programs::find_or_install()?;
    step(&format!("starting PostgreSQL ({})", purpose.settings().join(" ")), || {
        let account = Account::of_server()?;
        let folder = tempfile::Builder::new().prefix("accrue-postgres-").tempdir()?;
        account.give(folder.path())?;
        initialize(&programs, &account, folder.path())?;
        launch(&programs, &account, folder, purpose)
    })
}

/// Runs until a signal or the server's own end.
pub(crate) fn serve() -> Result<ExitCode> {
    let mut server = start(Purpose::Tests)?;
    println!("{}", server.url());
    while server.process.try_wait()?.is_none() {
        if process::pause().is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    bail!("PostgreSQL ended by itself")
}

fn initialize(programs: &Programs, account: &Account, folder: &Path) -> Result<()> {
    let mut initdb = account.command(&programs.initdb());
    initdb
        .arg("--pgdata")
        .arg(folder.join("data"))
        .args(["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--auth-local=reject", "--auth-host=trust", "--no-sync"]);
    run_logged(&mut initdb, &folder.join("log"))
}

/// Speaks only when it fails.
fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    process::run(command).with_context(|| fs::read_to_string(log).unwrap_or_default())
}

fn launch(programs: &Programs, account: &Account, folder: TempDir, purpose: Purpose) -> Result<Server> {
    let port = free_port()?;
    let log = fs::File::create(folder.path().join("log"))?;

    let mut postgres = account.command(&programs.postgres());
    postgres.arg("-D").arg(folder.path().join("data")).arg("-p").arg(port.to_string());
    for setting in SETTINGS.iter().chain(purpose.settings()) {
        postgres.args(["-c", setting]);
    }
    postgres.stdout(log.try_clone()?).stderr(log);

    let mut server = Server { process: process::start(&mut postgres)?, port, folder };
    server.wait_until_ready()?;
    Ok(server)
}

/// Free when asked. PostgreSQL refuses to start should another program be quicker.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// The server writes its state into the eighth line of its pid file; `pg_ctl` reads it there, too.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("data/postmaster.pid"))
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
}
