//! Corrections of events that were taken: what was true before is kept.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    EventMetadata, Sender, UsageEvent,
    candidate::{no_number, out_of_window},
};
use accrue_core::id::UsageEventId;
use accrue_platform::problem::FieldError;

/// What is to be true of an event.
#[derive(Clone, Debug)]
pub(in crate::metering) enum Correction {
    /// It did not happen.
    Void,
    /// It happened at another time, or otherwise; `None` for what stays.
    Amend { timestamp: Option<DateTime<Utc>>, metadata: Option<EventMetadata> },
}

/// Why an event cannot be corrected so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorrectionError {
    #[error("the event is voided")]
    Voided,
    #[error("{}", .0.detail)]
    Refused(FieldError),
}

/// What a correction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::metering) enum Change {
    Voided,
    Amended,
}

impl Change {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voided => "voided",
            Self::Amended => "amended",
        }
    }
}

/// What was true of an event until it was corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Version {
    pub event: UsageEventId,
    pub timestamp: DateTime<Utc>,
    /// A JSON object, as in [`UsageEvent`].
    pub metadata: String,
    /// What happened to it then.
    pub change: Change,
    /// When, by the customer's clock.
    pub at: DateTime<Utc>,
    /// Whose key did it.
    pub by: String,
    pub reason: Option<String>,
}

impl UsageEvent {
    /// The event as it is after a correction, and what was done; nothing if it is so already. `now` is the
    /// customer's time. An amended event is held to the same rules as a new one (RULES 17 keeps its identity).
    pub(in crate::metering) fn corrected(
        &self,
        correction: Correction,
        sender: Sender,
        now: DateTime<Utc>,
    ) -> Result<Option<(Self, Change)>, CorrectionError> {
        let (timestamp, metadata) = match correction {
            Correction::Void if self.voided_at.is_some() => return Ok(None),
            Correction::Void => {
                return Ok(Some((Self { voided_at: Some(now), ..self.clone() }, Change::Voided)));
            }
            Correction::Amend { .. } if self.voided_at.is_some() => return Err(CorrectionError::Voided),
            Correction::Amend { timestamp, metadata } => (timestamp, metadata),
        };
        let refuse =
            |error: Option<FieldError>| error.map_or(Ok(()), |error| Err(CorrectionError::Refused(error)));
        if let Some(timestamp) = timestamp.filter(|timestamp| *timestamp != self.timestamp) {
            refuse(out_of_window(timestamp, now, sender.terms))?;
        }
        if let Some(metadata) = &metadata {
            refuse(no_number(sender.metrics, &self.event_name, &metadata.properties))?;
        }
        let after = Self {
            timestamp: timestamp.unwrap_or(self.timestamp),
            metadata: metadata.map_or_else(|| self.metadata.clone(), |metadata| metadata.json),
            amended_at: Some(now),
            ..self.clone()
        };
        let is_same = (after.timestamp, &after.metadata) == (self.timestamp, &self.metadata);
        Ok((!is_same).then_some((after, Change::Amended)))
    }
}
