//! `accrue migrate`: the schema.

use std::process::ExitCode;

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::Db;

use crate::metering;

/// Bring the schema up to date, or say what is missing.
#[derive(clap::Args)]
pub(super) struct Migrate {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    settings: super::Settings,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Apply every migration that is missing.
    Up,
    /// List the migrations that are missing; exit code 1 if there are any.
    Status,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        let pending = db.pending_migrations().await?;
        match self.verb {
            Verb::Up => {
                db.migrate().await?;
                metering::partitions::make_ahead(&db, SystemClock.now()).await?;
                for name in &pending {
                    println!("applied {name}");
                }
                println!("the schema is up to date");
            }
            Verb::Status if pending.is_empty() => println!("the schema is up to date"),
            Verb::Status => {
                for name in &pending {
                    println!("missing {name}");
                }
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
