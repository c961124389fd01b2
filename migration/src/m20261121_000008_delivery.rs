//! What others are told: entitlements, webhooks, emails.

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

const TABLES: &[&str] =
    &["entitlement_snapshots", "webhook_endpoints", "webhook_deliveries", "webhook_attempts", "emails"];

const UP: &str = "
create table entitlement_snapshots (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    version bigint not null check (version >= 0),
    features text not null,
    as_of timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, id) references customers (tenant_id, id)
);

create table webhook_endpoints (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    url text not null,
    events text not null,
    secret_sealed text not null,
    previous_secret_sealed text,
    previous_secret_until_at timestamptz,
    enabled boolean not null,
    disabled_reason text check (disabled_reason in ('requested', 'gone', 'failing')),
    failing_since_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    deleted_at timestamptz,
    primary key (tenant_id, id),
    check (enabled = (disabled_reason is null))
);

create table webhook_deliveries (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    status text not null check (status in ('pending', 'succeeded', 'exhausted', 'canceled')),
    attempts integer not null,
    next_attempt_at timestamptz,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, endpoint_id, event_id),
    foreign key (tenant_id, endpoint_id) references webhook_endpoints (tenant_id, id),
    foreign key (tenant_id, event_id) references events (tenant_id, id),
    check ((status = 'pending') = (next_attempt_at is not null))
);

create index webhook_deliveries_by_event on webhook_deliveries (tenant_id, event_id);

create table webhook_attempts (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    delivery_id uuid not null,
    position integer not null,
    answered_status integer,
    answered_body text,
    error text,
    duration_ms bigint not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, delivery_id, position),
    foreign key (tenant_id, delivery_id) references webhook_deliveries (tenant_id, id)
);

create table emails (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    event_id uuid not null,
    kind text not null,
    recipient text not null,
    recipient_name text not null,
    subject text,
    status text not null check (status in ('pending', 'sent', 'failed')),
    error text,
    created_at timestamptz not null,
    sent_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, event_id, kind, recipient),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, event_id) references events (tenant_id, id),
    check ((status = 'sent') = (sent_at is not null))
);

create index emails_by_customer on emails (tenant_id, customer_id, id);
";
