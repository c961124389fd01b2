//! What was used, as it was sent.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

use crate::ddl;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::drop_tables(manager, TABLES).await
    }
}

const TABLES: &[&str] = &["usage_events"];

const UP: &str = "
create table usage_events (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    source text not null,
    event_id text not null,
    event_name text not null,
    customer_id uuid not null,
    timestamp timestamptz not null,
    metadata text not null,
    body_hash bytea not null,
    received_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, event_id, source),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id)
);

create index usage_events_by_time on usage_events (tenant_id, customer_id, event_name, timestamp, id);
";
