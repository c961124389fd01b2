//! The seller's product in the demo: takes webhooks and verifies their signatures.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::signature::{self, Secret, SignatureHeaders};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::TimeDelta;
use serde_json::Value;

/// A webhook whose signature was checked.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) kind: String,
    pub(super) verified: bool,
}

#[derive(Default)]
struct State {
    secret: Mutex<Option<Secret>>,
    deliveries: Mutex<Vec<Delivery>>,
}

/// A server on a free port of this machine.
pub(super) struct Receiver {
    pub(super) url: String,
    state: Arc<State>,
}

impl Receiver {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/hooks", listener.local_addr()?);
        let state = Arc::new(State::default());
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::from(shared.clone())).route("/hooks", web::post().to(receive))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        tokio::spawn(server);
        Ok(Self { url, state })
    }

    /// From now on signatures are checked with this secret.
    pub(super) fn expect_secret(&self, secret: Secret) {
        *self.state.secret.lock().expect("unpoisoned") = Some(secret);
    }

    /// What came since the last call.
    pub(super) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.state.deliveries.lock().expect("unpoisoned"))
    }
}

async fn receive(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let headers = SignatureHeaders {
        id: header(signature::ID_HEADER),
        timestamp: header(signature::TIMESTAMP_HEADER),
        signature: header(signature::SIGNATURE_HEADER),
    };
    let secrets: Vec<Secret> = state.secret.lock().expect("unpoisoned").iter().cloned().collect();
    let checked = signature::verify(&secrets, &headers, &body, SystemClock.now(), TimeDelta::minutes(5));
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = event["type"].as_str().unwrap_or("?").to_owned();
    let delivery = Delivery { kind, verified: checked.is_ok() };
    state.deliveries.lock().expect("unpoisoned").push(delivery.clone());
    if delivery.verified { HttpResponse::Ok().finish() } else { HttpResponse::Unauthorized().finish() }
}
