//! `accrue import`: what stands in files, taken in by the code that takes in requests.

mod columns;
mod customers;
mod events;
mod objects;
mod progress;
mod records;
mod run;
mod state;
mod subscriptions;

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
    Events(events::ImportEvents),
    /// Customers from a file of CSV or NDJSON, packed by gzip or not.
    Customers(customers::ImportCustomers),
    /// Subscriptions from a file of CSV or NDJSON, packed by gzip or not.
    Subscriptions(subscriptions::ImportSubscriptions),
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Events(events) => events.run().await,
            What::Customers(customers) => Box::pin(customers.run()).await,
            What::Subscriptions(subscriptions) => Box::pin(subscriptions.run()).await,
        }
    }
}
