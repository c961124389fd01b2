//! `accrue import events`: usage from a file. The service may run meanwhile on PostgreSQL.

use std::{process::ExitCode, sync::Arc};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::Db;
use anyhow::{Result, ensure};

use super::{
    columns::{Fields, Kind},
    run::{Group, Source, Taker, Work, failed},
};
use crate::{
    auth::Tenant,
    metering::{Importer, Line, Refused, partitions},
};

/// Usage events from a file of CSV or NDJSON, packed by gzip or not.
///
/// Events are taken as `POST /v1/usage_events?backfill=true` takes them: each once, from any time in the past. A run
/// that is interrupted goes on where it was when the same command is given again. On SQLite the service has to be
/// stopped, as for every command that writes. The exit code is 1 if lines were not taken.
#[derive(clap::Args)]
pub(super) struct ImportEvents {
    #[command(flatten)]
    source: Source,
    /// The name of all events of a CSV file without a column for it.
    #[arg(long)]
    event_name: Option<String>,
    /// The source of all events of a CSV file without a column for it.
    #[arg(long = "source", value_name = "SOURCE")]
    event_source: Option<String>,
}

pub(super) const EVENTS: Fields = Fields {
    named: &[
        ("event_id", Kind::Text),
        ("customer_id", Kind::Text),
        ("event_name", Kind::Text),
        ("timestamp", Kind::Text),
        ("source", Kind::Text),
        ("metadata", Kind::Json),
    ],
    members: &[("metadata", Kind::Value)],
    rest: Some("metadata"),
    renamed: &[],
    passed_over: &[],
    required: &[(&["event_id"], ""), (&["customer_id"], ""), (&["event_name"], ", or give --event-name")],
};

impl ImportEvents {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let Self { source, event_name, event_source } = self;
        let of_csv = event_name.is_some() || event_source.is_some();
        ensure!(!of_csv || source.is_csv()?, "--map, --event-name and --source are for CSV");
        let given = [("event_name", event_name), ("source", event_source)];
        let options = given.iter().map(|(_, given)| format!("{given:?}")).collect();
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let work = Work { of: "events", fields: &EVENTS, given, options };
        let dry_run = source.dry_run;
        let open = async |db: Db, tenant: Tenant, name| {
            partitions::make_ahead(&db, SystemClock.now()).await?;
            Ok(Events { importer: Importer::new(db, Arc::new(SystemClock), tenant, name), dry_run })
        };
        source.import(work, open).await
    }
}

struct Events {
    importer: Importer,
    dry_run: bool,
}

impl Taker for Events {
    type Refused = Refused;

    const AT_ONCE: usize = 10_000;

    async fn take(&mut self, lines: &[Line]) -> Result<Group<Refused>> {
        let imported =
            if self.dry_run { self.importer.try_out(lines).await } else { self.importer.take(lines).await };
        let imported = imported.map_err(|problem| failed(&problem))?;
        Ok(Group {
            accepted: imported.accepted,
            duplicates: imported.duplicates,
            rejected: imported.refused.len() as u64,
            refused: imported.refused,
        })
    }

    async fn end(self) -> Result<()> {
        Ok(())
    }
}
