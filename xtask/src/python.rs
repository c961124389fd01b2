//! Python, for the other implementation of the billing rules in `tests/oracle`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{debian, process::step};

/// Ends well if Python is new enough and has a time zone database.
const PROBE: &str =
    "import sys, zoneinfo; zoneinfo.ZoneInfo('Pacific/Apia'); sys.exit(sys.version_info < (3, 9))";

/// Makes sure that there is a Python the oracle can run on; without one, Debian's.
pub(crate) fn find_or_install() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    step("installing Python", || {
        debian::install(&["python3", "tzdata"])?;
        ensure!(is_there(), "no `python3` with a time zone database after the installation");
        Ok(())
    })
    .context("install Python 3.9 or newer and a time zone database: `sudo apt-get install python3 tzdata`")
}

fn is_there() -> bool {
    let mut probe = Command::new("python3");
    probe.args(["-c", PROBE]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
