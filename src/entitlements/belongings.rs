//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &["delete from entitlement_snapshots where tenant_id = $1 and id = $2"];
