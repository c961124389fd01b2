//! Accounts, transactions and entries in the database, which refuses to change or delete them.

use std::collections::HashMap;

use accrue_core::{
    id::{LedgerAccountId, LedgerEntryId, LedgerTransactionId, TenantId},
    money::{Currency, Money},
};
use accrue_platform::{
    column,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, DatabaseTransaction, DbErr, JoinType, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::model::{Account, Entry, Finding, OpenAccount, Posting, TrialBalanceRow};

pub(super) mod accounts {
    use sea_orm::entity::prelude::*;

    use super::{DateTime, LedgerAccountId, TenantId, Utc};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ledger_accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: LedgerAccountId,
        pub code: String,
        pub currency: String,
        pub owner: String,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    pub(in crate::ledger) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

pub(super) mod transactions {
    use sea_orm::entity::prelude::*;

    use super::{DateTime, LedgerTransactionId, TenantId, Utc};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ledger_transactions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: LedgerTransactionId,
        pub fact: String,
        pub object_id: String,
        pub description: String,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    pub(in crate::ledger) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

pub(super) mod entries {
    use sea_orm::entity::prelude::*;

    use super::{
        DateTime, Expr, ExprTrait, LedgerAccountId, LedgerEntryId, LedgerTransactionId, TenantId, Utc,
    };

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ledger_entries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: LedgerEntryId,
        pub transaction_id: LedgerTransactionId,
        pub account_id: LedgerAccountId,
        pub amount_minor: i64,
        pub currency: String,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::accounts::Entity",
            from = "(Column::TenantId, Column::AccountId)",
            to = "(super::accounts::Column::TenantId, super::accounts::Column::Id)"
        )]
        Account,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub(in crate::ledger) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }

    /// Added up by the database, which would answer with a wider type.
    pub(super) fn sum(amounts: Expr) -> Expr {
        amounts.sum().cast_as("bigint")
    }

    pub(super) fn amount() -> Expr {
        Expr::col((Entity, Column::AmountMinor))
    }
}

/// An account's code, owner and currency.
type Name = (String, String, String);

fn name(account: &Account, currency: Currency) -> Name {
    (account.code().to_owned(), account.owner(), currency.code().to_owned())
}

/// The accounts of a posting, those that are used for the first time made.
pub(super) async fn open_accounts(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    entries: &[(Account, Money)],
) -> Result<HashMap<Name, LedgerAccountId>, DbErr> {
    use accounts::Column;

    // In an order that all postings share, so that two that make the same accounts do not wait in a circle.
    let mut wanted: Vec<_> =
        entries.iter().map(|(account, amount)| name(account, amount.currency())).collect();
    wanted.sort_unstable();
    wanted.dedup();

    let mut known = find_accounts(tx, tenant, &wanted).await?;
    let missing: Vec<_> = wanted.iter().filter(|name| !known.contains_key(*name)).collect();
    if !missing.is_empty() {
        let rows = missing.into_iter().cloned().map(|(code, owner, currency)| accounts::ActiveModel {
            tenant_id: Set(tenant),
            id: Set(LedgerAccountId::new(now)),
            code: Set(code),
            currency: Set(currency),
            owner: Set(owner),
            created_at: Set(now),
        });
        let made_meanwhile =
            OnConflict::columns([Column::TenantId, Column::Code, Column::Currency, Column::Owner])
                .do_nothing()
                .to_owned();
        accounts::Entity::insert_many(rows).on_conflict(made_meanwhile).exec_without_returning(tx).await?;
        known = find_accounts(tx, tenant, &wanted).await?;
    }
    Ok(known)
}

async fn find_accounts(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    wanted: &[Name],
) -> Result<HashMap<Name, LedgerAccountId>, DbErr> {
    let rows = accounts::of(tenant)
        .filter(accounts::Column::Code.is_in(wanted.iter().map(|(code, ..)| code)))
        .filter(accounts::Column::Owner.is_in(wanted.iter().map(|(_, owner, _)| owner)))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| ((row.code, row.owner, row.currency), row.id)).collect())
}

