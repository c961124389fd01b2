//! Customers and their cards on file. Nothing here moves money.

use chrono::{DateTime, Datelike, Utc};
use sea_orm::sqlx::{query, query_as, query_scalar};

use crate::{Sandbox, cards, error::SandboxError, model::Method, new_reference};

const VALID_YEARS: i32 = 3;

impl Sandbox {
    /// Answers with the new customer's reference.
    pub async fn create_customer(&self, now: DateTime<Utc>) -> Result<String, SandboxError> {
        let reference = new_reference("cus");
        query("insert into customers (reference, created_at) values (?, ?)")
            .bind(&reference)
            .bind(now.timestamp_micros())
            .execute(&self.writer)
            .await?;
        self.travel().await;
        Ok(reference)
    }

    /// Puts the card that a token stands for on a customer's file. What it does stays with it for ever.
    pub async fn attach(
        &self,
        token: &str,
        customer: &str,
        now: DateTime<Utc>,
    ) -> Result<Method, SandboxError> {
        let card = cards::find(token).ok_or_else(|| SandboxError::UnknownToken(token.to_owned()))?;

        let mut tx = self.write().await?;
        query_scalar::<_, String>("select reference from customers where reference = ?")
            .bind(customer)
            .fetch_optional(&mut *tx)
            .await?
            .ok_or_else(|| SandboxError::not_found("customer", customer))?;
        let method = query_as(
            "insert into methods (reference, customer, token, brand, last4, exp_month, exp_year, created_at) \
             values (?, ?, ?, ?, ?, ?, ?, ?) returning *",
        )
        .bind(new_reference("pm"))
        .bind(customer)
        .bind(card.token)
        .bind(card.brand)
        .bind(card.last4)
        .bind(now.month())
        .bind(now.year() + VALID_YEARS)
        .bind(now.timestamp_micros())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;

        self.travel().await;
        Ok(method)
    }

    /// A customer's cards, oldest first. None if there is no such customer.
    pub async fn methods(&self, customer: &str) -> Result<Vec<Method>, SandboxError> {
        let methods = query_as("select * from methods where customer = ? order by id")
            .bind(customer)
            .fetch_all(&self.readers)
            .await?;
        self.travel().await;
        Ok(methods)
    }
}
