//! The one error body of the API, as in RFC 9457. Every kind is listed here, with a page that explains it.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use serde::Serialize;

use crate::{page::PageError, request};

/// A kind of problem. Clients branch on its code, never on a detail.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What the page says: what it means and what to do.
    pub help: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:literal $code:literal $title:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $name: Kind = Kind { code: $code, status: $status, title: $title, help: $help };)*

        /// Every kind there is.
        pub const ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    UNREADABLE = 400 "unreadable_request" "The request cannot be read"
        "The body is not JSON, or a header or a query parameter is not what it should be. Correct it and send it again.";
    UNAUTHENTICATED = 401 "unauthenticated" "Who are you?"
        "Send a key in the header `Authorization: Bearer …`. The key may be unknown, expired or revoked.";
    SCOPE_MISSING = 403 "scope_missing" "The key may not do this"
        "The key is valid, but lacks the scope that the detail names. Use another key, or make one with that scope.";
    NOT_FOUND = 404 "not_found" "Not found"
        "There is no such object in this account and mode. Objects of test mode are not visible to live keys, nor the other way round.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "The address does not take this method"
        "The address exists, but not for this method. The header `Allow` and the OpenAPI document at /openapi.json say which it takes.";
    CONFLICT = 409 "conflict" "Something else has that name, or holds it"
        "An object with this code or external identifier exists already, or another object still needs this one.";
    ILLEGAL_TRANSITION = 409 "illegal_transition" "The object is in the wrong state"
        "The object cannot do this in the state it is in now. Read it again: somebody else may have moved it.";
    IN_FLIGHT = 409 "idempotency_in_flight" "The same request is still running"
        "A request with this Idempotency-Key is still being worked on. Send it again in a moment: you get its answer.";
    PAYMENT_IN_FLIGHT = 409 "payment_in_flight" "A payment of this invoice is under way"
        "The outcome of an earlier attempt is not known yet. Accrue asks the gateway; nothing is tried before it has answered.";
    USAGE_ARCHIVED = 409 "usage_archived" "The events are archived"
        "The events that this needs are not in the database any more, but in files: the detail says since when, or in which one. What is kept by the hour is still told, for whole hours; usage that was archived is final. `docs/runbooks/usage-grows.md` says how to read the files.";
    TOO_LARGE = 413 "body_too_large" "The body is too large"
        "Bodies may have 1 MiB; usage events 5 MiB. Send less at a time.";
    MEDIA_TYPE = 415 "unsupported_media_type" "The body has the wrong media type"
        "Send `Content-Type: application/json`.";
    INVALID = 422 "invalid_request" "The request is not valid"
        "The request was read, but some of its values cannot be taken. `errors` names each with a JSON pointer. Nothing was changed.";
    USAGE_TOO_LARGE = 422 "usage_too_large" "The usage is too large"
        "What was used is more than can be told exactly, or comes to more than is billed at once. Look for an event with a wrong number and void or amend it; nothing else is affected.";
    KEY_REUSED = 422 "idempotency_key_reused" "This Idempotency-Key belongs to another request"
        "The key was used for a request with another method, address or body within the last 72 hours. Make a new key for each new request.";
    RATE_LIMITED = 429 "rate_limited" "Too many requests"
        "Wait as long as the header `Retry-After` says.";
    INTERNAL = 500 "internal" "Internal error"
        "Something went wrong on our side; it was logged under the request id. Nothing was half-written. Trying again with the same Idempotency-Key is safe.";
    NOT_BUILT_IN = 501 "not_built_in" "This program was built without it"
        "The program was built without the feature that the detail names. Use a build with default features.";
    UNAVAILABLE = 503 "unavailable" "Not available at the moment"
        "The database or another part is out of reach or overloaded. Nothing was changed. Try again after the time in `Retry-After`.";
}

