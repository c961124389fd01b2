//! `accrue config`: what is in force.

use std::{fmt::Write, process::ExitCode};

use crate::config::SETTINGS;

/// Print the settings in force, with secrets masked.
#[derive(clap::Args)]
#[command(after_help = settings_help())]
pub(super) struct PrintConfig {
    #[command(flatten)]
    settings: super::Settings,
}

impl PrintConfig {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        print!("{}", self.settings.load(&[])?.masked());
        Ok(ExitCode::SUCCESS)
    }
}

/// Every setting with its default.
fn settings_help() -> String {
    let mut text = "Settings: a line of accrue.toml, a variable ACCRUE_NAME (or ACCRUE_NAME_FILE), or --set name=value; \
                    the later wins.\n"
        .to_owned();
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        write!(text, "\n  {:<30} {}{default}", setting.name, setting.help).expect("a string takes it");
    }
    text
}
