//! Packages of Debian, for what a test needs and the machine lacks. Knows none by name.

use std::process::Command;

use anyhow::Result;
use nix::unistd::geteuid;

use crate::process;

/// Installs packages, with `sudo` if that asks for no password.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    process::run(&mut apt_get(&["update", "-q"]))?;
    let arguments = [&["install", "-q", "-y", "--no-install-recommends"], packages].concat();
    process::run(&mut apt_get(&arguments))
}

/// Waits for another installation to end, and never asks.
fn apt_get(arguments: &[&str]) -> Command {
    let words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
    let mut command = if geteuid().is_root() {
        Command::new(words[0])
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", words[0]]);
        sudo
    };
    command.args(&words[1..]).args(arguments);
    command
}
