//! What a call of the gateway can answer instead of a result. A declined charge is a result.

use sea_orm::sqlx;

use crate::model::IllegalStep;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It may have happened: look it up before anything else is tried.
    #[error("the gateway did not answer in time")]
    Timeout,
    #[error("the gateway is unavailable")]
    Unavailable,
    /// The merchant's fault: trying again cannot help.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    #[error("there is no token `{0}`")]
    UnknownToken(String),
    #[error("there is no {kind} `{reference}`")]
    NotFound {
        /// `customer`, `method`, `charge` or `dispute`.
        kind: &'static str,
        /// What was looked for.
        reference: String,
    },
    #[error("the idempotency key `{0}` was used with other parameters")]
    IdempotencyConflict(String),
    #[error(transparent)]
    IllegalStep(#[from] IllegalStep),
    #[error("{available_minor} can be refunded, not {requested_minor}")]
    RefundTooLarge {
        /// In minor units.
        requested_minor: i64,
        /// Captured and not refunded yet, in minor units.
        available_minor: i64,
    },
    #[error("a disputed charge cannot be refunded: the money is already with the customer's bank")]
    Disputed,
    /// The gateway's own file failed. As after a timeout, it may have happened.
    #[error("the gateway's file failed")]
    Database(#[from] sqlx::Error),
}

impl SandboxError {
    pub(crate) fn not_found(kind: &'static str, reference: &str) -> Self {
        Self::NotFound { kind, reference: reference.to_owned() }
    }
}
