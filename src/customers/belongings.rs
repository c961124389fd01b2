//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// Before anything of theirs is deleted.
pub const LOCK: &str = "select id from customers where tenant_id = $1 and id = $2 for update";

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &[
    "update customers set parent_id = null where tenant_id = $1 and parent_id = $2",
    "delete from customers where tenant_id = $1 and id = $2",
];
