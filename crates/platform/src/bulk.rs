//! Many rows in one statement: arrays to PostgreSQL, which unnests them; lists of values to SQLite.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement, Value,
    sea_query::{ArrayType, Expr, ExprTrait, Func, SimpleExpr},
};
use uuid::Uuid;

/// For how many rows SQLite has a statement: the same few are prepared again and again. One that has room for more takes
/// all: what it costs to hand a statement to SQLite's thread is more than that of the empty rows.
const SQLITE_ROWS: [usize; 14] = [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, SQLITE_ROWS_MAX];
const SQLITE_ROWS_MAX: usize = 1024;

/// A column of the rows, with its name and its values.
#[derive(Clone, Debug)]
pub struct Column {
    name: &'static str,
    kind: ArrayType,
    /// Its type on PostgreSQL.
    postgres: &'static str,
    is_nullable: bool,
    values: Vec<Value>,
}

/// What a column may hold.
pub trait Cell {
    const POSTGRES: &'static str;
    const KIND: ArrayType;
    const IS_NULLABLE: bool;

    fn value(self) -> Value;
}

macro_rules! cell {
    ($type:ty, $kind:ident, $postgres:literal, $is_nullable:literal) => {
        impl Cell for $type {
            const POSTGRES: &'static str = $postgres;
            const KIND: ArrayType = ArrayType::$kind;
            const IS_NULLABLE: bool = $is_nullable;

            fn value(self) -> Value {
                self.into()
            }
        }
    };
}

cell!(Uuid, Uuid, "uuid", false);
cell!(Option<Uuid>, Uuid, "uuid", true);
cell!(String, String, "text", false);
cell!(DateTime<Utc>, ChronoDateTimeUtc, "timestamptz", false);
cell!(Option<DateTime<Utc>>, ChronoDateTimeUtc, "timestamptz", true);
cell!(Decimal, Decimal, "numeric", false);
cell!(Option<Decimal>, Decimal, "numeric", true);
cell!(i64, BigInt, "bigint", false);
cell!(bool, Bool, "boolean", false);

impl Column {
    pub fn new<C: Cell>(name: &'static str, values: impl IntoIterator<Item = C>) -> Self {
        let values = values.into_iter().map(Cell::value).collect();
        Self { name, kind: C::KIND, postgres: C::POSTGRES, is_nullable: C::IS_NULLABLE, values }
    }
}

/// Rows for a table, all of the same columns, and what becomes of those whose key exists.
///
/// Names of tables and columns are part of the program, never of what somebody sent.
#[derive(Debug)]
pub struct Insert {
    table: &'static str,
    columns: Vec<Column>,
    otherwise: String,
}

impl Insert {
    /// Of rows whose keys are new for certain, because they were made just now: any that exists is an error.
    pub fn new(table: &'static str, columns: Vec<Column>) -> Self {
        let rows = columns.first().map_or(0, |column| column.values.len());
        debug_assert!(columns.iter().all(|column| column.values.len() == rows), "rows have all columns");
        Self { table, columns, otherwise: String::new() }
    }

    /// Changes those whose key exists by a `set`, which may end in a `where`.
    #[must_use]
    pub fn or_set(self, key: &'static str, set: &str) -> Self {
        Self { otherwise: format!("on conflict ({key}) do update set {set}"), ..self }
    }

