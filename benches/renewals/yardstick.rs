//! The least that could be done: the rows that the renewals wrote, written once more into tables with the same keys and
//! indexes, by statements of many rows, over four connections.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use accrue_platform::db::Db;
use anyhow::Result;
use sea_orm::{ConnectionTrait, Statement};

use crate::site::Site;

/// What a renewal writes.
const TABLES: [&str; 7] = [
    "invoices",
    "invoice_lines",
    "ledger_transactions",
    "ledger_entries",
    "usage_closings",
    "events",
    "subscriptions",
];
/// Rows of one statement, which is a transaction of its own.
const ROWS: u64 = 5_000;
const CONNECTIONS: usize = 4;

/// Writes everything again, and says how many rows it was and how long it took.
pub async fn write_again(site: &Site) -> Result<(u64, Duration)> {
    let (mut work, mut rows) = (Vec::new(), 0);
    for table in TABLES {
        make_copy(site, table).await?;
        rows += site.number(&format!("select count(*) as n from {table}")).await?;
        work.extend(statements(site, table).await?);
    }
    let work = Arc::new(Mutex::new(work));
    // SQLite has one writer.
    let connections = if site.app.db.is_sqlite() { 1 } else { CONNECTIONS };
    let started = Instant::now();
    let writers: Vec<_> = (0..connections)
        .map(|_| {
            let (db, work) = (site.app.db.clone(), work.clone());
            tokio::spawn(async move {
                while let Some(sql) = next(&work) {
                    write(&db, &sql).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok((rows, started.elapsed()))
}

fn next(work: &Mutex<Vec<String>>) -> Option<String> {
    work.lock().ok()?.pop()
}

async fn write(db: &Db, sql: &str) -> Result<()> {
    let tx = db.begin().await?;
    tx.execute_unprepared(sql).await?;
    Ok(tx.commit().await?)
}

/// An empty table of the same columns, keys and indexes. References are looked up by the program, and not by the yardstick.
async fn make_copy(site: &Site, table: &str) -> Result<()> {
    let db = site.app.db.reader();
    if !site.app.db.is_sqlite() {
        return write(&site.app.db, &format!("create table copied_{table} (like {table} including all)"))
            .await;
    }
    let sql = format!(
        "select sql from sqlite_master where tbl_name = '{table}' and type in ('table', 'index') and sql is not null order by type desc"
    );
    let made = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    for row in made {
        let sql: String = row.try_get("", "sql")?;
        let own: Vec<&str> =
            sql.lines().filter(|line| !line.trim_start().starts_with("foreign key")).collect();
        let own = own.join("\n").replace(" references tenants (id)", "");
        // SQLite keeps the text of a statement, but for its first words.
        let own = own.replacen(&format!("CREATE TABLE {table}"), &format!("CREATE TABLE copied_{table}"), 1);
        let own = own.replacen("INDEX ", "INDEX copied_", 1);
        let own = own.replacen(&format!(" on {table} "), &format!(" on copied_{table} "), 1);
        write(&site.app.db, &tidy(&own)).await?;
    }
    Ok(())
}

/// Without the comma before the closing parenthesis that a left-out reference leaves.
fn tidy(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().collect();
    let mut tidied = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let ends = lines.get(at + 1).is_some_and(|next| next.trim_start().starts_with(')'));
        tidied.push(if ends { line.trim_end().trim_end_matches(',') } else { line });
    }
    tidied.join("\n")
}

/// A statement for each few thousand rows, in the order in which they were written.
async fn statements(site: &Site, table: &str) -> Result<Vec<String>> {
    let rows = site.number(&format!("select count(*) as n from {table}")).await?;
    let literal = if site.app.db.is_sqlite() { "'x''' || hex(id) || ''''" } else { "'''' || id || ''''" };
    let sql = format!(
        "select {literal} as id from (select id, row_number() over (order by id) as n from {table}) as numbered \
         where n % {ROWS} = 0 order by n"
    );
    let db = site.app.db.reader();
    let ends = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let mut made = Vec::new();
    let mut after = String::new();
    for end in ends {
        let end: String = end.try_get("", "id")?;
        made.push(format!("insert into copied_{table} select * from {table} where id <= {end}{after}"));
        after = format!(" and id > {end}");
    }
    if rows % ROWS > 0 {
        made.push(format!("insert into copied_{table} select * from {table} where true{after}"));
    }
    Ok(made)
}
