//! An event as a `CloudEvent` of version 1.0: whole in a body, or its attributes in headers.
//!
//! Extensions and attributes that say nothing about usage are passed over: a trace's identifier differs from one
//! time of sending to the next, and the event is still the same.

use std::collections::BTreeMap;

use accrue_platform::{body, problem::FieldError};
use actix_web::http::header::HeaderMap;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{event::EventRequest, first_error};
use crate::metering::model::SentEvent;

/// What the attributes are called, where ours are called otherwise.
const NAMES: [(&str, &str); 5] = [
    ("/event_id", "/id"),
    ("/event_name", "/type"),
    ("/customer_id", "/subject"),
    ("/timestamp", "/time"),
    ("/metadata", "/data"),
];

/// A `CloudEvent`. Other attributes and extensions are passed over.
#[derive(Deserialize, utoipa::ToSchema)]
pub(in crate::metering::http) struct CloudEventRequest {
    #[schema(example = "1.0")]
    specversion: String,
    /// The event's `event_id`; unique per source, for ever.
    #[schema(max_length = 255, example = "req_81f")]
    id: String,
    #[schema(max_length = 255, example = "/gateways/eu")]
    source: String,
    /// The event's `event_name`.
    #[serde(rename = "type")]
    #[schema(max_length = 255, example = "api.request.completed")]
    kind: String,
    /// The customer's identifier or `external_id`.
    #[schema(max_length = 255, example = "acme")]
    subject: String,
    /// When it happened. Unless given, now.
    time: Option<DateTime<Utc>>,
    /// The event's `metadata`: up to 50 keys and 8 KiB. Numbers are kept exactly as written.
    #[schema(value_type = Option<Object>, example = json!({"tokens": 1234, "model": "pro"}))]
    data: Option<BTreeMap<String, Box<RawValue>>>,
    /// Not taken: usage is told in JSON.
    #[serde(default)]
    #[schema(ignore)]
    data_base64: Option<IgnoredAny>,
}

/// What a pointer into an event of ours points at in a `CloudEvent`.
pub(super) fn pointer(own: &str) -> String {
    let renamed = NAMES.iter().find_map(|(ours, theirs)| {
        let rest = own.strip_prefix(ours).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{theirs}{rest}"))
    });
    renamed.unwrap_or_else(|| own.to_owned())
}

/// Structured mode.
pub(super) fn read(json: &str) -> Result<SentEvent, FieldError> {
    body::parse::<CloudEventRequest>(json).map_err(first_error)?.check()
}

/// Binary mode: the attributes stand in headers `ce-…`, the body is the data.
pub(super) fn read_binary(headers: &HeaderMap, data: &str) -> Result<SentEvent, FieldError> {
    let data = if data.trim().is_empty() { None } else { read_data(data)? };
    let attribute = |name: &str| attribute(headers, name);
    let required = |name: &str| {
        attribute(name)?.ok_or_else(|| FieldError::new(format!("/{name}"), "required", "is required"))
    };
    let time = attribute("time")?.map(|time| {
        time.parse()
            .map_err(|_| FieldError::new("/time", "malformed", "is not a time like 2026-01-31T12:00:00Z"))
    });
    let event = CloudEventRequest {
        specversion: required("specversion")?,
        id: required("id")?,
        source: required("source")?,
        kind: required("type")?,
        subject: required("subject")?,
        time: time.transpose()?,
        data,
        data_base64: None,
    };
    event.check()
}

/// Whether attributes of an event stand in headers.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion") || headers.contains_key("ce-id")
}

/// The name of the event that a binary request is about.
pub(super) fn id_of(headers: &HeaderMap) -> Option<String> {
    attribute(headers, "id").ok().flatten()
}

/// Headers hold what is not printable ASCII in percent-encoding, and may stand in quotes.
fn attribute(headers: &HeaderMap, name: &str) -> Result<Option<String>, FieldError> {
    let Some(value) = headers.get(format!("ce-{name}")) else { return Ok(None) };
    let place = format!("/{name}");
    let value = str::from_utf8(value.as_bytes()).map_err(|error| malformed(&place, error))?;
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = quoted.map_or_else(|| value.to_owned(), unescaped);
    let decoded = percent_decode_str(&value).decode_utf8().map_err(|error| malformed(&place, error))?;
    Ok(Some(decoded.into_owned()))
}

/// What stands between quotes: a backslash says that the next character is meant as it is.
fn unescaped(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

fn read_data(json: &str) -> Result<Option<BTreeMap<String, Box<RawValue>>>, FieldError> {
    let read = body::parse::<Option<BTreeMap<String, Box<RawValue>>>>(json).map_err(first_error);
    read.map_err(|error| FieldError { pointer: format!("/data{}", error.pointer), ..error })
}

fn malformed(place: &str, error: impl std::fmt::Display) -> FieldError {
    FieldError::new(place, "malformed", error.to_string())
}

impl CloudEventRequest {
    fn check(self) -> Result<SentEvent, FieldError> {
        if self.specversion != "1.0" {
            return Err(FieldError::new("/specversion", "unsupported", "is not 1.0"));
        }
        if self.data_base64.is_some() {
            return Err(FieldError::new("/data_base64", "unsupported", "is not taken: send JSON in `data`"));
        }
        let event = EventRequest {
            event_id: self.id,
            customer_id: self.subject,
            event_name: self.kind,
            timestamp: self.time,
            metadata: self.data,
            source: Some(self.source),
        };
        event.check()
    }
}
