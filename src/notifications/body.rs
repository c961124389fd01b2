//! A mail as the API shows it.

use accrue_core::id::{CustomerId, EmailId, EventId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::store::{Email, EmailStatus};

/// A mail to a customer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Email)]
pub(super) struct EmailBody {
    id: EmailId,
    #[schema(example = "email")]
    object: &'static str,
    livemode: bool,
    customer: CustomerId,
    /// What it tells of.
    event: EventId,
    #[schema(example = "invoice_issued")]
    kind: String,
    recipient: String,
    /// Known once it was written.
    subject: Option<String>,
    status: EmailStatus,
    /// Why the server refused it.
    error: Option<String>,
    sent_at: Option<DateTime<Utc>>,
    metadata: Metadata,
    created_at: DateTime<Utc>,
}

impl EmailBody {
    pub(super) fn new(email: Email, livemode: bool) -> Self {
        let Email {
            tenant_id: _,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            subject,
            status,
            error,
            created_at,
            sent_at,
        } = email;
        Self {
            id,
            object: "email",
            livemode,
            customer: customer_id,
            event: event_id,
            kind,
            recipient,
            subject,
            status,
            error,
            sent_at,
            metadata: Metadata::new(),
            created_at,
        }
    }
}
