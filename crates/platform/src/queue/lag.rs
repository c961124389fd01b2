//! How late jobs are: what could run and does not, because nobody had time for it or nobody works.

use accrue_core::id::TenantId;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};

/// The jobs of a name that could run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    pub name: String,
    /// Since when the first of them could.
    pub since: DateTime<Utc>,
    pub count: i64,
}

/// What could run by the wall clock and does not, by name: a tenant's, or everybody's. A job whose lease has ended could
/// run since then. It reads what waits, and nothing
/// else. What a test clock has come to runs when there is time or when the clock is moved, and has no age by the real time.
pub async fn late(
    db: &impl ConnectionTrait,
    tenant: Option<TenantId>,
    wall: DateTime<Utc>,
) -> Result<Vec<Late>, DbErr> {
    let mut values: Vec<Value> = vec![wall.into()];
    let mut whose = "";
    if let Some(tenant) = tenant {
        values.push(tenant.into());
        whose = "tenant_id = $2 and";
    }
    // What runs is little, so those among it whose leases have ended are found quickly.
    let sql = format!(
        "select name, min(since) as since, cast(sum(count) as bigint) as count from (
            select name, min(run_at) as since, count(*) as count from jobs
            where {whose} state = 'queued' and test_clock_id is null and run_at <= $1 group by name
            union all
            select name, min(leased_until), count(*) from jobs
            where {whose} state = 'running' and test_clock_id is null and leased_until <= $1 group by name) as late
        group by name order by name"
    );
    let statement = Statement::from_sql_and_values(db.get_database_backend(), &sql, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter()
        .map(|row| {
            Ok(Late {
                name: row.try_get("", "name")?,
                since: row.try_get("", "since")?,
                count: row.try_get("", "count")?,
            })
        })
        .collect()
}