/// One value that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where it stands in the body, as a JSON pointer; a query parameter is named plainly.
    #[schema(example = "/prices/0/model/amount")]
    pub pointer: String,
    #[schema(example = "required")]
    pub code: String,
    #[schema(example = "is required")]
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.into(), detail: detail.into() }
    }
}

/// What a client is told when a request fails.
#[derive(Debug)]
pub struct Problem {
    pub kind: &'static Kind,
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
}

/// A problem on the wire.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The address of a page that explains this kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid_request")]
    pub kind: String,
    #[schema(example = "The request is not valid")]
    pub title: &'static str,
    #[schema(example = 422)]
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[schema(example = "invalid_request")]
    pub code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    #[schema(example = "req_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    pub request_id: String,
}

impl Problem {
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: Some(detail.into()), errors: Vec::new() }
    }

    /// The same for what does not exist and for what is another tenant's.
    pub fn not_found(what: &str) -> Self {
        Self::new(&NOT_FOUND, format!("there is no such {what}"))
    }

    /// What was not found is what the body names at `pointer`, not what the address names.
    #[must_use]
    pub fn named_at(mut self, pointer: &str) -> Self {
        if self.kind == &NOT_FOUND {
            let detail = self.detail.clone().unwrap_or_default();
            self.errors = vec![FieldError::new(pointer, "unknown", detail)];
        }
        self
    }

    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { kind: &INVALID, detail: None, errors }
    }

    /// One value that cannot be taken.
    pub fn field(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(pointer, code, detail)])
    }

    /// Logs the cause with its sources; tells the client nothing about it.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "request failed");
        Self { kind: &INTERNAL, detail: None, errors: Vec::new() }
    }

    /// Every error points below `prefix`: for a check of a part of the body.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        for error in &mut self.errors {
            error.pointer.insert_str(0, prefix);
        }
        self
    }

    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("/problems/{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status,
            detail: self.detail.clone(),
            code: self.kind.code,
            errors: self.errors.clone(),
            request_id: request::id(),
        }
    }
}

/// A database out of reach is not our bug: the client shall try again.
impl From<sea_orm::DbErr> for Problem {
    fn from(error: sea_orm::DbErr) -> Self {
        use sea_orm::{DbErr, RuntimeErr, sqlx};

        let passing = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
                match cause.as_ref() {
                    sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
                    // PostgreSQL: deadlock, serialization, lock and statement timeouts, shutting down.
                    sqlx::Error::Database(cause) => cause.code().is_some_and(|code| {
                        ["40P01", "40001", "55P03", "57014", "57P01", "57P03"].contains(&code.as_ref())
                    }),
                    _ => false,
                }
            }
            _ => false,
        };
        if passing {
            tracing::warn!(error = &error as &dyn std::error::Error, "database out of reach");
            return Self::new(&UNAVAILABLE, "the database is out of reach or busy");
        }
        Self::internal(&error)
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Self {
        let detail = error.to_string();
        match error {
            PageError::Limit => Self::field("limit", "out_of_range", detail),
            PageError::Cursor { field, .. } => Self::field(field, "malformed", detail),
            PageError::BothCursors => Self::field("ending_before", "conflict", detail),
            PageError::Database(error) => error.into(),
        }
    }
}

impl From<accrue_core::id::InvalidId> for Problem {
    fn from(error: accrue_core::id::InvalidId) -> Self {
        Self::new(&NOT_FOUND, error.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.title)?;
        self.detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status).expect("written in the table above")
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header(("content-type", "application/problem+json"));
        if matches!(self.kind.status, 429 | 503) {
            response.insert_header(("retry-after", "1"));
        }
        if self.kind.status == 401 {
            response.insert_header(("www-authenticate", "Bearer"));
        }
        response.body(serde_json::to_string(&self.body()).expect("a problem is plain data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_a_page_worth_reading() {
        let mut codes: Vec<_> = ALL.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert!(ALL.iter().all(|kind| kind.help.len() > 20 && (400..600).contains(&kind.status)));
    }
}
