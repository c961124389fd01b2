//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &[
    "delete from webhook_attempts where tenant_id = $1 and delivery_id in (select d.id from webhook_deliveries d \
     join events e on e.tenant_id = d.tenant_id and e.id = d.event_id where d.tenant_id = $1 and e.customer_id = $2)",
    "delete from webhook_deliveries where tenant_id = $1 \
     and event_id in (select id from events where tenant_id = $1 and customer_id = $2)",
];
