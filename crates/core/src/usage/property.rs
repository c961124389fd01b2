//! Properties of events, read exactly, and the filters that look at them (RULES 23).

use std::{borrow::Cow, collections::BTreeMap};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::decimal::{self, DecimalError};

/// What an event says about itself, by name.
pub type Properties = BTreeMap<String, Property>;

/// A value of a property. Numbers keep the digits they were written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    Null,
    Bool(bool),
    /// As written in JSON.
    Number(String),
    Text(String),
    /// A list or an object, as JSON.
    Other(String),
}

impl Property {
    /// What a piece of JSON says. An error if it is a text that is not Unicode.
    pub fn of_json(raw: &RawValue) -> Result<Self, serde_json::Error> {
        let json = raw.get();
        Ok(match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(serde_json::from_str(json)?),
            Some(b'[' | b'{') => Self::Other(json.to_owned()),
            _ => Self::Number(json.to_owned()),
        })
    }

    /// The number it is, or that its text spells.
    pub fn number(&self) -> Option<Decimal> {
        self.parse().ok()
    }

    /// The number, or why it is none: a number of too many digits is one that cannot be counted.
    pub fn parse(&self) -> Result<Decimal, DecimalError> {
        match self {
            Self::Number(text) | Self::Text(text) => decimal::parse(text),
            Self::Null | Self::Bool(_) | Self::Other(_) => Err(DecimalError::Malformed),
        }
    }

    /// The text by which values are compared and grouped. Null has none: it is the same as missing.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Number(text) => Some(match decimal::parse(text) {
                Ok(number) => Cow::Owned(number.to_string()),
                Err(_) => Cow::Borrowed(text),
            }),
            Self::Text(text) | Self::Other(text) => Some(Cow::Borrowed(text)),
        }
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Self::of_json(&raw).map_err(serde::de::Error::custom)
    }
}

/// Values that properties must have: every name present, with one of its values. No values means any.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(as = PropertyFilter)]
pub struct Filter(pub BTreeMap<String, Vec<String>>);

impl Filter {
    /// A missing property is not an empty one: it matches nothing.
    pub fn matches(&self, properties: &Properties) -> bool {
        self.0.iter().all(|(name, values)| one_of(properties, name, values))
    }
}

/// Whether a property is there and, if values are given, is one of them.
pub(super) fn one_of(properties: &Properties, name: &str, values: &[String]) -> bool {
    let Some(text) = properties.get(name).and_then(Property::text) else { return false };
    values.is_empty() || values.iter().any(|value| *value == text)
}

/// The most specific filter that matches, of equals the first (the older). None falls into the price's own model.
pub fn best_match(filters: &[Filter], properties: &Properties) -> Option<usize> {
    let matching = filters.iter().enumerate().filter(|(_, filter)| filter.matches(properties));
    matching.max_by_key(|(index, filter)| (filter.0.len(), std::cmp::Reverse(*index))).map(|(index, _)| index)
}

/// Where an event of a usage price belongs: to a filter or none, and to a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    /// The best matching filter's place; none for the price's own model.
    pub filter: Option<usize>,
    /// The values of the group's properties; none where the event lacks one.
    pub group: Vec<Option<String>>,
}

impl BucketKey {
    /// The one bucket of an event with these properties.
    pub fn of(filters: &[Filter], group_by: &[String], properties: &Properties) -> Self {
        let text = |name: &String| properties.get(name).and_then(Property::text).map(Cow::into_owned);
        Self { filter: best_match(filters, properties), group: group_by.iter().map(text).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str) -> Properties {
        serde_json::from_str(json).unwrap()
    }

    fn filters(json: &str) -> Vec<Filter> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_are_read_exactly_from_numbers_and_from_texts() {
        let properties =
            properties(r#"{"a":0.1000000000000000000000000001,"b":"12.50","c":"12 kB","d":[1],"e":true}"#);
        let number = |name: &str| properties[name].number().map(|number| number.to_string());
        assert_eq!(number("a").as_deref(), Some("0.1000000000000000000000000001"));
        assert_eq!(number("b").as_deref(), Some("12.5"));
        assert_eq!((number("c"), number("d"), number("e")), (None, None, None));
    }

    #[test]
    fn the_most_specific_filter_wins_and_of_equals_the_older() {
        let filters = filters(
            r#"[{"region":["eu","us"]},{"region":["eu"],"tier":["gold"]},{"tier":["gold"],"region":["eu"]},{}]"#,
        );
        let best = |json: &str| best_match(&filters, &properties(json));
        assert_eq!(best(r#"{"region":"eu"}"#), Some(0));
        assert_eq!(best(r#"{"region":"eu","tier":"gold"}"#), Some(1));
        assert_eq!(best(r#"{"region":"asia"}"#), Some(3));
        assert_eq!(best_match(&filters[..3], &properties(r#"{"region":"asia"}"#)), None);
    }

    #[test]
    fn a_missing_property_is_not_an_empty_one() {
        let empty = &filters(r#"[{"region":[""]}]"#)[0];
        assert!(empty.matches(&properties(r#"{"region":""}"#)));
        assert!(!empty.matches(&properties("{}")));
        assert!(!empty.matches(&properties(r#"{"region":null}"#)));
        let any = &filters(r#"[{"region":[]}]"#)[0];
        assert!(any.matches(&properties(r#"{"region":"x"}"#)));
        assert!(!any.matches(&properties("{}")));
    }
}
