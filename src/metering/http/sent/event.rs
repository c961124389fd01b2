//! An event in our own words.

use std::collections::BTreeMap;

use accrue_core::calendar::in_range;
use accrue_platform::{body, check::Check, problem::FieldError};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::first_error;
use crate::metering::model::{EventMetadata, SentEvent};

const NAME_MAX: usize = 255;

/// Something that a customer did.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::metering::http) struct EventRequest {
    /// The caller's own name for the event; unique per source, for ever.
    #[schema(max_length = 255, example = "req_81f")]
    pub(super) event_id: String,
    /// The customer's identifier or `external_id`.
    #[schema(max_length = 255, example = "acme")]
    pub(super) customer_id: String,
    #[schema(max_length = 255, example = "api.request.completed")]
    pub(super) event_name: String,
    /// When it happened. Unless given, now.
    pub(super) timestamp: Option<DateTime<Utc>>,
    /// Up to 50 keys and 8 KiB. Numbers are kept exactly as written.
    #[schema(value_type = Option<Object>, example = json!({"tokens": 1234, "model": "pro"}))]
    pub(super) metadata: Option<BTreeMap<String, Box<RawValue>>>,
    /// Which of the caller's systems sent it.
    #[schema(max_length = 255)]
    pub(super) source: Option<String>,
}

pub(super) fn read(json: &str) -> Result<SentEvent, FieldError> {
    body::parse::<EventRequest>(json).map_err(first_error)?.check()
}

impl EventRequest {
    pub(super) fn check(self) -> Result<SentEvent, FieldError> {
        let mut check = Check::new();
        check.text("/event_id", &self.event_id, NAME_MAX);
        check.text("/customer_id", &self.customer_id, NAME_MAX);
        check.text("/event_name", &self.event_name, NAME_MAX);
        check.optional_text("/source", self.source.as_deref(), NAME_MAX);
        check.finish().map_err(first_error)?;
        let timestamp = self.timestamp.map(instant).transpose()?;
        Ok(SentEvent {
            event_id: self.event_id,
            source: self.source.unwrap_or_default(),
            event_name: self.event_name,
            customer: self.customer_id,
            timestamp,
            metadata: EventMetadata::try_new(&self.metadata.unwrap_or_default())?,
        })
    }
}

/// To the microsecond, as both databases hold it; a leap second counts as the one after it.
pub(in crate::metering::http) fn instant(at: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
    let micros = DateTime::from_timestamp_micros(at.timestamp_micros());
    micros.and_then(|at| in_range(at).ok()).ok_or_else(|| {
        FieldError::new("/timestamp", "timestamp_out_of_window", "lies outside of the years 1 to 9999")
    })
}
