//! An import from its beginning to its end, whatever stands in the file.

use std::{path::PathBuf, process::ExitCode};

use accrue_platform::{db::Db, problem::Problem};
use anyhow::{Context, Result, anyhow, ensure};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    columns::{Columns, Fields},
    progress,
    records::{Format, Records},
    state::{Errors, Progress, State, beside},
};
use crate::{
    auth::{Mode, Tenant, service::first_tenant},
    cli::Settings,
    metering::Line,
};

/// Of the lines that are taken together.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// Where objects come from, and what is done with them.
#[derive(clap::Args)]
pub(super) struct Source {
    /// `….csv`, `….ndjson`, and the same with `.gz`.
    file: PathBuf,
    #[arg(long, value_enum)]
    mode: Mode,
    /// What the file is, if its name does not say so.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Say what would become of each line, and take none.
    #[arg(long)]
    pub dry_run: bool,
    /// Which column of CSV is what: `Account=customer_id`, `Plan=metadata.plan`, `Comment=-` to leave one out. Other
    /// columns are the field of their name.
    #[arg(long = "map", value_name = "COLUMN=FIELD")]
    map: Vec<String>,
    /// Where lines go that are not taken, with the reason; FILE.errors.ndjson unless given.
    #[arg(long, value_name = "PATH")]
    errors: Option<PathBuf>,
    /// Begin again, whatever an earlier run has done.
    #[arg(long)]
    restart: bool,
    /// One object for scripts: file, `dry_run`, lines, accepted, duplicates, rejected, errors.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What stands in a file.
pub(super) struct Work {
    /// What they are, several of them.
    pub of: &'static str,
    pub fields: &'static Fields,
    /// What every one has that the file does not say.
    pub given: Vec<(&'static str, String)>,
    /// What else decides what becomes of a line.
    pub options: Vec<String>,
}

/// Takes what stands in lines, each once however often it is brought; or says what would become of them.
pub(super) trait Taker {
    /// What is wrong with a line.
    type Refused: Serialize;

    /// How many lines are taken together.
    const AT_ONCE: usize;

    /// What it has answered for is durable, unless it only tries.
    async fn take(&mut self, lines: &[Line]) -> Result<Group<Self::Refused>>;

    async fn end(self) -> Result<()>;
}

/// What became of lines.
pub(super) struct Group<R> {
    pub accepted: u64,
    /// Known already, and the same.
    pub duplicates: u64,
    /// Lines that were not taken.
    pub rejected: u64,
    pub refused: Vec<R>,
}

impl<R> Default for Group<R> {
    fn default() -> Self {
        Self { accepted: 0, duplicates: 0, rejected: 0, refused: Vec::new() }
    }
}

/// What came of an import.
#[derive(Serialize)]
struct Summary {
    file: String,
    dry_run: bool,
    lines: u64,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    /// The file that says which lines were not taken; null if all were.
    errors: Option<String>,
}

/// Not a line is wrong, but everything.
pub(super) fn failed(problem: &Problem) -> anyhow::Error {
    anyhow!("{}", problem.detail.as_deref().unwrap_or(problem.kind.title))
}

impl Source {
    pub fn is_csv(&self) -> Result<bool> {
        Ok(self.format()? == Format::Csv)
    }

    fn format(&self) -> Result<Format> {
        self.format.map_or_else(|| Format::of(&self.file), Ok)
    }

    /// Brings the file to a taker of its lines, which `open` makes of the database, the tenant and the import's name.
    pub async fn import<T: Taker>(
        &self,
        work: Work,
        open: impl AsyncFnOnce(Db, Tenant, String) -> Result<T>,
    ) -> Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        db.migrate().await?;
        let tenant = first_tenant(db.reader(), self.mode).await?;
        let tenant = tenant.context("there is no account yet: run `accrue serve` or `accrue keys create`")?;
        let state = State::of(&self.file, tenant.id, &self.reading(&work))?;
        let before = if self.dry_run || self.restart { Progress::default() } else { state.load()? };
        let bar = progress::bar();
        let records = self.open(&work, &bar)?;
        let taker = open(db.clone(), tenant, format!("import of {}", self.file.display())).await?;
        let summary = self.bring(taker, records, (&state, before), (&bar, work.of)).await?;
        bar.finish_and_clear();
        db.close().await?;
        self.print(&summary, work.of);
        Ok(if summary.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// How the file is read: with other options its lines are other objects.
    fn reading(&self, work: &Work) -> Vec<String> {
        let own = [format!("{:?}", self.format), work.of.to_owned()];
        self.map.iter().chain(&work.options).cloned().chain(own).collect()
    }

    async fn bring<T: Taker>(
        &self,
        mut taker: T,
        mut records: Records,
        (state, before): (&State, Progress),
        (bar, of): (&ProgressBar, &str),
    ) -> Result<Summary> {
        let mut done = before.clone();
        let path = self.errors.clone().unwrap_or_else(|| beside(&self.file, "errors.ndjson"));
        let mut errors = Errors::open(path, &done)?;
        for _ in 0..before.lines {
            records.next()?.context("the file has become shorter: --restart begins again")?;
        }
        loop {
            let lines = some(&mut records, T::AT_ONCE)?;
            if lines.is_empty() {
                break;
            }
            let group = taker.take(&lines).await?;
            done.add(lines.len(), &group);
            errors.write(&group.refused, &mut done)?;
            if !self.dry_run {
                state.save(&done)?;
            }
            progress::tell(bar, of, done.lines, done.lines - before.lines);
        }
        taker.end().await?;
        if !self.dry_run {
            state.remove()?;
        }
        let Progress { lines, accepted, duplicates, rejected, .. } = done;
        let errors = (rejected > 0).then(|| errors.path.display().to_string());
        let file = self.file.display().to_string();
        Ok(Summary { file, dry_run: self.dry_run, lines, accepted, duplicates, rejected, errors })
    }

    fn open(&self, work: &Work, bar: &ProgressBar) -> Result<Records> {
        let format = self.format()?;
        ensure!(
            format == Format::Csv || self.map.is_empty(),
            "--map is for CSV, as are --event-name and --source"
        );
        let columns =
            |header: &[String]| Columns::try_new(work.fields, header, &self.map, work.given.clone());
        Records::open(&self.file, format, bar, work.fields, columns)
    }

    fn print(&self, summary: &Summary, of: &str) {
        if self.json {
            println!("{}", serde_json::to_string(summary).expect("plain data"));
            return;
        }
        let Summary { lines, accepted, duplicates, rejected, errors, .. } = summary;
        let verb = if self.dry_run { "would be taken" } else { "taken" };
        println!("{lines} {of}: {accepted} {verb}, {duplicates} known already, {rejected} not {verb}");
        if let Some(path) = errors {
            println!("{path} says which, and why");
        }
    }
}

/// The next lines that are taken together.
fn some(records: &mut Records, at_once: usize) -> Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < at_once && bytes < BYTES_AT_ONCE {
        let Some(line) = records.next()? else { break };
        bytes += line.json.as_ref().map_or(0, String::len);
        lines.push(line);
    }
    Ok(lines)
}
