//! Events as they are sent: whether they may be taken, and what became of them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use accrue_core::{
    id::{TenantId, UsageEventId},
    usage::{Properties, Property},
};
use accrue_platform::problem::FieldError;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Numbers, Payer, Shelving, UsageEvent, identity, short};
use crate::{auth::TenantSettings, catalog::Metric};

const METADATA_KEYS_MAX: usize = 50;
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// An event as it was sent, whole and well-formed.
#[derive(Clone, Debug)]
pub(in crate::metering) struct SentEvent {
    pub event_id: String,
    pub source: String,
    pub event_name: String,
    /// The customer's identifier or the caller's own name for it.
    pub customer: String,
    pub timestamp: Option<DateTime<Utc>>,
    pub metadata: EventMetadata,
}

/// What an event says about itself.
#[derive(Clone, Debug)]
pub(in crate::metering) struct EventMetadata {
    /// Keys sorted, values as they were sent: the same metadata is the same text.
    pub(super) json: String,
    /// Shared, for what is sent is copied to be tried again.
    pub(super) properties: Arc<Properties>,
}

impl EventMetadata {
    /// Refuses too many keys, too many bytes, and texts that are not Unicode.
    pub fn try_new(values: &BTreeMap<String, Box<RawValue>>) -> Result<Self, FieldError> {
        let refuse = |code, detail: String| FieldError::new("/metadata", code, detail);
        if values.len() > METADATA_KEYS_MAX {
            return Err(refuse("metadata_too_large", format!("has at most {METADATA_KEYS_MAX} keys")));
        }
        let json = serde_json::to_string(values).expect("read from JSON");
        if json.len() > METADATA_BYTES_MAX {
            return Err(refuse("metadata_too_large", format!("has at most {METADATA_BYTES_MAX} bytes")));
        }
        let properties = values.iter().map(|(name, value)| Ok((name.clone(), Property::of_json(value)?)));
        let properties = properties.collect::<Result<Properties, serde_json::Error>>();
        let properties = properties.map_err(|error| refuse("malformed", error.to_string()))?;
        Ok(Self { json, properties: Arc::new(properties) })
    }
}

/// What is remembered of an event, for ever, to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Remembered {
    /// The event's own identifier.
    pub id: UsageEventId,
    pub body_hash: Uuid,
}

/// A sent event whose payer is known or awaited, ready to be stored.
#[derive(Clone, Debug)]
pub(in crate::metering) struct Candidate {
    /// Its place in the request.
    pub index: usize,
    pub event: UsageEvent,
    /// What identifies it within its tenant: a digest of source and event id (RULES 17).
    pub identity: Uuid,
    /// Of what was sent, not of what was filled in: a repeated event without a time stays the same event.
    pub body_hash: Uuid,
    /// How its customer was called.
    reference: String,
    /// Whether it was sent with a time.
    is_timed: bool,
    pub properties: Arc<Properties>,
    /// Why it may not be stored; if it is stored already, this does not matter any more.
    pub refused: Option<FieldError>,
}

/// What is known of whoever sends events.
#[derive(Clone, Copy, Debug)]
pub(in crate::metering) struct Sender<'a> {
    pub tenant: TenantId,
    pub metrics: &'a [Metric],
    pub terms: Terms,
    pub shelving: Shelving,
}

/// What a tenant takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Terms {
    /// How far back a timestamp may lie; any time, if it is a backfill.
    past_max: Option<TimeDelta>,
    future_max: TimeDelta,
    /// Whether events are kept of customers that do not exist yet.
    pub unknown_customer: bool,
}

impl Terms {
    pub fn of(settings: &TenantSettings, is_backfill: bool) -> Self {
        let past_max = TimeDelta::days(settings.usage_past_days_max.into());
        Self {
            past_max: (!is_backfill).then_some(past_max),
            future_max: TimeDelta::minutes(settings.usage_future_minutes_max.into()),
            unknown_customer: settings.allow_unknown_customer,
        }
    }
}

