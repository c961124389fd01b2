//! What is owed, and the documents that say so.

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
    "invoices",
    "invoice_lines",
    "documents",
    "credit_notes",
    "credit_note_lines",
    "credit_applications",
    "balance_entries",
    "removed_numbers",
];

const UP: &str = "
create table invoices (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    for_customer_id uuid,
    for_name text,
    test_clock_id uuid,
    subscription_id uuid,
    number text,
    status text not null check (status in ('draft', 'open', 'paid', 'void', 'uncollectible')),
    reason text not null,
    change integer not null,
    collection text not null,
    currency text not null,
    period_start_at timestamptz not null,
    period_end_at timestamptz not null,
    subtotal_minor bigint not null,
    discount_minor bigint not null,
    tax_minor bigint not null,
    total_minor bigint not null check (total_minor >= 0),
    credits_applied_minor bigint not null check (credits_applied_minor >= 0),
    balance_applied_minor bigint not null,
    balance_credited_minor bigint not null check (balance_credited_minor >= 0),
    offset_minor bigint not null check (offset_minor >= 0),
    credited_minor bigint not null check (credited_minor >= offset_minor and credited_minor <= total_minor),
    amount_paid_minor bigint not null check (amount_paid_minor >= 0),
    issuer_id uuid,
    issuer text not null,
    letterhead text not null,
    customer text not null,
    exemption text not null check (exemption in ('none', 'exempt', 'reverse_charge')),
    tax_rounding text not null check (tax_rounding in ('rate', 'invoice', 'line')),
    taxes text not null,
    issued_at timestamptz,
    due_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    replaces uuid,
    replaced_by uuid,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, number),
    unique (tenant_id, replaces),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, for_customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, issuer_id) references issuers (tenant_id, id),
    foreign key (tenant_id, subscription_id) references subscriptions (tenant_id, id),
    foreign key (tenant_id, replaces) references invoices (tenant_id, id),
    foreign key (tenant_id, replaced_by) references invoices (tenant_id, id) deferrable initially deferred,
    check ((for_customer_id is null) = (for_name is null)),
    check (replaced_by is null or status = 'void'),
    check (exemption = 'none' or tax_minor <= 0),
    check (balance_credited_minor = 0 or (total_minor = 0 and balance_applied_minor = 0)),
    check (credits_applied_minor + balance_applied_minor + offset_minor + amount_paid_minor <= total_minor),
    check (status = 'draft' or number is not null)
);

create index invoices_by_issuer on invoices (tenant_id, issuer_id, id) where issuer_id is not null;
create index invoices_by_customer on invoices (tenant_id, customer_id, id);
create index invoices_for_customer on invoices (tenant_id, for_customer_id, id) where for_customer_id is not null;
create unique index invoices_by_turn on invoices (tenant_id, subscription_id, period_start_at, reason, change)
    where reason not in ('adjustment', 'threshold') and replaces is null;
create index invoices_by_subscription on invoices (tenant_id, subscription_id, id);
create index invoices_by_status on invoices (tenant_id, status, id);
create index invoices_by_successor on invoices (tenant_id, replaced_by) where replaced_by is not null;

create table invoice_lines (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    invoice_id uuid not null,
    subscription_id uuid,
    price_id uuid,
    position integer not null,
    kind text not null,
    description text not null,
    period_start_at timestamptz not null,
    period_end_at timestamptz not null,
    quantity numeric not null,
    unit_price numeric,
    exact_amount numeric not null,
    amount_minor bigint not null,
    taxable_minor bigint not null,
    tax_minor bigint not null,
    taxes text not null,
    proration text,
    tiers text not null,
    adjustment integer not null,
    change integer not null,
    bucket text not null,
    bucket_id uuid not null,
    replaced_at timestamptz,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id),
    foreign key (tenant_id, subscription_id) references subscriptions (tenant_id, id),
    foreign key (tenant_id, price_id) references prices (tenant_id, id)
);

