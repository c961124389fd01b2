//! PostgreSQL's partitions of usage events: one for each month of receipt, and a default one for all other months.

use accrue_core::id::TenantId;
use accrue_platform::db::Db;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};

use crate::metering::model::Month;

const NAMES: &str = "
select child.relname from pg_inherits join pg_class as child on child.oid = inhrelid
where inhparent = to_regclass('usage_event_packs')";

/// Whoever uses the table for long is not waited for long, because others wait behind us. Rows are moved however many
/// they are.
const PATIENCE: &str = "set local lock_timeout = '1s'; set local statement_timeout = 0;";

/// Has writers wait before they look for the partition of an event: one that had found the default partition would fail
/// when it is not the right one any more.
const STOP_WRITERS: &str = "lock table usage_event_packs in share row exclusive mode;";

const MAKE: &str = "
lock table usage_event_packs_default in access exclusive mode;
create table {name} (like usage_event_packs including all);
with moved as (delete from usage_event_packs_default where id >= '{from}' and id < '{to}' returning *)
insert into {name} select * from moved;
alter table usage_event_packs attach partition {name} for values from ('{from}') to ('{to}')";

/// What stays goes into the default partition.
const DROP: &str = "
alter table usage_event_packs detach partition {name};
insert into usage_event_packs select * from {name} where {stays};
drop table {name}";

/// Of these months, those without a partition. Of none on SQLite, which has no partitions.
pub(in crate::metering) async fn missing(db: &Db, months: Vec<Month>) -> Result<Vec<Month>, DbErr> {
    if db.is_sqlite() {
        return Ok(Vec::new());
    }
    missing_of(db.reader(), months).await
}

async fn missing_of(db: &impl ConnectionTrait, mut months: Vec<Month>) -> Result<Vec<Month>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), NAMES)).await?;
    let there = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<String>, _>>()?;
    months.retain(|month| !there.contains(&name(*month)));
    Ok(months)
}

/// Makes the partition of a month, unless it is there. `tx` has to be the only one that does. If the month has begun,
/// events are on their way.
pub(in crate::metering) async fn make(
    tx: &DatabaseTransaction,
    month: Month,
    has_begun: bool,
) -> Result<(), DbErr> {
    if missing_of(tx, vec![month]).await?.is_empty() {
        return Ok(());
    }
    let (from, to) = month.ids();
    let sql = MAKE.replace("{name}", &name(month));
    let sql = sql.replace("{from}", &from.to_string()).replace("{to}", &to.to_string());
    let stop = if has_begun { STOP_WRITERS } else { "" };
    tx.execute_unprepared(&format!("{PATIENCE}{stop}{sql}")).await.map(drop)
}

/// Takes out the partition of a month, and keeps what these tenants have in it; `false` if there is none, or if they have
/// more than may be moved while everybody waits.
pub(in crate::metering) async fn drop_month(
    tx: &DatabaseTransaction,
    month: Month,
    staying: &[TenantId],
    moved_max: u64,
) -> Result<bool, DbErr> {
    let is_there = tx.get_database_backend() == DatabaseBackend::Postgres
        && missing_of(tx, vec![month]).await?.is_empty();
    if !is_there {
        return Ok(false);
    }
    let name = name(month);
    let staying: Vec<String> = staying.iter().map(|tenant| format!("'{}'", tenant.0)).collect();
    // Names of those who stay, not of those who go: they are looked up in the primary key.
    let stays = format!("tenant_id = any(array[{}]::uuid[])", staying.join(", "));
    let moved =
        format!("select count(*) from (select 1 from {name} where {stays} limit {moved_max} + 1) as m");
    let row = tx.query_one_raw(Statement::from_string(DatabaseBackend::Postgres, moved)).await?;
    let moved: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    if u64::try_from(moved).is_ok_and(|moved| moved > moved_max) {
        return Ok(false);
    }
    let sql = DROP.replace("{name}", &name).replace("{stays}", &stays);
    tx.execute_unprepared(&format!("{PATIENCE}{sql}")).await?;
    Ok(true)
}

/// `usage_event_packs_2026_01`
fn name(month: Month) -> String {
    format!("usage_event_packs_{}", month.to_string().replace('-', "_"))
}
