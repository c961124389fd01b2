//! The catalogue in the database.

pub(super) mod features;
pub(super) mod metrics;
pub(super) mod plans;
pub(super) mod taxes;

use accrue_core::id::TenantId;
use accrue_platform::counter;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, sea_query::SimpleExpr};

/// From here on, until the transaction ends, nobody else names anything of the tenant's catalogue or takes it out. The
/// counter is a lock, taken before all others: what a check finds here is there, and is sold, when it is referred to.
pub(super) async fn take_turns(tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
    counter::take(tx, tenant, "catalog", 0).await.map(drop)
}

/// What is archived, or what is not.
fn which(archived_at: impl ColumnTrait, archived: bool) -> SimpleExpr {
    if archived { archived_at.is_not_null() } else { archived_at.is_null() }
}
