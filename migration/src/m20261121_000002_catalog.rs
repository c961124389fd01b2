//! What is sold: metrics, features, taxes, plans with their versions, prices.

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

const TABLES: &[&str] = &["metrics", "features", "taxes", "plans", "plan_versions", "prices"];

const UP: &str = "
create table metrics (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    name text not null,
    event_name text not null,
    aggregation text not null,
    property text,
    recurring boolean not null,
    filters text not null,
    conversion text,
    rounding text,
    late_events text not null check (late_events in ('next_invoice', 'reject', 'reissue')),
    splits text not null,
    metadata text not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, code)
);

create index metrics_by_event_name on metrics (tenant_id, event_name);

create table features (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    name text not null,
    kind text not null check (kind in ('switch', 'limit', 'metered', 'config')),
    metric_id uuid,
    metadata text not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, code),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id)
);

create table taxes (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    name text not null,
    rate numeric not null,
    inclusive boolean not null,
    jurisdiction text,
    tax_codes text not null,
    is_default boolean not null,
    first_applied_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, code),
    check (not is_default or (first_applied_at is not null and archived_at is null))
);

create table plans (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    name text not null,
    version integer not null check (version >= 1),
    metadata text not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, code)
);

create table plan_versions (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    plan_id uuid not null,
    version integer not null check (version >= 1),
    currency text not null,
    interval_unit text not null,
    interval_count integer not null check (interval_count >= 1),
    trial_days integer not null check (trial_days >= 0),
    features text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, plan_id, version),
    foreign key (tenant_id, plan_id) references plans (tenant_id, id)
);

create table prices (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    plan_version_id uuid not null,
    position integer not null,
    code text not null,
    name text not null,
    kind text not null check (kind in ('fixed', 'seat', 'usage', 'one_time', 'commitment')),
    timing text not null check (timing in ('advance', 'arrears')),
    metric_id uuid,
    model text not null,
    filters text not null,
    group_by text not null,
    minimum_minor bigint check (minimum_minor >= 0),
    maximum_minor bigint check (maximum_minor >= 0),
    free_quantity numeric not null,
    prorate boolean not null,
    tax_code text,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, plan_version_id, code),
    foreign key (tenant_id, plan_version_id) references plan_versions (tenant_id, id),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id),
    check ((kind = 'usage') = (metric_id is not null))
);

create index prices_by_metric on prices (tenant_id, metric_id) where metric_id is not null;
";
