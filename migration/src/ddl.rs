//! One text of DDL for both databases: written for PostgreSQL, its types translated for SQLite.

use sea_orm_migration::{
    SchemaManager,
    prelude::DbErr,
    sea_orm::{ConnectionTrait, DatabaseBackend},
};

/// PostgreSQL's type and what SQLite stores in its place. Decimals must be TEXT there: a column of type
/// `numeric` would turn them into doubles.
const SQLITE_TYPES: &[(&str, &str)] = &[
    ("uuid", "blob"),
    ("timestamptz", "text"),
    ("numeric", "text"),
    ("bytea", "blob"),
    ("bigint", "integer"),
];

/// Runs every statement of `ddl`.
pub(crate) async fn run(manager: &SchemaManager<'_>, ddl: &str) -> Result<(), DbErr> {
    let sqlite = manager.get_database_backend() == DatabaseBackend::Sqlite;
    let ddl = if sqlite { for_sqlite(ddl) } else { for_postgres(ddl) };
    for statement in ddl.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}

/// A partitioned table takes what belongs to none of its partitions.
pub(crate) async fn make_default_partition(manager: &SchemaManager<'_>, table: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        let sql = format!("create table {table}_default partition of {table} default");
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Has PostgreSQL pack long texts of a column by LZ4, if it was built with that: PGLZ takes many times as long. What is made
/// a partition of the table later does the same.
pub(crate) async fn pack_by_lz4(manager: &SchemaManager<'_>, table: &str, column: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        let sql = format!(
            "do $$ begin
                if exists (select from pg_settings
                    where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
                    alter table {table} alter column {column} set compression lz4;
                end if;
            end $$"
        );
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Drops tables, the last made first.
pub(crate) async fn drop_tables(manager: &SchemaManager<'_>, tables: &[&str]) -> Result<(), DbErr> {
    for table in tables.iter().rev() {
        manager.get_connection().execute_unprepared(&format!("drop table {table}")).await?;
    }
    Ok(())
}

/// From now on the database refuses to change or delete rows of these tables, unless a test clock of their tenant is being
/// deleted: then they may be deleted.
pub(crate) async fn make_append_only(manager: &SchemaManager<'_>, tables: &[&str]) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let sqlite = manager.get_database_backend() == DatabaseBackend::Sqlite;
    if !sqlite {
        db.execute_unprepared(&REFUSE_CHANGE.replace("BEING_DELETED", BEING_DELETED)).await?;
    }
    for table in tables {
        if !sqlite {
            for (name, change) in [
                ("append_only", "update or truncate on {table} for each statement"),
                ("delete_with_test_clock", "delete on {table} for each row"),
            ] {
                let change = change.replace("{table}", table);
                let sql = format!("create trigger {name} before {change} execute function refuse_change()");
                db.execute_unprepared(&sql).await?;
            }
            continue;
        }
        let unless = format!("when not exists ({BEING_DELETED})");
        for (change, when) in [("update", ""), ("delete", unless.as_str())] {
            db.execute_unprepared(&format!(
                "create trigger {table}_refuse_{change} before {change} on {table} {when}
                begin select raise(abort, '{table} is append-only'); end"
            ))
            .await?;
        }
    }
    Ok(())
}

/// After the last table is dropped that was append-only: by the first migration that made one.
pub(crate) async fn drop_append_only(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        manager.get_connection().execute_unprepared("drop function refuse_change()").await?;
    }
    Ok(())
}

/// A test clock is being deleted with its customers and all that is theirs. There are none in live mode.
const BEING_DELETED: &str = "
select 1 from test_clocks
where tenant_id = old.tenant_id and deleted_at is not null and emptied_at is null";

const REFUSE_CHANGE: &str = "
create or replace function refuse_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and exists (BEING_DELETED) then
        return old;
    end if;
    raise exception '% is append-only', tg_table_name;
end
$$";

/// Rows that stand in their primary key are a matter of SQLite, which otherwise keeps rows and key apart.
fn for_postgres(ddl: &str) -> String {
    ddl.replace(") without rowid", ")")
}

/// Partitions are a matter of PostgreSQL.
fn for_sqlite(ddl: &str) -> String {
    ddl.replace(" partition by range (id)", "")
        .split_inclusive(|c: char| !c.is_alphanumeric() && c != '_')
        .map(|token| {
            let word = token.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
            match SQLITE_TYPES.iter().find(|(postgres, _)| *postgres == word) {
                Some((_, sqlite)) => token.replacen(word, sqlite, 1),
                None => token.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_translated_and_names_that_contain_them_are_not() {
        assert_eq!(for_sqlite("id uuid, uuid_x text, (numeric)"), "id blob, uuid_x text, (text)");
    }

    #[test]
    fn rows_stand_in_their_key_on_sqlite_alone() {
        let ddl = "create table a (id text) without rowid; create table b (id text)";
        assert_eq!(for_sqlite(ddl), ddl);
        assert_eq!(for_postgres(ddl), "create table a (id text); create table b (id text)");
    }

    #[test]
    fn tables_are_partitioned_on_postgresql_alone() {
        let ddl = "create table a (id text) without rowid partition by range (id);";
        assert_eq!(for_sqlite(ddl), "create table a (id text) without rowid;");
        assert_eq!(for_postgres(ddl), "create table a (id text) partition by range (id);");
    }
}
