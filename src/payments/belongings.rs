//! What goes with a customer who is deleted with their test clock.

use accrue_core::id::{CustomerId, RefundId, TenantId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};

use crate::{
    app::{Belongings, execute_all},
    ledger,
};

/// Before anything of theirs is deleted.
pub const LOCK: &str =
    "select id from payments where tenant_id = $1 and customer_id = $2 order by id for update";

/// After [`LOCK`].
pub const LOCK_REFUNDS: &str = "select id from refunds where tenant_id = $1 \
    and payment_id in (select id from payments where tenant_id = $1 and customer_id = $2) order by id for update";

/// What the customer has here.
pub const BELONGINGS: Belongings =
    Belongings { take_out: None, delete: |tx, tenant, customer| Box::pin(delete(tx, tenant, customer)) };

const REFUNDS: &str = "select id from refunds where tenant_id = $1 \
    and payment_id in (select id from payments where tenant_id = $1 and customer_id = $2)";

const DELETE: &[&str] = &[
    "delete from refunds where tenant_id = $1 \
     and payment_id in (select id from payments where tenant_id = $1 and customer_id = $2)",
    "delete from payment_attempts where tenant_id = $1 \
     and payment_id in (select id from payments where tenant_id = $1 and customer_id = $2)",
    "delete from payments where tenant_id = $1 and customer_id = $2",
    "delete from payment_methods where tenant_id = $1 and customer_id = $2",
];

async fn delete(tx: &DatabaseTransaction, tenant: TenantId, customer: CustomerId) -> Result<(), DbErr> {
    let values = [tenant.into(), customer.into()];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), REFUNDS, values);
    let refunds = tx.query_all_raw(statement).await?;
    let ids = refunds.iter().map(|row| Ok(row.try_get_by_index::<RefundId>(0)?.to_string()));
    // What we bore ourselves, no account of the customer knows of.
    ledger::forget(tx, tenant, "payment.refunded", ids.collect::<Result<_, DbErr>>()?).await?;
    execute_all(tx, tenant, customer, DELETE).await
}
