//! Looking charges up, as they stand now. Nothing here writes.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{SqliteConnection, query_as};

use crate::{
    Sandbox,
    error::SandboxError,
    model::{Charge, Refund},
};

impl Sandbox {
    /// The charge with this reference.
    pub async fn fetch(&self, reference: &str) -> Result<Charge, SandboxError> {
        let mut connection = self.readers.acquire().await?;
        let charge = get(&mut connection, reference).await;
        self.travel().await;
        charge
    }

    /// The charge made with this key, if there is one: what to ask after a timeout.
    pub async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Charge>, SandboxError> {
        let charge = query_as("select * from charge_facts where idempotency_key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        self.travel().await;
        Ok(charge)
    }

    /// All charges that carry this value in their metadata, oldest first.
    pub async fn find_by_metadata(&self, key: &str, value: &str) -> Result<Vec<Charge>, SandboxError> {
        let charges = query_as(
            "select * from charge_facts \
             where reference in (select charge from charge_metadata where key = ? and value = ?) order by id",
        )
        .bind(key)
        .bind(value)
        .fetch_all(&self.readers)
        .await?;
        self.travel().await;
        Ok(charges)
    }

    /// All charges made in [`since`, `until`), oldest first.
    pub async fn list(
        &self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Charge>, SandboxError> {
        let charges = query_as(
            "select * from charge_facts where created_at >= ? and created_at < ? order by created_at, id",
        )
        .bind(since.timestamp_micros())
        .bind(until.timestamp_micros())
        .fetch_all(&self.readers)
        .await?;
        self.travel().await;
        Ok(charges)
    }

    /// All refunds made in [`since`, `until`), oldest first.
    pub async fn list_refunds(
        &self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Refund>, SandboxError> {
        let refunds = query_as(
            "select * from refunds where created_at >= ? and created_at < ? order by created_at, id",
        )
        .bind(since.timestamp_micros())
        .bind(until.timestamp_micros())
        .fetch_all(&self.readers)
        .await?;
        self.travel().await;
        Ok(refunds)
    }
}

pub(crate) async fn get(connection: &mut SqliteConnection, reference: &str) -> Result<Charge, SandboxError> {
    query_as("select * from charge_facts where reference = ?")
        .bind(reference)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| SandboxError::not_found("charge", reference))
}