create unique index invoice_lines_once on invoice_lines
    (tenant_id, subscription_id, price_id, period_start_at, kind, bucket_id, adjustment, change)
    where replaced_at is null;
create index invoice_lines_replaced on invoice_lines (tenant_id, subscription_id, price_id, period_start_at)
    where replaced_at is not null;
create index invoice_lines_by_price on invoice_lines (tenant_id, price_id) where price_id is not null;
create index invoice_lines_by_invoice on invoice_lines (tenant_id, invoice_id, position);

create table credit_notes (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    invoice_id uuid not null,
    customer_id uuid not null,
    test_clock_id uuid,
    number text not null,
    kind text not null check (kind in ('credit', 'refund', 'offset')),
    reason text not null,
    cause text,
    memo text,
    currency text not null,
    subtotal_minor bigint not null check (subtotal_minor >= 0),
    tax_minor bigint not null,
    total_minor bigint not null check (total_minor > 0 and total_minor = subtotal_minor + tax_minor),
    credit_left_minor bigint not null check (credit_left_minor >= 0 and credit_left_minor <= total_minor),
    refund_status text check (refund_status in ('pending', 'succeeded', 'failed')),
    exemption text not null check (exemption in ('none', 'exempt', 'reverse_charge')),
    taxes text not null,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, number),
    unique (tenant_id, invoice_id, cause),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    check (exemption = 'none' or tax_minor <= 0),
    check ((refund_status is not null) = (kind = 'refund')),
    check (credit_left_minor = 0 or kind = 'credit' or refund_status = 'failed')
);

create index credit_notes_by_invoice on credit_notes (tenant_id, invoice_id, id);
create index credit_notes_by_customer on credit_notes (tenant_id, customer_id, id);
create index credit_notes_with_credit on credit_notes (tenant_id, customer_id, id) where credit_left_minor > 0;

create table credit_note_lines (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    credit_note_id uuid not null,
    invoice_line_id uuid not null,
    position integer not null,
    description text not null,
    quantity numeric,
    amount_minor bigint not null check (amount_minor >= 0),
    tax_minor bigint not null,
    taxes text not null,
    corrected_minor bigint check (corrected_minor >= 0),
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, credit_note_id, invoice_line_id),
    foreign key (tenant_id, credit_note_id) references credit_notes (tenant_id, id),
    foreign key (tenant_id, invoice_line_id) references invoice_lines (tenant_id, id)
);

create index credit_note_lines_by_line on credit_note_lines (tenant_id, invoice_line_id);

create table credit_applications (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    credit_note_id uuid not null,
    invoice_id uuid not null,
    amount_minor bigint not null check (amount_minor > 0),
    returned_at timestamptz,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, invoice_id, credit_note_id),
    foreign key (tenant_id, credit_note_id) references credit_notes (tenant_id, id),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id)
);

create index credit_applications_by_note on credit_applications (tenant_id, credit_note_id, id);

create table balance_entries (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    customer_id uuid not null,
    test_clock_id uuid,
    kind text not null check (kind in ('adjustment', 'invoice_applied', 'invoice_credited', 'invoice_voided')),
    currency text not null,
    amount_minor bigint not null check (amount_minor <> 0),
    balance_after_minor bigint not null,
    invoice_id uuid,
    description text,
    metadata text not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, invoice_id, kind),
    foreign key (tenant_id, customer_id) references customers (tenant_id, id),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id),
    check ((kind = 'adjustment') = (invoice_id is null))
);

create index balance_entries_by_customer on balance_entries (tenant_id, customer_id, id);

create table documents (
    tenant_id uuid not null references tenants (id),
    id uuid not null,
    invoice_id uuid not null,
    kind text not null,
    state text not null,
    content bytea not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, invoice_id, kind, state),
    foreign key (tenant_id, invoice_id) references invoices (tenant_id, id)
);

create table removed_numbers (
    tenant_id uuid not null references tenants (id),
    id text not null,
    primary key (tenant_id, id)
);
";
