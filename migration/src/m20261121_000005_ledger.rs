//! Double entry: immutable, which the database guarantees, and balanced.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::ddl;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, UP).await?;
        ddl::make_append_only(manager, TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::drop_tables(manager, TABLES).await
    }
}

const TABLES: &[&str] = &["ledger_accounts", "ledger_transactions", "ledger_entries"];

const UP: &str = "
create table ledger_accounts (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    currency text not null,
    owner text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, id, currency),
    unique (tenant_id, code, currency, owner)
);

create table ledger_transactions (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    fact text not null,
    object_id text not null,
    description text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, fact, object_id)
);

create table ledger_entries (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    transaction_id uuid not null,
    account_id uuid not null,
    amount_minor bigint not null check (amount_minor <> 0),
    currency text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, transaction_id) references ledger_transactions (tenant_id, id),
    foreign key (tenant_id, account_id, currency) references ledger_accounts (tenant_id, id, currency)
);

create index ledger_entries_by_account on ledger_entries (tenant_id, account_id, id);
create index ledger_entries_by_transaction on ledger_entries (tenant_id, transaction_id);
";
