//! Packs: events that came together, of one payer and one name and from one hour, are stored as one row (decision 0029).

use std::{borrow::Cow, collections::HashMap};

use accrue_core::id::{UsageEventId, uuid_v7};
use chrono::{
    DateTime, Utc,
    serde::{ts_microseconds, ts_microseconds_option},
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Payer, UsageEvent, start_of_hour};

/// Events of a pack, at most: each correction writes all of them again.
const EVENTS_MAX: u16 = 256;
/// Of a pack, beside the event with which it becomes too large: many packs are read at once.
const BYTES_MAX: usize = 32 * 1024;
/// Where the identifier of an event says which one of its pack it is. The pack has zeros there.
const INDEX: u128 = 0xffff;

/// The pack in which an event is stored.
pub(in crate::metering) fn pack_of(id: UsageEventId) -> Uuid {
    Uuid::from_u128(id.0.as_u128() & !INDEX)
}

/// The greatest identifier that an event of a pack may have.
pub(in crate::metering) fn last_of_pack(pack: Uuid) -> UsageEventId {
    UsageEventId(Uuid::from_u128(pack.as_u128() | INDEX))
}

/// Gives the events that come together their identifiers: those of a pack follow one another.
#[derive(Debug)]
pub(in crate::metering) struct Numbers {
    /// The real time.
    wall: DateTime<Utc>,
    /// By the name of the events; then by their payer and hour.
    open: HashMap<String, HashMap<(Payer, DateTime<Utc>), Open>>,
}

/// A pack that takes more events.
#[derive(Debug)]
struct Open {
    id: Uuid,
    events: u16,
    bytes: usize,
}

impl Open {
    fn new(wall: DateTime<Utc>) -> Self {
        Self { id: pack_of(UsageEventId(uuid_v7(wall))), events: 0, bytes: 0 }
    }
}

impl Numbers {
    pub fn new(wall: DateTime<Utc>) -> Self {
        Self { wall, open: HashMap::new() }
    }

    /// The identifier of the next event, which takes up so many bytes.
    pub fn next(
        &mut self,
        payer: &Payer,
        event_name: &str,
        timestamp: DateTime<Utc>,
        bytes: usize,
    ) -> UsageEventId {
        if !self.open.contains_key(event_name) {
            self.open.insert(event_name.to_owned(), HashMap::new());
        }
        let of_name = self.open.get_mut(event_name).expect("inserted");
        let key = (payer.clone(), start_of_hour(timestamp));
        let pack = of_name.entry(key).or_insert_with(|| Open::new(self.wall));
        if pack.events >= EVENTS_MAX || pack.bytes >= BYTES_MAX {
            *pack = Open::new(self.wall);
        }
        let id = UsageEventId(Uuid::from_u128(pack.id.as_u128() | u128::from(pack.events)));
        pack.events += 1;
        pack.bytes += bytes;
        id
    }
}

/// An event as it stands in its pack: `[index, source, event_id, timestamp, metadata]`, and behind that `voided_at` and
/// `amended_at` if it was corrected. Instants are microseconds since 1970; the metadata is what was sent, to the digit.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::metering) struct Packed<'a> {
    index: u16,
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    #[serde(with = "ts_microseconds")]
    pub timestamp: DateTime<Utc>,
    #[serde(borrow)]
    pub metadata: &'a RawValue,
    #[serde(default, with = "ts_microseconds_option")]
    pub voided_at: Option<DateTime<Utc>>,
    #[serde(default, with = "ts_microseconds_option")]
    pub amended_at: Option<DateTime<Utc>>,
}

impl<'a> Packed<'a> {
    /// An error if its metadata is no JSON.
    pub fn try_new(event: &'a UsageEvent) -> Result<Self, serde_json::Error> {
        Ok(Self {
            index: u16::try_from(event.id.0.as_u128() & INDEX).expect("16 bits"),
            source: Cow::Borrowed(&event.source),
            event_id: Cow::Borrowed(&event.event_id),
            timestamp: event.timestamp,
            metadata: serde_json::from_str(&event.metadata)?,
            voided_at: event.voided_at,
            amended_at: event.amended_at,
        })
    }

    /// The identifier of the event, which stands in this pack.
    pub fn id(&self, pack: Uuid) -> UsageEventId {
        UsageEventId(Uuid::from_u128(pack.as_u128() | u128::from(self.index)))
    }
}

