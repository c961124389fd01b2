//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &[
    "delete from usage_alert_triggers where tenant_id = $1 \
     and usage_alert_id in (select id from usage_alerts where tenant_id = $1 and customer_id = $2)",
    "delete from usage_alerts where tenant_id = $1 and customer_id = $2",
];
