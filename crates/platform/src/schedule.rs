//! Cron expressions whose ticks start sweeps. A tick is only a reason to look: sweeps are idempotent, and
//! what a missed tick left undone the next one does.

use std::{collections::BTreeMap, str::FromStr};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Statement};

/// A name and when it is due: six or seven fields, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub name: &'static str,
    pub cron: &'static str,
}

const NEXT: &str = "select next_tick_at from schedules where name = $1";

const TICK: &str = "
insert into schedules (name, next_tick_at, last_tick_at) values ($1, $2, $3)
on conflict (name) do update set next_tick_at = excluded.next_tick_at, last_tick_at = excluded.last_tick_at";

impl Schedule {
    /// Is it due? Then notes the next tick: the first one after `now`, however many were missed.
    ///
    /// A schedule that was never seen before is due at once.
    pub async fn tick(&self, tx: &DatabaseTransaction, now: DateTime<Utc>) -> Result<bool, DbErr> {
        let backend = tx.get_database_backend();
        let row = tx.query_one_raw(Statement::from_sql_and_values(backend, NEXT, [self.name.into()])).await?;
        let next: Option<DateTime<Utc>> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if next.is_some_and(|next| now < next) {
            return Ok(false);
        }
        let values = [self.name.into(), self.next_after(now).into(), now.into()];
        tx.execute_raw(Statement::from_sql_and_values(backend, TICK, values)).await?;
        Ok(true)
    }

    fn next_after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let cron = cron::Schedule::from_str(self.cron).expect("the program's own expressions are tested");
        cron.after(&now).next().expect("the program's own expressions have no end")
    }
}

/// When a schedule ticked last, and when it ticks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    pub last_at: Option<DateTime<Utc>>,
    pub next_at: DateTime<Utc>,
}

const TICKS: &str = "select name, last_tick_at, next_tick_at from schedules";

/// The ticks of every schedule that ticked before, by its name.
pub async fn ticks(db: &impl ConnectionTrait) -> Result<BTreeMap<String, Ticks>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), TICKS)).await?;
    let ticks = |row: &QueryResult| {
        let ticks =
            Ticks { last_at: row.try_get("", "last_tick_at")?, next_at: row.try_get("", "next_tick_at")? };
        Ok((row.try_get("", "name")?, ticks))
    };
    rows.iter().map(ticks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_the_first_after_now() {
        let schedule = Schedule { name: "x", cron: "0 */5 * * * *" };
        let next = schedule.next_after("2026-01-01T00:05:00Z".parse().unwrap());
        assert_eq!(next.to_rfc3339(), "2026-01-01T00:10:00+00:00");
    }
}
