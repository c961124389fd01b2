//! One attempt at an endpoint: signs, sends, and notes what came back. It decides nothing.

use accrue_core::id::{DeliveryAttemptId, EventId};
use accrue_platform::{
    secrets::SecretError,
    signature::{self, InvalidSecret, Secret},
};
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::model::{Answered, Attempt, Endpoint};
use crate::app::App;

/// Of an answer so much is kept: enough to see what went wrong.
const BODY_KEPT: usize = 4096;

/// Why a stored secret cannot be used: the installation's key is not the one that sealed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableSecret {
    #[error("the endpoint's secret cannot be opened")]
    Sealed(#[from] SecretError),
    #[error("the endpoint's secret is malformed")]
    Malformed(#[from] InvalidSecret),
}

/// Sends `body` to the endpoint once. No answer is an outcome, not an error. No transaction may be open.
pub(super) async fn attempt(
    app: &App,
    endpoint: &Endpoint,
    event: EventId,
    body: Vec<u8>,
) -> Result<Attempt, UnusableSecret> {
    let started_at = app.now();
    let headers = headers(&secrets(app, endpoint, started_at)?, event, started_at, &body);

    let outcome = app.egress.post(&endpoint.url, headers, body).await;
    let ended_at = app.now();
    let (answered, error) = match outcome {
        Ok(answer) => {
            let retry_after = answer.retry_at(ended_at).map(|at| at - ended_at);
            let body = beginning(answer.body);
            (Some(Answered { status: answer.status, body, retry_after }), None)
        }
        Err(error) => {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                webhook_endpoint.id = %endpoint.id,
                "an endpoint did not answer"
            );
            (None, Some(error.to_string()))
        }
    };
    Ok(Attempt {
        id: DeliveryAttemptId::new(started_at),
        answered,
        error,
        duration_ms: (ended_at - started_at).num_milliseconds(),
        created_at: started_at,
    })
}

/// The endpoint's secret, and the one before as long as its rotation lasts.
fn secrets(app: &App, endpoint: &Endpoint, now: DateTime<Utc>) -> Result<Vec<Secret>, UnusableSecret> {
    let previous = endpoint.previous_secret.iter().filter(|(_, until)| now < *until);
    std::iter::once(&endpoint.secret_sealed)
        .chain(previous.map(|(sealed, _)| sealed))
        .map(|sealed| Ok(app.vault.open(endpoint.tenant_id, sealed)?.parse()?))
        .collect()
}

fn headers(secrets: &[Secret], event: EventId, at: DateTime<Utc>, body: &[u8]) -> HeaderMap {
    let id = event.to_string();
    let value = |text: &str| HeaderValue::from_str(text).expect("ids, digits and base64 are ASCII");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(signature::ID_HEADER, value(&id));
    headers.insert(signature::TIMESTAMP_HEADER, value(&at.timestamp().to_string()));
    headers.insert(signature::SIGNATURE_HEADER, value(&signature::sign(secrets, &id, at, body)));
    headers
}

fn beginning(mut body: String) -> String {
    body.truncate(body.floor_char_boundary(BODY_KEPT));
    body
}

#[cfg(test)]
mod tests {
    use accrue_platform::signature::{SignatureHeaders, verify};
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_headers_verify_with_each_secret_of_a_rotation() {
        let (at, body) = ("2026-01-31T10:00:00Z".parse().unwrap(), b"{}");
        let (new, old) = (Secret::generate(), Secret::generate());
        let headers = headers(&[new.clone(), old.clone()], EventId::new(at), at, body);
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let received = SignatureHeaders {
            id: text(signature::ID_HEADER),
            timestamp: text(signature::TIMESTAMP_HEADER),
            signature: text(signature::SIGNATURE_HEADER),
        };
        for secret in [new, old] {
            assert_eq!(verify(&[secret], &received, body, at, TimeDelta::minutes(5)), Ok(()));
        }
        assert!(verify(&[Secret::generate()], &received, body, at, TimeDelta::minutes(5)).is_err());
    }

    #[test]
    fn a_long_answer_is_cut_between_letters() {
        let kept = beginning("é".repeat(4096));
        assert_eq!(kept.len(), BODY_KEPT);
        assert_eq!(beginning(format!("x{kept}")).len(), BODY_KEPT - 1);
    }
}
