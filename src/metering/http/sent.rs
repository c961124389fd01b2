//! Reading what was sent: a mistake in one event must not keep the others out, so each is read alone.

use std::collections::BTreeMap;

use accrue_core::calendar::in_range;
use accrue_platform::{
    body,
    check::Check,
    problem::{FieldError, Problem},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::super::model::{EventMetadata, Ingested, Rejection, SentEvent};

const EVENTS_MAX: usize = 1000;
const NAME_MAX: usize = 255;

/// One event, an array of them, or an object that holds them.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the body; it is read event by event")]
pub(super) enum IngestRequest {
    One(EventRequest),
    Many(Vec<EventRequest>),
    Batch {
        #[schema(max_items = 1000)]
        events: Vec<EventRequest>,
    },
}

/// Something that a customer did.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRequest {
    /// The caller's own name for the event; unique per source, for ever.
    #[schema(max_length = 255, example = "req_81f")]
    event_id: String,
    /// The customer's identifier or `external_id`.
    #[schema(max_length = 255, example = "acme")]
    customer_id: String,
    #[schema(max_length = 255, example = "api.request.completed")]
    event_name: String,
    /// When it happened. Unless given, now.
    timestamp: Option<DateTime<Utc>>,
    /// Up to 50 keys and 8 KiB. Numbers are kept exactly as written.
    #[schema(value_type = Option<Object>, example = json!({"tokens": 1234, "model": "pro"}))]
    metadata: Option<BTreeMap<String, Box<RawValue>>>,
    /// Which of the caller's systems sent it.
    #[schema(max_length = 255)]
    source: Option<String>,
}

/// What was sent.
pub(super) struct Batch {
    pub place: Place,
    pub events: Vec<Result<SentEvent, Rejection>>,
}

/// Where the events stand in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The body is an event.
    Whole,
    /// The body is an array of events.
    Array,
    /// The events are in `events`.
    Field,
}

impl Place {
    /// Refuses the whole request if all or nothing is wanted and not all were taken.
    pub fn allow(self, ingested: &Ingested, all_or_nothing: bool) -> Result<(), Problem> {
        if !all_or_nothing || ingested.rejected.is_empty() {
            return Ok(());
        }
        let error = |Rejection { index, error, .. }: &Rejection| {
            let pointer = match self {
                Self::Whole => error.pointer.clone(),
                Self::Array => format!("/{index}{}", error.pointer),
                Self::Field => format!("/events/{index}{}", error.pointer),
            };
            FieldError { pointer, ..error.clone() }
        };
        Err(Problem::invalid(ingested.rejected.iter().map(error).collect()))
    }
}

