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

/// What an event has when it arrives.
pub const COLUMNS: &str =
    "tenant_id, id, source, event_id, event_name, customer_id, timestamp, metadata, received_at";

const POSTGRES_BUSY: &str = "
insert into usage_events ({columns})
select {tenant}, lpad(to_hex(n), 32, '0')::uuid, '', 'busy-' || n, '{name}', {customer},
    timestamptz '2026-01-01T00:00:00Z' + interval '31 days' * n / {events}, '{\"tokens\":' || (n % 1000) || '}', now()
from generate_series(0, {events} - 1) as n;
analyze usage_events;
";

const SQLITE_BUSY: &str = "
with recursive numbers (value) as (select 0 union all select value + 1 from numbers where value < {events} - 1)
insert into usage_events ({columns})
select {tenant}, unhex(printf('%032x', value)), '', 'busy-' || value, '{name}', {customer},
    strftime('%Y-%m-%dT%H:%M:%f', '2026-01-01', (value * 2678400.0 / {events}) || ' seconds') || '+00:00',
    '{\"tokens\":' || (value % 1000) || '}', '2026-01-01T00:00:00+00:00'
from numbers;
";

const POSTGRES_INDEXES_OFF: &str = "
alter table usage_events drop constraint usage_events_pkey;
drop index usage_events_by_time;
alter table usage_event_identities drop constraint usage_event_identities_pkey;
";

/// One of several parts that are filled at once.
const POSTGRES_FILL: &str = "
set local statement_timeout = 0;
insert into usage_events ({columns})
select {tenant}, ('{month}' || lpad(to_hex(n), 20, '0'))::uuid, '', 'filled-' || n, 'api.request.completed',
    customers.ids[1 + n % 1000],
    now() - interval '30 days' * ({events} - n) / {events}, '{\"tokens\":100,\"model\":\"pro\",\"region\":\"eu-central-1\"}', now()
from generate_series({part}, {events} - 1, {parts}) as n,
    (select array_agg(id) as ids from customers where tenant_id = {tenant}) as customers;
insert into usage_event_identities
select {tenant}, md5(n::text)::uuid, ('{month}' || lpad(to_hex(n), 20, '0'))::uuid, md5('body' || n)::uuid
from generate_series({part}, {events} - 1, {parts}) as n;
";

const POSTGRES_INDEXES_ON: &[&str] = &[
    "alter table usage_events add primary key (tenant_id, id)",
    "create index usage_events_by_time on usage_events (tenant_id, customer_id, timestamp)",
    "alter table usage_event_identities add primary key (tenant_id, id)",
    "vacuum analyze usage_events",
    "vacuum analyze usage_event_identities",
    "checkpoint",
];

const SQLITE_FILL: &str = "
create temporary table filled_customers as select row_number() over () - 1 as number, id from customers;
create unique index temp.filled_customers_by_number on filled_customers (number);
with recursive numbers (value) as (select 0 union all select value + 1 from numbers where value < {events} - 1)
insert into usage_events ({columns})
select {tenant}, unhex(printf('001%029x', value)), '', 'filled-' || value, 'api.request.completed',
    (select id from filled_customers where number = value % 1000),
    strftime('%Y-%m-%dT%H:%M:%f', 'now', ((value - {events}) * 2592000.0 / {events}) || ' seconds') || '+00:00',
    '{\"tokens\":100,\"model\":\"pro\",\"region\":\"eu-central-1\"}', '2026-01-01T00:00:00+00:00'
from numbers;
with recursive numbers (value) as (select 0 union all select value + 1 from numbers where value < {events} - 1)
insert into usage_event_identities
select {tenant}, unhex(printf('%08x', value * 4294967295 / {events}) || hex(randomblob(12))),
    unhex(printf('001%029x', value)), randomblob(16)
from numbers;
drop table filled_customers;
";

/// A month of one customer, before its hours are kept.
pub async fn busy_month(db: &Db, tenant: TenantId, customer: CustomerId, events: u64) -> Result<()> {
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
    let sql = sql.replace("{columns}", COLUMNS).replace("{tenant}", &literal(db, tenant.0));
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