/// Stores a posting's transaction and its entries.
pub(super) async fn insert(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    posting: Posting,
    accounts: &HashMap<Name, LedgerAccountId>,
) -> Result<(), DbErr> {
    let transaction_id = LedgerTransactionId::new(now);
    let row = transactions::ActiveModel {
        tenant_id: Set(tenant),
        id: Set(transaction_id),
        fact: Set(posting.fact.to_owned()),
        object_id: Set(posting.object_id),
        description: Set(posting.description),
        created_at: Set(now),
    };
    transactions::Entity::insert(row).exec_without_returning(tx).await?;

    let rows = posting.entries.iter().map(|(account, amount)| entries::ActiveModel {
        tenant_id: Set(tenant),
        id: Set(LedgerEntryId::new(now)),
        transaction_id: Set(transaction_id),
        account_id: Set(accounts[&name(account, amount.currency())]),
        amount_minor: Set(amount.minor()),
        currency: Set(amount.currency().code().to_owned()),
        created_at: Set(now),
    });
    entries::Entity::insert_many(rows).exec_without_returning(tx).await.map(drop)
}

/// Every account that was posted to, and the sum of its entries.
pub(super) async fn all_balances(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(Account, Money)>, DbErr> {
    let rows = entries::of(tenant)
        .select_only()
        .column(accounts::Column::Code)
        .column(accounts::Column::Owner)
        .column(accounts::Column::Currency)
        .expr(entries::sum(entries::amount()))
        .join(JoinType::InnerJoin, entries::Relation::Account.def())
        .group_by(accounts::Column::Code)
        .group_by(accounts::Column::Owner)
        .group_by(accounts::Column::Currency)
        .into_tuple::<(String, String, String, i64)>()
        .all(db)
        .await?;
    let read = |(code, owner, currency, minor): (String, String, String, i64)| {
        Ok((read_account(&code, &owner)?, Money::from_minor(minor, column::currency(&currency)?)))
    };
    rows.into_iter().map(read).collect()
}

/// The sums of the entries of accounts, in minor units.
pub(super) async fn balances(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: impl IntoIterator<Item = LedgerAccountId>,
) -> Result<HashMap<LedgerAccountId, i64>, DbErr> {
    let rows = entries::of(tenant)
        .select_only()
        .column(entries::Column::AccountId)
        .expr(entries::sum(entries::amount()))
        .filter(entries::Column::AccountId.is_in(ids))
        .group_by(entries::Column::AccountId)
        .into_tuple::<(LedgerAccountId, i64)>()
        .all(db)
        .await?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn find_account(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: LedgerAccountId,
) -> Result<Option<OpenAccount>, DbErr> {
    let row = accounts::of(tenant).filter(accounts::Column::Id.eq(id)).one(db).await?;
    row.map(TryInto::try_into).transpose()
}

pub(super) async fn list_accounts(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    code: Option<&str>,
    owner: Option<&str>,
    page: &PageQuery,
) -> Result<Vec<OpenAccount>, PageError> {
    let mut select = accounts::of(tenant);
    if let Some(code) = code {
        select = select.filter(accounts::Column::Code.eq(code));
    }
    if let Some(owner) = owner {
        select = select.filter(accounts::Column::Owner.eq(owner));
    }
    let rows = page.fetch::<accounts::Entity, LedgerAccountId>(select, accounts::Column::Id, db).await?;
    Ok(rows.into_iter().map(TryInto::try_into).collect::<Result<_, DbErr>>()?)
}

pub(super) async fn list_entries(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    account: Option<LedgerAccountId>,
    page: &PageQuery,
) -> Result<Vec<Entry>, PageError> {
    let mut select = entries::of(tenant);
    if let Some(account) = account {
        select = select.filter(entries::Column::AccountId.eq(account));
    }
    let rows = page.fetch::<entries::Entity, LedgerEntryId>(select, entries::Column::Id, db).await?;
    Ok(with_facts(db, tenant, rows).await?)
}

/// Entries with their accounts and transactions.
async fn with_facts(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    rows: Vec<entries::Model>,
) -> Result<Vec<Entry>, DbErr> {
    let transaction_ids = rows.iter().map(|row| row.transaction_id);
    let facts =
        transactions::of(tenant).filter(transactions::Column::Id.is_in(transaction_ids)).all(db).await?;
    let facts: HashMap<_, _> = facts.into_iter().map(|row| (row.id, row)).collect();
    let account_ids = rows.iter().map(|row| row.account_id);
    let held = accounts::of(tenant).filter(accounts::Column::Id.is_in(account_ids)).all(db).await?;
    let held: HashMap<_, _> = held.into_iter().map(|row| (row.id, row)).collect();

    let entry = |row: entries::Model| {
        let fact = facts[&row.transaction_id].clone();
        let OpenAccount { account, currency, .. } = held[&row.account_id].clone().try_into()?;
        Ok(Entry {
            id: row.id,
            account_id: row.account_id,
            account,
            transaction_id: row.transaction_id,
            fact: fact.fact,
            object_id: fact.object_id,
            description: fact.description,
            amount: Money::from_minor(row.amount_minor, currency),
            created_at: row.created_at,
        })
    };
    rows.into_iter().map(entry).collect()
}

/// Debits and credits of each code in each currency.
pub(super) async fn trial_balance(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<TrialBalanceRow>, DbErr> {
    let is_debit = entries::amount().gt(0);
    let debits = Expr::case(is_debit, entries::amount()).finally(0).into();
    let rows = entries::of(tenant)
        .select_only()
        .column(accounts::Column::Code)
        .column(accounts::Column::Currency)
        .expr(entries::sum(debits))
        .expr(entries::sum(entries::amount()))
        .join(JoinType::InnerJoin, entries::Relation::Account.def())
        .group_by(accounts::Column::Code)
        .group_by(accounts::Column::Currency)
        .order_by_asc(accounts::Column::Currency)
        .order_by_asc(accounts::Column::Code)
        .into_tuple::<(String, String, i64, i64)>()
        .all(db)
        .await?;
    let row = |(code, currency, debit, sum): (String, String, i64, i64)| {
        let currency = column::currency(&currency)?;
        let credit = debit.checked_sub(sum).ok_or_else(|| DbErr::Type("the credits are too large".into()))?;
        let [debit, credit] = [debit, credit].map(|minor| Money::from_minor(minor, currency));
        Ok(TrialBalanceRow { code, debit, credit })
    };
    rows.into_iter().map(row).collect()
}

/// Transactions and currencies whose entries do not add up to zero.
pub(super) async fn unbalanced(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Finding>, DbErr> {
    use entries::Column;

    let sum = || entries::sum(entries::amount());
    let of_transactions = entries::of(tenant)
        .select_only()
        .columns([Column::TransactionId, Column::Currency])
        .expr(sum())
        .group_by(Column::TransactionId)
        .group_by(Column::Currency)
        .having(sum().ne(0))
        .into_tuple::<(LedgerTransactionId, String, i64)>()
        .all(db)
        .await?;
    let totals = entries::of(tenant)
        .select_only()
        .column(Column::Currency)
        .expr(sum())
        .group_by(Column::Currency)
        .having(sum().ne(0))
        .into_tuple::<(String, i64)>()
        .all(db)
        .await?;
    let money = |currency: &str, minor| column::currency(currency).map(|it| Money::from_minor(minor, it));
    let transactions = of_transactions
        .iter()
        .map(|(id, currency, minor)| Ok(Finding::Transaction(*id, money(currency, *minor)?)));
    let totals = totals.iter().map(|(currency, minor)| Ok(Finding::Total(money(currency, *minor)?)));
    transactions.chain(totals).collect()
}

fn read_account(code: &str, owner: &str) -> Result<Account, DbErr> {
    Account::from_parts(code, owner)
        .ok_or_else(|| DbErr::Type(format!("there is no account {code} of {owner:?}")))
}

impl TryFrom<accounts::Model> for OpenAccount {
    type Error = DbErr;

    fn try_from(row: accounts::Model) -> Result<Self, DbErr> {
        let accounts::Model { id, code, currency, owner, created_at, tenant_id: _ } = row;
        let account = read_account(&code, &owner)?;
        Ok(Self { id, account, currency: column::currency(&currency)?, created_at })
    }
}
