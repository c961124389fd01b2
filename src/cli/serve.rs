//! `accrue serve`: API, pages, workers, scheduler.

use std::{net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use accrue_core::clock::SystemClock;
use accrue_platform::{addresses::Addresses, problem, problem::Problem, request, routes::Routes, telemetry};
use actix_web::{
    App as ActixApp, HttpResponse, HttpServer, ResponseError,
    dev::{Server, ServerHandle},
    error::InternalError,
    middleware::{Compress, from_fn},
    web::{self, Data, PathConfig},
};
use anyhow::Context;
use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::wire;
use crate::{
    api,
    app::{App, start_workers},
    auth::{self, KeyKind, KnownCallers, Mode, NewKey},
    config::Role,
    metering::{Grouping, Intake},
    system,
};

/// Requests and jobs get this long to end after a signal, at the same time; both fit into 25 seconds.
const DRAIN_REQUESTS_SECONDS: u64 = 15;
const DRAIN_JOBS: Duration = Duration::from_secs(20);

/// Serve the API, the pages, the workers and the scheduler.
#[derive(clap::Args)]
pub struct Serve {
    #[command(flatten)]
    settings: super::Settings,
    /// `all`, `api` or `worker`.
    #[arg(long)]
    role: Option<String>,
    /// Address and port.
    #[arg(long)]
    listen: Option<String>,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load(&[("role", self.role), ("listen", self.listen)])?;
        telemetry::init_logs(&config.log, config.log_format);
        let listener = TcpListener::bind(&config.listen)
            .with_context(|| format!("cannot listen on {}: is something else there?", config.listen))?;
        let mails = config.smtp_url.is_none().then(|| config.mail_dir.clone());
        let role = config.role;

        let app = wire::build(config, Arc::new(SystemClock)).await?;
        if let Some(key) = first_start(&app).await? {
            println!("This is a new database. Your test key, shown this once:\n\n    {key}\n");
        }
        println!("Accrue is ready on {} (API: /docs)", app.config.public_url);
        if let Some(folder) = mails {
            println!(
                "Mails are written to {}/ as .eml files: set ACCRUE_SMTP_URL to send them.",
                folder.display()
            );
        }
        let workers = (role != Role::Api).then(|| start_workers(&app));
        let server = start(&app, listener)?;
        let handle = server.handle();
        let mut serving = tokio::spawn(server);
        tokio::select! {
            ended = &mut serving => ended??,
            () = asked_to_end() => {}
        }
        let drained = async {
            let jobs = async {
                if let Some(workers) = workers {
                    workers.stop(DRAIN_JOBS).await;
                }
            };
            tokio::join!(stop(handle), jobs);
        };
        tokio::select! {
            () = drained => {}
            () = asked_to_end() => anyhow::bail!("ended at once, because it was asked for twice"),
        }
        // SQLite then writes its log back: the file alone holds everything.
        app.db.close().await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the first account of a new database, and makes its first test key.
pub async fn first_start(app: &App) -> anyhow::Result<Option<String>> {
    // Several processes may start at once on one new database.
    let tx = app.db.begin_alone().await?;
    if auth::service::first_tenant(&tx, Mode::Test).await?.is_some() {
        return Ok(None);
    }
    let now = app.now();
    let (_, test) = auth::service::open_account(&tx, "My company", now).await?;
    let new =
        NewKey { name: "first key".to_owned(), kind: KeyKind::Secret, scopes: Vec::new(), expires_at: None };
    let (_, key) = auth::service::create_key(&tx, &test, new, now).await?;
    tx.commit().await?;
    Ok(Some(key))
}

/// Starts to serve on a socket. A process whose role is `worker` serves only health and metrics.
pub fn start(app: &App, listener: TcpListener) -> std::io::Result<Server> {
    start_with(app, listener, Grouping::default())
}

/// The same, with usage events taken together in another way.
pub fn start_with(app: &App, listener: TcpListener, grouping: Grouping) -> std::io::Result<Server> {
    let addresses = Data::new(Addresses::of(api::DOCUMENT));
    let intake = Data::new(Intake::start(&app.db, &app.clock, &app.wake, grouping));
    let callers = Data::new(KnownCallers::default());
    let (data, has_api) = (Data::new(app.clone()), app.has_api());
    let runtime = tokio::runtime::Handle::current();
    let server = HttpServer::new(move || {
        let routes = if has_api { api::routes } else { system::routes };
        ActixApp::new()
            .wrap(Compress::default())
            .wrap(from_fn(request::middleware))
            .app_data(data.clone())
            .app_data(runtime.clone())
            .app_data(addresses.clone())
            .app_data(intake.clone())
            .app_data(callers.clone())
            .app_data(PathConfig::default().error_handler(|error, _| {
                let problem = Problem::new(&problem::UNREADABLE, format!("the address: {error}"));
                let answer = problem.error_response();
                InternalError::from_response(error, answer).into()
            }))
            .configure(|config| routes(&mut Routes::to_serve(config)))
            // Some that look whether it is alive want no body.
            .route("/healthz", web::head().to(HttpResponse::Ok))
            .service(SwaggerUi::new("/docs/{_:.*}").config(Config::from("/openapi.json")))
            .service(web::redirect("/docs", "/docs/"))
            .default_service(web::to(system::not_routed))
    });
    let server = server
        .listen(listener)?
        .workers(app.config.http_workers)
        .disable_signals()
        .shutdown_timeout(DRAIN_REQUESTS_SECONDS)
        .client_request_timeout(app.config.request_head_timeout)
        .keep_alive(Duration::from_secs(75))
        .run();
    Ok(server)
}

/// Waits until the process is asked to end: by SIGTERM, or by Ctrl-C.
pub async fn asked_to_end() {
    let mut terminated = signal(SignalKind::terminate()).expect("the system has this signal");
    tokio::select! {
        _ = terminated.recv() => {}
        _ = ctrl_c() => {}
    }
}

/// Ends a server that [`start`] started, letting requests end first.
pub async fn stop(server: ServerHandle) {
    server.stop(true).await;
}
