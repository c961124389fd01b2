//! What is due by time: rows that have a column which says when. They are looked for tenant by tenant, so that whoever has
//! many keeps nobody else's from being found (decision 0046).

use accrue_core::id::{TenantId, TestClockId};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Statement, TryGetable, Value};
use uuid::Uuid;

/// How many rows stand on a page.
pub const PAGE: usize = 500;

/// Whose due things are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a tenant, what lives by the wall clock.
    Tenant(TenantId),
    /// The customers' of one test clock.
    TestClock(TenantId, TestClockId),
}

impl Scope {
    pub fn tenant(self) -> TenantId {
        let (Self::Tenant(tenant) | Self::TestClock(tenant, _)) = self;
        tenant
    }

    pub fn test_clock(self) -> Option<TestClockId> {
        match self {
            Self::Tenant(_) => None,
            Self::TestClock(_, clock) => Some(clock),
        }
    }
}

/// Where a row stands among those that are due: since when, and its identifier.
pub type Place = (DateTime<Utc>, Uuid);

/// A column that says when its row is due; null if it is not.
///
/// Its table has `tenant_id`, `test_clock_id` and `id`, and two indexes where the column is not null: (`tenant_id`,
/// `test_clock_id`, the column, `id`) for what is due in a scope, and (the column, `tenant_id`) of what lives by the wall
/// clock for who has something due. Names of tables and columns are part of the program, never of what somebody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueColumn {
    pub table: &'static str,
    pub name: &'static str,
}

/// A row that is due.
#[derive(Debug)]
pub struct DueRow {
    /// Since when.
    pub at: DateTime<Utc>,
    pub id: Uuid,
    row: QueryResult,
}

impl DueRow {
    /// One of the columns that were asked for.
    pub fn get<T: TryGetable>(&self, column: &str) -> Result<T, DbErr> {
        self.row.try_get("", column)
    }

    pub fn place(&self) -> Place {
        (self.at, self.id)
    }
}

impl DueColumn {
    /// The tenants of which something is due by the wall clock, and since when, the longest due first: the one question
    /// that is not of one tenant. It reads what is due, and nothing else.
    pub async fn tenants(
        self,
        db: &impl ConnectionTrait,
        now: DateTime<Utc>,
    ) -> Result<Vec<(TenantId, DateTime<Utc>)>, DbErr> {
        let Self { table, name } = self;
        // Materialized, or SQLite would group by the index that begins with the tenant, and read all of it.
        let sql = format!(
            "with due as materialized (
                select tenant_id, {name} as due_at from {table} where test_clock_id is null and {name} <= $1)
            select tenant_id, min(due_at) as due_at from due group by tenant_id order by 2, 1"
        );
        let rows = db.query_all_raw(statement(db, &sql, vec![now.into()])).await?;
        rows.iter().map(|row| Ok((row.try_get("", "tenant_id")?, row.try_get("", "due_at")?))).collect()
    }

    /// When something is due first, whether that is past or to come: of the scope, or without one of everybody who lives by
    /// the wall clock. It is one step in an index, however much is due.
    pub async fn first(
        self,
        db: &impl ConnectionTrait,
        scope: Option<Scope>,
    ) -> Result<Option<DateTime<Utc>>, DbErr> {
        let Self { table, name } = self;
        let (whose, values) = scope.map_or(("test_clock_id is null", vec![]), of);
        let sql = format!(
            "select {name} as due_at from {table} where {whose} and {name} is not null order by {name} limit 1"
        );
        let row = db.query_one_raw(statement(db, &sql, values)).await?;
        row.map(|row| row.try_get("", "due_at")).transpose()
    }

    /// Has a row due at `at`, unless it was moved since it was found at this place.
    pub async fn postpone(
        self,
        tx: &DatabaseTransaction,
        tenant: TenantId,
        (was, id): Place,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let Self { table, name } = self;
        let sql = format!("update {table} set {name} = $1 where tenant_id = $2 and id = $3 and {name} <= $4");
        let values = vec![at.into(), tenant.into(), id.into(), was.into()];
        tx.execute_raw(statement(tx, &sql, values)).await.map(drop)
    }

    /// Rows of the scope that are due at `now`, the longest due first, at most [`PAGE`] after a place, with the columns
    /// `more`.
    pub async fn page(
        self,
        db: &impl ConnectionTrait,
        scope: Scope,
        now: DateTime<Utc>,
        after: Option<Place>,
        more: &[&'static str],
    ) -> Result<Vec<DueRow>, DbErr> {
        let Self { table, name } = self;
        let (whose, mut values) = of(scope);
        let columns = [&["id"], more].concat().join(", ");
        values.push(now.into());
        let until = format!("{name} <= ${}", values.len());
        let mut later = String::new();
        if let Some((at, id)) = after {
            values.extend([at.into(), id.into()]);
            later = format!("and ({name}, id) > (${}, ${})", values.len() - 1, values.len());
        }
        let sql = format!(
            "select {columns}, {name} as due_at from {table} where {whose} and {until} {later}
            order by {name}, id limit {PAGE}"
        );
        let rows = db.query_all_raw(statement(db, &sql, values)).await?;
        rows.into_iter()
            .map(|row| Ok(DueRow { at: row.try_get("", "due_at")?, id: row.try_get("", "id")?, row }))
            .collect()
    }
}

/// The condition of a scope, and its values.
fn of(scope: Scope) -> (&'static str, Vec<Value>) {
    match scope {
        Scope::Tenant(tenant) => ("tenant_id = $1 and test_clock_id is null", vec![tenant.into()]),
        Scope::TestClock(tenant, clock) => {
            ("tenant_id = $1 and test_clock_id = $2", vec![tenant.into(), clock.into()])
        }
    }
}

fn statement(db: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(db.get_database_backend(), sql, values)
}
