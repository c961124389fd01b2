//! Which column of a CSV file holds what of an object, and what a line of NDJSON may hold beside it.

use std::collections::{BTreeMap, HashMap};

use accrue_platform::export::as_it_was;
use anyhow::{Result, bail, ensure};
use csv::ByteRecord;
use serde_json::value::{RawValue, to_raw_value};

/// How a cell becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A number as JSON writes it stays one, with every digit; everything else is a text.
    Value,
    /// JSON.
    Json,
    /// An object of JSON, or else a text.
    TextOrObject,
}

/// What the objects of a file hold.
#[derive(Debug)]
pub(super) struct Fields {
    pub named: &'static [(&'static str, Kind)],
    /// Fields whose members may have columns of their own, like `metadata.units`, and what such a column holds.
    pub members: &'static [(&'static str, Kind)],
    /// The field into which columns go that are no field; without one such a column is a mistake.
    pub rest: Option<&'static str>,
    /// What exports call otherwise.
    pub renamed: &'static [(&'static str, &'static str)],
    /// What exports hold that nobody can say.
    pub passed_over: &'static [&'static str],
    /// Every object needs one of each of these, and what to do about it but name a column.
    pub required: &'static [(&'static [&'static str], &'static str)],
}

/// Where a column's cells go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Field(&'static str, Kind),
    Member(&'static str, String, Kind),
    Nowhere,
}

impl Fields {
    fn target(&self, name: &str) -> Option<Target> {
        let name = self.renamed.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| to);
        let is_over =
            |over: &str| name == over || name.strip_prefix(over).is_some_and(|end| end.starts_with('.'));
        if let Some((field, kind)) = self.named.iter().find(|(field, _)| *field == name) {
            return Some(Target::Field(field, *kind));
        }
        if let Some((field, member)) = name.split_once('.').filter(|(_, member)| !member.is_empty())
            && let Some((field, kind)) = self.members.iter().find(|(known, _)| *known == field)
        {
            return Some(Target::Member(field, member.to_owned(), *kind));
        }
        self.passed_over.iter().any(|over| is_over(over)).then_some(Target::Nowhere)
    }

    /// What a column may be mapped to, for people.
    fn choice(&self) -> String {
        let named = self.named.iter().map(|(name, _)| (*name).to_owned());
        let members = self.members.iter().map(|(field, _)| format!("{field}.NAME"));
        named.chain(members).collect::<Vec<_>>().join(", ")
    }

    /// An object as an export has it on a line of NDJSON, as a request has it.
    pub fn object(&self, line: String) -> Result<String, String> {
        if self.renamed.is_empty() && self.passed_over.is_empty() {
            return Ok(line);
        }
        let malformed = |error: serde_json::Error| error.to_string();
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&line).map_err(malformed)?;
        for (from, to) in self.renamed {
            let value = match from.split_once('.') {
                None => object.remove(*from),
                Some((outer, inner))
                    if object.get(outer).is_some_and(|outer| outer.get().starts_with('{')) =>
                {
                    let outer = object.remove(outer).expect("looked at just now");
                    serde_json::from_str::<HashMap<String, Box<RawValue>>>(outer.get())
                        .map_err(malformed)?
                        .remove(inner)
                }
                Some(_) => None,
            };
            if let Some(value) = value.filter(|value| value.get() != "null") {
                object.entry((*to).to_owned()).or_insert(value);
            }
        }
        for name in self.passed_over {
            object.remove(*name);
        }
        Ok(serde_json::to_string(&object).expect("plain data"))
    }
}

/// The columns of a file, in order.
#[derive(Debug)]
pub(super) struct Columns {
    targets: Vec<Target>,
    /// What every object has that the file does not say.
    given: Vec<(&'static str, String)>,
}

impl Columns {
    /// Columns go to the field of their name, or into the metadata; `map` says otherwise: `Account=customer_id`,
    /// `Units used=metadata.units`, `Comment=-`.
    pub fn try_new(
        fields: &Fields,
        header: &[String],
        map: &[String],
        given: Vec<(&'static str, String)>,
    ) -> Result<Self> {
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
            let target = if target == "-" { Some(Target::Nowhere) } else { fields.target(target) };
            let Some(target) = target else {
                bail!("--map {pair}: a column goes to {}, or to - if it is left out", fields.choice());
            };
            mapped.insert(column, target);
        }
        let mut targets = Vec::with_capacity(header.len());
        for name in header {
            let own = || {
                fields.target(name).or_else(|| Some(Target::Member(fields.rest?, name.clone(), Kind::Value)))
            };
            let Some(target) = mapped.remove(name.as_str()).or_else(own) else {
                bail!(
                    "nobody knows what the column {name} is: say --map \"{name}=FIELD\", or --map \"{name}=-\" to leave \
                     it out. The fields are {}",
                    fields.choice()
                );
            };
            targets.push(target);
        }
        let columns = Self { targets, given };
        columns.check(fields, header)?;
        Ok(columns)
    }

    fn check(&self, fields: &Fields, header: &[String]) -> Result<()> {
        for (at, target) in self.targets.iter().enumerate() {
            let again = *target != Target::Nowhere && self.targets[..at].contains(target);
            ensure!(!again, "two columns go to the same place, one of them is {}", header[at]);
        }
        let has = |name: &str| {
            let is_it = |target: &Target| matches!(target, Target::Field(field, _) if *field == name);
            self.targets.iter().any(is_it) || self.given.iter().any(|(given, _)| *given == name)
        };
        for (names, how) in fields.required {
            let name = names[0];
            ensure!(
                names.iter().any(|name| has(name)),
                "no column holds the {name}: name it by --map COLUMN={name}{how}. The columns are {}",
                header.join(", ")
            );
        }
        for (field, _) in fields.members {
            let has_members =
                self.targets.iter().any(|target| matches!(target, Target::Member(of, ..) if of == field));
            ensure!(
                !(has_members && has(field)),
                "there is a column {field} beside columns of what is in it: leave the one or the others out by \
                 --map COLUMN=-"
            );
        }
        Ok(())
    }

