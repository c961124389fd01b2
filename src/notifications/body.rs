//! An email as the API shows it. Its text is not kept: the event it is about is.

use accrue_core::id::{CustomerId, EmailId, EventId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    model::{Email, EmailStatus},
    render::Kind,
};

/// An email to a customer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Email)]
pub(super) struct EmailBody {
    id: EmailId,
    #[schema(example = "email")]
    object: &'static str,
    livemode: bool,
    customer: CustomerId,
    /// What it is about.
    event: EventId,
    kind: Kind,
    /// The customer's address, or one of their invoice contacts'.
    #[schema(example = "billing@acme.example")]
    recipient: String,
    #[schema(example = "Acme Corp")]
    recipient_name: String,
    /// Known once it is written.
    #[schema(example = "Invoice INV-000001 from Example Inc: $102.00")]
    subject: Option<String>,
    status: EmailStatus,
    /// Why the mail server refused it, in its own words.
    error: Option<String>,
    sent_at: Option<DateTime<Utc>>,
    metadata: Metadata,
    created_at: DateTime<Utc>,
}

impl EmailBody {
    pub fn new(email: Email, livemode: bool) -> Self {
        let Email {
            tenant_id: _,
            id,
            customer_id,
            event_id,
            kind,
            recipient,
            recipient_name,
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
            recipient_name,
            subject,
            status,
            error,
            sent_at,
            metadata: Metadata::new(),
            created_at,
        }
    }
}
