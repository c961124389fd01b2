//! What others may hear of alerts.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::UsageAlertBody, model::Alert};

const TRIGGERED: &str = "usage_alert.triggered";
const RECOVERED: &str = "usage_alert.recovered";

/// An alert triggered, or recovered: as it was before and is now, with its metric's code. `now` is the customer's time.
pub(super) async fn moved(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    (before, after): (&Alert, &Alert),
    metric: &str,
    livemode: bool,
) -> Result<(), DbErr> {
    let kind = if after.is_triggered { TRIGGERED } else { RECOVERED };
    let body = |alert: &Alert| UsageAlertBody::new(alert.clone(), metric.to_owned(), livemode);
    let fact = Fact::new(kind, after.id, &body(after)).changed_from(&body(before));
    let fact = match after.customer_id {
        Some(customer) => fact.of_customer(customer, after.test_clock_id),
        None => fact,
    };
    outbox::append(tx, now, after.tenant_id, fact).await.map(drop)
}
