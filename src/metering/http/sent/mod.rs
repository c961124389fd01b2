//! Reading what was sent: a mistake in one event must not keep the others out, so each is read alone.

mod cloud;
mod event;

use accrue_platform::{
    body,
    problem::{self, FieldError, Problem},
};
use actix_web::{HttpRequest, http::header::HeaderMap};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

pub(super) use self::{
    cloud::CloudEventRequest,
    event::{EventRequest, instant},
};
use super::super::model::{Ingested, Rejection, SentEvent};

const EVENTS_MAX: usize = 1000;
const LINES_MAX: usize = 10_000;
const CLOUD_EVENT: &str = "application/cloudevents+json";
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

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

/// What was sent.
pub(super) struct Batch {
    pub form: Form,
    pub events: Vec<Result<SentEvent, Rejection>>,
}

/// How the events stand in the request: mistakes are told in the sender's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    place: Place,
    words: Words,
}

/// Where the events stand in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The body is an event.
    Whole,
    /// The body is an array of events, or has one on each line.
    Array,
    /// The events are in `events`.
    Field,
}

/// What the parts of an event are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Own,
    CloudEvents,
}

impl Form {
    /// What became of the events. Refuses the whole request if all or nothing is wanted and not all were taken.
    pub fn answer(self, ingested: Ingested, all_or_nothing: bool) -> Result<Ingested, Problem> {
        let rejected = ingested.rejected.into_iter().map(|rejection| self.in_words(rejection)).collect();
        let ingested = Ingested { rejected, ..ingested };
        if !all_or_nothing || ingested.rejected.is_empty() {
            return Ok(ingested);
        }
        let error = |Rejection { index, error, .. }: &Rejection| {
            let pointer = match self.place {
                Place::Whole => error.pointer.clone(),
                Place::Array => format!("/{index}{}", error.pointer),
                Place::Field => format!("/events/{index}{}", error.pointer),
            };
            FieldError { pointer, ..error.clone() }
        };
        Err(Problem::invalid(ingested.rejected.iter().map(error).collect()))
    }

    fn in_words(self, rejection: Rejection) -> Rejection {
        if self.words == Words::Own {
            return rejection;
        }
        let pointer = cloud::pointer(&rejection.error.pointer);
        Rejection { error: FieldError { pointer, ..rejection.error }, ..rejection }
    }
}

/// Reads a request. Only what is wrong with all of it is a problem.
pub(super) fn read_request(request: &HttpRequest) -> Result<(Batch, usize), Problem> {
    let (body, headers) = (body::bytes(request), request.headers());
    Ok((read(headers, &body)?, body.len()))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Batch, Problem> {
    match body::media_type(headers).as_str() {
        body::LINES => read_lines(body),
        CLOUD_EVENT => {
            let event = body::parse::<&RawValue>(body::utf8(body)?)?;
            batch(Place::Whole, Words::CloudEvents, &[event])
        }
        CLOUD_EVENTS => batch(Place::Array, Words::CloudEvents, &body::parse::<Vec<_>>(body::utf8(body)?)?),
        body::JSON | "" if cloud::is_binary(headers) => read_binary(headers, body),
        body::JSON => read_json(body::utf8(body)?),
        other => {
            let those = [body::JSON, body::LINES, CLOUD_EVENT, CLOUD_EVENTS].join(", ");
            let detail = format!("expected one of {those}, not `{other}`");
            Err(Problem::new(&problem::MEDIA_TYPE, detail))
        }
    }
}

fn read_json(text: &str) -> Result<Batch, Problem> {
    #[derive(Deserialize)]
    struct Probe {
        events: Option<IgnoredAny>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Events<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }

    if text.trim_start().starts_with('[') {
        batch(Place::Array, Words::Own, &body::parse::<Vec<_>>(text)?)
    } else if body::parse::<Probe>(text)?.events.is_some() {
        batch(Place::Field, Words::Own, &body::parse::<Events>(text)?.events)
    } else {
        let form = Form { place: Place::Whole, words: Words::Own };
        Ok(Batch { form, events: vec![read_event(form.words, 0, text)] })
    }
}

fn batch(place: Place, words: Words, events: &[&RawValue]) -> Result<Batch, Problem> {
    if events.len() > EVENTS_MAX {
        let pointer = if place == Place::Field { "/events" } else { "" };
        return Err(Problem::field(pointer, "too_many", format!("has at most {EVENTS_MAX} events")));
    }
    let events = events.iter().enumerate();
    let events = events.map(|(index, event)| read_event(words, index, event.get())).collect();
    Ok(Batch { form: Form { place, words }, events })
}

/// An event on each line. Empty lines are passed over and not counted.
fn read_lines(body: &[u8]) -> Result<Batch, Problem> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut events = Vec::new();
    for (index, line) in lines.enumerate() {
        if index == LINES_MAX {
            return Err(Problem::field("", "too_many", format!("has at most {LINES_MAX} lines")));
        }
        events.push(match body::utf8(line) {
            Ok(text) => read_event(Words::Own, index, text),
            Err(problem) => Err(Rejection { index, event_id: None, error: first_error(problem) }),
        });
    }
    Ok(Batch { form: Form { place: Place::Array, words: Words::Own }, events })
}