/// Reads a body. Only what is wrong with all of it is a problem.
pub(super) fn read(text: &str) -> Result<Batch, Problem> {
    #[derive(Deserialize)]
    struct Probe {
        events: Option<IgnoredAny>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Events {
        events: Vec<Box<RawValue>>,
    }

    let (place, events): (_, Vec<Box<RawValue>>) = if text.trim_start().starts_with('[') {
        (Place::Array, body::parse(text)?)
    } else if body::parse::<Probe>(text)?.events.is_some() {
        (Place::Field, body::parse::<Events>(text)?.events)
    } else {
        (Place::Whole, vec![body::parse(text)?])
    };
    if events.len() > EVENTS_MAX {
        let pointer = if place == Place::Field { "/events" } else { "" };
        return Err(Problem::field(pointer, "too_many", format!("has at most {EVENTS_MAX} events")));
    }
    let events = events.iter().enumerate().map(|(index, event)| read_event(index, event.get())).collect();
    Ok(Batch { place, events })
}

fn read_event(index: usize, json: &str) -> Result<SentEvent, Rejection> {
    #[derive(Deserialize)]
    struct Named {
        event_id: String,
    }

    body::parse::<EventRequest>(json).map_err(first_error).and_then(EventRequest::check).map_err(|error| {
        let event_id = serde_json::from_str::<Named>(json).ok().map(|named| named.event_id);
        Rejection { index, event_id, error }
    })
}

impl EventRequest {
    fn check(self) -> Result<SentEvent, FieldError> {
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
fn instant(at: DateTime<Utc>) -> Result<DateTime<Utc>, FieldError> {
    let micros = DateTime::from_timestamp_micros(at.timestamp_micros());
    micros.and_then(|at| in_range(at).ok()).ok_or_else(|| {
        FieldError::new("/timestamp", "timestamp_out_of_window", "lies outside of the years 1 to 9999")
    })
}

fn first_error(problem: Problem) -> FieldError {
    let detail = problem.detail.unwrap_or_default();
    problem.errors.into_iter().next().unwrap_or_else(|| FieldError::new("", "malformed", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"event_id":"e","customer_id":"c","event_name":"n"}"#;

    #[test]
    fn events_come_alone_in_an_array_or_in_a_field() {
        for (text, place, count) in [
            (EVENT.to_owned(), Place::Whole, 1),
            (format!(" [{EVENT},{EVENT}]"), Place::Array, 2),
            (format!(r#"{{"events":[{EVENT}]}}"#), Place::Field, 1),
            ("[]".to_owned(), Place::Array, 0),
        ] {
            let batch = read(&text).unwrap();
            assert_eq!((batch.place, batch.events.len()), (place, count), "{text}");
            assert!(batch.events.iter().all(Result::is_ok), "{text}");
        }
    }

    #[test]
    fn more_than_a_thousand_events_are_refused_whole() {
        let events = vec![EVENT; 1001].join(",");
        assert_eq!(read(&format!("[{events}]")).err().unwrap().errors[0].code, "too_many");
        let problem = read(&format!(r#"{{"events":[{events}]}}"#)).err().unwrap();
        assert_eq!(problem.errors[0].pointer, "/events");
        assert_eq!(read(&format!("[{}]", vec![EVENT; 1000].join(","))).unwrap().events.len(), 1000);
    }

    #[test]
    fn what_is_not_json_or_has_fields_beside_the_events_is_refused_whole() {
        assert_eq!(read("{").err().unwrap().kind.status, 400);
        assert_eq!(read("[1").err().unwrap().kind.status, 400);
        assert_eq!(read(r#"{"events":[],"event":1}"#).err().unwrap().errors[0].code, "unknown_field");
        assert_eq!(read(r#"{"events":{}}"#).err().unwrap().kind.status, 422);
    }

    #[test]
    fn a_mistake_in_one_event_is_that_events_alone() {
        let refused = |event: &str| {
            let text = format!("[{EVENT},{event}]");
            let mut events = read(&text).unwrap().events;
            let Rejection { index, event_id, error } = events.pop().unwrap().unwrap_err();
            assert!(index == 1 && events[0].is_ok(), "{text}");
            (event_id, error.pointer, error.code)
        };
        let found = |id: Option<&str>, pointer: &str, code: &str| {
            (id.map(str::to_owned), pointer.to_owned(), code.to_owned())
        };
        assert_eq!(refused("7"), found(None, "", "malformed"));
        assert_eq!(refused("{}"), found(None, "/event_id", "required"));
        assert_eq!(refused(r#"{"event_id":"x"}"#), found(Some("x"), "/customer_id", "required"));
        let with =
            |fields: &str| format!(r#"{{"event_id":"x","customer_id":"c","event_name":"n",{fields}}}"#);
        assert_eq!(refused(&with(r#""color":1"#)), found(Some("x"), "/color", "unknown_field"));
        assert_eq!(refused(&with(r#""timestamp":"now""#)), found(Some("x"), "/timestamp", "malformed"));
        assert_eq!(refused(&with(r#""metadata":[]"#)), found(Some("x"), "/metadata", "malformed"));
        assert_eq!(refused(&with(r#""source":"""#)), found(Some("x"), "/source", "blank"));
        assert_eq!(
            refused(&with(r#""timestamp":"+10000-01-01T00:00:00Z""#)),
            found(Some("x"), "/timestamp", "timestamp_out_of_window")
        );
    }

    #[test]
    fn all_or_nothing_names_each_rejected_event_by_its_place_in_the_body() {
        let mut ingested = Ingested::default();
        ingested.reject(3, None, FieldError::new("/timestamp", "timestamp_out_of_window", "too late"));
        let pointer = |place: Place| place.allow(&ingested, true).unwrap_err().errors[0].pointer.clone();
        assert_eq!(pointer(Place::Field), "/events/3/timestamp");
        assert_eq!(pointer(Place::Array), "/3/timestamp");
        assert_eq!(pointer(Place::Whole), "/timestamp");
        assert!(Place::Field.allow(&ingested, false).is_ok());
    }
}