/// Events that are new, as a pack has them: the same text as that of [`Packed`], but whoever read the metadata when it came
/// does not read it again.
pub(in crate::metering) fn pack(events: &[&UsageEvent]) -> Result<String, serde_json::Error> {
    let mut json = vec![b'['];
    for event in events {
        if json.len() > 1 {
            json.push(b',');
        }
        let index = u16::try_from(event.id.0.as_u128() & INDEX).expect("16 bits");
        let known = (index, &event.source, &event.event_id, event.timestamp.timestamp_micros());
        serde_json::to_writer(&mut json, &known)?;
        json.pop();
        json.push(b',');
        json.extend_from_slice(event.metadata.as_bytes());
        json.push(b']');
    }
    json.push(b']');
    Ok(String::from_utf8(json).expect("texts only"))
}

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { index, source, event_id, timestamp, metadata, voided_at, amended_at } = self;
        let timestamp = timestamp.timestamp_micros();
        if voided_at.is_none() && amended_at.is_none() {
            return (index, source, event_id, timestamp, metadata).serialize(to);
        }
        let micros = |at: &Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        (index, source, event_id, timestamp, metadata, micros(voided_at), micros(amended_at)).serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::id::{CustomerId, TenantId};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn acme() -> Payer {
        Payer::Known(CustomerId(Uuid::from_u128(1)))
    }

    fn event(index: u16) -> UsageEvent {
        UsageEvent {
            tenant_id: TenantId(Uuid::nil()),
            id: UsageEventId(Uuid::from_u128(u128::from(index))),
            event_id: "e".to_owned(),
            source: String::new(),
            event_name: "call".to_owned(),
            payer: acme(),
            timestamp: at("2026-02-03T10:00:00.000001Z"),
            metadata: r#"{"n":1.50}"#.to_owned(),
            received_at: at("2026-02-03T10:00:00Z"),
            voided_at: None,
            amended_at: None,
        }
    }

    fn written(event: &UsageEvent) -> String {
        serde_json::to_string(&Packed::try_new(event).unwrap()).unwrap()
    }

    #[test]
    fn events_of_one_payer_name_and_hour_follow_one_another_in_one_pack() {
        let mut numbers = Numbers::new(at("2026-02-03T10:30:00Z"));
        let awaited = Payer::Awaited("acme".to_owned());
        let first = numbers.next(&acme(), "call", at("2026-02-03T10:00:00Z"), 100);
        let others = [
            numbers.next(&acme(), "call", at("2026-02-03T11:00:00Z"), 100),
            numbers.next(&acme(), "click", at("2026-02-03T10:00:00Z"), 100),
            numbers.next(&awaited, "call", at("2026-02-03T10:00:00Z"), 100),
        ];
        let second = numbers.next(&acme(), "call", at("2026-02-03T10:59:59.999999Z"), 100);
        assert_eq!(second.0.as_u128(), first.0.as_u128() + 1);
        assert!(others.iter().all(|other| pack_of(*other) != pack_of(first)));
        assert_eq!((pack_of(second), first.0.get_version_num()), (first.0, 7));
        assert!(second <= last_of_pack(first.0) && last_of_pack(first.0) < others[0]);
    }

    #[test]
    fn a_pack_is_full_with_so_many_events_or_bytes() {
        let packs = |bytes: usize| {
            let mut numbers = Numbers::new(at("2026-02-03T10:30:00Z"));
            let now = at("2026-02-03T10:00:00Z");
            let ids: Vec<_> = (0..600).map(|_| numbers.next(&acme(), "call", now, bytes)).collect();
            assert!(ids.is_sorted(), "the order of arrival");
            ids.chunk_by(|one, next| pack_of(*one) == pack_of(*next)).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(packs(100), [256, 256, 88]);
        assert_eq!(packs(8 * 1024), [4; 150]);
    }

    #[test]
    fn a_packed_event_is_a_short_array() {
        assert_eq!(written(&event(7)), r#"[7,"","e",1770112800000001,{"n":1.50}]"#);
        let voided = UsageEvent { voided_at: Some(at("1969-12-31T23:59:59Z")), ..event(0) };
        assert_eq!(written(&voided), r#"[0,"","e",1770112800000001,{"n":1.50},-1000000,null]"#);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_as_it_was(
            index: u16,
            texts: (String, String, String),
            number in r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?",
            micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999,
            corrected: (Option<i32>, Option<i32>),
        ) {
            let (source, event_id, text) = texts;
            let metadata = format!(r#"{{"n":{number},"t":{}}}"#, serde_json::to_string(&text).unwrap());
            let instant = |seconds: i32| DateTime::from_timestamp_secs(seconds.into()).unwrap();
            let before = UsageEvent {
                source,
                event_id,
                metadata,
                timestamp: DateTime::from_timestamp_micros(micros).unwrap(),
                voided_at: corrected.0.map(instant),
                amended_at: corrected.1.map(instant),
                ..event(index)
            };

            let json = written(&before);
            let is_new = before.voided_at.is_none() && before.amended_at.is_none();
            let twice = format!("[{json},{json}]");
            prop_assert!(!is_new || pack(&[&before, &before]).unwrap() == twice);
            let after: Packed = serde_json::from_str(&json).unwrap();

            prop_assert_eq!(after.id(Uuid::nil()), before.id);
            prop_assert_eq!((after.source.as_ref(), after.event_id.as_ref()), (&*before.source, &*before.event_id));
            prop_assert_eq!((after.timestamp, after.metadata.get()), (before.timestamp, &*before.metadata));
            prop_assert_eq!((after.voided_at, after.amended_at), (before.voided_at, before.amended_at));
        }
    }
}
