//! Who bills, who is billed, how they pay, and which plan they have since when.

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
    "logos",
    "issuers",
    "number_series",
    "customers",
    "payment_methods",
    "subscriptions",
    "subscription_phases",
];

const UP: &str = "
create table logos (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    content bytea not null,
    created_at timestamptz not null,
    primary key (tenant_id, id)
);

create table issuers (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    code text not null,
    name text not null,
    address text not null,
    tax_ids text not null,
    email text,
    timezone text,
    currency text,
    invoice_prefix text not null,
    credit_note_prefix text not null,
    net_terms_days integer,
    invoice_footer text,
    brand_color text,
    logo_id uuid,
    metadata text not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, code),
    foreign key (tenant_id, logo_id) references logos (tenant_id, id)
);

create table number_series (
    tenant_id uuid not null references tenants (id),
    id text not null,
    kind text not null check (kind in ('invoice', 'credit_note')),
    issuer_id uuid,
    primary key (tenant_id, id),
    foreign key (tenant_id, issuer_id) references issuers (tenant_id, id)
);

create index number_series_by_issuer on number_series (tenant_id, issuer_id);

create table customers (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    external_id text,
    parent_id uuid,
    issuer_id uuid,
    name text not null,
    email text,
    invoice_contacts text not null,
    currency text,
    timezone text,
    locale text,
    net_terms_days integer,
    address text not null,
    tax_ids text not null,
    exemption text not null check (exemption in ('none', 'exempt', 'reverse_charge')),
    test_clock_id uuid,
    default_payment_method_id uuid,
    balance_minor bigint not null default 0,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, external_id),
    foreign key (tenant_id, parent_id) references customers (tenant_id, id),
    foreign key (tenant_id, issuer_id) references issuers (tenant_id, id),
    foreign key (tenant_id, test_clock_id) references test_clocks (tenant_id, id),
    check (balance_minor = 0 or currency is not null),
    check (parent_id is null or (parent_id <> id and issuer_id is null))
);

create index customers_by_parent on customers (tenant_id, parent_id, id) where parent_id is not null;
create index customers_by_issuer on customers (tenant_id, issuer_id, id) where issuer_id is not null;
create index customers_by_test_clock on customers (tenant_id, test_clock_id) where test_clock_id is not null;

create table payment_methods (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    gateway text not null,
    reference_sealed text not null,
    brand text not null,
    last4 text not null,
    expires_on text,
    detached_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id)
);

create index payment_methods_by_customer on payment_methods (tenant_id, customer_id);

create table subscriptions (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    test_clock_id uuid,
    external_id text,
    plan_id uuid not null,
    plan_version_id uuid not null,
    status text not null check (status in
        ('pending', 'trialing', 'active', 'past_due', 'paused', 'canceled')),
    currency text not null,
    timezone text not null,
    alignment text not null,
    interval text not null,
    anchor_at timestamptz not null,
    start_at timestamptz not null,
    trial_end_at timestamptz,
    period_start_at timestamptz not null,
    period_end_at timestamptz not null,
    opened boolean not null,
    phase_from_at timestamptz not null,
    fees_from_at timestamptz not null,
    fees_until_at timestamptz not null,
    fees_basis text not null check (fees_basis in ('day', 'second', 'none')),
    changes integer not null,
    scheduled text,
    scheduled_plan_version_id uuid,
    usage_in_pause text check (usage_in_pause in ('bill', 'ignore')),
    access text not null check (access in ('full', 'grace', 'restricted')),
    quantities text not null,
    collection text not null check (collection in ('automatic', 'send_invoice')),
    net_terms_days integer not null,
    progressive_threshold_minor bigint,
    ends_at timestamptz,
    cancel_at timestamptz,
    canceled_at timestamptz,
    cancel_reason text check (cancel_reason in ('requested', 'unpaid')),
    ended_at timestamptz,
    next_due_at timestamptz,
    trial_notice_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, external_id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, plan_id) references plans (tenant_id, id),
    foreign key (tenant_id, plan_version_id) references plan_versions (tenant_id, id),
    foreign key (tenant_id, scheduled_plan_version_id) references plan_versions (tenant_id, id),
    foreign key (tenant_id, test_clock_id) references test_clocks (tenant_id, id),
    check (period_start_at < period_end_at),
    check (status <> 'paused' or usage_in_pause is not null)
);

create index subscriptions_by_plan on subscriptions (tenant_id, plan_id, id);
create index subscriptions_by_plan_version on subscriptions (tenant_id, plan_version_id);
create index subscriptions_due on subscriptions (next_due_at, tenant_id)
    where next_due_at is not null and test_clock_id is null;
create index subscriptions_due_by_tenant on subscriptions (tenant_id, test_clock_id, next_due_at, id)
    where next_due_at is not null;
create index subscriptions_trial_notice on subscriptions (trial_notice_at, tenant_id)
    where trial_notice_at is not null and test_clock_id is null;
create index subscriptions_trial_notice_by_tenant on subscriptions (tenant_id, test_clock_id, trial_notice_at, id)
    where trial_notice_at is not null;
create index subscriptions_by_customer on subscriptions (tenant_id, customer_id, id);
create index subscriptions_by_scheduled_plan_version on subscriptions (tenant_id, scheduled_plan_version_id)
    where scheduled_plan_version_id is not null;

create table subscription_phases (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    subscription_id uuid not null,
    from_at timestamptz not null,
    until_at timestamptz not null,
    plan_id uuid not null,
    plan_version_id uuid not null,
    interval text not null,
    anchor_at timestamptz not null,
    trial_end_at timestamptz,
    usage_ignored boolean not null,
    primary key (tenant_id, id),
    unique (tenant_id, subscription_id, from_at),
    foreign key (tenant_id, subscription_id) references subscriptions (tenant_id, id),
    foreign key (tenant_id, plan_id) references plans (tenant_id, id),
    foreign key (tenant_id, plan_version_id) references plan_versions (tenant_id, id),
    check (from_at < until_at)
);

create index subscription_phases_by_plan_version on subscription_phases (tenant_id, plan_version_id);
create index subscription_phases_by_plan on subscription_phases (tenant_id, plan_id);
";
