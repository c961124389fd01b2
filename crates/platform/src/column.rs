//! Column types that are exact on both databases.

use accrue_core::money::Currency;
use rust_decimal::Decimal;
use sea_orm::{
    ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value,
    sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr},
};
use serde::{Serialize, de::DeserializeOwned};

/// A currency as it is stored: by its code.
pub fn currency(code: &str) -> Result<Currency, DbErr> {
    code.parse().map_err(|_| DbErr::Type(format!("stored currency {code}")))
}

/// A value of an enum of plain words, as a column holds it: the word that the API shows.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("an enum of plain words, not {other:?}"),
    }
}

/// The value of such a word.
pub fn from_word<T: DeserializeOwned>(word: String) -> Result<T, DbErr> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| DbErr::Type(error.to_string()))
}

/// An exact decimal: NUMERIC on PostgreSQL, TEXT on SQLite (where sea-orm's own type passes through a double).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dec(pub Decimal);

impl From<Dec> for Value {
    fn from(dec: Dec) -> Value {
        Value::Decimal(Some(dec.0))
    }
}

impl ValueType for Dec {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        match value {
            Value::Decimal(Some(decimal)) => Ok(Dec(decimal)),
            _ => Err(ValueTypeErr),
        }
    }

    fn type_name() -> String {
        "Dec".into()
    }

    fn array_type() -> ArrayType {
        ArrayType::Decimal
    }

    fn column_type() -> ColumnType {
        ColumnType::Decimal(None)
    }
}

impl Nullable for Dec {
    fn null() -> Value {
        Value::Decimal(None)
    }
}

impl TryGetable for Dec {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        if row.try_as_sqlite_row().is_some() {
            let text: String = TryGetable::try_get_by(row, index)?;
            return Decimal::from_str_exact(&text)
                .map(Dec)
                .map_err(|error| TryGetError::DbErr(DbErr::Type(error.to_string())));
        }
        TryGetable::try_get_by(row, index).map(Dec)
    }
}

/// Anything serde knows, kept as JSON text: digits stay as they were written, on both databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> From<Json<T>> for Value {
    fn from(json: Json<T>) -> Value {
        let text = serde_json::to_string(&json.0).expect("what we store is plain data");
        Value::String(Some(text))
    }
}

impl<T: Serialize + DeserializeOwned> ValueType for Json<T> {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        match value {
            Value::String(Some(text)) => serde_json::from_str(&text).map(Json).map_err(|_| ValueTypeErr),
            _ => Err(ValueTypeErr),
        }
    }

    fn type_name() -> String {
        "Json".into()
    }

    fn array_type() -> ArrayType {
        ArrayType::String
    }

    fn column_type() -> ColumnType {
        ColumnType::Text
    }
}

impl<T> Nullable for Json<T> {
    fn null() -> Value {
        Value::String(None)
    }
}

impl<T: DeserializeOwned> TryGetable for Json<T> {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        let text: String = TryGetable::try_get_by(row, index)?;
        serde_json::from_str(&text)
            .map(Json)
            .map_err(|error| TryGetError::DbErr(DbErr::Type(format!("stored JSON: {error}"))))
    }
}
