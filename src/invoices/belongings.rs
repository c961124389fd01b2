//! What goes with a customer who is deleted with their test clock.

use crate::app::{Belongings, execute_all};

/// Before anything of theirs is deleted.
pub const LOCK: &str =
    "select id from invoices where tenant_id = $1 and customer_id = $2 order by id for update";

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: None,
    delete: |tx, tenant, customer| Box::pin(execute_all(tx, tenant, customer, DELETE)),
};

const DELETE: &[&str] = &[
    "insert into removed_numbers (tenant_id, id) select tenant_id, 'invoice:' || number from invoices \
     where tenant_id = $1 and customer_id = $2 and number is not null",
    "insert into removed_numbers (tenant_id, id) select tenant_id, 'credit note:' || number from credit_notes \
     where tenant_id = $1 and customer_id = $2",
    "delete from credit_applications where tenant_id = $1 \
     and invoice_id in (select id from invoices where tenant_id = $1 and customer_id = $2)",
    "delete from credit_note_lines where tenant_id = $1 \
     and credit_note_id in (select id from credit_notes where tenant_id = $1 and customer_id = $2)",
    "delete from credit_notes where tenant_id = $1 and customer_id = $2",
    "delete from documents where tenant_id = $1 \
     and invoice_id in (select id from invoices where tenant_id = $1 and customer_id = $2)",
    "delete from invoice_lines where tenant_id = $1 \
     and invoice_id in (select id from invoices where tenant_id = $1 and customer_id = $2)",
    "delete from balance_entries where tenant_id = $1 and customer_id = $2",
    "delete from invoices where tenant_id = $1 and customer_id = $2",
];
