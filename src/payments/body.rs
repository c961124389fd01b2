//! Payments as others see them: in answers and in events.

use accrue_core::{
    id::{CreditNoteId, CustomerId, InvoiceId, PaymentAttemptId, PaymentId, PaymentMethodId, RefundId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{
    AttemptStatus, DeclineClass, Payment, PaymentAttempt, PaymentMethod, PaymentStatus, Refund, RefundStatus,
};

/// The intent to collect one invoice, with every try at it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Payment)]
pub struct PaymentBody {
    pub id: PaymentId,
    #[schema(example = "payment")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    pub invoice: InvoiceId,
    pub status: PaymentStatus,
    pub currency: Currency,
    pub amount: Money,
    pub amount_refunded: Money,
    /// Why the last try failed, in the networks' wording; null once it is paid.
    #[schema(example = "insufficient_funds")]
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// The oldest first.
    pub attempts: Vec<AttemptBody>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// One try at a gateway.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PaymentAttempt)]
pub struct AttemptBody {
    pub id: PaymentAttemptId,
    /// 1 for the payment's first.
    #[schema(example = 1)]
    pub position: i32,
    /// Why it was made: `finalized`, `dunning:2`, `method:pm_…`, `request`.
    #[schema(example = "dunning:2")]
    pub reason: String,
    /// Did Accrue try by itself?
    pub automatic: bool,
    pub payment_method: PaymentMethodId,
    #[schema(example = "visa")]
    pub brand: String,
    #[schema(example = "4242")]
    pub last4: String,
    #[schema(example = "sandbox")]
    pub gateway: String,
    pub status: AttemptStatus,
    pub amount: Money,
    #[schema(example = "insufficient_funds")]
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    pub idempotency_key: String,
    pub gateway_reference: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// How a customer pays.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PaymentMethod)]
pub struct PaymentMethodBody {
    pub id: PaymentMethodId,
    #[schema(example = "payment_method")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    #[schema(example = "sandbox")]
    pub gateway: String,
    #[schema(example = "visa")]
    pub brand: String,
    #[schema(example = "4242")]
    pub last4: String,
    #[schema(example = "2031-04")]
    pub expires_on: Option<String>,
    /// Is it the one that invoices are collected by?
    pub default: bool,
    /// From then on it is never charged.
    pub detached_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// Money on its way back to the customer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Refund)]
pub struct RefundBody {
    pub id: RefundId,
    #[schema(example = "refund")]
    pub object: &'static str,
    pub livemode: bool,
    pub payment: PaymentId,
    pub status: RefundStatus,
    pub currency: Currency,
    pub amount: Money,
    pub reason: Option<String>,
    /// The credit note that gives it back, if one does.
    pub credit_note: Option<CreditNoteId>,
    /// Why the gateway refused it.
    pub failure: Option<String>,
    pub gateway_reference: Option<String>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl PaymentBody {
    pub(super) fn new(payment: &Payment, livemode: bool) -> Self {
        Self {
            id: payment.id,
            object: "payment",
            livemode,
            customer: payment.customer_id,
            invoice: payment.invoice_id,
            status: payment.status,
            currency: payment.amount.currency(),
            amount: payment.amount,
            amount_refunded: payment.refunded,
            decline_code: payment.decline_code.clone(),
            decline_class: payment.decline_class,
            attempts: payment.attempts.iter().map(AttemptBody::from).collect(),
            metadata: payment.metadata.clone(),
            created_at: payment.created_at,
        }
    }
}

impl From<&PaymentAttempt> for AttemptBody {
    fn from(attempt: &PaymentAttempt) -> Self {
        Self {
            id: attempt.id,
            position: attempt.position,
            reason: if attempt.automatic { attempt.reason.clone() } else { "request".to_owned() },
            automatic: attempt.automatic,
            payment_method: attempt.payment_method_id,
            brand: attempt.brand.clone(),
            last4: attempt.last4.clone(),
            gateway: attempt.gateway.clone(),
            status: attempt.status,
            amount: attempt.amount,
            decline_code: attempt.decline_code.clone(),
            decline_class: attempt.decline_class,
            idempotency_key: attempt.idempotency_key.clone(),
            gateway_reference: attempt.gateway_reference.clone(),
            created_at: attempt.created_at,
            updated_at: attempt.updated_at,
        }
    }
}

impl PaymentMethodBody {
    pub(super) fn new(method: &PaymentMethod, default: bool, livemode: bool) -> Self {
        Self {
            id: method.id,
            object: "payment_method",
            livemode,
            customer: method.customer_id,
            gateway: method.gateway.clone(),
            brand: method.brand.clone(),
            last4: method.last4.clone(),
            expires_on: method.expires_on.clone(),
            default,
            detached_at: method.detached_at,
            metadata: method.metadata.clone(),
            created_at: method.created_at,
        }
    }
}

impl RefundBody {
    pub(super) fn new(refund: &Refund, livemode: bool) -> Self {
        Self {
            id: refund.id,
            object: "refund",
            livemode,
            payment: refund.payment_id,
            status: refund.status,
            currency: refund.amount.currency(),
            amount: refund.amount,
            reason: refund.reason.clone(),
            credit_note: refund.credit_note_id,
            failure: refund.failure.clone(),
            gateway_reference: refund.gateway_reference.clone(),
            metadata: refund.metadata.clone(),
            created_at: refund.created_at,
        }
    }
}
