//! An object as it stands in a file: read by whoever makes such objects, as a request for one is.

use std::collections::BTreeMap;

use accrue_platform::{
    body,
    problem::{self, Problem},
};
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

/// What became of an object that stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    New,
    /// It was there, as the file says.
    Known,
}

/// The fields of an object.
#[derive(Debug)]
pub struct Record(BTreeMap<String, Box<RawValue>>);

impl Record {
    pub fn read(json: &str) -> Result<Self, Problem> {
        if !json.trim_start().starts_with('{') {
            return Err(Problem::field("", "malformed", "is no JSON object"));
        }
        body::parse(json).map(Self).map_err(|problem| match problem.kind {
            // Of a line, not of a request.
            kind if *kind == problem::UNREADABLE => {
                Problem::field("", "malformed", problem.detail.unwrap_or_default())
            }
            _ => problem,
        })
    }

    /// Whether the file says something of a field.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() != "null")
    }

    /// Takes out a field that is a text.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        let value = self.0.remove(name)?;
        serde_json::from_str(value.get()).ok()
    }

    /// Says something of a field, whatever the file says.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.0.insert(name.to_owned(), to_raw_value(text).expect("a text"));
    }

    /// The body of the request that would make such an object.
    pub fn body<T: DeserializeOwned + ToSchema>(&self) -> Result<T, Problem> {
        body::read(&serde_json::to_string(&self.0).expect("plain data"))
    }
}

/// Each object of a file needs a name by which it is known when the file is brought again.
pub fn nameless() -> Problem {
    let hint =
        "is required: by your own name for it a second run knows it again, so give each a name of its own";
    Problem::field("/external_id", "required", hint)
}

/// What is there is not what the file says.
pub fn differs(what: &str, fields: &[&str]) -> Problem {
    let detail = format!("this {what} exists already, and has another {}", fields.join(", another "));
    Problem::field("/external_id", "conflict", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_or_missing_is_not_said() {
        let mut record = Record::read(r#"{"id": "x", "name": null, "email": "a@b.example"}"#).unwrap();
        assert!(record.has("email") && !record.has("name") && !record.has("locale"));
        assert_eq!((record.take_text("id").as_deref(), record.has("id")), (Some("x"), false));
    }

    #[test]
    fn what_is_no_object_is_told_as_a_mistake_of_the_line() {
        for line in ["[]", "{", "", "\"x\"", "{\"a\": }"] {
            let problem = Record::read(line).unwrap_err();
            assert_eq!(problem.errors[0].code, "malformed", "{line}");
        }
    }
}
