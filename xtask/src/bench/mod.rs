//! `cargo xtask bench`: how fast it is.

mod core;
mod ingest;
mod renewals;
mod results;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The rules of billing, without database or network; fails below a floor.
    Core,
    /// Usage events, from HTTP to both databases; writes `benches/RESULTS.md`.
    Ingest(ingest::Options),
    /// Subscriptions that renew at the same instant, on both databases; writes `benches/RESULTS.md`.
    Renewals(renewals::Options),
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match &options.what {
        What::Core => core::run(),
        What::Ingest(options) => ingest::run(options),
        What::Renewals(options) => renewals::run(options),
    }
}
