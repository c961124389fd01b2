//! Node, for other people's clients in `tests/clients`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    debian,
    process::{self, step},
};

/// Ends well if Node is new enough for what the clients use.
const PROBE: &str = "process.exit(typeof fetch === 'function' ? 0 : 1)";

/// What the clients in `tests/clients` need.
const PACKAGES: &[&str] = &["cloudevents@8.0.3"];
/// Ends well if these are there; the folder is the argument.
const PACKAGES_PROBE: &str =
    "process.exit(require(process.argv[1] + '/cloudevents/package.json').version === '8.0.3' ? 0 : 1)";

/// The folder with the packages that clients need, made once in a place of this repository's own.
pub(crate) fn with_packages() -> Result<PathBuf> {
    find_or_install()?;
    let folder = process::root().join("target/node");
    let modules = folder.join("node_modules");
    if !has_packages(&modules) {
        step("installing JavaScript packages for tests", || {
            std::fs::create_dir_all(&folder)?;
            let install =
                ["install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent"];
            process::run(Command::new("npm").args(install).arg("--prefix").arg(&folder).args(PACKAGES))
        })?;
        ensure!(has_packages(&modules), "npm has installed something else than {PACKAGES:?}");
    }
    Ok(modules)
}

/// Makes sure that there are Node and npm; without them, Debian's.
fn find_or_install() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    step("installing Node", || {
        debian::install(&["nodejs", "npm"])?;
        ensure!(is_there(), "no `node` that knows `fetch`, or no `npm`, after the installation");
        Ok(())
    })
    .context("install Node 18 or newer and npm: `sudo apt-get install nodejs npm`")
}

fn is_there() -> bool {
    ends_well(Command::new("node").args(["-e", PROBE])) && ends_well(Command::new("npm").arg("--version"))
}

fn has_packages(modules: &Path) -> bool {
    ends_well(Command::new("node").args(["-e", PACKAGES_PROBE]).arg(modules))
}

fn ends_well(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
