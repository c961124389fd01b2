//! The catalogue in the database.

pub(super) mod features;
pub(super) mod metrics;
pub(super) mod plans;
pub(super) mod taxes;

use sea_orm::DbErr;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A value of an enum of plain words, as a column holds it: the word that the API shows.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        other => unreachable!("an enum of plain words, not {other:?}"),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, DbErr> {
    serde_json::from_value(Value::String(word)).map_err(|error| DbErr::Type(error.to_string()))
}
