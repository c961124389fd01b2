-- Times are microseconds since 1970 in UTC: integers sort as time does.

create table if not exists customers (
    reference text primary key,
    created_at integer not null
) strict;

create table if not exists methods (
    id integer primary key,
    reference text not null unique,
    customer text not null references customers (reference),
    token text not null,
    brand text not null,
    last4 text not null,
    exp_month integer not null,
    exp_year integer not null,
    -- How many charges reached the bank. A replayed idempotency key reaches no bank.
    attempts integer not null default 0,
    created_at integer not null
) strict;
create index if not exists methods_customer on methods (customer);

-- What was answered to a key, for ever. `request` is kept whole, so that a conflict can be explained.
create table if not exists answers (
    idempotency_key text primary key,
    request text not null,
    answer text not null
) strict;

-- Keys whose first call was lost before it had an effect.
create table if not exists lost_calls (
    idempotency_key text primary key
) strict;

create table if not exists charges (
    id integer primary key,
    reference text not null unique,
    idempotency_key text not null unique references answers (idempotency_key) deferrable initially deferred,
    customer text not null references customers (reference),
    method text not null references methods (reference),
    amount_minor integer not null check (amount_minor > 0),
    currency text not null,
    capture integer not null,
    off_session integer not null,
    status text not null,
    decline_code text check ((decline_code is not null) = (status = 'declined')),
    captured_minor integer not null default 0 check (captured_minor between 0 and amount_minor),
    refunded_minor integer not null default 0 check (refunded_minor between 0 and captured_minor),
    metadata text not null check (json_valid(metadata)),
    created_at integer not null,
    updated_at integer not null
) strict;
create index if not exists charges_created_at on charges (created_at);

create table if not exists charge_metadata (
    key text not null,
    value text not null,
    charge text not null references charges (reference),
    primary key (key, value, charge)
) strict, without rowid;

create trigger if not exists charge_metadata_is_indexed after insert on charges
begin
    insert into charge_metadata (key, value, charge)
    select key, value, new.reference from json_each(new.metadata);
end;

create table if not exists refunds (
    id integer primary key,
    reference text not null unique,
    idempotency_key text not null unique references answers (idempotency_key) deferrable initially deferred,
    charge text not null references charges (reference),
    amount_minor integer not null check (amount_minor > 0),
    currency text not null,
    metadata text not null check (json_valid(metadata)),
    created_at integer not null
) strict;
create index if not exists refunds_charge on refunds (charge);
create index if not exists refunds_created_at on refunds (created_at);

create table if not exists disputes (
    reference text primary key,
    charge text not null unique references charges (reference),
    amount_minor integer not null check (amount_minor > 0),
    reason text not null,
    status text not null,
    opened_at integer not null
) strict;

-- Every movement of money, seen from the merchant: captures add, refunds and disputes take away.
create table if not exists entries (
    id integer primary key,
    kind text not null,
    charge text not null references charges (reference),
    refund text references refunds (reference),
    amount_minor integer not null check (amount_minor <> 0),
    currency text not null,
    created_at integer not null
) strict;
create index if not exists entries_created_at on entries (created_at);
create index if not exists entries_charge on entries (charge);

create trigger if not exists entries_are_never_changed before update on entries
begin
    select raise(abort, 'a ledger entry is never changed');
end;
create trigger if not exists entries_are_never_deleted before delete on entries
begin
    select raise(abort, 'a ledger entry is never deleted');
end;

create view if not exists charge_facts as
select
    charges.*,
    disputes.reference as dispute_reference,
    disputes.amount_minor as dispute_amount_minor,
    disputes.reason as dispute_reason,
    disputes.status as dispute_status,
    disputes.opened_at as dispute_opened_at
from charges
left join disputes on disputes.charge = charges.reference;
