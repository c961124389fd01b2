//! As whom the server runs: as ourselves, or, since PostgreSQL refuses root, as an account without rights.

use std::{os::unix::fs::chown, path::Path, process::Command};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

/// The account of the server; `None` is ours.
pub(super) struct Account(Option<User>);

impl Account {
    pub(super) fn of_server() -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self(Some(user)));
            }
        }
        anyhow::bail!("root cannot run PostgreSQL, and there is neither an account `postgres` nor `nobody`")
    }

    /// Makes the server the owner of a folder.
    pub(super) fn give(&self, folder: &Path) -> Result<()> {
        let Some(user) = &self.0 else { return Ok(()) };
        chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("cannot give {} to {}", folder.display(), user.name))
    }

    /// A command under this account. On Linux the kernel ends it even when we are killed.
    pub(super) fn command(&self, program: &Path) -> Command {
        if !cfg!(target_os = "linux") {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = &self.0 {
            command
                .args(["--reuid", &user.uid.to_string()])
                .args(["--regid", &user.gid.to_string()])
                .arg("--clear-groups")
                // A working directory that the account may enter, or PostgreSQL complains.
                .current_dir("/");
        }
        command.arg("--").arg(program);
        command
    }
}
