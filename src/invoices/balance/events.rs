//! What others hear of balances.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::BalanceEntryBody, model::BalanceEntry};

const CHANGED: &str = "customer.balance_changed";

/// Tells that a customer has more or less with us.
pub(super) async fn changed(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    livemode: bool,
    entry: &BalanceEntry,
) -> Result<(), DbErr> {
    let body = BalanceEntryBody::new(entry.clone(), livemode);
    let fact = Fact::new(CHANGED, entry.id, &body).of_customer(entry.customer_id, entry.test_clock_id);
    outbox::append(tx, now, entry.tenant_id, fact).await.map(drop)
}
