//! Events become mails, and mails are sent.

use accrue_core::id::EmailId;
use accrue_platform::{mail::MailError, outbox::Event};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{
    content,
    service::{self, NotificationError},
    store::EmailStatus,
};
use crate::app::{Job, JobContext, JobError, JobRunner, Listener, job_runner};

/// Sends one mail. Sent and not yet written down, it is sent again: with the same Message-ID.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendEmail {
    pub(super) email: EmailId,
}

impl Job for SendEmail {
    const NAME: &'static str = "notifications.send";

    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let found = service::find(context.app.db.reader(), context.tenant, self.email).await?;
        let Some(email) = found.filter(|email| email.status == EmailStatus::Pending) else { return Ok(()) };
        let outcome = match service::send(&context.app, &email).await {
            Ok(subject) => Ok(subject),
            // No retry can help: people see it in the list of mails.
            Err(NotificationError::Mail(
                error @ (MailError::Invalid { .. } | MailError::Rejected { .. }),
            )) => Err(error.to_string()),
            Err(error @ (NotificationError::Content(_) | NotificationError::NoEvent)) => {
                return Err(JobError::GiveUp(error.into()));
            }
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let tx = context.begin().await?;
        service::settle(&tx, email, outcome, context.now).await?;
        context.commit(tx).await
    }
}

/// Every job of notifications.
pub const JOBS: &[JobRunner] = &[job_runner::<SendEmail>()];

/// Everything that customers are told by mail.
pub const LISTENERS: &[Listener] = &[LISTENER];

const LISTENER: Listener = Listener { name: "notifications", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    match content::kind_of(event) {
        Some(kind) => service::note(tx, event, kind).await,
        None => Ok(()),
    }
}