    fn or_nothing(self, key: &'static str) -> Self {
        Self { otherwise: format!("on conflict ({key}) do nothing"), ..self }
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// As PostgreSQL takes it, after so many other parameters.
    fn sql(&self, parameters: usize) -> String {
        let Self { table, columns, otherwise } = self;
        format!("insert into {table} ({}) {} {otherwise}", names(columns), unnested(columns, parameters))
    }
}

/// Inserts rows, and says how many were new: those whose key `key` exists stay as they are.
pub async fn insert(
    tx: &DatabaseTransaction,
    table: &'static str,
    columns: Vec<Column>,
    key: &'static str,
) -> Result<u64, DbErr> {
    write(tx, Insert::new(table, columns).or_nothing(key)).await
}

/// Inserts rows, and locks those whose key exists without changing them: all in the order of the rows.
pub async fn insert_or_lock(
    tx: &DatabaseTransaction,
    table: &'static str,
    columns: Vec<Column>,
    key: &'static str,
) -> Result<u64, DbErr> {
    let (first, _) = key.split_once(", ").unwrap_or((key, ""));
    let nothing = format!("{first} = excluded.{first} where false");
    write(tx, Insert::new(table, columns).or_set(key, &nothing)).await
}

/// Inserts rows, or changes the columns `state` of those whose key exists.
pub async fn upsert(
    tx: &DatabaseTransaction,
    table: &'static str,
    columns: Vec<Column>,
    key: &'static str,
    state: &[&'static str],
) -> Result<u64, DbErr> {
    let set = state.iter().map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    upsert_by(tx, table, columns, key, &set).await
}

/// The same with a `set` of one's own.
pub async fn upsert_by(
    tx: &DatabaseTransaction,
    table: &'static str,
    columns: Vec<Column>,
    key: &'static str,
    set: &str,
) -> Result<u64, DbErr> {
    write(tx, Insert::new(table, columns).or_set(key, set)).await
}

/// Inserts rows; of those whose key exists, adds the columns `sums` to what is there and changes the columns `state`.
pub async fn add(
    tx: &DatabaseTransaction,
    table: &'static str,
    columns: Vec<Column>,
    key: &'static str,
    (sums, state): (&[&'static str], &[&'static str]),
) -> Result<u64, DbErr> {
    let sums = sums.iter().map(|name| format!("{name} = {table}.{name} + excluded.{name}"));
    let state = state.iter().map(|name| format!("{name} = excluded.{name}"));
    let set = sums.chain(state).collect::<Vec<_>>().join(", ");
    upsert_by(tx, table, columns, key, &set).await
}

/// Does several inserts, and says how many rows each wrote.
///
/// On PostgreSQL they are one statement, which is waited for once: none sees what another writes. It counts them one after
/// the other and so does them one after the other, but nothing should depend on that.
pub async fn write_all<const N: usize>(
    tx: &DatabaseTransaction,
    inserts: [Insert; N],
) -> Result<[u64; N], DbErr> {
    let mut written = [0; N];
    let filled = inserts.iter().filter(|insert| insert.rows() > 0).count();
    if filled < 2 || tx.get_database_backend() != DatabaseBackend::Postgres {
        for (written, insert) in written.iter_mut().zip(inserts) {
            *written = write(tx, insert).await?;
        }
        return Ok(written);
    }
    let (mut parts, mut counts, mut values, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, insert) in inserts.into_iter().enumerate().filter(|(_, insert)| insert.rows() > 0) {
        parts.push(format!("w{place} as ({} returning 1)", insert.sql(values.len())));
        counts.push(format!("(select count(*) from w{place})"));
        values.extend(insert.columns.into_iter().map(Column::into_array));
        places.push(place);
    }
    let sql = format!("with {} select {}", parts.join(", "), counts.join(", "));
    let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values);
    let row = tx.query_one_raw(statement).await?.ok_or_else(|| DbErr::Custom("counts are a row".into()))?;
    for (column, place) in places.into_iter().enumerate() {
        written[place] = row.try_get_by_index::<i64>(column)?.unsigned_abs();
    }
    Ok(written)
}

async fn write(tx: &DatabaseTransaction, insert: Insert) -> Result<u64, DbErr> {
    let rows = insert.rows();
    if rows == 0 {
        return Ok(0);
    }
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        let sql = insert.sql(0);
        return execute(tx, sql, insert.columns.into_iter().map(Column::into_array).collect()).await;
    }
    let Insert { table, columns, otherwise } = insert;
    let (width, names) = (columns.len(), names(&columns));
    let mut columns: Vec<_> = columns.into_iter().map(|column| column.values.into_iter()).collect();
    let mut written = 0;
    for first in (0..rows).step_by(SQLITE_ROWS_MAX) {
        let count = SQLITE_ROWS_MAX.min(rows - first);
        let room = SQLITE_ROWS.into_iter().find(|room| *room >= count).unwrap_or(count);
        let mut values = Vec::with_capacity(room * width + 1);
        for _ in 0..count {
            values.extend(columns.iter_mut().filter_map(Iterator::next));
        }
        values.resize(room * width, Value::BigInt(None));
        values.push(i64::try_from(count).unwrap_or(i64::MAX).into());
        // What fails is undone with the transaction, as on PostgreSQL: SQLite need not be ready to undo it alone. And it
        // need not know the number of rows when it plans, or it would plan each time.
        let sql = format!(
            "insert or fail into {table} ({names}) select * from (values {}) where true \
             limit cast(? as integer) {otherwise}",
            tuples(room, width)
        );
        written += execute(tx, sql, values).await?;
    }
    Ok(written)
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

impl Column {
    /// Arrays cannot hold nulls on their way to PostgreSQL: where there may be some, texts go there instead.
    fn into_array(self) -> Value {
        if !self.is_nullable {
            return Value::Array(self.kind, Some(Box::new(self.values)));
        }
        let texts = self.values.iter().map(|value| Value::from(text(value))).collect();
        Value::Array(ArrayType::String, Some(Box::new(texts)))
    }
}

/// A value as PostgreSQL reads it from a text; nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Uuid(Some(id)) => id.to_string(),
        Value::ChronoDateTimeUtc(Some(at)) => at.to_rfc3339(),
        Value::Decimal(Some(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// `select c0, nullif(c1, '')::numeric, … from (select unnest($1::uuid[]) as c0, unnest($2::text[]) as c1, …) as rows`
///
/// Arrays that are unnested by the select are read as they go; `from unnest(…)` would first write down all of them.
fn unnested(columns: &[Column], parameters: usize) -> String {
    let each = |form: &dyn Fn(usize, &Column) -> String| {
        columns.iter().enumerate().map(|(index, column)| form(index, column)).collect::<Vec<_>>().join(", ")
    };
    let read = each(&|index, column| {
        if column.is_nullable {
            format!("nullif(c{index}, '')::{}", column.postgres)
        } else {
            format!("c{index}")
        }
    });
    let arrays = each(&|index, column| {
        let kind = if column.is_nullable { "text" } else { column.postgres };
        format!("unnest(${}::{kind}[]) as c{index}", parameters + index + 1)
    });
    format!("select {read} from (select {arrays}) as rows")
}

/// `(?, ?), (?, ?), …`
fn tuples(rows: usize, width: usize) -> String {
    let tuple = format!("({})", vec!["?"; width].join(", "));
    vec![tuple.as_str(); rows].join(", ")
}

async fn execute(tx: &DatabaseTransaction, sql: String, values: Vec<Value>) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.execute_raw(statement).await?.rows_affected())
}

/// How many values [`one_of`] takes.
pub const LIST_MAX: usize = 10_000;

/// Is a column one of these values? On PostgreSQL they are one array: a statement of the same text, however many. On SQLite
/// the last is repeated until there is a power of two of them, so that the statements are few.
pub fn one_of<C: Cell>(db: &impl ConnectionTrait, column: impl ColumnTrait, values: Vec<C>) -> SimpleExpr {
    debug_assert!(values.len() <= LIST_MAX, "SQLite takes no longer lists");
    let mut values: Vec<Value> = values.into_iter().map(Cell::value).collect();
    if db.get_database_backend() == DatabaseBackend::Postgres {
        let array = Value::Array(C::KIND, Some(Box::new(values)));
        return Expr::col(column.as_column_ref()).eq(Func::cust("any").arg(Expr::val(array)));
    }
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    column.is_in(values)
}
