//! Tenants, keys, and what the platform remembers: leases, jobs, events, idempotency, audit.

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

const TABLES: &[&str] = &[
    "accounts",
    "tenants",
    "leases",
    "schedules",
    "api_keys",
    "audit_entries",
    "idempotency_keys",
    "counters",
    "gates",
    "test_clocks",
    "jobs",
    "events",
];

// Audit entries refer to their tenant without a foreign key: each request has one, and all writers of a tenant would
// lock its one row for each of them.
const UP: &str = "
create table accounts (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null
);

create table tenants (
    id uuid primary key,
    account_id uuid not null references accounts (id),
    livemode boolean not null,
    name text not null,
    timezone text not null,
    settings text not null,
    created_at timestamptz not null,
    unique (account_id, livemode)
);

create table leases (
    name text primary key,
    holder text not null,
    token bigint not null,
    expires_at timestamptz not null
);

create table schedules (
    name text primary key,
    next_tick_at timestamptz not null,
    last_tick_at timestamptz
);

create table api_keys (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    kind text not null check (kind in ('secret', 'restricted', 'ingest')),
    name text not null,
    hash bytea not null,
    hint text not null,
    scopes text not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, hash)
);

create table gates (
    tenant_id uuid not null references tenants (id),
    id integer not null,
    closings bigint not null,
    primary key (tenant_id, id)
);

create table audit_entries (
    tenant_id uuid not null,
    id uuid not null,
    at timestamptz not null,
    actor text not null,
    action text not null,
    object_id text,
    request_id text not null,
    primary key (tenant_id, id)
) without rowid;

create table idempotency_keys (
    tenant_id uuid not null references tenants (id),
    id text not null,
    fingerprint bytea not null,
    status integer not null,
    body text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id)
);

create index idempotency_keys_by_age on idempotency_keys (created_at);

create table counters (
    tenant_id uuid not null references tenants (id),
    id text not null,
    value bigint not null,
    primary key (tenant_id, id)
);

create table test_clocks (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    name text not null,
    now_at timestamptz not null,
    advancing_to timestamptz,
    advancing_since bigint,
    metadata text not null,
    created_at timestamptz not null,
    deleted_at timestamptz,
    emptied_at timestamptz,
    primary key (tenant_id, id),
    check (deleted_at is null or advancing_to is null),
    check (emptied_at is null or deleted_at is not null)
);

create index test_clocks_advancing on test_clocks (tenant_id, id) where advancing_to is not null;
create index test_clocks_being_deleted on test_clocks (tenant_id, id) where deleted_at is not null and emptied_at is null;

create table jobs (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    name text not null,
    unique_key text not null,
    payload text not null,
    state text not null check (state in ('queued', 'running', 'dead')),
    test_clock_id uuid,
    run_at timestamptz not null,
    retry_at timestamptz,
    runs integer not null,
    failures integer not null,
    lease_token bigint not null,
    leased_until timestamptz,
    again boolean not null default false,
    last_error text,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, unique_key),
    foreign key (tenant_id, test_clock_id) references test_clocks (tenant_id, id)
);

create index jobs_due on jobs (tenant_id, run_at, id, name) where state = 'queued' and test_clock_id is null;
create index jobs_due_by_name on jobs (name, run_at) where state = 'queued' and test_clock_id is null;
create index jobs_due_by_test_clock on jobs (tenant_id, test_clock_id, run_at) where test_clock_id is not null;
create index jobs_retried on jobs (retry_at) where retry_at is not null;
create index jobs_leased on jobs (tenant_id, leased_until) where state = 'running';

create table events (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    type text not null,
    object_id text not null,
    customer_id uuid,
    test_clock_id uuid,
    data text not null,
    cause text not null,
    sequence bigint,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, sequence)
);

create index events_undispatched on events (tenant_id, id) where sequence is null;
create index events_by_customer on events (tenant_id, customer_id, id);
";
