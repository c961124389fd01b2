//! `accrue demo`.

use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Demo {
    #[command(flatten)]
    settings: super::Settings,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.settings.load(&[])?;
        Ok(ExitCode::SUCCESS)
    }
}
