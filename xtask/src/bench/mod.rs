//! `cargo xtask bench`: how fast it is.

mod core;
mod ingest;

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
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match &options.what {
        What::Core => core::run(),
        What::Ingest(options) => ingest::run(options),
    }
}
