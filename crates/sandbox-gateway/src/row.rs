//! From the file's rows to the model.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, FromRow, Row, error::BoxDynError, sqlite::SqliteRow};
use serde::{Deserialize, de::DeserializeOwned, de::IntoDeserializer};

use crate::model::{Charge, Dispute, Entry, Method, Refund};

impl FromRow<'_, SqliteRow> for Method {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            reference: row.try_get("reference")?,
            customer: row.try_get("customer")?,
            brand: row.try_get("brand")?,
            last4: row.try_get("last4")?,
            exp_month: row.try_get("exp_month")?,
            exp_year: row.try_get("exp_year")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Charge {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            reference: row.try_get("reference")?,
            idempotency_key: row.try_get("idempotency_key")?,
            customer: row.try_get("customer")?,
            method: row.try_get("method")?,
            amount_minor: row.try_get("amount_minor")?,
            currency: row.try_get("currency")?,
            capture: row.try_get("capture")?,
            off_session: row.try_get("off_session")?,
            status: name(row, "status")?,
            decline_code: row.try_get("decline_code")?,
            captured_minor: row.try_get("captured_minor")?,
            refunded_minor: row.try_get("refunded_minor")?,
            dispute: dispute(row)?,
            metadata: json(row, "metadata")?,
            created_at: instant(row, "created_at")?,
            updated_at: instant(row, "updated_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Refund {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            reference: row.try_get("reference")?,
            idempotency_key: row.try_get("idempotency_key")?,
            charge: row.try_get("charge")?,
            amount_minor: row.try_get("amount_minor")?,
            currency: row.try_get("currency")?,
            metadata: json(row, "metadata")?,
            created_at: instant(row, "created_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Entry {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            kind: name(row, "kind")?,
            charge: row.try_get("charge")?,
            refund: row.try_get("refund")?,
            amount_minor: row.try_get("amount_minor")?,
            currency: row.try_get("currency")?,
            created_at: instant(row, "created_at")?,
        })
    }
}

fn dispute(row: &SqliteRow) -> Result<Option<Dispute>, sqlx::Error> {
    let Some(reference) = row.try_get("dispute_reference")? else { return Ok(None) };
    Ok(Some(Dispute {
        reference,
        amount_minor: row.try_get("dispute_amount_minor")?,
        reason: row.try_get("dispute_reason")?,
        status: name(row, "dispute_status")?,
        opened_at: instant(row, "dispute_opened_at")?,
    }))
}

fn name<T: for<'de> Deserialize<'de>>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    let parsed: Result<T, serde::de::value::Error> = T::deserialize(text.into_deserializer());
    parsed.map_err(|error| unreadable(column, error))
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn instant(row: &SqliteRow, column: &str) -> Result<DateTime<Utc>, sqlx::Error> {
    DateTime::from_timestamp_micros(row.try_get(column)?)
        .ok_or_else(|| unreadable(column, "an instant out of range"))
}

fn unreadable(column: &str, source: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}
