//! What payments are.

use accrue_core::{
    id::{CustomerId, InvoiceId, PaymentAttemptId, PaymentId, PaymentMethodId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

/// The intent to collect one invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub tenant_id: TenantId,
    pub id: PaymentId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub invoice_id: InvoiceId,
    pub status: PaymentStatus,
    pub amount: Money,
    pub refunded: Money,
    pub attempts: Vec<PaymentAttempt>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// One try at a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentAttempt {
    pub id: PaymentAttemptId,
    pub payment_id: PaymentId,
    pub payment_method_id: PaymentMethodId,
    /// 1 for the payment's first.
    pub position: i32,
    /// Did the program try by itself? Only such attempts move the position in dunning (RULES 46).
    pub automatic: bool,
    pub gateway: String,
    pub status: AttemptStatus,
    pub amount: Money,
    pub idempotency_key: String,
    pub gateway_reference: Option<String>,
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// How often the gateway was asked for the outcome.
    pub look_ups: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// How a customer pays: a gateway's token, never a card number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMethod {
    pub tenant_id: TenantId,
    pub id: PaymentMethodId,
    pub customer_id: CustomerId,
    pub gateway: String,
    pub reference_sealed: String,
    pub brand: String,
    pub last4: String,
    pub expires_on: Option<String>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Where a payment is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Initialized,
    RequiresAction,
    Pending,
    Captured,
    Failed,
    Canceled,
    PartiallyRefunded,
    Refunded,
}

/// What became of an attempt.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Committed before the gateway is called.
    Started,
    Succeeded,
    Declined,
    Pending,
    /// The gateway did not answer in time: it is asked before anything else is tried (RULES 43).
    Unknown,
    /// The gateway refused our request, or was out of reach: nothing happened.
    Error,
}

/// What a decline means for what comes next (RULES 45).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DeclineClass {
    /// Stop until the method changes.
    Hard,
    /// Wait and retry.
    Soft,
    /// The customer must do something.
    NeedsAction,
    /// Alert us; no dunning step is used.
    OurFault,
}
