//! The verbs of notifications.

use std::str::FromStr;

use accrue_core::id::{CustomerId, EmailId, InvoiceId, TenantId};
use accrue_platform::{
    outbox::{self, Event},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};

use super::{
    compose::Facts,
    jobs::SendEmail,
    model::{Email, EmailStatus, Outcome},
    render::Kind,
    store,
    told::{self, Told},
};
use crate::{
    auth::{self, Tenant},
    customers::{
        Contact,
        service::{self as customers, CustomerError},
    },
    invoices::{
        Invoice, InvoiceStatus,
        service::{self as invoices, InvoiceError},
    },
    issuers,
};

/// Why an email cannot be had or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotificationError {
    #[error("email {0} does not exist")]
    NotFound(EmailId),
    #[error("what the email is about is missing")]
    Missing(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// An event has happened: notes the emails that it causes, one to each address that the customer has for it.
pub(super) async fn announce(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    let kind = told::kind_of(event).unwrap_or_else(|error| {
        // Others must still hear of the event.
        tracing::error!(%error, event.id = %event.id, "no email: the event's data cannot be read");
        None
    });
    let (Some(kind), Some(customer)) = (kind, event.customer_id) else { return Ok(()) };
    if kind == Kind::PaymentRecovered && !is_paid(tx, event).await? {
        return Ok(());
    }
    let customer = match customers::get(tx, event.tenant_id, customer).await {
        Ok(customer) => customer,
        Err(CustomerError::Database(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    for Contact { email: recipient, name } in customer.recipients(kind.is_about_invoices()) {
        let email = Email {
            tenant_id: event.tenant_id,
            id: EmailId::new(event.created_at),
            customer_id: customer.id,
            event_id: event.id,
            kind,
            recipient,
            recipient_name: name.unwrap_or_else(|| customer.name.clone()),
            subject: None,
            status: EmailStatus::Pending,
            error: None,
            created_at: event.created_at,
            sent_at: None,
        };
        if store::insert(tx, &email).await? {
            SendEmail { email: email.id }.enqueue(tx, event).await?;
        }
    }
    Ok(())
}

/// A debt is also gone when its invoice is voided; nobody has paid then.
async fn is_paid(tx: &DatabaseTransaction, event: &Event) -> Result<bool, DbErr> {
    let Some(id) = invoice_of(event, Kind::PaymentRecovered) else { return Ok(false) };
    let invoice = find_invoice(tx, event.tenant_id, id).await?;
    Ok(invoice.is_some_and(|invoice| invoice.status == InvoiceStatus::Paid))
}

async fn find_invoice(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Option<Invoice>, DbErr> {
    match invoices::get(db, tenant, id).await {
        Ok(invoice) => Ok(Some(invoice)),
        Err(InvoiceError::Database(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The invoice that an event of payments, dunning or invoices is about.
pub(super) fn invoice_of(event: &Event, kind: Kind) -> Option<InvoiceId> {
    #[derive(serde::Deserialize)]
    struct OfInvoice {
        invoice: InvoiceId,
    }

    match kind {
        Kind::InvoiceIssued => event.object_id.parse().ok(),
        Kind::PaymentReceipt | Kind::PaymentFailed | Kind::ActionRequired | Kind::PaymentRecovered => {
            Told::<OfInvoice>::by(event).ok().map(|told| told.object.invoice)
        }
        Kind::TrialWillEnd | Kind::SubscriptionCanceled | Kind::AccessRestricted => None,
    }
}

/// Everything an email is written from, but for its attachment.
pub(super) async fn facts(db: &impl ConnectionTrait, email: &Email) -> Result<Facts, NotificationError> {
    let tenant = auth::service::get_tenant(db, email.tenant_id)
        .await
        .map_err(|error| NotificationError::Missing(error.into()))?;
    let customer = customers::get(db, tenant.id, email.customer_id)
        .await
        .map_err(|error| NotificationError::Missing(error.into()))?;
    let event = outbox::find(db, tenant.id, email.event_id)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound(email.event_id.to_string()))?;
    let invoice = match invoice_of(&event, email.kind) {
        Some(id) => find_invoice(db, tenant.id, id).await?,
        None => None,
    };
    let open = match email.kind {
        Kind::AccessRestricted | Kind::PaymentRecovered => {
            let child = invoice.as_ref().and_then(|invoice| invoice.made_for.as_ref());
            let whose = child.map_or(customer.id, |child| child.customer);
            invoices::open_for_customer(db, tenant.id, whose).await?
        }
        _ => Vec::new(),
    };
    // An invoice is written about by whom it is from, whoever bills the customer now.
    let issuer = invoice.as_ref().map_or(customer.issuer_id, |invoice| invoice.issuer_id);
    let tenant = issuers::service::in_name_of(db, &tenant, issuer).await?.into_owned();
    let recipient_name = email.recipient_name.clone();
    Ok(Facts { tenant, customer, recipient_name, event, invoice, open, pdf_attached: false })
}

/// Notes how sending ended. `now` is the customer's.
pub(super) async fn end(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: EmailId,
    subject: String,
    outcome: Outcome,
) -> Result<(), NotificationError> {
    let email = store::find_for_update(tx, tenant, id).await?;
    let mut email = email.ok_or(NotificationError::NotFound(id))?;
    email.end(subject, outcome, now);
    Ok(store::save(tx, &email).await?)
}

pub(super) async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: EmailId,
) -> Result<Email, NotificationError> {
    store::find(db, tenant, id).await?.ok_or(NotificationError::NotFound(id))
}

/// One page of a customer's emails, the newest first. It may begin after something that is no email, if its identifier is
/// made from time as an email's is.
pub async fn of_customer<I: FromStr<Err: ToString> + Into<Value>>(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    page: &PageQuery,
) -> Result<Vec<Email>, PageError> {
    store::list::<I>(db, tenant, Some(customer), page).await
}

/// One page of the emails, of one customer or of all.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    customer: Option<CustomerId>,
    page: &PageQuery,
) -> Result<Vec<Email>, PageError> {
    store::list::<EmailId>(db, tenant.id, customer, page).await
}
