//! What goes with a customer who is deleted with their test clock: events, by which others of the same name are new, and
//! what was made of them.

use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::db::Db;
use sea_orm::{DatabaseTransaction, DbErr};

use super::{model::Shelving, store::erasing};
use crate::app::{Belongings, execute_all};

/// What the customer has here.
pub const BELONGINGS: Belongings = Belongings {
    take_out: Some(|db, tenant, customer| Box::pin(take_out(db, tenant, customer))),
    delete: |tx, tenant, customer| Box::pin(delete(tx, tenant, customer)),
};

const DELETE: &[&str] = &[
    "delete from usage_closings where tenant_id = $1 and customer_id = $2",
    "delete from usage_watches where tenant_id = $1 and customer_id = $2",
    "delete from usage_rollups where tenant_id = $1 and customer_id = $2",
];

/// Events may be millions.
async fn take_out(db: &Db, tenant: TenantId, customer: CustomerId) -> Result<bool, DbErr> {
    let tx = db.begin().await?;
    let more = erasing::some_packs(&tx, Shelving::of(&tx), tenant, customer).await?;
    tx.commit().await?;
    Ok(more)
}

/// Of a customer of whom no more events are taken.
async fn delete(tx: &DatabaseTransaction, tenant: TenantId, customer: CustomerId) -> Result<(), DbErr> {
    while erasing::some_packs(tx, Shelving::of(tx), tenant, customer).await? {}
    execute_all(tx, tenant, customer, DELETE).await
}
