//! JSON bodies and queries: read strictly, with errors that point at the place.

mod missing;
mod words;

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{CONTENT_TYPE, HeaderMap},
    web::Bytes,
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_path_to_error::Segment;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    problem::{self, FieldError, Problem},
    request::Received,
};

/// One JSON text.
pub const JSON: &str = "application/json";
/// A JSON text on each line.
pub const LINES: &str = "application/x-ndjson";

const DEPTH_MAX: usize = 32;

/// The JSON body of a request. An empty body counts as `{}`.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + ToSchema> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(json_text(request).and_then(|text| read(&text)).map(Self))
    }
}

/// The query of a request.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_query(request.query_string()).map(Self))
    }
}

/// A field of a change: not named, it stays; null clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    /// What it is to be, if it is to be something.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// The same change, with what it sets read as something else.
    pub fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Change<U>, E> {
        Ok(match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(read(value)?),
        })
    }

    /// The same change, with what it sets made into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(into(value)),
        }
    }

    /// Makes the change to what is never absent: cleared, it is what it is by default.
    pub fn replace(self, to: &mut T)
    where
        T: Default,
    {
        match self {
            Self::Keep => {}
            Self::Clear => *to = T::default(),
            Self::Set(value) => *to = value,
        }
    }

    /// Makes the change.
    pub fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Change<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::Clear, Self::Set))
    }
}

fn json_text(request: &HttpRequest) -> Result<String, Problem> {
    let body = bytes(request);
    if body.is_empty() {
        return Ok("{}".to_owned());
    }
    let media_type = media_type(request.headers());
    if media_type != JSON {
        let detail = format!("expected {JSON}, not `{media_type}`");
        return Err(Problem::new(&problem::MEDIA_TYPE, detail));
    }
    Ok(utf8(&body)?.to_owned())
}

/// The body of a request as it came, unpacked.
pub fn bytes(request: &HttpRequest) -> Bytes {
    request.extensions().get::<Received>().expect("the middleware reads every body").body.clone()
}

/// What the body is said to be, in small letters and without parameters; empty if nothing is said.
pub fn media_type(headers: &HeaderMap) -> String {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body, or a part of one, as text.
pub fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    str::from_utf8(bytes).map_err(|_| Problem::new(&problem::UNREADABLE, "the body is not UTF-8"))
}

/// Refuses what one of the two databases cannot hold, or what is nested to do harm.
pub fn check_text(text: &str) -> Result<(), Problem> {
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, text.bytes().enumerate());
    while let Some((at, byte)) = bytes.next() {
        match byte {
            0 => return Err(Problem::new(&problem::UNREADABLE, "the body holds a null byte")),
            b'\\' if in_string => {
                if text[at + 1..].starts_with("u0000") {
                    let detail = "text may not hold a null character (\\u0000)";
                    return Err(Problem::field(null_place(text), "malformed", detail));
                }
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    let detail = format!("the body is nested deeper than {DEPTH_MAX} levels");
                    return Err(Problem::new(&problem::UNREADABLE, detail));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Where the first text stands that holds a null character: its value, or what it is a name in.
fn null_place(json: &str) -> String {
    fn within(value: &serde_json::Value, at: &str) -> Option<String> {
        use serde_json::Value::*;

        let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match value {
            String(text) => text.contains('\0').then(|| at.to_owned()),
            Array(items) => {
                items.iter().enumerate().find_map(|(index, inner)| within(inner, &step(&index.to_string())))
            }
            Object(fields) if fields.keys().any(|name| name.contains('\0')) => Some(at.to_owned()),
            Object(fields) => fields.iter().find_map(|(name, inner)| within(inner, &step(name))),
            Null | Bool(_) | Number(_) => None,
        }
    }
    serde_json::from_str(json).ok().and_then(|value| within(&value, "")).unwrap_or_default()
}

/// Reads a body. Of the fields that are missing all are named, not the first alone.
/// Reads the JSON body of a request: every field that is missing is named.
pub fn read<T: DeserializeOwned + ToSchema>(text: &str) -> Result<T, Problem> {
    check_text(text)?;
    if text.trim_start().starts_with('[') && syntax(text).is_ok() {
        // It would be taken for the fields in their order.
        return Err(Problem::field("", "malformed", "is a list, but should be an object"));
    }
    parse(text).map_err(|problem| {
        let is_missing = problem.errors.iter().any(|error| error.code == "required");
        let all = if is_missing { missing::fields::<T>(text) } else { Vec::new() };
        if all.is_empty() { problem } else { Problem::invalid(all) }
    })
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let parameter = pointer(error.path()).trim_start_matches('/').to_owned();
        let (code, name, detail) = words::of_query(&error.into_inner().to_string());
        Problem::field(name.unwrap_or(parameter), code, detail)
    })
}

/// Reads JSON; what is JSON but not what is wanted gets a pointer to its place.
///
/// Where something stands costs more to follow than reading it: that is found out only when it is wrong.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).or_else(|_| parse_to_find_mistake(text))
}