    /// The object in a row, as JSON; or why there is none. Empty cells are left out.
    pub fn object(&self, row: &ByteRecord) -> Result<String, String> {
        if row.len() != self.targets.len() {
            return Err(format!("has {} cells, and the header {}", row.len(), self.targets.len()));
        }
        let mut object: BTreeMap<&str, Box<RawValue>> =
            self.given.iter().map(|(name, value)| (*name, text(value))).collect();
        let mut members: BTreeMap<&str, BTreeMap<&str, Box<RawValue>>> = BTreeMap::new();
        for (target, cell) in self.targets.iter().zip(row) {
            let cell = str::from_utf8(cell).map_err(|_| "is not UTF-8".to_owned())?;
            match target {
                _ if cell.is_empty() => {}
                Target::Nowhere => {}
                Target::Field(name, kind) => drop(object.insert(name, json(name, cell, *kind)?)),
                Target::Member(field, name, kind) => {
                    let value = json(name, cell, *kind)?;
                    members.entry(field).or_default().insert(name, value);
                }
            }
        }
        for (field, members) in members {
            object.insert(field, to_raw_value(&members).expect("plain data"));
        }
        Ok(serde_json::to_string(&object).expect("plain data"))
    }
}

fn json(name: &str, cell: &str, kind: Kind) -> Result<Box<RawValue>, String> {
    match kind {
        Kind::Text => Ok(text(cell)),
        Kind::Value => Ok(value(cell)),
        Kind::TextOrObject if !cell.starts_with('{') => Ok(text(cell)),
        Kind::Json | Kind::TextOrObject => {
            RawValue::from_string(cell.to_owned()).map_err(|error| format!("{name}: {error}"))
        }
    }
}

/// A text, as exports write it: see [`accrue_platform::export`].
fn text(cell: &str) -> Box<RawValue> {
    to_raw_value(as_it_was(cell)).expect("a text")
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
    use super::{
        super::{customers::CUSTOMERS, events::EVENTS, subscriptions::SUBSCRIPTIONS},
        *,
    };

    fn columns(header: &[&str], map: &[&str]) -> Result<Columns> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Columns::try_new(&EVENTS, &owned(header), &owned(map), vec![("event_name", "call".to_owned())])
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
            columns.unwrap().object(&row).unwrap(),
            r#"{"customer_id":"acme","event_id":"e1","event_name":"call","metadata":{"units":1.500,"zip":"01234"}}"#
        );
    }

    #[test]
    fn a_column_of_json_is_the_metadata() {
        let columns = columns(&["event_id", "customer_id", "metadata"], &[]).unwrap();
        let event = |cell: &str| columns.object(&ByteRecord::from(vec!["e", "c", cell]));
        let whole = r#"{"customer_id":"c","event_id":"e","event_name":"call","metadata":{"n":1e400}}"#;
        assert_eq!(event(r#"{"n":1e400}"#).unwrap(), whole);
        assert!(event("{").unwrap_err().starts_with("metadata: "));
        assert!(columns.object(&ByteRecord::from(vec!["e", "c"])).unwrap_err().contains("2 cells"));
        assert_eq!(
            columns.object(&ByteRecord::from(vec![&b"\xff"[..], b"c", b""])).unwrap_err(),
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

    #[test]
    fn an_exported_row_is_what_a_request_has() {
        let header = [
            "id",
            "plan.code",
            "plan.name",
            "cancel_at",
            "quantities.seats",
            "status",
            "alignment",
            "customer",
        ];
        let header = header.map(str::to_owned);
        let columns = Columns::try_new(&SUBSCRIPTIONS, &header, &[], Vec::new()).unwrap();
        let row =
            ["sub_1", "pro", "Pro", "2030-01-01T00:00:00Z", "2", "active", "{\"day_of_month\":5}", "'=c"];
        let object = columns.object(&ByteRecord::from(row.to_vec())).unwrap();
        let expected = r#"{"alignment":{"day_of_month":5},"customer":"=c","ends_at":"2030-01-01T00:00:00Z","id":"sub_1","plan":"pro","quantities":{"seats":2}}"#;
        assert_eq!(object, expected);
    }

    #[test]
    fn an_exported_line_is_what_a_request_has() {
        let line = r#"{"plan":{"id":"plan_1","code":"pro","version":1},"cancel_at":null,"ends_at":"x","status":"active"}"#;
        assert_eq!(SUBSCRIPTIONS.object(line.to_owned()).unwrap(), r#"{"ends_at":"x","plan":"pro"}"#);
        let line = r#"{"plan":"pro","metadata":{"n":1}}"#;
        assert_eq!(SUBSCRIPTIONS.object(line.to_owned()).unwrap(), r#"{"metadata":{"n":1},"plan":"pro"}"#);
        assert!(SUBSCRIPTIONS.object("{".to_owned()).is_err());
    }

    #[test]
    fn a_column_that_is_no_field_is_a_mistake_where_nothing_else_can_be_meant() {
        let columns = |header: &[&str]| {
            let header: Vec<_> = header.iter().map(ToString::to_string).collect();
            Columns::try_new(&CUSTOMERS, &header, &[], Vec::new())
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(columns(&["external_id", "name", "address.city", "metadata.a b", "created_at"]), Ok(()));
        assert!(columns(&["external_id", "name", "city"]).unwrap_err().contains("the column city is"));
        assert!(columns(&["external_id", "name", "addresses"]).unwrap_err().contains("addresses"));
    }
}
