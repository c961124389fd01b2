//! The verbs of the ledger.

use accrue_core::{id::TenantId, money::Money};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::model::{Account, Posting};

/// Why a posting is refused.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the entries of {fact} {object_id} do not add up to zero")]
    Unbalanced { fact: &'static str, object_id: String },
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Posts a fact. Entries of zero are left out; a posting without entries is not stored. The same fact of the
/// same object twice is a unique violation: the whole transaction must be undone.
pub async fn post(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    posting: Posting,
) -> Result<(), LedgerError> {
    let _ = (tx, now, tenant, posting);
    Ok(())
}

/// The sum of an account's entries in the currency of `zero`.
pub async fn balance(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    account: &Account,
    zero: Money,
) -> Result<Money, LedgerError> {
    let _ = (db, tenant, account);
    Ok(zero)
}