impl Candidate {
    /// `now` is the customer's time.
    pub fn new(
        sender: Sender,
        numbers: &mut Numbers,
        index: usize,
        sent: SentEvent,
        payer: Payer,
        now: DateTime<Utc>,
    ) -> Self {
        let timestamp = sent.timestamp.unwrap_or(now);
        let bytes = sent.event_id.len() + sent.source.len() + sent.metadata.json.len();
        let refused = out_of_window(timestamp, now, sender.terms)
            .or_else(|| no_number(sender.metrics, &sent.event_name, &sent.metadata.properties));
        let body_hash = body_hash(&payer, sent.timestamp, &sent.event_name, &sent.metadata.json);
        let event = UsageEvent {
            tenant_id: sender.tenant,
            id: numbers.next(&payer, &sent.event_name, timestamp, bytes),
            event_id: sent.event_id,
            source: sent.source,
            event_name: sent.event_name,
            payer,
            timestamp,
            metadata: sent.metadata.json,
            received_at: now,
            voided_at: None,
            amended_at: None,
        };
        let identity = identity(sender.shelving, &event.source, &event.event_id);
        Self {
            index,
            event,
            identity,
            body_hash,
            reference: sent.customer,
            is_timed: sent.timestamp.is_some(),
            properties: sent.metadata.properties,
            refused,
        }
    }

    /// What is remembered of it once it is stored.
    pub fn remembered(&self) -> Remembered {
        Remembered { id: self.event.id, body_hash: self.body_hash }
    }

    /// Whether what is remembered is this very event. It may be remembered from before its customer was there.
    fn is_same_as(&self, held: Remembered) -> bool {
        let as_awaited = || {
            let awaited = Payer::Awaited(self.reference.clone());
            let timestamp = self.is_timed.then_some(self.event.timestamp);
            body_hash(&awaited, timestamp, &self.event.event_name, &self.event.metadata)
        };
        held.body_hash == self.body_hash || held.body_hash == as_awaited()
    }
}

fn body_hash(payer: &Payer, timestamp: Option<DateTime<Utc>>, event_name: &str, metadata_json: &str) -> Uuid {
    let timestamp = timestamp.map(|at| at.timestamp_micros());
    let digest = match payer {
        Payer::Known(customer) => Sha256::new().chain_update(customer.0.as_bytes()),
        Payer::Awaited(name) => Sha256::new().chain_update(name).chain_update([0]),
    };
    let digest = digest
        .chain_update([u8::from(timestamp.is_some())])
        .chain_update(timestamp.unwrap_or_default().to_be_bytes())
        .chain_update(event_name)
        .chain_update([0])
        .chain_update(metadata_json);
    short(digest)
}

pub(super) fn out_of_window(
    timestamp: DateTime<Utc>,
    now: DateTime<Utc>,
    terms: Terms,
) -> Option<FieldError> {
    let Terms { past_max, future_max, .. } = terms;
    let detail = if timestamp > now + future_max {
        format!("lies more than {} minutes ahead of {now}", future_max.num_minutes())
    } else if let Some(past_max) = past_max.filter(|past_max| timestamp < now - *past_max) {
        format!("lies more than {} days before {now}; `backfill=true` takes it", past_max.num_days())
    } else {
        return None;
    };
    Some(FieldError::new("/timestamp", "timestamp_out_of_window", detail))
}

/// A property that a metric adds up, but that is no number. A missing one is fine: the metric skips the event.
pub(super) fn no_number(metrics: &[Metric], event_name: &str, properties: &Properties) -> Option<FieldError> {
    let counts = |metric: &&Metric| metric.event_name == event_name && metric.rules.matches(properties);
    let mut needed = metrics
        .iter()
        .filter(counts)
        .filter(|metric| metric.rules.aggregation.needs_number())
        .filter_map(|metric| metric.rules.property.as_ref());
    let property = needed.find(|property| {
        let value = properties.get(property.as_str());
        value.is_some_and(|value| *value != Property::Null && value.number().is_none())
    })?;
    let pointer = format!("/metadata/{}", property.replace('~', "~0").replace('/', "~1"));
    Some(FieldError::new(pointer, "malformed_number", "is not a decimal number of up to 28 digits"))
}

/// What became of the events of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::metering) struct Ingested {
    pub accepted: usize,
    /// Known already, with the same body.
    pub duplicates: usize,
    pub rejected: Vec<Rejection>,
}

