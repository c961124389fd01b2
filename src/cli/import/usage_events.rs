//! `accrue import events`: usage from a file. The service may run meanwhile on PostgreSQL.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::Db;
use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    columns::Columns,
    progress,
    records::{Format, Records},
    state::{Errors, Progress, State, beside},
};
use crate::{
    auth::{Mode, service::first_tenant},
    cli::Settings,
    metering::{Importer, Line, partitions},
};

/// Taken in one transaction.
const EVENTS_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// Usage events from a file of CSV or NDJSON, packed by gzip or not.
///
/// Events are taken as `POST /v1/usage_events?backfill=true` takes them: each once, from any time in the past. A run
/// that is interrupted goes on where it was when the same command is given again. On SQLite the service has to be
/// stopped, as for every command that writes. The exit code is 1 if lines were not taken.
#[derive(clap::Args)]
pub(super) struct ImportEvents {
    /// `events.csv`, `events.ndjson`, and the same with `.gz`.
    file: PathBuf,
    #[arg(long, value_enum)]
    mode: Mode,
    /// What the file is, if its name does not say so.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Say what would become of each line, and take none.
    #[arg(long)]
    dry_run: bool,
    /// Which column of CSV is what: `Account=customer_id`, `Units=metadata.units`, `Comment=-` to leave one out. Other
    /// columns are the field of their name, or go into the metadata.
    #[arg(long = "map", value_name = "COLUMN=FIELD")]
    map: Vec<String>,
    /// The name of all events of a CSV file without a column for it.
    #[arg(long)]
    event_name: Option<String>,
    /// The source of all events of a CSV file without a column for it.
    #[arg(long)]
    source: Option<String>,
    /// Where lines go that are not taken, with the reason; FILE.errors.ndjson unless given.
    #[arg(long, value_name = "PATH")]
    errors: Option<PathBuf>,
    /// Begin again, whatever an earlier run has done.
    #[arg(long)]
    restart: bool,
    /// One object for scripts: file, `dry_run`, events, accepted, duplicates, rejected, errors.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What came of an import.
#[derive(Serialize)]
struct Summary {
    file: String,
    dry_run: bool,
    events: u64,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    /// The file that says which lines were not taken; null if all were.
    errors: Option<String>,
}

impl ImportEvents {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        db.migrate().await?;
        partitions::make_ahead(&db, SystemClock.now()).await?;
        let tenant = first_tenant(db.reader(), self.mode).await?;
        let tenant = tenant.context("there is no account yet: run `accrue serve` or `accrue keys create`")?;
        let state = State::of(&self.file, tenant.id, &self.reading())?;
        let before = if self.dry_run || self.restart { Progress::default() } else { state.load()? };
        let name = format!("import of {}", self.file.display());
        let importer = Importer::new(db.clone(), Arc::new(SystemClock), tenant, name);
        let bar = progress::bar();
        let summary = self.import(&importer, &state, before, &bar).await?;
        bar.finish_and_clear();
        db.close().await?;
        self.print(&summary);
        Ok(if summary.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// How the file is read: with other options its lines are other events.
    fn reading(&self) -> Vec<String> {
        let given = [&self.event_name, &self.source].map(|given| format!("{given:?}"));
        self.map.iter().cloned().chain(given).chain([format!("{:?}", self.format)]).collect()
    }

    async fn import(
        &self,
        importer: &Importer,
        state: &State,
        before: Progress,
        bar: &ProgressBar,
    ) -> Result<Summary> {
        let mut records = self.open(bar)?;
        let mut done = before.clone();
        let path = self.errors.clone().unwrap_or_else(|| beside(&self.file, "errors.ndjson"));
        let mut errors = Errors::open(path, &done)?;
        for _ in 0..before.events {
            records.next()?.context("the file has become shorter: --restart begins again")?;
        }
        loop {
            let lines = some(&mut records)?;
            if lines.is_empty() {
                break;
            }
            let outcome =
                if self.dry_run { importer.try_out(&lines).await } else { importer.take(&lines).await };
            let outcome = outcome.map_err(|problem| {
                anyhow::anyhow!("{}", problem.detail.unwrap_or_else(|| problem.kind.title.to_owned()))
            })?;
            done.add(lines.len(), &outcome);
            errors.write(&outcome.refused, &mut done)?;
            if !self.dry_run {
                state.save(&done)?;
            }
            progress::tell(bar, done.events, done.events - before.events);
        }
        if !self.dry_run {
            state.remove()?;
        }
        let Progress { events, accepted, duplicates, rejected, .. } = done;
        let errors = (rejected > 0).then(|| errors.path.display().to_string());
        let file = self.file.display().to_string();
        Ok(Summary { file, dry_run: self.dry_run, events, accepted, duplicates, rejected, errors })
    }

    fn open(&self, bar: &ProgressBar) -> Result<Records> {
        let format = self.format.map_or_else(|| Format::of(&self.file), Ok)?;
        let of_csv = self.event_name.is_some() || self.source.is_some() || !self.map.is_empty();
        ensure!(format == Format::Csv || !of_csv, "--map, --event-name and --source are for CSV");
        let given = [("event_name", &self.event_name), ("source", &self.source)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let columns = |header: &[String]| Columns::try_new(header, &self.map, given);
        Records::open(&self.file, format, bar, columns)
    }

    fn print(&self, summary: &Summary) {
        if self.json {
            println!("{}", serde_json::to_string(summary).expect("plain data"));
            return;
        }
        let Summary { events, accepted, duplicates, rejected, errors, .. } = summary;
        let verb = if self.dry_run { "would be taken" } else { "taken" };
        println!("{events} events: {accepted} {verb}, {duplicates} known already, {rejected} not {verb}");
        if let Some(path) = errors {
            println!("{path} says which, and why");
        }
    }
}

/// The next lines that are taken together.
fn some(records: &mut Records) -> Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < EVENTS_AT_ONCE && bytes < BYTES_AT_ONCE {
        let Some(line) = records.next()? else { break };
        bytes += line.json.as_ref().map_or(0, String::len);
        lines.push(line);
    }
    Ok(lines)
}
