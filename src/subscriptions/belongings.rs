//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// Before anything of theirs is deleted.
pub const LOCK: &str =
    "select id from subscriptions where tenant_id = $1 and customer_id = $2 order by id for update";

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &[
    "delete from subscription_phases where tenant_id = $1 \
     and subscription_id in (select id from subscriptions where tenant_id = $1 and customer_id = $2)",
    "delete from subscriptions where tenant_id = $1 and customer_id = $2",
];