/// An event that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Rejection {
    pub index: usize,
    pub event_id: Option<String>,
    pub error: FieldError,
}

impl Ingested {
    pub fn reject(&mut self, index: usize, event_id: Option<String>, error: FieldError) {
        self.rejected.push(Rejection { index, event_id, error });
    }

    /// Tells what became of a candidate, from what is stored under its identity now: the first write wins
    /// (RULES 17).
    pub fn settle(&mut self, candidate: &Candidate, stored: Option<Remembered>) {
        match (stored, &candidate.refused) {
            (Some(held), _) if held.id == candidate.event.id => self.accepted += 1,
            (Some(held), _) if candidate.is_same_as(held) => self.duplicates += 1,
            (None, Some(error)) => {
                self.reject(candidate.index, Some(candidate.event.event_id.clone()), error.clone());
            }
            _ => {
                let detail = "another event with this source and event_id was taken before";
                let error = FieldError::new("/event_id", "conflict", detail);
                self.reject(candidate.index, Some(candidate.event.event_id.clone()), error);
            }
        }
    }
}

/// The first candidate of each identity that may be stored.
pub(in crate::metering) fn first_of_each<'a>(
    candidates: impl IntoIterator<Item = &'a Candidate>,
) -> Vec<&'a Candidate> {
    let mut seen = HashSet::new();
    let mut may = |candidate: &&Candidate| {
        candidate.refused.is_none() && seen.insert((candidate.event.tenant_id, candidate.identity))
    };
    candidates.into_iter().filter(|candidate| may(candidate)).collect()
}

