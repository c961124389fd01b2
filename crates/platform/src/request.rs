//! What every request has: an identifier, a bounded body, an end. And what every piece of work has: a cause.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    time::{Duration, Instant},
};

use accrue_core::{
    clock::{Clock, SystemClock},
    id::RequestId,
};
use actix_web::{
    Error, HttpMessage, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method, StatusCode,
        header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Bytes,
};
use futures_util::{FutureExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tracing::Instrument;

use crate::{
    body,
    problem::{self, Problem},
    unpack::{ROOM, Room, Unpacker},
};

const BODY_MAX: usize = 1024 * 1024;
const USAGE_BODY_MAX: usize = 5 * 1024 * 1024;
const USAGE_LINES_MAX: usize = 20 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: Current;
}

#[derive(Clone, Debug)]
struct Current {
    id: String,
    cause: String,
}

/// The identifier of the request or job that is being worked on; empty outside of one.
pub fn id() -> String {
    CURRENT.try_with(|current| current.id.clone()).unwrap_or_default()
}

/// What the present work is done for: `request req_…`, `job payments.collect job_…`, `system`.
pub fn cause() -> String {
    CURRENT.try_with(|current| current.cause.clone()).unwrap_or_else(|_| "system".to_owned())
}

/// Does `work` as part of a request or job, so that its events and log lines name it.
pub async fn caused_by<F: Future>(id: String, cause: String, work: F) -> F::Output {
    CURRENT.scope(Current { id, cause }, work).await
}

/// The body of a request, read whole before anything is decided.
#[derive(Clone, Debug)]
pub struct Received {
    pub body: Bytes,
    /// Given back when nobody has the body any more.
    _room: Room,
}

impl Received {
    /// SHA-256 of method, path, query, body and the headers that belong to a body: the same request has the same
    /// one.
    pub fn fingerprint(&self, request: &HttpRequest) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [request.method().as_str(), request.path(), request.query_string()] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        for (name, value) in attributes(request.headers()) {
            digest.update(name.as_str());
            digest.update([0]);
            digest.update(value.as_bytes());
            digest.update([0]);
        }
        digest.update(&self.body);
        digest.finalize().into()
    }
}

/// The outermost middleware: names the request, reads its body within limits, ends it in time, logs and counts it.
pub async fn middleware(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = request_id(request.headers());
    let cause = format!("request {id}");
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method(), http.path = request.path());

    let method = request.method().clone();
    let answer = async {
        let received = match receive(&mut request).await {
            Ok(received) => received,
            Err(problem) => return Ok(request.into_response(problem.error_response())),
        };
        request.extensions_mut().insert(received);
        let home = request.app_data::<Handle>().cloned().unwrap_or_else(Handle::current);
        // The request may not be cloned here: routing still writes to it. A bug that it finds breaks off no
        // connection, on which others may be waiting.
        let work = AssertUnwindSafe(at_home(home, next.call(request))).catch_unwind();
        let problem = match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Ok(Ok(Ok(answer))) => return Ok(answer.map_into_boxed_body()),
            Ok(Ok(Err(error))) => return Err(error.error_response()),
            Ok(Err(_)) => Problem::internal(&Panicked),
            Err(_) => Problem::new(&problem::UNAVAILABLE, "the answer took too long"),
        };
        Err(problem.error_response())
    };
    let answer = caused_by(id.clone(), cause, answer.instrument(span.clone())).await;

    let id = HeaderValue::from_str(&id).expect("checked when it was read");
    match answer {
        Ok(mut answer) => {
            answer.headers_mut().insert(HEADER, id);
            let pattern = answer.request().match_pattern();
            observe(&method, pattern, answer.status(), &span, started);
            Ok(answer)
        }
        Err(mut answer) => {
            answer.headers_mut().insert(HEADER, id);
            observe(&method, None, answer.status(), &span, started);
            Err(InternalError::from_response("not answered by a handler", answer).into())
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request found a bug: it panicked")]
struct Panicked;

/// Does `work` as a part of the runtime `home`.
///
/// Each thread of the server has a runtime of its own, which ends with the thread. What a request opens and
/// others use after it, above all a connection to the database, must not end with it: when the server drains, it
/// would break off whoever is not done yet.
async fn at_home<F: Future>(home: Handle, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(move |context| {
        let _entered = home.enter();
        work.as_mut().poll(context)
    })
    .await
}

fn observe(
    method: &Method,
    pattern: Option<String>,
    status: StatusCode,
    span: &tracing::Span,
    started: Instant,
) {
    let elapsed = started.elapsed();
    let status = status.as_u16();
    let pattern = pattern.unwrap_or_else(|| "unmatched".to_owned());
    // Any token may be a method: those we do not know share one label.
    let method = match method.as_str() {
        known @ ("GET" | "POST" | "PATCH" | "PUT" | "DELETE" | "HEAD" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let labels = [("method", method), ("path", pattern), ("status", status.to_string())];
    metrics::histogram!("http_request_duration_seconds", &labels).record(elapsed);
    span.in_scope(|| tracing::info!(http.status = status, duration_us = elapsed.as_micros(), "answered"));
}

/// The client's own identifier if it is one that can be logged and sent back, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=100).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| RequestId::new(SystemClock.now()).to_string(), str::to_owned)
}

async fn receive(request: &mut ServiceRequest) -> Result<Received, Problem> {
    let address = [request.path(), request.query_string()];
    if address.iter().any(|part| part.contains("%00") || part.contains('\0')) {
        return Err(Problem::new(&problem::UNREADABLE, "the address holds a null byte"));
    }
    let mut unpacker = Unpacker::try_new(request.headers().get(CONTENT_ENCODING), limit(request), &ROOM)?;
    let mut payload = request.take_payload();
    let read = async {
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| {
                Problem::new(&problem::UNREADABLE, "the body broke off or is not what its headers say")
            })?;
            unpacker.push(&chunk)?;
        }
        unpacker.finish()
    };
    let (body, room) = tokio::time::timeout(BODY_TIMEOUT, read)
        .await
        .map_err(|_| Problem::new(&problem::UNREADABLE, "the body took too long to arrive"))??;
    Ok(Received { body, _room: room })
}

/// How many bytes a body may have, unpacked.
fn limit(request: &ServiceRequest) -> usize {
    let is_of_lines = body::media_type(request.headers()) == body::LINES;
    match request.path() {
        "/v1/usage_events" if is_of_lines => USAGE_LINES_MAX,
        "/v1/usage_events" => USAGE_BODY_MAX,
        _ => BODY_MAX,
    }
}

/// Headers that are part of what is sent, as in the binary mode of `CloudEvents`; by name.
fn attributes(headers: &HeaderMap) -> Vec<(&HeaderName, &HeaderValue)> {
    let mut found: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-")).collect();
    found.sort_by_key(|(name, _)| name.as_str());
    found
}