fn parse_to_find_mistake<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    // What is not JSON at all is told first, wherever a field may be wrong as well.
    syntax(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = pointer(error.path());
        let cause = error.into_inner();
        if !cause.is_data() {
            // JSON it is: a list where a word should be, or an object of two fields for one of one.
            let detail = "is of another kind than what is expected here";
            return Problem::invalid(vec![FieldError::new(place, "malformed", detail)]);
        }
        let text = cause.to_string();
        let (code, field, detail) = words::of_body(text.split(" at line ").next().unwrap_or(&text));
        let place = field.map_or(place.clone(), |field| format!("{place}/{field}"));
        Problem::invalid(vec![FieldError::new(place, code, detail)])
    })
}

fn syntax(text: &str) -> Result<(), Problem> {
    let unreadable = |error| Problem::new(&problem::UNREADABLE, format!("the body is not JSON: {error}"));
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(unreadable)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        // Written as an object with one field: `{"day_of_month": 17}`.
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    });
    segments.collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "read by nobody")]
        count: u8,
    }

    #[test]
    fn an_error_points_at_its_place() {
        let problem = parse::<Outer>(r#"{"inner":[{"count":1},{"count":-1}]}"#).unwrap_err();
        assert_eq!(problem.errors[0].pointer, "/inner/1/count");
        assert_eq!(problem.errors[0].code, "malformed");
        let problem = parse::<Outer>(r#"{"inner":[],"outer":1}"#).unwrap_err();
        assert_eq!(
            (problem.errors[0].pointer.as_str(), problem.errors[0].code.as_str()),
            ("/outer", "unknown_field")
        );
        let problem = parse::<Outer>(r#"{"inner":[{}]}"#).unwrap_err();
        assert_eq!(
            (problem.errors[0].pointer.as_str(), problem.errors[0].code.as_str()),
            ("/inner/0/count", "required")
        );
        assert_eq!(parse::<Outer>(r#"{"inner":[]}"#).unwrap().inner.len(), 0);
    }

    #[derive(Debug, Deserialize, utoipa::ToSchema)]
    #[expect(dead_code, reason = "read by nobody")]
    struct Wanted {
        name: String,
        note: Option<String>,
        parts: Vec<Part>,
        #[serde(default)]
        count: u32,
    }

    #[derive(Debug, Deserialize, utoipa::ToSchema)]
    #[expect(dead_code, reason = "read by nobody")]
    struct Part {
        code: String,
        amount: String,
    }

    /// Sorted: the order in which a schema tells its fields is not promised.
    fn pointers(problem: &Problem) -> Vec<&str> {
        let mut pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        pointers
    }

    #[test]
    fn what_is_no_json_is_unreadable_and_what_is_of_another_kind_is_invalid() {
        let status = |text: &str| read::<Wanted>(text).unwrap_err().kind.status;
        for text in ["[", r#"{"a":1,}"#, r#"{"name":"#, "nothing", r#"{"name": "a"} x"#] {
            assert_eq!(status(text), 400, "{text}");
        }
        for text in ["[]", "5", r#"{"name": [1]}"#, r#"{"name": "a", "parts": {}}"#] {
            assert_eq!(status(text), 422, "{text}");
        }
    }

    #[test]
    fn every_field_that_is_missing_is_named() {
        let problem = read::<Wanted>("{}").unwrap_err();
        assert_eq!(pointers(&problem), ["/name", "/parts"]);
        assert!(problem.errors.iter().all(|error| error.code == "required" && error.detail == "is required"));
        let problem = read::<Wanted>(r#"{"parts": [{"code": "a"}, {}]}"#).unwrap_err();
        assert_eq!(pointers(&problem), ["/name", "/parts/0/amount", "/parts/1/amount", "/parts/1/code"]);
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read by nobody")]
    struct Asked {
        limit: Option<u64>,
        status: Option<Status>,
        metric: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Status {
        Open,
        Paid,
    }

    #[test]
    fn a_bad_query_parameter_is_named_with_what_would_be_good() {
        let of = |query: &str| {
            let problem = parse_query::<Asked>(query).unwrap_err();
            let error = &problem.errors[0];
            format!("{} {} {}: {}", problem.kind.status, error.pointer, error.code, error.detail)
        };
        assert_eq!(of("metric=m&limit=x"), "422 limit malformed: is not a whole number from 0 on");
        assert_eq!(of("metric=m&status=opne"), "422 status malformed: is not one of open, paid");
        assert_eq!(of("limit=1"), "422 metric required: is required");
        assert_eq!(of("metric=m&limit=1&limit=2"), "422 limit malformed: is given twice");
        assert_eq!(parse_query::<Asked>("metric=m&limit=3").unwrap().limit, Some(3));
    }

    #[test]
    fn what_is_not_json_is_unreadable() {
        for text in ["{", "", "{'a':1}", r#"{"inner":[]} x"#, r#"{"inner":[]}}"#] {
            assert_eq!(parse::<Outer>(text).unwrap_err().kind.status, 400, "{text}");
        }
    }

    #[test]
    fn null_characters_and_deep_nesting_are_refused() {
        assert!(check_text(r#"{"a":"\u0000"}"#).is_err());
        assert!(check_text(r#"{"a":"\\u0000"}"#).is_ok());
        assert!(check_text(&"[".repeat(33)).is_err());
        assert!(check_text(&format!("{}\"{}\"", "[".repeat(32), "[".repeat(99))).is_ok());
    }
}
