//! The verbs of the ledger.

use std::collections::{BTreeMap, HashMap};

use accrue_core::{
    id::{CustomerId, LedgerAccountId, TenantId},
    money::{Currency, Money, MoneyError},
};
use accrue_platform::page::{PageError, PageQuery};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    model::{Account, Entry, Finding, OpenAccount, Posting, TrialBalanceRow},
    store,
};
use crate::customers::{self, service::CustomerError};

/// Why a posting is refused, or something of the books cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the entries of {fact} {object_id} do not add up to zero")]
    Unbalanced { fact: &'static str, object_id: String },
    #[error("ledger account {0} does not exist")]
    NoSuchAccount(LedgerAccountId),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Posts a fact (RULES 51). Entries of zero are left out; a posting without entries is not stored. The same
/// fact of the same object twice is a unique violation: the whole transaction must be undone.
pub async fn post(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    mut posting: Posting,
) -> Result<(), LedgerError> {
    if !posting.is_balanced() {
        return Err(LedgerError::Unbalanced { fact: posting.fact, object_id: posting.object_id });
    }
    posting.entries.retain(|(_, amount)| !amount.is_zero());
    if posting.entries.is_empty() {
        return Ok(());
    }
    let accounts = store::open_accounts(tx, now, tenant, &posting.entries).await?;
    Ok(store::insert(tx, now, tenant, posting, &accounts).await?)
}

/// Customers of whom the books say something else than expected in a currency: what was expected, and what they say. A
/// debit is positive. `whose` tells which accounts are meant; whoever is not expected to have any has nothing there.
pub async fn unlike(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    whose: fn(&Account) -> Option<CustomerId>,
    expected: impl IntoIterator<Item = (CustomerId, Money)>,
) -> Result<Vec<(CustomerId, Money, Money)>, LedgerError> {
    let mut sums = BTreeMap::<(CustomerId, Currency), (Money, Money)>::new();
    let nothing = |currency| (Money::zero(currency), Money::zero(currency));
    for (customer, amount) in expected {
        let currency = amount.currency();
        let (sum, _) = sums.entry((customer, currency)).or_insert(nothing(currency));
        *sum = sum.checked_add(amount)?;
    }
    for (account, amount) in store::all_balances(db, tenant).await? {
        let Some(customer) = whose(&account) else { continue };
        let currency = amount.currency();
        sums.entry((customer, currency)).or_insert(nothing(currency)).1 = amount;
    }
    let unlike = sums.into_iter().filter(|(_, (expected, booked))| expected != booked);
    Ok(unlike.map(|((customer, _), (expected, booked))| (customer, expected, booked)).collect())
}

/// Where a tenant's books do not balance: nowhere, or there is a bug.
pub async fn verify(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Finding>, LedgerError> {
    Ok(store::unbalanced(db, tenant).await?)
}

/// Debits and credits of each kind of account, sorted by currency.
pub(super) async fn trial_balance(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<TrialBalanceRow>, LedgerError> {
    Ok(store::trial_balance(db, tenant).await?)
}

/// Accounts, the youngest first, and their balances.
pub(super) async fn list_accounts(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    code: Option<&str>,
    customer: Option<&str>,
    page: &PageQuery,
) -> Result<Vec<(OpenAccount, Money)>, LedgerError> {
    let owner = match customer {
        Some(reference) => Some(customers::service::resolve(db, tenant, reference).await?.id.to_string()),
        None => None,
    };
    let accounts = store::list_accounts(db, tenant, code, owner.as_deref(), page).await?;
    let balances: HashMap<_, _> =
        store::balances(db, tenant, accounts.iter().map(|account| account.id)).await?;
    let with_balance = |account: OpenAccount| {
        let minor = balances.get(&account.id).copied().unwrap_or_default();
        let balance = Money::from_minor(minor, account.currency);
        (account, balance)
    };
    Ok(accounts.into_iter().map(with_balance).collect())
}

/// Entries, the last posted first.
pub(super) async fn list_entries(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    account: Option<LedgerAccountId>,
    page: &PageQuery,
) -> Result<Vec<Entry>, LedgerError> {
    if let Some(id) = account {
        store::find_account(db, tenant, id).await?.ok_or(LedgerError::NoSuchAccount(id))?;
    }
    Ok(store::list_entries(db, tenant, account, page).await?)
}
