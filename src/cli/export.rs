//! `accrue export`: a list as a file, by the code that answers `GET` of it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::{addresses::Addresses, export::Form, routes::Routes};
use actix_web::{
    App as ActixApp,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
    test::{TestRequest, init_service},
    web::{self, Data},
};
use anyhow::{Context, Result, anyhow, bail};
use flate2::{Compression, write::GzEncoder};
use futures_util::future::poll_fn;
use tokio::task::LocalSet;
use url::form_urlencoded;

use super::{Settings, wire};
use crate::{
    api,
    app::App,
    auth::{KnownCallers, Mode, service::first_tenant},
    system,
};

/// All of a list as CSV or NDJSON, the newest first.
///
/// It is what `GET /v1/LIST` answers with `Accept: text/csv`, to whoever may read everything. On SQLite the service has to
/// be stopped; while it runs, ask it.
#[derive(clap::Args)]
pub(super) struct Export {
    /// What stands behind `/v1/`: `customers`, `subscriptions`, `invoices`, `ledger/entries`, `customers/acme/timeline`.
    list: String,
    #[arg(long, value_enum)]
    mode: Mode,
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Which of them: what `GET` of the list takes, like `status=active`.
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// The file to write, packed if its name ends in .gz; standard output unless given.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A header, and one of them in each row.
    Csv,
    /// One of them as JSON on each line.
    Ndjson,
}

impl Export {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let app = wire::build(self.settings.load(&[])?, Arc::new(SystemClock)).await?;
        let db = app.db.clone();
        // What answers stays on its thread.
        let written = LocalSet::new().run_until(self.write(app)).await;
        db.close().await?;
        written.map(|()| ExitCode::SUCCESS)
    }

    async fn write(&self, app: App) -> Result<()> {
        let tenant = first_tenant(app.db.reader(), self.mode).await?;
        let tenant = tenant.context("there is no account yet: run `accrue serve` or `accrue keys create`")?;
        let (callers, key) = KnownCallers::reader(tenant, SystemClock.now());
        let api = ActixApp::new()
            .app_data(Data::new(app))
            .app_data(Data::new(Addresses::of(api::DOCUMENT)))
            .app_data(Data::new(callers))
            .configure(|config| api::routes(&mut Routes::to_serve(config)))
            .default_service(web::to(system::not_routed));
        let request = TestRequest::get()
            .uri(&self.address()?)
            .insert_header((AUTHORIZATION, format!("Bearer {key}")))
            .insert_header((ACCEPT, self.form().media_type()))
            .to_request();
        let answer = init_service(api).await.call(request).await.map_err(|error| anyhow!("{error}"))?;
        let mut output = Output::open(self.output.as_deref())?;
        self.copy(answer, &mut output).await?;
        output.finish()
    }

    fn form(&self) -> Form {
        match self.format {
            Format::Csv => Form::Csv,
            Format::Ndjson => Form::Lines,
        }
    }

    fn address(&self) -> Result<String> {
        let list = self.list.trim_matches('/');
        let mut query = form_urlencoded::Serializer::new(String::new());
        for pair in &self.filter {
            let Some((name, value)) = pair.split_once('=') else {
                bail!("--filter {pair}: is not NAME=VALUE")
            };
            query.append_pair(name, value);
        }
        let address = format!("/v1/{list}?{}", query.finish());
        let is_address = address.parse::<actix_web::http::Uri>().is_ok();
        is_address
            .then_some(address)
            .with_context(|| format!("{list} is no address: it is what stands behind /v1/"))
    }

    async fn copy(&self, answer: ServiceResponse<impl MessageBody>, output: &mut Output) -> Result<()> {
        let (status, headers) = (answer.status(), answer.headers());
        let is_file = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == self.form().media_type());
        let mut body = Box::pin(answer.into_body());
        let mut told = Vec::new();
        while let Some(bytes) = poll_fn(|context| body.as_mut().poll_next(context)).await {
            let bytes = bytes.map_err(|error| anyhow!("{}", error.into()))?;
            if is_file && status.is_success() {
                output.write_all(&bytes)?;
            } else {
                told.extend_from_slice(&bytes);
            }
        }
        if !status.is_success() {
            bail!("{}: {}", self.list, String::from_utf8_lossy(&told));
        }
        if !is_file {
            bail!("{} is no list", self.list);
        }
        Ok(())
    }
}

/// Where the list goes. A file has its name when it is whole.
enum Output {
    Standard(io::Stdout),
    Plain(File, Draft),
    Packed(Box<GzEncoder<File>>, Draft),
}

/// A file that is not whole yet.
struct Draft {
    path: PathBuf,
    name: PathBuf,
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self> {
        let Some(name) = path else { return Ok(Self::Standard(io::stdout())) };
        let mut draft = name.as_os_str().to_owned();
        draft.push(".tmp");
        let draft = Draft { path: draft.into(), name: name.to_owned() };
        let file =
            File::create(&draft.path).with_context(|| format!("cannot write {}", draft.path.display()))?;
        let is_packed = name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        Ok(if is_packed {
            Self::Packed(Box::new(GzEncoder::new(file, Compression::default())), draft)
        } else {
            Self::Plain(file, draft)
        })
    }

    fn finish(self) -> Result<()> {
        let (file, draft) = match self {
            Self::Standard(mut output) => return Ok(output.flush()?),
            Self::Plain(file, draft) => (file, draft),
            Self::Packed(packer, draft) => (packer.finish()?, draft),
        };
        file.sync_all()?;
        fs::rename(&draft.path, &draft.name).with_context(|| format!("cannot write {}", draft.name.display()))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(output) => output.write(bytes),
            Self::Plain(file, _) => file.write(bytes),
            Self::Packed(packer, _) => packer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::Plain(file, _) => file.flush(),
            Self::Packed(packer, _) => packer.flush(),
        }
    }
}

impl Drop for Draft {
    /// Nothing is left of a file that did not become whole.
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}
