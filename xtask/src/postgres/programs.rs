//! Where PostgreSQL's programs are, and how they get there when they are not. Starts no server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{debian, process::step};

const MAJOR_MIN: u32 = 15;
/// Debian keeps one folder per major version here, outside of `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A folder with `initdb` and `postgres`, the empty path standing for `PATH`.
pub(super) struct Programs(PathBuf);

impl Programs {
    pub(super) fn initdb(&self) -> PathBuf {
        self.0.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }
}

/// The newest PostgreSQL on this machine; without one, Debian's.
pub(super) fn find_or_install() -> Result<Programs> {
    if let Some(programs) = find() {
        return Ok(programs);
    }
    step("installing PostgreSQL", || debian::install(&["postgresql"]))
        .and_then(|()| find().context("no `initdb` and `postgres` after the installation"))
        .with_context(|| {
            format!("install PostgreSQL {MAJOR_MIN} or newer: `sudo apt-get install postgresql`")
        })
}

fn find() -> Option<Programs> {
    let debian = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let (major, folder) = debian
        .chain([PathBuf::new()])
        .filter_map(|folder| Some((major(&folder)?, folder)))
        .max_by_key(|(major, _)| *major)?;
    (major >= MAJOR_MIN).then_some(Programs(folder))
}

/// The version that both programs of a folder agree on.
fn major(folder: &Path) -> Option<u32> {
    let version = |name: &str| {
        let output = Command::new(folder.join(name)).arg("--version").stdin(Stdio::null()).output().ok()?;
        parse_major(&String::from_utf8(output.stdout).ok()?)
    };
    version("initdb").filter(|major| version("postgres") == Some(*major))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; also `16beta1`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_programs_print() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("initdb (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("postgres: command not found"), None);
    }

    #[test]
    fn a_folder_without_the_programs_has_no_version() {
        assert_eq!(major(Path::new("/nonexistent")), None);
    }
}
