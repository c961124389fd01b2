//! The memory behind idempotency keys: what was asked with a key, and what was answered.

use sea_orm::sqlx::{self, SqliteConnection, query, query_as};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::SandboxError;

const KEY_CHARS_MAX: usize = 255;

/// A request with its key, as it is remembered. Equal texts are equal requests: fields and map keys are in order.
pub(crate) struct Asked<'a> {
    key: &'a str,
    request: String,
}

impl<'a> Asked<'a> {
    /// `operation` tells a refund from a charge: both share one space of keys.
    pub(crate) fn new(operation: &str, key: &'a str, request: &impl Serialize) -> Result<Self, SandboxError> {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            let limits = format!("an idempotency key has 1 to {KEY_CHARS_MAX} characters");
            return Err(SandboxError::InvalidRequest(limits));
        }
        Ok(Self { key, request: to_json(&(operation, request)) })
    }

    /// What was answered the first time, if there was one.
    pub(crate) async fn answered<A: DeserializeOwned>(
        &self,
        tx: &mut SqliteConnection,
    ) -> Result<Option<A>, SandboxError> {
        let stored: Option<(String, String)> =
            query_as("select request, answer from answers where idempotency_key = ?")
                .bind(self.key)
                .fetch_optional(tx)
                .await?;
        let Some((request, answer)) = stored else { return Ok(None) };
        if request != self.request {
            return Err(SandboxError::IdempotencyConflict(self.key.to_owned()));
        }
        let answer = serde_json::from_str(&answer).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Some(answer))
    }

    /// Remembers the answer in the transaction of its effect.
    pub(crate) async fn answer(
        &self,
        tx: &mut SqliteConnection,
        answer: &impl Serialize,
    ) -> Result<(), sqlx::Error> {
        query("insert into answers (idempotency_key, request, answer) values (?, ?, ?)")
            .bind(self.key)
            .bind(&self.request)
            .bind(to_json(answer))
            .execute(tx)
            .await?;
        Ok(())
    }

    /// True once per key: the call that is lost on its way here.
    pub(crate) async fn is_lost(&self, tx: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let done = query("insert into lost_calls (idempotency_key) values (?) on conflict do nothing")
            .bind(self.key)
            .execute(tx)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our own types have text keys and no failing fields")
}