/// What is stored, by tenant and identity.
pub(in crate::metering) type Known = HashMap<(TenantId, Uuid), Remembered>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use accrue_core::{
        id::{CustomerId, MetricId},
        usage::{self, Aggregation},
    };

    use super::*;
    use crate::catalog::LateEvents;

    fn now() -> DateTime<Utc> {
        "2026-03-31T12:00:00Z".parse().unwrap()
    }

    fn metadata(json: &str) -> Result<EventMetadata, FieldError> {
        EventMetadata::try_new(&serde_json::from_str(json).unwrap())
    }

    fn sent(event_id: &str, metadata_json: &str) -> SentEvent {
        SentEvent {
            event_id: event_id.to_owned(),
            source: String::new(),
            event_name: "call".to_owned(),
            customer: "acme".to_owned(),
            timestamp: None,
            metadata: metadata(metadata_json).unwrap(),
        }
    }

    fn candidate(index: usize, sent: SentEvent, metrics: &[Metric]) -> Candidate {
        let terms = Terms::of(&TenantSettings::default(), false);
        let sender = Sender { tenant: TenantId(Uuid::nil()), metrics, terms, shelving: Shelving::One };
        let mut numbers = Numbers::new(now());
        Candidate::new(sender, &mut numbers, index, sent, Payer::Known(CustomerId(Uuid::nil())), now())
    }

    fn tokens(aggregation: Aggregation) -> Metric {
        Metric {
            tenant_id: TenantId(Uuid::nil()),
            id: MetricId::new(now()),
            code: "tokens".to_owned(),
            name: "Tokens".to_owned(),
            event_name: "call".to_owned(),
            rules: usage::Metric {
                aggregation,
                property: Some("tokens".to_owned()),
                recurring: false,
                filters: Vec::new(),
                conversion: None,
                rounding: None,
            },
            late_events: LateEvents::default(),
            splits: BTreeSet::new(),
            metadata: BTreeMap::new(),
            created_at: now(),
            archived_at: None,
        }
    }

    #[test]
    fn the_window_reaches_from_35_days_back_to_5_minutes_ahead() {
        let taken = |at: &str, backfill| {
            let terms = Terms::of(&TenantSettings::default(), backfill);
            out_of_window(at.parse().unwrap(), now(), terms).is_none()
        };
        assert!(taken("2026-02-24T12:00:00Z", false) && !taken("2026-02-24T11:59:59Z", false));
        assert!(taken("2026-03-31T12:05:00Z", false) && !taken("2026-03-31T12:05:01Z", false));
        assert!(taken("2016-01-01T00:00:00Z", true) && !taken("2026-03-31T12:05:01Z", true));
    }

    #[test]
    fn metadata_has_at_most_50_keys_and_8_kib() {
        let keys = |count| (0..count).map(|key| format!("\"k{key}\":1")).collect::<Vec<_>>().join(",");
        assert!(metadata(&format!("{{{}}}", keys(50))).is_ok());
        assert_eq!(metadata(&format!("{{{}}}", keys(51))).unwrap_err().code, "metadata_too_large");
        let text = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(metadata(&text(8192)).is_ok());
        assert_eq!(metadata(&text(8193)).unwrap_err().code, "metadata_too_large");
        assert_eq!(metadata(r#"{"a":"\ud800"}"#).unwrap_err().code, "malformed");
    }

    #[test]
    fn numbers_keep_their_digits_and_the_order_of_keys_does_not_matter() {
        let metadata = metadata(r#"{ "b": 1.50, "a": 123456789012345678901234567890 }"#).unwrap();
        assert_eq!(metadata.json, r#"{"a":123456789012345678901234567890,"b":1.50}"#);
        let one = candidate(0, sent("e", r#"{"a":1,"b":2}"#), &[]);
        assert_eq!(one.body_hash, candidate(0, sent("e", r#"{ "b":2, "a":1 }"#), &[]).body_hash);
        assert_ne!(one.body_hash, candidate(0, sent("e", r#"{"a":1,"b":2.0}"#), &[]).body_hash);
    }

    #[test]
    fn a_property_that_is_added_up_must_be_a_number_if_it_is_there() {
        let refused = |json: &str, aggregation| {
            candidate(0, sent("e", json), &[tokens(aggregation)]).refused.map(|error| error.pointer)
        };
        for json in [r#"{"tokens":"12 kB"}"#, r#"{"tokens":1e400}"#, r#"{"tokens":true}"#, r#"{"tokens":{}}"#]
        {
            assert_eq!(refused(json, Aggregation::Sum).as_deref(), Some("/metadata/tokens"), "{json}");
            assert_eq!(refused(json, Aggregation::Count), None, "{json}");
        }
        for json in ["{}", r#"{"tokens":null}"#, r#"{"tokens":"12.5"}"#, r#"{"tokens":-3e2}"#] {
            assert_eq!(refused(json, Aggregation::Sum), None, "{json}");
        }
    }

    #[test]
    fn within_a_request_the_first_wins_and_others_are_duplicates_or_conflicts() {
        let candidates = vec![
            candidate(0, sent("a", "{}"), &[]),
            candidate(1, sent("a", "{}"), &[]),
            candidate(2, sent("a", r#"{"x":1}"#), &[]),
            candidate(3, SentEvent { source: "other".to_owned(), ..sent("a", r#"{"x":1}"#) }, &[]),
        ];
        let first = first_of_each(&candidates);
        let stored: HashMap<Uuid, Remembered> =
            first.into_iter().map(|first| (first.identity, first.remembered())).collect();
        let mut ingested = Ingested::default();
        for candidate in candidates {
            let held = stored.get(&candidate.identity).copied();
            ingested.settle(&candidate, held);
        }
        assert_eq!((ingested.accepted, ingested.duplicates), (2, 1));
        let [rejection] = ingested.rejected.as_slice() else { panic!("{ingested:?}") };
        assert_eq!((rejection.index, rejection.error.code.as_str()), (2, "conflict"));
    }

    #[test]
    fn an_event_that_was_taken_in_time_is_a_duplicate_even_when_it_comes_again_too_late() {
        let at = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let late = |index| candidate(index, SentEvent { timestamp: at, ..sent("a", "{}") }, &[]);
        let again = late(0);
        assert!(again.refused.is_some());

        let mut known = Ingested::default();
        known.settle(&again, Some(late(9).remembered()));
        assert_eq!(known, Ingested { accepted: 0, duplicates: 1, rejected: Vec::new() });
        let mut unknown = Ingested::default();
        unknown.settle(&again, None);
        assert_eq!(unknown.rejected[0].error.code, "timestamp_out_of_window");
    }
}
