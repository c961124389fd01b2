//! What was used, as it was sent.

use sea_orm_migration::{
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait},
    sea_orm::DatabaseBackend,
};

use crate::ddl;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, UP).await?;
        let by_time = match manager.get_database_backend() {
            DatabaseBackend::Sqlite => SQLITE_BY_TIME,
            _ => POSTGRES_BY_TIME,
        };
        ddl::run(manager, by_time).await?;
        ddl::pack_by_lz4(manager, "usage_event_packs", "events").await?;
        ddl::make_default_partition(manager, "usage_event_packs").await?;
        ddl::make_append_only(manager, &["usage_event_versions"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::drop_tables(manager, TABLES).await?;
        ddl::drop_append_only(manager).await
    }
}

const TABLES: &[&str] = &[
    "usage_event_packs",
    "usage_event_runs",
    "usage_event_versions",
    "usage_event_identities",
    "usage_rollups",
    "usage_rollup_builds",
    "usage_closings",
    "usage_unmatched",
    "usage_unmatched_reports",
    "usage_looks",
    "usage_watches",
    "usage_alerts",
    "usage_alert_triggers",
    "usage_archives",
];

// How a customer's packs of some time are found. On SQLite, what is stored together stands together (decision 0044).
const POSTGRES_BY_TIME: &str =
    "create index usage_event_packs_by_time on usage_event_packs (tenant_id, customer_id, first_at)";
const SQLITE_BY_TIME: &str =
    "create index usage_event_packs_by_time on usage_event_packs (tenant_id, run, customer_id, first_at)";

// Events refer to their tenant and customer without a foreign key: checking it row by row costs more than everything
// else about taking an event. They are written only by the intake, which finds both in the same transaction.
// Versions and identities refer to their event without one because they outlive it: it may be archived.
// Events that come together stand in one row, a pack (decision 0029): too long for SQLite to keep it in its key.
// On PostgreSQL packs stand in a partition for each month of receipt, which the program makes (decision 0024).
const UP: &str = "
create table usage_event_packs (
    tenant_id uuid not null,
    id uuid not null,
    event_name text not null,
    customer_id uuid,
    awaited_customer text,
    first_at timestamptz not null,
    last_at timestamptz not null,
    has_strays boolean not null default false,
    count bigint not null,
    events text not null,
    received_at timestamptz not null,
    run bigint,
    primary key (tenant_id, id),
    check ((customer_id is null) <> (awaited_customer is null))
) partition by range (id);

create index usage_event_packs_with_strays on usage_event_packs (tenant_id, customer_id, id) where has_strays;
create index usage_event_packs_awaiting on usage_event_packs (tenant_id, awaited_customer, id)
    where awaited_customer is not null;

create table usage_event_runs (
    tenant_id uuid not null,
    id bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (tenant_id, id)
) without rowid;

create table usage_event_versions (
    tenant_id uuid not null,
    id uuid not null,
    usage_event_id uuid not null,
    timestamp timestamptz not null,
    metadata text not null,
    change text not null,
    changed_at timestamptz not null,
    changed_by text not null,
    reason text,
    primary key (tenant_id, id)
);

create index usage_event_versions_by_event on usage_event_versions (tenant_id, usage_event_id);

create table usage_event_identities (
    tenant_id uuid not null,
    id uuid not null,
    usage_event_id uuid not null,
    body_hash uuid not null,
    primary key (tenant_id, id)
) without rowid;

create table usage_rollups (
    tenant_id uuid not null,
    id uuid not null,
    customer_id uuid not null,
    grain_id uuid not null,
    build bigint not null,
    day timestamptz not null,
    hours text not null,
    total text not null,
    revision uuid not null,
    follows uuid not null,
    primary key (tenant_id, id)
);

create table usage_closings (
    tenant_id uuid not null,
    id uuid not null,
    subscription_id uuid not null,
    customer_id uuid not null,
    test_clock_id uuid,
    metric_id uuid not null,
    start_at timestamptz not null,
    end_at timestamptz not null,
    check_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id)
);

create index usage_closings_by_end on usage_closings (tenant_id, end_at);
create index usage_closings_by_metric on usage_closings (tenant_id, metric_id);
create index usage_closings_by_subscription on usage_closings (tenant_id, subscription_id);
create index usage_closings_to_check on usage_closings (check_at, tenant_id)
    where check_at is not null and test_clock_id is null;
create index usage_closings_to_check_by_tenant on usage_closings (tenant_id, test_clock_id, check_at, id)
    where check_at is not null;

create table usage_unmatched (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    reason text not null,
    event_name text not null,
    count bigint not null,
    told bigint not null,
    last_event_id uuid not null,
    last_at timestamptz not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, reason, event_name)
);

create index usage_unmatched_untold on usage_unmatched (tenant_id) where count > told;

create table usage_unmatched_reports (
    tenant_id uuid not null references tenants (id),
    id text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id)
);

create table usage_looks (
    tenant_id uuid not null references tenants (id),
    id text not null,
    last_event_id uuid not null,
    primary key (tenant_id, id)
);

create table usage_rollup_builds (
    tenant_id uuid not null,
    id uuid not null,
    metric_id uuid not null,
    properties text not null,
    build bigint not null,
    is_complete boolean not null,
    counts_from timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id)
);

create table usage_watches (
    tenant_id uuid not null,
    id uuid not null,
    customer_id uuid,
    metric_id uuid not null,
    test_clock_id uuid,
    watcher text not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id)
);

create index usage_watches_by_metric on usage_watches (tenant_id, metric_id);
create index usage_watches_by_customer on usage_watches (tenant_id, customer_id, metric_id);

create table usage_alerts (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid,
    template_id uuid,
    test_clock_id uuid,
    metric_id uuid not null,
    name text not null,
    kind text not null,
    threshold numeric not null,
    currency text,
    is_active boolean not null,
    is_triggered boolean not null,
    last_trigger text,
    review_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, template_id, customer_id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, template_id) references usage_alerts (tenant_id, id),
    foreign key (tenant_id, metric_id) references metrics (tenant_id, id)
);

create index usage_alerts_by_metric on usage_alerts (tenant_id, metric_id);
create index usage_alerts_by_customer on usage_alerts (tenant_id, customer_id, metric_id);
create index usage_alerts_to_review on usage_alerts (review_at, tenant_id)
    where review_at is not null and test_clock_id is null;
create index usage_alerts_to_review_by_tenant on usage_alerts (tenant_id, test_clock_id, review_at, id)
    where review_at is not null;

create table usage_alert_triggers (
    tenant_id uuid not null,
    id uuid not null,
    usage_alert_id uuid not null,
    period_start_at timestamptz not null,
    threshold numeric not null,
    triggered_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, usage_alert_id, period_start_at, threshold),
    foreign key (tenant_id, usage_alert_id) references usage_alerts (tenant_id, id)
);

create table usage_archives (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    month text not null,
    event_names text not null,
    events_before timestamptz not null,
    final_before timestamptz not null,
    file text not null,
    events bigint not null,
    bytes bigint not null,
    sha256 text not null,
    archived_at timestamptz not null,
    checked_at timestamptz,
    removed_at timestamptz,
    primary key (tenant_id, id)
);
";
