//! What a plan grants of a feature.

use accrue_core::decimal::Number;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::{
    RefOr,
    schema::{ObjectBuilder, Schema, SchemaType},
};

/// A feature as a plan grants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFeature {
    /// The feature's code.
    #[schema(example = "seats")]
    pub feature: String,
    /// `true` or `false` for a switch, a number for a limit or an amount of usage, any JSON but null for a config.
    pub value: FeatureValue,
}

/// How much of a feature is granted: JSON, in which the feature's kind says what may stand. It is kept as it was written,
/// so that no number passes through a float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureValue(String);

/// Whole numbers are written as JSON numbers as long as every reader of JSON can hold them.
const PLAIN_MAX: u64 = 1 << 53;

impl FeatureValue {
    pub fn switch(on: bool) -> Self {
        Self(on.to_string())
    }

    pub fn amount(amount: Number) -> Self {
        match amount.0.to_u64() {
            Some(whole) if amount.0.is_integer() && whole <= PLAIN_MAX => Self(whole.to_string()),
            _ => Self(format!("\"{}\"", amount.0.normalize())),
        }
    }

    /// JSON that is well formed, and written without white space.
    pub(super) fn json(json: String) -> Self {
        Self(json)
    }

    pub fn as_switch(&self) -> Option<bool> {
        serde_json::from_str(&self.0).ok()
    }

    pub fn as_amount(&self) -> Option<Number> {
        serde_json::from_str(&self.0).ok()
    }

    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Serialize for FeatureValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for FeatureValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|raw| Self(raw.get().to_owned()))
    }
}

impl utoipa::PartialSchema for FeatureValue {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some(
                "Of a switch `true` or `false`; of a limit and of a metered feature a whole number, or any other decimal \
                 number as a string; of a config any JSON but null.",
            ))
            .examples([10])
            .into()
    }
}

impl utoipa::ToSchema for FeatureValue {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_exactly_and_survives_the_database() {
        let round_trip = |value: &str, written: &str| {
            let read: FeatureValue = serde_json::from_str(value).unwrap();
            let amount = FeatureValue::amount(read.as_amount().unwrap());
            assert_eq!(serde_json::to_string(&amount).unwrap(), written);
            assert_eq!(serde_json::from_str::<FeatureValue>(written).unwrap(), amount);
        };
        round_trip("\"10.0\"", "10");
        round_trip("0.1", "\"0.1\"");
        round_trip("9007199254740992", "9007199254740992");
        round_trip("9007199254740993", "\"9007199254740993\"");
        round_trip("1234567890123456789012345.678", "\"1234567890123456789012345.678\"");
    }

    #[test]
    fn a_value_is_what_it_is_read_as() {
        let read = |json: &str| serde_json::from_str::<PlanFeature>(json).unwrap().value;
        let on = read(r#"{"feature":"sso","value":true}"#);
        assert_eq!((on.as_switch(), on.as_amount()), (Some(true), None));
        assert_eq!(on, FeatureValue::switch(true));
        let text = read(r#"{"feature":"theme","value":"10"}"#);
        assert_eq!((text.as_switch(), text.as_json()), (None, "\"10\""));
        let object = read(r#"{"feature":"theme","value":{"color":"red"}}"#);
        assert_eq!((object.as_switch(), object.as_amount()), (None, None));
        assert_eq!(serde_json::to_value(&object).unwrap()["color"], "red");
    }
}
