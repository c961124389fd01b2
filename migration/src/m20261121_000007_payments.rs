//! Money that moves: payments, their attempts at gateways, refunds, and the chase after what failed.

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

const TABLES: &[&str] = &["payments", "payment_attempts", "refunds", "dunnings"];

const UP: &str = "
create table payments (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    test_clock_id uuid,
    invoice_id uuid not null,
    status text not null,
    currency text not null,
    amount_minor bigint not null check (amount_minor > 0),
    refunded_minor bigint not null check (refunded_minor >= 0 and refunded_minor <= amount_minor),
    decline_code text,
    decline_class text,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, invoice_id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id)
);

create index payments_by_customer on payments (tenant_id, customer_id, id);

create table payment_attempts (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    payment_id uuid not null,
    payment_method_id uuid not null,
    test_clock_id uuid,
    position integer not null check (position >= 1),
    reason text not null,
    automatic boolean not null,
    gateway text not null,
    brand text not null,
    last4 text not null,
    status text not null check (status in ('started', 'succeeded', 'declined', 'pending', 'unknown', 'error')),
    amount_minor bigint not null check (amount_minor > 0),
    idempotency_key text not null,
    gateway_reference text,
    decline_code text,
    decline_class text,
    look_ups integer not null,
    look_up_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, payment_id, position),
    unique (tenant_id, idempotency_key),
    foreign key (tenant_id, payment_id) references payments (tenant_id, id),
    foreign key (tenant_id, payment_method_id) references payment_methods (tenant_id, id),
    check ((look_up_at is not null) = (status in ('started', 'pending', 'unknown')))
);

create unique index payment_attempts_one_in_flight on payment_attempts (tenant_id, payment_id)
    where look_up_at is not null;
create unique index payment_attempts_one_per_reason on payment_attempts (tenant_id, payment_id, reason)
    where status <> 'error' and (decline_class is null or decline_class <> 'our_fault');
create index payment_attempts_unsettled on payment_attempts (look_up_at, tenant_id)
    where look_up_at is not null and test_clock_id is null;
create index payment_attempts_unsettled_by_tenant on payment_attempts (tenant_id, test_clock_id, look_up_at, id)
    where look_up_at is not null;

create table refunds (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    payment_id uuid not null,
    test_clock_id uuid,
    status text not null check (status in ('started', 'succeeded', 'failed', 'unknown')),
    currency text not null,
    amount_minor bigint not null check (amount_minor > 0),
    reason text,
    request_key text,
    credit_note_id uuid,
    gateway_reference text,
    failure text,
    look_up_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, payment_id, request_key),
    unique (tenant_id, credit_note_id),
    foreign key (tenant_id, payment_id) references payments (tenant_id, id),
    foreign key (tenant_id, credit_note_id) references credit_notes (tenant_id, id),
    check ((look_up_at is not null) = (status in ('started', 'unknown')))
);

create index refunds_by_payment on refunds (tenant_id, payment_id, id);
create index refunds_unsettled on refunds (look_up_at, tenant_id)
    where look_up_at is not null and test_clock_id is null;
create index refunds_unsettled_by_tenant on refunds (tenant_id, test_clock_id, look_up_at, id)
    where look_up_at is not null;

create table dunnings (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    invoice_id uuid not null,
    subscription_id uuid,
    test_clock_id uuid,
    status text not null check (status in ('running', 'recovered', 'exhausted')),
    access text not null check (access in ('full', 'grace', 'restricted')),
    retries_stopped boolean not null,
    step integer not null,
    next_step_at timestamptz,
    look_again_at timestamptz,
    invoice_number text,
    currency text not null,
    amount_minor bigint not null,
    failure text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, invoice_id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id),
    check ((status = 'running') = (next_step_at is not null or look_again_at is not null)),
    check (next_step_at is null or look_again_at is null)
);

create index dunnings_due on dunnings (next_step_at, tenant_id)
    where next_step_at is not null and test_clock_id is null;
create index dunnings_due_by_tenant on dunnings (tenant_id, test_clock_id, next_step_at, id)
    where next_step_at is not null;
create index dunnings_awaiting on dunnings (look_again_at, tenant_id)
    where look_again_at is not null and test_clock_id is null;
create index dunnings_awaiting_by_tenant on dunnings (tenant_id, test_clock_id, look_again_at, id)
    where look_again_at is not null;
create index dunnings_by_customer on dunnings (tenant_id, customer_id, id);
";
