//! Lists as files: CSV for people and their spreadsheets, NDJSON for programs.

use std::collections::{BTreeMap, HashMap};

use actix_web::http::header::{ACCEPT, HeaderMap};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::body::LINES;

/// A header, and an object in each row.
pub const CSV: &str = "text/csv";

/// How deep objects within objects have columns of their own.
const DEPTH_MAX: usize = 3;

/// In what form a list is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One page.
    #[default]
    Page,
    /// All of it.
    Csv,
    /// All of it.
    Lines,
}

impl Form {
    /// What a request's `Accept` likes best of what there is; a page if it names nothing of it.
    pub fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
        let liked = accept.flat_map(|value| value.split(',')).filter_map(|part| {
            let mut parts = part.split(';').map(str::trim);
            let form = match parts.next()?.to_ascii_lowercase().as_str() {
                CSV => Self::Csv,
                LINES => Self::Lines,
                "application/json" | "application/*" | "*/*" => Self::Page,
                _ => return None,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
            Some((quality, form)).filter(|(quality, _)| *quality > 0)
        });
        // Of those that are liked as much, the first.
        liked
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map(|(_, form)| form)
            .unwrap_or_default()
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Page => crate::body::JSON,
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Lines => LINES,
        }
    }

    /// What files of this form are called.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Page => "json",
            Self::Csv => "csv",
            Self::Lines => "ndjson",
        }
    }
}

/// `0.8` is 800, as exact as HTTP is.
fn thousandths(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = fraction.bytes().chain([b'0'; 3]).take(3).filter(u8::is_ascii_digit);
    let fraction = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if whole == "0" { fraction } else { 1000 }
}

/// The columns of a kind of objects: the same whatever they hold. Members of an object have columns of their own, like
/// `address.city`; what has no members that are known stands as JSON in one cell.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Column>);

#[derive(Clone, Debug)]
struct Column {
    /// `address.city`
    name: String,
    path: Vec<String>,
}

impl Columns {
    /// As the API's description tells them: `id` first, the others by name.
    pub fn of<T: ToSchema>() -> Self {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        let mut columns = Vec::new();
        members(&schemas.into_iter().collect(), &T::schema(), &mut Vec::new(), &mut columns);
        columns.sort_by_cached_key(|path| (path.join(".") != "id", path.join(".")));
        columns.dedup();
        Self(columns.into_iter().map(|path| Column { name: path.join("."), path }).collect())
    }

    /// The first row.
    pub fn header(&self) -> Vec<u8> {
        row(self.0.iter().map(|column| column.name.clone()))
    }

    /// An object as a row.
    pub fn row(&self, object: &impl Serialize) -> Vec<u8> {
        let json = serde_json::to_string(object).expect("bodies are plain data");
        let object = fields(&json);
        row(self.0.iter().map(|column| cell(&object, &column.path)))
    }
}

fn row(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(cells.map(String::into_bytes)).expect("memory takes it");
    writer.into_inner().expect("memory takes it")
}

type Fields<'a> = HashMap<String, &'a RawValue>;

/// Numbers keep every digit: they are not read.
fn fields(json: &str) -> Fields<'_> {
    serde_json::from_str(json).unwrap_or_default()
}

fn cell(object: &Fields<'_>, path: &[String]) -> String {
    let Some((name, rest)) = path.split_first() else { return String::new() };
    match object.get(name) {
        None => String::new(),
        Some(value) if rest.is_empty() => text(value.get()),
        Some(value) => cell(&fields(value.get()), rest),
    }
}

fn text(json: &str) -> String {
    match json {
        "null" => String::new(),
        text if text.starts_with('"') => harmless(&serde_json::from_str::<String>(text).unwrap_or_default()),
        other => other.to_owned(),
    }
}

