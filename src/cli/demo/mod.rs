//! `accrue demo`: the whole job, once, through the public API. Nothing is faked beside the sandbox gateway
//! and the test clock.

mod client;
mod receiver;
mod story;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::telemetry::{self, LogFormat};
use anyhow::Context;

use super::{serve, wire};
use crate::{app::start_workers, config::Config};

use self::{client::Client, receiver::Receiver, story::Story};

/// Play the whole job once on a fresh database, then keep serving.
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Address and port; a free port of this machine if 8080 is taken.
    #[arg(long)]
    listen: Option<String>,
    /// End when the story is told, instead of serving on.
    #[arg(long)]
    exit: bool,
    /// Where the demo's files go; a new folder below it is made.
    #[arg(long, default_value = "accrue-demo")]
    folder: PathBuf,
    /// Which log lines are written.
    #[arg(long, default_value = "error")]
    log: String,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init_logs(&self.log, LogFormat::Text);
        let started = Instant::now();
        let folder = new_folder(&self.folder)?;
        let listener = listen(self.listen.as_deref())?;
        let config = config(&folder, &listener.local_addr()?.to_string())?;
        let app = wire::build(config, Arc::new(SystemClock)).await?;
        let key = serve::first_start(&app).await?.context("the demo's database is not new")?;
        let workers = start_workers(&app);
        let server = serve::start(&app, listener)?;
        let handle = server.handle();
        let serving = tokio::spawn(server);

        let url = app.config.public_url.clone();
        let receiver = Receiver::start()?;
        let client = Client::new(&url, &key)?;
        Story::new(client, &receiver, &folder, app.now()).tell().await?;
        println!("\nDone in {:.1} s.", started.elapsed().as_secs_f32());

        if !self.exit {
            invite(&url, &key, &folder);
            serve::asked_to_end().await;
        }
        serve::stop(handle).await;
        serving.await??;
        workers.stop(Duration::from_secs(5)).await;
        app.db.close().await?;
        Ok(ExitCode::SUCCESS)
    }
}

fn invite(url: &str, key: &str, folder: &Path) {
    println!(
        "\nStill serving: look around, end with Ctrl-C.\n\n    \
         {url}/docs\n    \
         curl -H 'Authorization: Bearer {key}' {url}/v1/invoices\n    \
         files in {}\n",
        folder.display()
    );
}

/// A folder of its own for each run: an old story is never overwritten.
fn new_folder(below: &Path) -> anyhow::Result<PathBuf> {
    let folder = below.join(SystemClock.now().format("%Y%m%d-%H%M%S").to_string());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn listen(wanted: Option<&str>) -> anyhow::Result<TcpListener> {
    match wanted {
        Some(address) => TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")),
        None => TcpListener::bind("127.0.0.1:8080")
            .or_else(|_| TcpListener::bind("127.0.0.1:0"))
            .context("cannot listen on this machine"),
    }
}

/// Defaults, with every file in the demo's folder, and webhooks allowed to reach this machine.
fn config(folder: &Path, listen: &str) -> anyhow::Result<Config> {
    let path = |name: &str| folder.join(name).display().to_string();
    let values = BTreeMap::from([
        ("database_url", format!("sqlite://{}", path("accrue.db"))),
        ("listen", listen.to_owned()),
        ("mail_dir", path("mails")),
        ("webhook_allow", "127.0.0.0/8".to_owned()),
    ]);
    Ok(Config::from_values(values)?)
}
