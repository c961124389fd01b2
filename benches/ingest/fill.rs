//! Events that are there already, made by the database itself: only tables and indexes matter, not how they came.

use accrue::metering::Month;
use accrue_core::{
    clock::{Clock, SystemClock},
    id::{CustomerId, TenantId},
};
use accrue_platform::db::Db;
use anyhow::Result;
use sea_orm::{ConnectionTrait, sqlx};
use uuid::Uuid;

use crate::site::BUSY;

/// Connections that fill PostgreSQL.
const PARTS: u64 = 4;

/// The month of which the busy customer's events are.
pub const MONTH: [&str; 2] = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"];

/// The yardstick's table: a row for each event, with what it has when it arrives.
pub const COLUMNS: &str =
    "tenant_id, id, source, event_id, event_name, customer_id, timestamp, metadata, received_at";

const PLAIN: &str = "
create table plain_events (
    tenant_id uuid not null, id uuid not null, source text not null, event_id text not null, event_name text not null,
    customer_id uuid not null, timestamp timestamptz not null, metadata text not null, received_at timestamptz not null,
    primary key (tenant_id, id)
);
create index plain_events_by_time on plain_events (tenant_id, customer_id, timestamp);
";

/// What a pack has when its events arrive: ten of one customer, as in the batches that are sent.
const PACK_COLUMNS: &str =
    "tenant_id, id, event_name, customer_id, first_at, last_at, count, events, received_at";

const POSTGRES_BUSY: &str = "
insert into plain_events ({columns})
select {tenant}, lpad(to_hex(n), 32, '0')::uuid, '', 'busy-' || n, '{name}', {customer},
    timestamptz '2026-01-01T00:00:00Z' + interval '31 days' * n / {events}, '{\"tokens\":' || (n % 1000) || '}', now()
from generate_series(0, {events} - 1) as n;
insert into usage_event_packs ({pack_columns})
select {tenant}, lpad(to_hex(n / 10) || '0000', 32, '0')::uuid, '{name}', {customer}, min(at), max(at), count(*),
    '[' || string_agg(format('[%s,\"\",\"busy-%s\",%s,{\"tokens\":%s}]', n % 10, n,
        (extract(epoch from at) * 1000000)::bigint, n % 1000), ',' order by n) || ']', now()
from (select n, timestamptz '2026-01-01T00:00:00Z' + interval '31 days' * n / {events} as at
    from generate_series(0, {events} - 1) as n) as numbers
group by n / 10;
analyze plain_events;
analyze usage_event_packs;
";

// In runs of 4,096 packs, as the program makes them. Without a temporary table or a sort: what these take of the process's
// memory it would keep.
const SQLITE_BUSY: &str = "
with recursive numbers (n) as (select 0 union all select n + 1 from numbers where n < {events} - 1),
times as (select n, 1767225600000000 + n * 2678400000000 / {events} as micros from numbers)
insert into plain_events ({columns})
select {tenant}, unhex(printf('%032x', n)), '', 'busy-' || n, '{name}', {customer},
    strftime('%Y-%m-%dT%H:%M:%f', micros / 1000000.0, 'unixepoch') || '+00:00', '{\"tokens\":' || (n % 1000) || '}',
    '2026-01-01T00:00:00+00:00'
from times;
with recursive packs (n) as (select 0 union all select n + 10 from packs where n < {events} - 10),
digits (i) as (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)),
times as (select n, 1767225600000000 + n * 2678400000000 / {events} as first,
    1767225600000000 + (n + 9) * 2678400000000 / {events} as last from packs)
insert into usage_event_packs ({pack_columns}, run)
select {tenant}, unhex(printf('%028x0000', n / 10)), '{name}', {customer},
    strftime('%Y-%m-%dT%H:%M:%f', first / 1000000.0, 'unixepoch') || '+00:00',
    strftime('%Y-%m-%dT%H:%M:%f', last / 1000000.0, 'unixepoch') || '+00:00', 10,
    (select '[' || group_concat(printf('[%d,\"\",\"busy-%d\",%d,{\"tokens\":%d}]', i, n + i,
        1767225600000000 + (n + i) * 2678400000000 / {events}, (n + i) % 1000)) || ']' from digits),
    '2026-01-01T00:00:00+00:00', 1 + n / 40960
from times;
insert into usage_event_runs
select {tenant}, run, min(first_at), max(last_at) from usage_event_packs where tenant_id = {tenant} group by run;
";

const POSTGRES_INDEXES_OFF: &str = "
alter table usage_event_packs drop constraint usage_event_packs_pkey;
drop index usage_event_packs_by_time;
alter table usage_event_identities drop constraint usage_event_identities_pkey;
";

/// One of several parts that are filled at once.
const POSTGRES_FILL: &str = "
set local statement_timeout = 0;
insert into usage_event_packs ({pack_columns})
select {tenant}, ('{month}' || lpad(to_hex(pack), 16, '0') || '0000')::uuid, 'api.request.completed',
    customers.ids[1 + pack % 1000], at, at, 10, events, now()
from generate_series({part}, {events} / 10 - 1, {parts}) as pack,
    (select array_agg(id) as ids from customers where tenant_id = {tenant}) as customers,
    lateral (select now() - interval '30 days' * ({events} / 10 - pack) / ({events} / 10) as at) as times,
    lateral (select '[' || string_agg(format(
        '[%s,\"\",\"filled-%s\",%s,{\"model\":\"pro\",\"region\":\"eu-central-1\",\"tokens\":100}]',
        i, pack * 10 + i, (extract(epoch from at) * 1000000)::bigint), ',') || ']' as events
    from generate_series(0, 9) as i) as packed;
