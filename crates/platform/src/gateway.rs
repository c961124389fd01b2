//! What Accrue asks of a payment gateway, and what gateways answer. One of the three doors to the outside
//! world; implementations live with payments.

use std::{collections::BTreeMap, pin::Pin};

use accrue_core::{id::PaymentAttemptId, money::Money};
use chrono::{DateTime, Utc};

/// A future as trait objects need it.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, GatewayError>> + Send + 'a>>;

/// A payment method as the gateway keeps it. No card number ever reaches us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMethod {
    /// The gateway's name for it.
    pub reference: String,
    pub brand: String,
    pub last4: String,
    /// `2031-04`.
    pub expires_on: Option<String>,
}

/// One attempt to take money.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Our attempt: the idempotency key is made from it, and it stands in the gateway's metadata.
    pub attempt: PaymentAttemptId,
    pub idempotency_key: String,
    pub method: String,
    pub amount: Money,
    /// Nobody sits before a screen.
    pub off_session: bool,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded {
        reference: String,
    },
    Declined {
        reference: String,
        code: String,
    },
    /// The customer must do something first.
    NeedsAction {
        reference: String,
    },
    /// Accepted; the outcome comes later.
    Pending {
        reference: String,
    },
}

/// Why a gateway gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It is not known whether anything happened: ask before anything else is tried.
    #[error("the gateway did not answer in time")]
    Unknown,
    /// The gateway refused to take the request up: nothing happened.
    #[error("the gateway is not available")]
    Unavailable,
    /// Our request is wrong: trying again cannot help.
    #[error("the gateway refuses the request: {0}")]
    Invalid(String),
}

/// A payment gateway.
pub trait Gateway: Send + Sync {
    /// As it stands in the database: `sandbox`.
    fn name(&self) -> &'static str;

    /// Makes a token that the gateway gave to the customer's browser usable for later charges.
    fn save_method<'a>(
        &'a self,
        customer: &'a str,
        token: &'a str,
        now: DateTime<Utc>,
    ) -> Answer<'a, SavedMethod>;

    /// Takes money, once for each idempotency key.
    fn charge<'a>(&'a self, charge: &'a Charge, now: DateTime<Utc>) -> Answer<'a, Verdict>;

    /// What became of a charge; `None` if the gateway never took it up.
    fn look_up<'a>(&'a self, idempotency_key: &'a str) -> Answer<'a, Option<Verdict>>;

    /// Gives money of a charge back, once for each idempotency key; answers with its own name for it.
    fn refund<'a>(
        &'a self,
        idempotency_key: &'a str,
        reference: &'a str,
        amount: Money,
        metadata: BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Answer<'a, String>;

    /// The gateway's name for the refund that was made with this key; `None` if it never took it up.
    fn look_up_refund<'a>(&'a self, idempotency_key: &'a str) -> Answer<'a, Option<String>>;
}
