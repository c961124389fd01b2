//! An email, from the event that causes it to the mail server's answer.

use accrue_core::id::{CustomerId, EmailId, EventId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use super::render::Kind;

/// One email to one address of a customer about one event. There is at most one of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    pub tenant_id: TenantId,
    pub id: EmailId,
    pub customer_id: CustomerId,
    pub event_id: EventId,
    pub kind: Kind,
    /// The address of the customer, or of one of their contacts, when it happened.
    pub recipient: String,
    /// How who reads it is greeted.
    pub recipient_name: String,
    /// Known once it is written.
    pub subject: Option<String>,
    pub status: EmailStatus,
    /// Why it was refused, in the mail server's words.
    pub error: Option<String>,
    /// When it happened, by the customer's clock: the date on the email, the same at every attempt.
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

/// Where an email is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EmailStatus {
    /// It will be sent, or tried again.
    Pending,
    /// The mail server has taken it.
    Sent,
    /// The mail server will never take it.
    Failed,
}

/// How sending ended, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Sent,
    Refused(String),
}

impl Email {
    /// Notes how it ended, unless that is known already. `now` is the customer's.
    pub(super) fn end(&mut self, subject: String, outcome: Outcome, now: DateTime<Utc>) {
        if self.status != EmailStatus::Pending {
            return;
        }
        self.subject = Some(subject);
        match outcome {
            Outcome::Sent => {
                self.status = EmailStatus::Sent;
                self.sent_at = Some(now);
            }
            Outcome::Refused(error) => {
                self.status = EmailStatus::Failed;
                self.error = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_does_not_fail_afterwards() {
        let now = "2026-01-31T10:00:00Z".parse().unwrap();
        let mut email = Email {
            tenant_id: TenantId::new(now),
            id: EmailId::new(now),
            customer_id: CustomerId::new(now),
            event_id: EventId::new(now),
            kind: Kind::InvoiceIssued,
            recipient: "pay@acme.example".to_owned(),
            recipient_name: "Acme".to_owned(),
            subject: None,
            status: EmailStatus::Pending,
            error: None,
            created_at: now,
            sent_at: None,
        };
        email.end("Invoice".to_owned(), Outcome::Sent, now);
        email.end("Other".to_owned(), Outcome::Refused("550".to_owned()), now);
        assert_eq!((email.status, email.sent_at, email.error), (EmailStatus::Sent, Some(now), None));
        assert_eq!(email.subject.as_deref(), Some("Invoice"));
    }
}