/// A text that a spreadsheet would take for a formula has a quote before it. A negative number stays what it is.
fn harmless(text: &str) -> String {
    if is_formula(text) && !is_number(text)
        || text.starts_with('\'') && is_formula(text.trim_start_matches('\''))
    {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// A cell without the quote that exports put before what looks like a formula.
pub fn as_it_was(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_formula(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// `-12.50`
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = text.strip_prefix('-') else { return false };
    match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    }
}

/// The paths to all members of a schema.
fn members(
    schemas: &BTreeMap<String, RefOr<Schema>>,
    schema: &RefOr<Schema>,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    let known = match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            match schemas.get(name) {
                Some(RefOr::T(schema)) => Some(schema),
                Some(other) => return members(schemas, other, path, found),
                None => None,
            }
        }
    };
    match known {
        Some(Schema::Object(object)) if !object.properties.is_empty() && path.len() < DEPTH_MAX => {
            for (name, schema) in &object.properties {
                path.push(name.clone());
                members(schemas, schema, path, found);
                path.pop();
            }
        }
        Some(Schema::AllOf(all)) => all.items.iter().for_each(|part| members(schemas, part, path, found)),
        // What may be null is described so.
        Some(Schema::OneOf(one)) if let Some(only) = only_object(&one.items) => {
            members(schemas, only, path, found);
        }
        _ if path.is_empty() => {}
        _ => found.push(path.clone()),
    }
}

/// The one that is not null, if there is one other.
fn only_object(items: &[RefOr<Schema>]) -> Option<&RefOr<Schema>> {
    let mut others = items.iter().filter(|item| matches!(item, RefOr::Ref(_)));
    let only = others.next()?;
    (items.len() == 2 && others.next().is_none()).then_some(only)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[derive(Serialize, ToSchema)]
    struct Thing {
        name: String,
        id: u32,
        place: Option<Place>,
        kind: Kind,
        notes: BTreeMap<String, String>,
        tags: Vec<String>,
    }

    #[derive(Serialize, ToSchema)]
    struct Place {
        city: Option<String>,
    }

    #[derive(Serialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Whole,
        #[expect(dead_code, reason = "for the schema")]
        Part(u8),
    }

    fn thing(name: &str, place: Option<Place>) -> Thing {
        let notes = BTreeMap::from([("a".to_owned(), "b, \"c\"".to_owned())]);
        Thing { name: name.to_owned(), id: 7, place, kind: Kind::Whole, notes, tags: vec!["x".to_owned()] }
    }

    fn utf8(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_are_those_of_the_schema_whatever_an_object_holds() {
        let columns = Columns::of::<Thing>();
        assert_eq!(utf8(columns.header()), "id,kind,name,notes,place.city,tags\r\n");
        let here = Some(Place { city: Some("Berlin".to_owned()) });
        let rest = r#""{""a"":""b, \""c\""""}""#;
        assert_eq!(
            utf8(columns.row(&thing("Acme", here))),
            format!("7,whole,Acme,{rest},Berlin,\"[\"\"x\"\"]\"\r\n")
        );
        assert_eq!(
            utf8(columns.row(&thing("=1+1", None))),
            format!("7,whole,'=1+1,{rest},,\"[\"\"x\"\"]\"\r\n")
        );
    }

    #[test]
    fn what_looks_like_a_formula_is_none_and_is_read_back_as_it_was() {
        let harmful = ["=1+1", "+49 30", "-2+3", "@x", "\t=1", "'=1", "''@", "-", "-1.", "-1e5"];
        for text in harmful {
            let cell = harmless(text);
            assert!(cell.starts_with('\''), "{text}");
            assert_eq!(as_it_was(&cell), text);
        }
        for text in ["", "-12", "-12.50", "'quoted'", "a=b", "''", "Acme"] {
            assert_eq!((harmless(text).as_str(), as_it_was(text)), (text, text));
        }
    }

    #[test]
    fn the_form_is_what_is_liked_best() {
        let form = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Form::of(&headers)
        };
        assert_eq!(Form::of(&HeaderMap::new()), Form::Page);
        for (accept, expected) in [
            ("*/*", Form::Page),
            ("text/html", Form::Page),
            ("text/csv", Form::Csv),
            ("Text/CSV; charset=utf-8", Form::Csv),
            ("application/x-ndjson", Form::Lines),
            ("application/json, text/csv", Form::Page),
            ("application/json;q=0.5, text/csv;q=0.75", Form::Csv),
            ("text/csv;q=0, */*;q=0.1", Form::Page),
        ] {
            assert_eq!(form(accept), expected, "{accept}");
        }
    }
}
