//! `cargo xtask check`: what must hold before a change is looked at. Every check runs, whatever the others say.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    budgets, licences,
    process::{self, cargo, step},
};

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

pub(crate) fn run() -> Result<ExitCode> {
    let verdicts = [
        step("format", || process::run(&mut cargo(&["fmt", "--all", "--check"]))),
        step("lints", || process::run(&mut cargo(CLIPPY))),
        step("licences", licences::check),
        step("budgets", || budgets::check(process::root())),
    ];

    let failures: Vec<String> =
        verdicts.into_iter().filter_map(|verdict| verdict.err().map(|error| format!("{error:#}"))).collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}
