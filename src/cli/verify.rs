//! `accrue verify`.

use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    settings: super::Settings,
}

impl Verify {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.settings.load(&[])?;
        Ok(ExitCode::SUCCESS)
    }
}