fn read_binary(headers: &HeaderMap, body: &[u8]) -> Result<Batch, Problem> {
    let data = body::utf8(body)?;
    let event = check_text(data).and_then(|()| cloud::read_binary(headers, data));
    let event = event.map_err(|error| Rejection { index: 0, event_id: cloud::id_of(headers), error });
    Ok(Batch { form: Form { place: Place::Whole, words: Words::CloudEvents }, events: vec![event] })
}

/// Reads an event in our own words.
pub(in crate::metering) fn read_line(index: usize, json: &str) -> Result<SentEvent, Rejection> {
    read_event(Words::Own, index, json)
}

fn read_event(words: Words, index: usize, json: &str) -> Result<SentEvent, Rejection> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(alias = "id")]
        event_id: String,
    }

    let read = check_text(json).and_then(|()| match words {
        Words::Own => event::read(json),
        Words::CloudEvents => cloud::read(json),
    });
    read.map_err(|error| {
        let event_id = serde_json::from_str::<Named>(json).ok().map(|named| named.event_id);
        Rejection { index, event_id, error }
    })
}

fn check_text(json: &str) -> Result<(), FieldError> {
    body::check_text(json).map_err(first_error)
}

fn first_error(problem: Problem) -> FieldError {
    let detail = problem.detail.unwrap_or_default();
    problem.errors.into_iter().next().unwrap_or_else(|| FieldError::new("", "malformed", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Batch, Problem> {
        read_json(text)
    }

    const EVENT: &str = r#"{"event_id":"e","customer_id":"c","event_name":"n"}"#;

    #[test]
    fn events_come_alone_in_an_array_or_in_a_field() {
        for (text, place, count) in [
            (EVENT.to_owned(), Place::Whole, 1),
            (format!(" [{EVENT},{EVENT}]"), Place::Array, 2),
            (format!(r#"{{"events":[{EVENT}]}}"#), Place::Field, 1),
            (format!(r#"{{"\u0065vents":[{EVENT}]}}"#), Place::Field, 1),
            ("[]".to_owned(), Place::Array, 0),
        ] {
            let batch = read(&text).unwrap();
            assert_eq!((batch.form.place, batch.events.len()), (place, count), "{text}");
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
        let answer = |place, all_or_nothing| {
            Form { place, words: Words::Own }.answer(ingested.clone(), all_or_nothing)
        };
        let pointer = |place| answer(place, true).unwrap_err().errors[0].pointer.clone();
        assert_eq!(pointer(Place::Field), "/events/3/timestamp");
        assert_eq!(pointer(Place::Array), "/3/timestamp");
        assert_eq!(pointer(Place::Whole), "/timestamp");
        assert!(answer(Place::Field, false).is_ok());
    }
}
