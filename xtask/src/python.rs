//! Python, for the other implementation of the billing rules in `tests/oracle`, for other people's clients in
//! `tests/clients`, and for the validator of the OpenAPI document.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    debian,
    process::{self, step},
};

/// Ends well if Python is new enough and has a time zone database.
const PROBE: &str =
    "import sys, zoneinfo; zoneinfo.ZoneInfo('Pacific/Apia'); sys.exit(sys.version_info < (3, 9))";

/// Ends well if Python can make an environment of its own: Debian has that in a package beside it.
const VENV_PROBE: &str = "import ensurepip, venv";

/// What the tests need.
const PACKAGES: &[&str] = &["cloudevents==2.2.0", "openapi-spec-validator==0.7.2"];
/// Ends well if the packages that it is told are there.
const PACKAGES_PROBE: &str = "import importlib.metadata as m, sys; \
    sys.exit(any(m.version(n) != v for n, v in (p.split('==') for p in sys.argv[1:])))";

/// Makes sure that there is a Python the oracle can run on; without one, Debian's.
pub(crate) fn find_or_install() -> Result<()> {
    if is_there(PROBE) {
        return Ok(());
    }
    step("installing Python", || {
        debian::install(&["python3", "tzdata"])?;
        ensure!(is_there(PROBE), "no `python3` with a time zone database after the installation");
        Ok(())
    })
    .context("install Python 3.9 or newer and a time zone database: `sudo apt-get install python3 tzdata`")
}

/// A Python of this repository's own, with the packages that clients need; made once.
pub(crate) fn with_packages() -> Result<PathBuf> {
    let folder = process::root().join("target/python");
    let python = folder.join("bin/python3");
    if python.exists() && ends_well(Command::new(&python), PACKAGES_PROBE, PACKAGES) {
        return Ok(python);
    }
    if !is_there(VENV_PROBE) {
        step("installing Python's environments", || debian::install(&["python3-venv"]))
            .context("install Python's environments: `sudo apt-get install python3-venv`")?;
    }
    step("installing Python packages for tests", || {
        process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        process::run(Command::new(&python).args(install).args(PACKAGES))
    })?;
    Ok(python)
}

fn is_there(probe: &str) -> bool {
    ends_well(Command::new("python3"), probe, &[])
}

fn ends_well(mut python: Command, probe: &str, told: &[&str]) -> bool {
    python.args(["-c", probe]).args(told).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}