insert into usage_event_identities
select {tenant}, md5(n::text)::uuid,
    ('{month}' || lpad(to_hex(n / 10), 16, '0') || lpad(to_hex(n % 10), 4, '0'))::uuid, md5('body' || n)::uuid
from generate_series({part}, {events} - 1, {parts}) as n;
";

const POSTGRES_INDEXES_ON: &[&str] = &[
    "alter table usage_event_packs add primary key (tenant_id, id)",
    "create index usage_event_packs_by_time on usage_event_packs (tenant_id, customer_id, first_at)",
    "alter table usage_event_identities add primary key (tenant_id, id)",
    "vacuum analyze usage_event_packs",
    "vacuum analyze usage_event_identities",
    "checkpoint",
];

const SQLITE_FILL: &str = "
create temporary table filled_customers as select row_number() over () - 1 as number, id from customers;
create unique index temp.filled_customers_by_number on filled_customers (number);
create temporary table digits (i integer);
insert into digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
with recursive numbers (pack) as (select 0 union all select pack + 1 from numbers where pack < {events} / 10 - 1),
times as (select pack, unixepoch() * 1000000 - 2592000000000 + pack * 2592000000000 / ({events} / 10) as micros
    from numbers)
insert into usage_event_packs ({pack_columns}, run)
select {tenant}, unhex(printf('001%025x0000', pack)), 'api.request.completed',
    (select id from filled_customers where number = pack % 1000),
    strftime('%Y-%m-%dT%H:%M:%f', micros / 1000000.0, 'unixepoch') || '+00:00',
    strftime('%Y-%m-%dT%H:%M:%f', micros / 1000000.0, 'unixepoch') || '+00:00', 10,
    (select '[' || group_concat(printf(
        '[%d,\"\",\"filled-%d\",%d,{\"model\":\"pro\",\"region\":\"eu-central-1\",\"tokens\":100}]',
        i, pack * 10 + i, micros)) || ']' from digits),
    '2026-01-01T00:00:00+00:00', 1000001 + pack / 4096
from times;
insert into usage_event_runs
select {tenant}, run, min(first_at), max(last_at) from usage_event_packs
where tenant_id = {tenant} and run between 1000001 and 1000001 + {events} / 40960 group by run;
with recursive numbers (value) as (select 0 union all select value + 1 from numbers where value < {events} - 1)
insert into usage_event_identities
select {tenant}, unhex(printf('%08x', value * 4294967295 / {events}) || hex(randomblob(12))),
    unhex(printf('001%025x%04x', value / 10, value % 10)), randomblob(16)
from numbers;
drop table filled_customers;
drop table digits;
";

/// A month of one customer, before its hours are kept; in the yardstick's table too.
pub async fn busy_month(db: &Db, tenant: TenantId, customer: CustomerId, events: u64) -> Result<()> {
    run(db, PLAIN).await?;
    let sql = if db.is_sqlite() { SQLITE_BUSY } else { POSTGRES_BUSY };
    let sql = sql.replace("{customer}", &literal(db, customer.0)).replace("{name}", BUSY);
    run(db, &told(db, &sql, tenant, events)).await
}

/// Events of all customers, in the 30 days before now. Their identifiers are older than those of the events to come,
/// their identities lie anywhere between theirs.
pub async fn everybody(db: &Db, tenant: TenantId, events: u64) -> Result<()> {
    if db.is_sqlite() {
        return run(db, &told(db, SQLITE_FILL, tenant, events)).await;
    }
    run(db, POSTGRES_INDEXES_OFF).await?;
    let parts: Vec<_> = (0..PARTS)
        .map(|part| {
            let sql = told(db, POSTGRES_FILL, tenant, events);
            let sql = sql.replace("{part}", &part.to_string()).replace("{parts}", &PARTS.to_string());
            let db = db.clone();
            tokio::spawn(async move { run(&db, &sql).await })
        })
        .collect();
    for part in parts {
        part.await??;
    }
    for statement in POSTGRES_INDEXES_ON {
        let connection = db.reader().get_postgres_connection_pool();
        let mut connection = connection.acquire().await?;
        sqlx::raw_sql("set statement_timeout = 0; set maintenance_work_mem = '1GB'")
            .execute(&mut *connection)
            .await?;
        sqlx::raw_sql(*statement).execute(&mut *connection).await?;
        // The settings go with it.
        connection.close().await?;
    }
    Ok(())
}

fn told(db: &Db, sql: &str, tenant: TenantId, events: u64) -> String {
    let sql = sql.replace("{columns}", COLUMNS).replace("{pack_columns}", PACK_COLUMNS);
    let sql = sql.replace("{tenant}", &literal(db, tenant.0));
    // The first 48 bits of an identifier are its milliseconds: those of the month's start go into its partition.
    let month = Month::of(SystemClock.now()).ids().0.simple().to_string();
    sql.replace("{events}", &events.to_string()).replace("{month}", &month[..12])
}

/// An identifier as it is written in a statement.
pub fn literal(db: &Db, id: Uuid) -> String {
    if db.is_sqlite() { format!("x'{}'", id.simple()) } else { format!("'{id}'::uuid") }
}

async fn run(db: &Db, sql: &str) -> Result<()> {
    let tx = db.begin().await?;
    tx.execute_unprepared(sql).await?;
    Ok(tx.commit().await?)
}
