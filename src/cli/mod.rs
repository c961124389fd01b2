//! The commands of `accrue`: one file each.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "commands talk to the person who called them")]

mod archive_usage;
mod config;
mod demo;
mod doctor;
mod export;
mod import;
mod keys;
mod migrate;
mod rebuild_usage;
pub mod serve;
mod verify;
pub mod wire;

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{Config, Mistakes};

/// Subscription and usage-metering billing in one binary.
#[derive(Parser)]
#[command(name = "accrue", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API, the pages, the workers and the scheduler.
    Serve(serve::Serve),
    /// Play the whole job once on a fresh database, then keep serving.
    Demo(demo::Demo),
    /// Bring the schema up to date, or say what is missing.
    Migrate(migrate::Migrate),
    /// Make, list and revoke API keys.
    Keys(keys::Keys),
    /// Print the settings in force, with secrets masked.
    Config(config::PrintConfig),
    /// Check everything the program needs, and say what to do.
    Doctor(doctor::Doctor),
    /// Check the books, the invoices and the jobs.
    Verify(verify::Verify),
    /// Take in what stands in files.
    Import(import::Import),
    /// Write a list to a file, all of it.
    Export(export::Export),
    /// Build up usage by the hour anew, from the events.
    RebuildUsage(rebuild_usage::RebuildUsage),
    /// Archive the live usage events of months before one.
    ArchiveUsage(archive_usage::ArchiveUsage),
}

/// Flags that every command takes; each is a setting.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Settings {
    /// `sqlite://path` or `postgres://…`.
    #[arg(long, global = true)]
    database_url: Option<String>,
    /// Which log lines are written, like `info,accrue=debug`.
    #[arg(long, global = true)]
    log: Option<String>,
    /// Any setting, as `name=value`; `accrue config --help` lists them.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// The settings in force, with these flags on top.
    pub fn load(&self, more: &[(&'static str, Option<String>)]) -> Result<Config, Mistakes> {
        let mut flags = BTreeMap::new();
        for pair in &self.set {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Mistakes(vec![format!("--set {pair}: is not NAME=VALUE")]))?;
            let setting = crate::config::SETTINGS.iter().find(|setting| setting.name == name);
            let setting =
                setting.ok_or_else(|| Mistakes(vec![format!("--set: there is no setting `{name}`")]))?;
            flags.insert(setting.name, value.to_owned());
        }
        let named = [("database_url", self.database_url.clone()), ("log", self.log.clone())];
        for (name, value) in named.into_iter().chain(more.iter().cloned()) {
            if let Some(value) = value {
                flags.insert(name, value);
            }
        }
        Config::load(flags)
    }
}

impl Cli {
    /// Runs the command. Exit codes: 0 done, 1 failed or something is wrong, 2 misused.
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("the operating system gives threads");
        let done = runtime.block_on(async {
            match self.command {
                Command::Serve(command) => command.run().await,
                Command::Demo(command) => command.run().await,
                Command::Migrate(command) => command.run().await,
                Command::Keys(command) => command.run().await,
                Command::Config(command) => command.run(),
                Command::Doctor(command) => command.run().await,
                Command::Verify(command) => command.run().await,
                Command::Import(command) => Box::pin(command.run()).await,
                Command::Export(command) => command.run().await,
                Command::RebuildUsage(command) => command.run().await,
                Command::ArchiveUsage(command) => command.run().await,
            }
        });
        done.unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        })
    }
}
