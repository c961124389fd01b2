//! What others hear of credit notes.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::CreditNoteBody, model::CreditNote};

const CREATED: &str = "credit_note.created";
const UPDATED: &str = "credit_note.updated";

/// Tells that there is a credit note.
pub(super) async fn created(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    note: &CreditNote,
) -> Result<(), DbErr> {
    append(tx, now, note, fact(CREATED, livemode, note)).await
}

/// Tells what became of its credit, or of its refund.
pub(super) async fn updated(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    (before, after): (&CreditNote, &CreditNote),
) -> Result<(), DbErr> {
    let fact = fact(UPDATED, livemode, after).changed_from(&CreditNoteBody::new(before, livemode));
    append(tx, now, after, fact).await
}

fn fact(kind: &'static str, livemode: bool, note: &CreditNote) -> Fact {
    Fact::new(kind, note.id, &CreditNoteBody::new(note, livemode))
        .of_customer(note.customer_id, note.test_clock_id)
}

async fn append(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    note: &CreditNote,
    fact: Fact,
) -> Result<(), DbErr> {
    outbox::append(tx, now, note.tenant_id, fact).await.map(drop)
}
