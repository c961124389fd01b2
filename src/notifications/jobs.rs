//! The sending of emails, and the ear that notes them.

use accrue_core::id::EmailId;
use accrue_platform::{
    mail::{Attachment, MailError, Mailbox, Message},
    outbox::Event,
};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::{
    compose::Facts,
    model::{Email, EmailStatus, Outcome},
    render::{Kind, Rendered, render},
    service::{self, NotificationError},
};
use crate::{
    app::{App, Job, JobContext, JobError, JobRunner, Listener, enqueue, job_runner},
    invoices::{self, DocumentError},
};

/// What notifications do in the background.
pub const JOBS: &[JobRunner] = &[job_runner::<SendEmail>()];

/// Everything that customers are told by mail.
pub const LISTENERS: &[Listener] = &[LISTENER];

const LISTENER: Listener =
    Listener { name: "notifications", hear: |tx, event| Box::pin(service::announce(tx, event)) };

/// Writes an email and sends it. Killed after the mail server took it, it is sent once more, with the same
/// bytes and the same message id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendEmail {
    pub email: EmailId,
}

impl SendEmail {
    pub async fn enqueue(&self, tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
        enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, self.email, self).await
    }
}

impl Job for SendEmail {
    const NAME: &'static str = "notifications.send";

    #[instrument(name = "job.notifications.send", skip_all, fields(email.id = %self.email))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let (app, db) = (&context.app, context.app.db.reader());
        let email = service::get(db, context.tenant, self.email).await?;
        if email.status != EmailStatus::Pending {
            return Ok(());
        }
        let mut facts = service::facts(db, &email).await?;
        let (subject, outcome) = if email.kind == Kind::AccessRestricted && facts.open.is_empty() {
            (String::new(), Outcome::Refused("the debt was gone before it could be sent".to_owned()))
        } else {
            let pdf = pdf(app, &email, &facts).await?;
            facts.pdf_attached = pdf.is_some();
            let rendered = written(&email, &facts)?;
            let subject = rendered.subject.clone();
            (subject, send(app, message(&app.config.mail_from, &email, &facts, rendered, pdf)).await?)
        };

        let tx = context.begin().await?;
        service::end(&tx, context.now, context.tenant, self.email, subject, outcome).await?;
        context.commit(tx).await
    }
}

fn written(email: &Email, facts: &Facts) -> Result<Rendered, JobError> {
    let context = facts.context(email.kind).map_err(|error| JobError::GiveUp(error.into()))?;
    render(&context).map_err(|error| JobError::GiveUp(error.into()))
}

/// The invoice, for the emails that carry it; a program built without documents sends them bare.
async fn pdf(app: &App, email: &Email, facts: &Facts) -> Result<Option<Attachment>, JobError> {
    let carries = matches!(email.kind, Kind::InvoiceIssued | Kind::PaymentReceipt | Kind::PaymentRecovered);
    let Some(invoice) = facts.invoice.as_ref().filter(|_| carries) else { return Ok(None) };
    let is_invoice = email.kind == Kind::InvoiceIssued;
    let printed = if is_invoice {
        invoices::service::pdf(app, invoice.tenant_id, invoice.id).await
    } else {
        invoices::service::receipt(app, invoice.tenant_id, invoice.id).await
    };
    let prefix = if is_invoice { "" } else { "Receipt-" };
    match printed {
        Ok(bytes) => Ok(Some(Attachment {
            name: format!("{prefix}{}.pdf", invoice.number.as_deref().unwrap_or("invoice")),
            content_type: "application/pdf".to_owned(),
            bytes,
        })),
        Err(DocumentError::NotBuiltIn) => Ok(None),
        Err(error) => Err(JobError::Retry(error.into())),
    }
}

/// The same at every attempt, but for a document that was printed anew.
fn message(
    sender: &str,
    email: &Email,
    facts: &Facts,
    rendered: Rendered,
    attachment: Option<Attachment>,
) -> Message {
    let sender = mailbox(sender);
    let domain = sender.email.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    // People know the seller, not the program that bills for them.
    let seller = facts.seller().to_owned();
    let answers_to = |email: &String| Mailbox { name: Some(seller.clone()), email: email.clone() };
    let Rendered { subject, html, text } = rendered;
    Message {
        message_id: format!("{}@{domain}", email.id),
        reply_to: facts.tenant.settings.issuer.email.as_ref().map(answers_to),
        to: Mailbox { name: Some(email.recipient_name.clone()), email: email.recipient.clone() },
        subject,
        html,
        text,
        attachments: attachment.into_iter().collect(),
        date: email.created_at,
        kind: email.kind.as_str(),
        from: Mailbox { name: Some(seller), ..sender },
    }
}

/// `Accrue <billing@example.com>`, or an address alone.
fn mailbox(text: &str) -> Mailbox {
    let parts = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    let (name, email) = parts.map_or((None, text.trim()), |(name, email)| (Some(name.trim()), email.trim()));
    let name = name.map(|name| name.trim_matches('"').to_owned()).filter(|name| !name.is_empty());
    Mailbox { name, email: email.to_owned() }
}

/// Sends it, unless no server will ever take it. What is the operator's to mend is tried again.
async fn send(app: &App, mut message: Message) -> Result<Outcome, JobError> {
    let mut sent = app.mailer.send(&message).await;
    if matches!(sent, Err(MailError::Invalid { part: "reply address", .. })) {
        // The seller mistyped it; the customer shall have the email all the same.
        message.reply_to = None;
        sent = app.mailer.send(&message).await;
    }
    match sent {
        Ok(()) => Ok(Outcome::Sent),
        Err(MailError::Rejected { code, reply }) => Ok(Outcome::Refused(format!("{code} {reply}"))),
        Err(error @ MailError::Invalid { part: "recipient", .. }) => Ok(Outcome::Refused(error.to_string())),
        Err(error) => Err(JobError::Retry(error.into())),
    }
}

impl From<NotificationError> for JobError {
    fn from(error: NotificationError) -> Self {
        Self::Retry(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_read_with_and_without_a_name() {
        let read = |text| {
            let Mailbox { name, email } = mailbox(text);
            (name, email)
        };
        let email = "billing@acme.example".to_owned();
        assert_eq!(
            read("Acme Billing <billing@acme.example>"),
            (Some("Acme Billing".to_owned()), email.clone())
        );
        assert_eq!(
            read("\"Acme, Inc\" <billing@acme.example>"),
            (Some("Acme, Inc".to_owned()), email.clone())
        );
        assert_eq!(read("billing@acme.example"), (None, email.clone()));
        assert_eq!(read("<billing@acme.example>"), (None, email));
    }
}
