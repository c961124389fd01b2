//! Reads what happened.

use accrue_platform::{
    outbox::{self, Event},
    page::{PageError, PageQuery, Start},
};
use chrono_tz::Tz;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use super::{
    links,
    model::{Entry, EntryId, merge},
    words,
};
use crate::{
    auth::Tenant,
    customers::{self, Customer},
    notifications::{self, Email},
};

/// One page of what happened to a customer, the newest first, and one entry more if more follow.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: &Tenant,
    customer: &Customer,
    page: &PageQuery,
) -> Result<Vec<Entry>, PageError> {
    let zone = customer.zone(&*customers::service::billed_by(db, tenant, customer).await?);
    let events = outbox::of_customer::<EntryId>(db, tenant.id, customer.id, page).await?;
    let emails = notifications::of_customer::<EntryId>(db, tenant.id, customer.id, page).await?;
    let events = events.into_iter().map(|event| of_event(event, zone)).collect();
    let emails = emails.iter().map(of_email).collect();
    let most = usize::try_from(page.limit()? + 1).expect("at most 101");
    let to_newer = matches!(page.start::<EntryId>()?, Start::NewerThan(_));
    Ok(merge(events, emails, most, to_newer))
}

fn of_event(event: Event, zone: Tz) -> Entry {
    // The outbox stores JSON; what could not be read would still have happened.
    let data = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({}));
    let part = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
    let (object, previous) = (part("object"), part("previous"));
    let told = words::Told { object: &object, previous: &previous, zone };
    Entry {
        id: EntryId::Event(event.id),
        at: event.created_at,
        text: told.words(&event.kind).unwrap_or_else(|| event.kind.replace(['.', '_'], " ")),
        links: links::of_event(event.id, &event.kind, &object),
        kind: event.kind,
        cause: Some(event.cause),
    }
}

fn of_email(email: &Email) -> Entry {
    Entry {
        id: EntryId::Email(email.id),
        at: email.created_at,
        kind: words::kind_of_email(email),
        text: words::of_email(email),
        links: links::of_email(email),
        cause: None,
    }
}
