//! The schema: tenants are walls, and both databases have the same one.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use crate::support::{Engine, Engine::*, World};

/// Tables that no tenant owns.
const GLOBAL: &[&str] = &["accounts", "leases", "schedules", "seaql_migrations", "tenants"];

/// Partitions are made as time goes on, and are like their table.
const POSTGRES_COLUMNS: &str = "
select table_name, column_name from information_schema.columns where table_schema = 'public'
and table_name not in (select inhrelid::regclass::text from pg_inherits)";

const POSTGRES_KEYS: &str = "
select c.relname as table_name, i.relname as key_name, x.indisprimary as is_primary,
    array_to_string(array(select a.attname from unnest(x.indkey) with ordinality k(n, o)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.n order by k.o), ',') as columns
from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and x.indisunique";

const POSTGRES_REFERENCES: &str = "
select c.relname as table_name, f.relname as target,
    array_to_string(array(select a.attname from unnest(k.conkey) with ordinality u(n, o)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = u.n order by u.o), ',') as columns,
    array_to_string(array(select a.attname from unnest(k.confkey) with ordinality u(n, o)
        join pg_attribute a on a.attrelid = f.oid and a.attnum = u.n order by u.o), ',') as target_columns
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class f on f.oid = k.confrelid
where k.contype = 'f'";

async fn rows(world: &World, sql: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let db = world.app.db.reader();
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    let text = |row: &sea_orm::QueryResult, column: &str| {
        row.try_get::<String>("", column)
            .or_else(|_| row.try_get::<bool>("", column).map(|yes| yes.to_string()))
            .unwrap()
    };
    rows.iter().map(|row| columns.iter().map(|column| text(row, column)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_stands_in_every_key_and_every_reference() {
    let Some(world) = World::new(Postgres).await else { return };
    let owned = |table: &str| !GLOBAL.contains(&table);

    let columns = rows(&world, POSTGRES_COLUMNS, &["table_name", "column_name"]).await;
    let tables: BTreeSet<&str> = columns.iter().map(|row| row[0].as_str()).collect();
    let with_tenant: BTreeSet<&str> =
        columns.iter().filter(|row| row[1] == "tenant_id").map(|row| row[0].as_str()).collect();
    assert!(tables.len() > 25, "{tables:?}");
    for table in tables.iter().filter(|table| owned(table)) {
        assert!(
            with_tenant.contains(table),
            "{table} has no tenant_id and is not in the list of global tables"
        );
    }

    for key in rows(&world, POSTGRES_KEYS, &["table_name", "key_name", "is_primary", "columns"]).await {
        let [table, name, primary, columns] = key.as_slice() else { unreachable!() };
        if !owned(table) {
            continue;
        }
        assert!(
            columns.split(',').any(|column| column == "tenant_id"),
            "{name}: unique ({columns}) crosses tenants"
        );
        assert!(primary == "false" || columns == "tenant_id,id", "{table}: primary key ({columns})");
    }

    for reference in
        rows(&world, POSTGRES_REFERENCES, &["table_name", "target", "columns", "target_columns"]).await
    {
        let [table, target, columns, target_columns] = reference.as_slice() else { unreachable!() };
        let at = |list: &str, name: &str| list.split(',').position(|column| column == name);
        let fits = match target.as_str() {
            "tenants" => columns == "tenant_id",
            target if owned(target) => {
                at(columns, "tenant_id").is_some()
                    && at(columns, "tenant_id") == at(target_columns, "tenant_id")
            }
            _ => !owned(table),
        };
        assert!(fits, "{table} ({columns}) -> {target} ({target_columns}) crosses tenants");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_have_the_same_tables_and_columns() {
    let (Some(postgres), Some(sqlite)) = (World::new(Postgres).await, World::new(Sqlite).await) else {
        return;
    };
    let sql = "select m.name as table_name, c.name as column_name from sqlite_master m
        join pragma_table_info(m.name) c where m.type = 'table' and m.name not like 'sqlite_%'";
    let gather = |rows: Vec<Vec<String>>| {
        let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in rows {
            tables.entry(row[0].clone()).or_default().insert(row[1].clone());
        }
        tables
    };
    let names = ["table_name", "column_name"];
    assert_eq!(
        gather(rows(&postgres, POSTGRES_COLUMNS, &names).await),
        gather(rows(&sqlite, sql, &names).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_waits_for_the_disk_and_keeps_references() {
    let Some(world) = World::new(Sqlite).await else { return };
    let tx = world.app.db.begin().await.unwrap();
    let pragma = async |name: &str| {
        let statement = Statement::from_string(DatabaseBackend::Sqlite, format!("pragma {name}"));
        let row = tx.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index::<String>(0)
            .or_else(|_| row.try_get_by_index::<i32>(0).map(|n| n.to_string()))
            .unwrap()
    };
    assert_eq!(pragma("journal_mode").await, "wal");
    assert_eq!(pragma("synchronous").await, "2", "FULL");
    assert_eq!(pragma("foreign_keys").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_sqlite_file_is_refused() {
    let Some(world) = World::new(Sqlite).await else { return };
    let again = accrue_platform::db::Db::open(&world.app.config.database).await;
    let message = again.unwrap_err().to_string();
    assert!(message.contains("in use by another process") && !message.contains('\n'), "{message}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_down_again_and_up(#[values(Sqlite, Postgres)] on: Engine) {
    use migration::MigratorTrait;

    let Some(world) = World::new(on).await else { return };
    let url = &world.app.config.database.url;
    let url = if on == Sqlite { format!("{url}.other?mode=rwc") } else { url.clone() };
    let db = sea_orm::Database::connect(url).await.unwrap();
    migration::Migrator::up(&db, None).await.unwrap();
    migration::Migrator::down(&db, None).await.unwrap();
    migration::Migrator::up(&db, None).await.unwrap();
    assert!(migration::Migrator::get_pending_migrations(&db).await.unwrap().is_empty());
}
