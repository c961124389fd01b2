//! Which column of a CSV file holds what of an event.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use csv::ByteRecord;
use serde_json::value::{RawValue, to_raw_value};

/// What an event has beside its metadata.
const FIELDS: &[&str] = &["event_id", "customer_id", "event_name", "timestamp", "source", "metadata"];

/// Where a column's cells go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Field(&'static str),
    Property(String),
    Nowhere,
}

/// The columns of a file, in order.
#[derive(Debug)]
pub(super) struct Columns {
    targets: Vec<Target>,
    /// What every event has that the file does not say.
    given: Vec<(&'static str, String)>,
}

impl Columns {
    /// Columns go to the field of their name, or into the metadata; `map` says otherwise: `Account=customer_id`,
    /// `Units used=metadata.units`, `Comment=-`.
    pub fn try_new(header: &[String], map: &[String], given: Vec<(&'static str, String)>) -> Result<Self> {
        let mut mapped = BTreeMap::new();
        for pair in map {
            let Some((column, target)) = pair.rsplit_once('=') else {
                bail!("--map {pair}: is not COLUMN=FIELD");
            };
            ensure!(
                header.iter().any(|name| name == column),
                "--map {pair}: there is no column {column}, but {}",
                header.join(", ")
            );
            let target = match target {
                "-" => Target::Nowhere,
                other => match (field(other), other.strip_prefix("metadata.")) {
                    (Some(field), _) => Target::Field(field),
                    (None, Some(property)) => Target::Property(property.to_owned()),
                    (None, None) => bail!(
                        "--map {pair}: a column goes to {}, to metadata.NAME, or to - if it is left out",
                        FIELDS.join(", ")
                    ),
                },
            };
            mapped.insert(column, target);
        }
        let own = |name: &String| field(name).map_or_else(|| Target::Property(name.clone()), Target::Field);
        let targets: Vec<_> =
            header.iter().map(|name| mapped.remove(name.as_str()).unwrap_or_else(|| own(name))).collect();
        let columns = Self { targets, given };
        columns.check(header)?;
        Ok(columns)
    }

    fn check(&self, header: &[String]) -> Result<()> {
        for (at, target) in self.targets.iter().enumerate() {
            let again = *target != Target::Nowhere && self.targets[..at].contains(target);
            ensure!(!again, "two columns go to the same place, one of them is {}", header[at]);
        }
        let has = |name: &str| {
            let is_it = |target: &Target| matches!(target, Target::Field(field) if *field == name);
            self.targets.iter().any(is_it) || self.given.iter().any(|(given, _)| *given == name)
        };
        for name in ["event_id", "customer_id", "event_name"] {
            let how = if name == "event_name" { ", or give --event-name" } else { "" };
            ensure!(
                has(name),
                "no column holds the {name}: name it by --map COLUMN={name}{how}. The columns are {}",
                header.join(", ")
            );
        }
        let has_properties = self.targets.iter().any(|target| matches!(target, Target::Property(_)));
        ensure!(
            !(has_properties && has("metadata")),
            "there is a column metadata beside columns of properties: leave the one or the others out by \
             --map COLUMN=-"
        );
        Ok(())
    }

    /// The event in a row, as JSON; or why there is none. Empty cells are left out.
    pub fn event(&self, row: &ByteRecord) -> Result<String, String> {
        if row.len() != self.targets.len() {
            return Err(format!("has {} cells, and the header {}", row.len(), self.targets.len()));
        }
        let mut event: BTreeMap<&str, Box<RawValue>> =
            self.given.iter().map(|(name, value)| (*name, text(value))).collect();
        let mut metadata = BTreeMap::new();
        for (target, cell) in self.targets.iter().zip(row) {
            let cell = str::from_utf8(cell).map_err(|_| "is not UTF-8".to_owned())?;
            match target {
                _ if cell.is_empty() => {}
                Target::Nowhere => {}
                Target::Field("metadata") => {
                    let json = RawValue::from_string(cell.to_owned());
                    event.insert("metadata", json.map_err(|error| format!("metadata: {error}"))?);
                }
                Target::Field(name) => drop(event.insert(name, text(cell))),
                Target::Property(name) => drop(metadata.insert(name, value(cell))),
            }
        }
        if !metadata.is_empty() {
            event.insert("metadata", to_raw_value(&metadata).expect("plain data"));
        }
        Ok(serde_json::to_string(&event).expect("plain data"))
    }
}

fn field(name: &str) -> Option<&'static str> {
    FIELDS.iter().copied().find(|field| *field == name)
}

fn text(cell: &str) -> Box<RawValue> {
    to_raw_value(cell).expect("a text")
}

/// A number as JSON writes it stays one, with every digit; everything else is a text.
fn value(cell: &str) -> Box<RawValue> {
    let is_number = cell.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match RawValue::from_string(cell.to_owned()) {
        Ok(number) if is_number && number.get() == cell => number,
        _ => text(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &[&str], map: &[&str]) -> Result<Columns> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Columns::try_new(&owned(header), &owned(map), vec![("event_name", "call".to_owned())])
    }

    fn mistake(header: &[&str], map: &[&str]) -> String {
        columns(header, map).unwrap_err().to_string()
    }

    #[test]
    fn cells_become_an_event_and_numbers_keep_their_digits() {
        let columns = columns(
            &["id", "customer_id", "Units used", "zip", "note", "comment"],
            &["id=event_id", "Units used=metadata.units", "comment=-"],
        );
        let row = ByteRecord::from(vec!["e1", "acme", "1.500", "01234", "", "x"]);
        assert_eq!(
            columns.unwrap().event(&row).unwrap(),
            r#"{"customer_id":"acme","event_id":"e1","event_name":"call","metadata":{"units":1.500,"zip":"01234"}}"#
        );
    }

    #[test]
    fn a_column_of_json_is_the_metadata() {
        let columns = columns(&["event_id", "customer_id", "metadata"], &[]).unwrap();
        let event = |cell: &str| columns.event(&ByteRecord::from(vec!["e", "c", cell]));
        let whole = r#"{"customer_id":"c","event_id":"e","event_name":"call","metadata":{"n":1e400}}"#;
        assert_eq!(event(r#"{"n":1e400}"#).unwrap(), whole);
        assert!(event("{").unwrap_err().starts_with("metadata: "));
        assert!(columns.event(&ByteRecord::from(vec!["e", "c"])).unwrap_err().contains("2 cells"));
        assert_eq!(
            columns.event(&ByteRecord::from(vec![&b"\xff"[..], b"c", b""])).unwrap_err(),
            "is not UTF-8"
        );
    }

    #[test]
    fn what_is_missing_or_meant_twice_is_told_before_anything_is_taken() {
        assert!(mistake(&["event_id", "account"], &[]).contains("--map COLUMN=customer_id"));
        assert!(mistake(&["event_id"], &["account=customer_id"]).contains("there is no column account"));
        assert!(mistake(&["event_id"], &["event_id=color"]).contains("metadata.NAME"));
        assert!(mistake(&["event_id"], &["event_id"]).contains("is not COLUMN=FIELD"));
        assert!(mistake(&["event_id", "event_id", "customer_id"], &[]).contains("two columns"));
        assert!(mistake(&["event_id", "customer_id", "metadata", "n"], &[]).contains("beside columns"));
    }
}
