//! `accrue import`: what stands in files, taken in by the code that takes in requests.

mod columns;
mod progress;
mod records;
mod state;
mod usage_events;

use std::process::ExitCode;

/// Take in what stands in files.
#[derive(clap::Args)]
pub(super) struct Import {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Usage events from a file of CSV or NDJSON, packed by gzip or not.
    Events(usage_events::ImportEvents),
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Events(events) => events.run().await,
        }
    }
}
