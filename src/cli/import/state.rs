//! How far an import has come, beside its file: a run that was interrupted goes on there.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use accrue_core::id::TenantId;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::run::Group;

/// Of which a file is known again.
const HEAD_BYTES: u64 = 64 * 1024;

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Lines that held something, or should have.
    pub lines: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// The length of the file of errors.
    errors_bytes: u64,
}

impl Progress {
    pub fn add<R>(&mut self, lines: usize, group: &Group<R>) {
        self.lines += lines as u64;
        self.accepted += group.accepted;
        self.duplicates += group.duplicates;
        self.rejected += group.rejected;
    }
}

/// The state as it stands in its file.
#[derive(Serialize, Deserialize)]
struct Stored {
    tenant: TenantId,
    /// A digest of the file's length and beginning, and of how it is read.
    work: String,
    #[serde(flatten)]
    progress: Progress,
}

/// The file of the state, and what it is about.
pub(super) struct State {
    path: PathBuf,
    tenant: TenantId,
    work: String,
}

impl State {
    /// Of a file that is read in a certain way.
    pub fn of(file: &Path, tenant: TenantId, reading: &[String]) -> Result<Self> {
        let source = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        let mut digest = Sha256::new().chain_update(source.metadata()?.len().to_be_bytes());
        let mut head = Vec::new();
        source.take(HEAD_BYTES).read_to_end(&mut head)?;
        digest.update(&head);
        for part in reading {
            digest.update([0]);
            digest.update(part);
        }
        let short = uuid::Uuid::from_slice(&digest.finalize()[..16])?;
        Ok(Self { path: beside(file, "import.json"), tenant, work: short.simple().to_string() })
    }

    /// What an earlier run has done; nothing if there was none.
    pub fn load(&self) -> Result<Progress> {
        let Ok(text) = fs::read_to_string(&self.path) else { return Ok(Progress::default()) };
        let path = self.path.display();
        let stored: Stored = serde_json::from_str(&text)
            .with_context(|| format!("{path} is not readable: --restart begins again"))?;
        ensure!(
            stored.tenant == self.tenant && stored.work == self.work,
            "{path} is of another file, another account, or other options: --restart begins again, which takes \
             nothing twice"
        );
        Ok(stored.progress)
    }

    /// Notes what was done, whole or not at all.
    pub fn save(&self, progress: &Progress) -> Result<()> {
        let stored = Stored { tenant: self.tenant, work: self.work.clone(), progress: progress.clone() };
        let draft = self.path.with_extension("tmp");
        fs::write(&draft, serde_json::to_string(&stored).expect("plain data"))?;
        fs::rename(&draft, &self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }

    pub fn remove(&self) -> Result<()> {
        remove(&self.path)
    }
}

/// The file that says which lines were not taken, one JSON object on each of its lines.
pub(super) struct Errors {
    pub path: PathBuf,
    file: Option<File>,
}

impl Errors {
    /// Goes on where the state says that it ended: what a run wrote and did not note is written again.
    pub fn open(path: PathBuf, progress: &Progress) -> Result<Self> {
        if progress.errors_bytes == 0 {
            remove(&path)?;
            return Ok(Self { path, file: None });
        }
        let file = File::options().append(true).open(&path);
        let file = file.with_context(|| format!("{} is gone: --restart begins again", path.display()))?;
        file.set_len(progress.errors_bytes)?;
        Ok(Self { path, file: Some(file) })
    }

    pub fn write(&mut self, refused: &[impl Serialize], progress: &mut Progress) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().append(true).create(true).open(&self.path)?),
        };
        let mut text = String::new();
        for line in refused {
            text.push_str(&serde_json::to_string(line).expect("plain data"));
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        progress.errors_bytes += text.len() as u64;
        Ok(())
    }
}

/// `events.csv` → `events.csv.errors.ndjson`
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
