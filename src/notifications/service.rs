//! The verbs of notifications.

use accrue_core::id::{CustomerId, EmailId, TenantId};
use accrue_platform::{
    mail::{Attachment, MailError, Mailbox, Message},
    outbox::{self, Event},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    content::{self, ContentError},
    jobs::SendEmail,
    render::{self, Color, Context, Kind, RenderError},
    store::{self, Email, EmailStatus},
};
use crate::{
    app::{App, enqueue},
    auth::{self, Tenant},
    customers::{self, Customer, service::CustomerError},
    invoices,
};

/// Why a mail cannot be written or sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotificationError {
    #[error("the mail's event does not exist")]
    NoEvent,
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("the invoice's document cannot be made")]
    Document(#[from] invoices::DocumentError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("the customer cannot be read")]
    Customer(#[from] CustomerError),
    #[error("the tenant cannot be read")]
    Tenant(#[from] auth::service::AuthError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Stores the mail that follows from an event, if one does and the customer has an address, and has it sent.
pub(super) async fn note(tx: &DatabaseTransaction, event: &Event, kind: Kind) -> Result<(), DbErr> {
    let Some(customer) = event.customer_id else { return Ok(()) };
    let customer = match customers::service::get(tx, event.tenant_id, customer).await {
        Ok(customer) => customer,
        Err(CustomerError::Database(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    let Some(recipient) = customer.email else { return Ok(()) };
    let email = Email {
        tenant_id: event.tenant_id,
        id: EmailId::new(event.created_at),
        customer_id: customer.id,
        event_id: event.id,
        kind: kind.as_str().to_owned(),
        recipient,
        subject: None,
        status: EmailStatus::Pending,
        error: None,
        created_at: event.created_at,
        sent_at: None,
    };
    if store::insert(tx, &email).await? {
        let job = SendEmail { email: email.id };
        enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, email.id, &job).await?;
    }
    Ok(())
}

/// Sends a stored mail. Its Message-ID and date come from the row: sent twice, it is the same mail.
pub(super) async fn send(app: &App, email: &Email) -> Result<String, NotificationError> {
    let db = app.db.reader();
    let event = outbox::find(db, email.tenant_id, email.event_id).await?.ok_or(NotificationError::NoEvent)?;
    let tenant = auth::service::get_tenant(db, email.tenant_id).await?;
    let customer = customers::service::get(db, email.tenant_id, email.customer_id).await?;
    let zone = customer.zone(&tenant.timezone);
    let written = content::of(db, &email.kind, &event, zone).await?;
    let attachments = match written.attached_invoice {
        Some(invoice) => vec![Attachment {
            name: format!("{}.pdf", written.attachment_name),
            content_type: "application/pdf".to_owned(),
            bytes: invoices::service::pdf(app, tenant.id, invoice).await?,
        }],
        None => Vec::new(),
    };
    let kind = written.content.kind();
    let rendered = render::render(&Context {
        tenant: letterhead(&tenant),
        customer_name: Some(customer.name.clone()),
        livemode: tenant.livemode,
        content: written.content,
    })?;
    let subject = rendered.subject.clone();
    app.mailer.send(&message(app, &tenant, &customer, email, kind, rendered, attachments)).await?;
    Ok(subject)
}

fn letterhead(tenant: &Tenant) -> render::Tenant {
    let issuer = &tenant.settings.issuer;
    render::Tenant {
        name: tenant.name.clone(),
        color: tenant.settings.brand_color.parse().unwrap_or(Color::DEFAULT),
        address: issuer.address.clone(),
        support_email: issuer.email.clone(),
    }
}

fn message(
    app: &App,
    tenant: &Tenant,
    customer: &Customer,
    email: &Email,
    kind: Kind,
    rendered: render::Rendered,
    attachments: Vec<Attachment>,
) -> Message {
    let sender = sender(&app.config.mail_from);
    let host = sender.email.rsplit('@').next().unwrap_or("localhost").to_owned();
    let reply_to = tenant.settings.issuer.email.clone();
    Message {
        message_id: format!("{}@{host}", email.id),
        from: Mailbox { name: Some(tenant.name.clone()), ..sender },
        reply_to: reply_to.map(|email| Mailbox { name: Some(tenant.name.clone()), email }),
        to: Mailbox { name: Some(customer.name.clone()), email: email.recipient.clone() },
        subject: rendered.subject,
        html: rendered.html,
        text: rendered.text,
        attachments,
        date: email.created_at,
        kind: kind.as_str(),
    }
}

/// `Accrue <billing@example.com>`, or only the address.
fn sender(setting: &str) -> Mailbox {
    match setting.split_once('<') {
        Some((name, rest)) => Mailbox {
            name: Some(name.trim().to_owned()),
            email: rest.trim_end_matches('>').trim().to_owned(),
        },
        None => Mailbox { name: None, email: setting.trim().to_owned() },
    }
}

/// Writes down what became of a mail.
pub(super) async fn settle(
    tx: &DatabaseTransaction,
    email: Email,
    outcome: Result<String, String>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let settled = match outcome {
        Ok(subject) => Email {
            status: EmailStatus::Sent,
            subject: Some(subject),
            sent_at: Some(now),
            error: None,
            ..email
        },
        Err(error) => Email { status: EmailStatus::Failed, error: Some(error), ..email },
    };
    store::save_outcome(tx, &settled).await
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: EmailId,
) -> Result<Option<Email>, DbErr> {
    store::find(db, tenant, id).await
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<Email>, PageError> {
    store::list(db, tenant, customer, page).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_an_address_with_or_without_a_name() {
        let with = sender("Accrue <billing@localhost>");
        assert_eq!((with.name.as_deref(), with.email.as_str()), (Some("Accrue"), "billing@localhost"));
        let without = sender("billing@localhost");
        assert_eq!((without.name, without.email.as_str()), (None, "billing@localhost"));
    }
}
