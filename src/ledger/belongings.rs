//! What goes with a customer who is deleted with their test clock: every fact that any account of theirs took part in, as a
//! whole, so that the other accounts balance as before.

use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::bulk;
use sea_orm::{DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*};

use super::store::{accounts, entries, transactions};
use crate::app::Belongings;

/// What the customer has here.
pub const BELONGINGS: Belongings =
    Belongings { take_out: None, delete: |tx, tenant, customer| Box::pin(delete(tx, tenant, customer)) };

/// Facts of so many are deleted at once.
const AT_ONCE: usize = 1000;

/// The database refuses this unless a test clock is being deleted.
async fn delete(tx: &DatabaseTransaction, tenant: TenantId, customer: CustomerId) -> Result<(), DbErr> {
    let owned = accounts::of(tenant).filter(accounts::Column::Owner.eq(customer.to_string())).all(tx).await?;
    let owned: Vec<Uuid> = owned.into_iter().map(|account| account.id.0).collect();
    if owned.is_empty() {
        return Ok(());
    }
    let facts: Vec<Uuid> = entries::of(tenant)
        .select_only()
        .column(entries::Column::TransactionId)
        .distinct()
        .filter(bulk::one_of(tx, entries::Column::AccountId, owned.clone()))
        .into_tuple()
        .all(tx)
        .await?;
    delete_facts(tx, tenant, facts).await?;
    accounts::Entity::delete_many()
        .filter(accounts::Column::TenantId.eq(tenant))
        .filter(bulk::one_of(tx, accounts::Column::Id, owned))
        .exec(tx)
        .await
        .map(drop)
}

/// Forgets a fact of some objects of a customer who is being deleted, for facts in which no account of theirs takes part.
pub async fn forget(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    fact: &str,
    objects: Vec<String>,
) -> Result<(), DbErr> {
    for some in objects.chunks(AT_ONCE) {
        let facts: Vec<Uuid> = transactions::of(tenant)
            .select_only()
            .column(transactions::Column::Id)
            .filter(transactions::Column::Fact.eq(fact))
            .filter(bulk::one_of(tx, transactions::Column::ObjectId, some.to_vec()))
            .into_tuple()
            .all(tx)
            .await?;
        delete_facts(tx, tenant, facts).await?;
    }
    Ok(())
}

async fn delete_facts(tx: &DatabaseTransaction, tenant: TenantId, facts: Vec<Uuid>) -> Result<(), DbErr> {
    for some in facts.chunks(AT_ONCE) {
        entries::Entity::delete_many()
            .filter(entries::Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, entries::Column::TransactionId, some.to_vec()))
            .exec(tx)
            .await?;
        transactions::Entity::delete_many()
            .filter(transactions::Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, transactions::Column::Id, some.to_vec()))
            .exec(tx)
            .await?;
    }
    Ok(())
}
