//! `accrue doctor`.

use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: super::Settings,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.settings.load(&[])?;
        Ok(ExitCode::SUCCESS)
    }
}
