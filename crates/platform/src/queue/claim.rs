//! Which jobs run next. Tenants take turns: whoever has the fewest running comes first, and of these whoever waits
//! longest. Within a tenant the longest due job comes first (decision 0046).

use std::{fmt::Write, time::Duration};

use accrue_core::id::{JobId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use uuid::Uuid;

use crate::db::Db;

/// Of so many tenants with waiting jobs those are chosen whose jobs run next; the others have their turn after them.
const TENANTS_AT_ONCE: u32 = 500;

/// A job that this process may run until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedJob {
    pub tenant: TenantId,
    pub id: JobId,
    pub name: String,
    pub payload: String,
    pub test_clock: Option<TestClockId>,
    /// How often it was started, this time included.
    pub runs: i32,
    /// How often it failed; waiting for something is no failure.
    pub failures: i32,
    pub run_at: DateTime<Utc>,
    pub(super) token: i64,
}

/// Which jobs to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Due by the wall clock.
    ByWallClock,
    /// Due by a test clock that stands still.
    ByRestingTestClocks,
    /// Due by this test clock, which stands at `now` and is advanced by the caller.
    ByTestClock { tenant: TenantId, clock: TestClockId, now: DateTime<Utc> },
}

/// What to claim, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub due: Due,
    /// Names of jobs that are left where they are.
    pub except: &'a [&'static str],
    /// At most so many.
    pub limit: u64,
    pub lease: Duration,
}

/// Which tenants are looked at next, where more wait than are looked at together. It begins anywhere, and belongs to
/// whoever claims again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Those after this one.
    after: Uuid,
}

/// Takes due jobs. `wall` is the time of leases and of retries.
pub async fn claim(
    db: &Db,
    wall: DateTime<Utc>,
    claim: Claim<'_>,
    turn: &mut Turn,
) -> Result<Vec<ClaimedJob>, DbErr> {
    let mut jobs = match claim.due {
        Due::ByWallClock => claim_by_wall_clock(db, wall, claim, turn).await?,
        Due::ByRestingTestClocks => claim_by_test_clocks(db, wall, claim, RESTING, vec![]).await?,
        Due::ByTestClock { tenant, clock, now } => {
            let values = vec![tenant.into(), clock.into(), now.into()];
            claim_by_test_clocks(db, wall, claim, MOVED, values).await?
        }
    };
    jobs.sort_by_key(|job| (job.run_at, job.id));
    Ok(jobs)
}

/// A tenant with a due job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    tenant: TenantId,
    since: DateTime<Utc>,
    /// How many of its jobs run, in all processes.
    running: i64,
}

async fn claim_by_wall_clock(
    db: &Db,
    wall: DateTime<Utc>,
    claim: Claim<'_>,
    turn: &mut Turn,
) -> Result<Vec<ClaimedJob>, DbErr> {
    // Of whoever begins with the first tenant everybody was seen at the end.
    let (mut sees_all, mut leases_ended) = (turn.after.is_nil(), false);
    let waiting = loop {
        let seen = look(db, wall, claim.except, turn.after).await?;
        if seen.leases_ended && !leases_ended {
            end_leases(db, wall).await?;
            leases_ended = true;
            continue;
        }
        let is_end = seen.last.is_none();
        turn.after = seen.last.unwrap_or_default();
        if !seen.waiting.is_empty() || (is_end && sees_all) {
            break seen.waiting;
        }
        sees_all |= is_end;
    };
    let shares = shares(&waiting, claim.limit);
    if shares.is_empty() {
        return Ok(Vec::new());
    }
    start(db, wall, shares, claim).await
}

/// How many jobs each tenant may start: one after the other goes to whoever has the fewest then, the longest waiting
/// first.
fn shares(waiting: &[Waiting], limit: u64) -> Vec<(TenantId, u64)> {
    let mut given = vec![0_u64; waiting.len()];
    for _ in 0..limit {
        let has = |at: &usize| {
            let Waiting { tenant, since, running } = waiting[*at];
            (given[*at].saturating_add_signed(running), since, tenant)
        };
        if let Some(next) = (0..waiting.len()).min_by_key(has) {
            given[next] += 1;
        }
    }
    let tenants = waiting.iter().map(|waiting| waiting.tenant);
    tenants.zip(given).filter(|(_, given)| *given > 0).collect()
}

/// What was seen of those who wait.
struct Seen {
    waiting: Vec<Waiting>,
    /// Workers have died, or are late: their jobs are to be queued first.
    leases_ended: bool,
    /// After whom others may wait.
    last: Option<Uuid>,
}

/// How many jobs of each tenant run, in all processes.
const BUSY: &str =
    "(select tenant_id, count(*) as running from jobs where state = 'running' group by tenant_id) as busy";

/// Goes from tenant to tenant by the index, however many jobs each has; then looks at the first one of each.
async fn look(db: &Db, wall: DateTime<Utc>, except: &[&'static str], after: Uuid) -> Result<Seen, DbErr> {
    let mut values: Vec<Value> = vec![after.into(), wall.into()];
    let others = but(except, &mut values);
    let sql = format!(
        "with recursive line (tenant_id, place) as (
            select $1, 0
            union all
            select (select next.tenant_id from jobs as next
                where next.state = 'queued' and next.test_clock_id is null and next.tenant_id > line.tenant_id
                order by next.tenant_id limit 1), place + 1
            from line where line.tenant_id is not null and place < {TENANTS_AT_ONCE})
        select line.tenant_id, line.place,
            (select run_at from jobs where jobs.tenant_id = line.tenant_id
                and state = 'queued' and test_clock_id is null and run_at <= $2{others}
                order by run_at limit 1) as since,
            coalesce(busy.running, 0) as running
        from line left join {BUSY} on busy.tenant_id = line.tenant_id
        where line.place > 0 and line.tenant_id is not null
        union all
        select tenant_id, 0, leased_until, 1 from jobs
        where state = 'running' and test_clock_id is null and leased_until <= $2"
    );
    let mut seen = Seen { waiting: Vec::new(), leases_ended: false, last: None };
    for row in db.reader().query_all_raw(statement(db, &sql, values)).await? {
        let (tenant, place): (TenantId, i32) = (row.try_get("", "tenant_id")?, row.try_get("", "place")?);
        let since: Option<DateTime<Utc>> = row.try_get("", "since")?;
        if place == 0 {
            seen.leases_ended = true;
        } else if let Some(since) = since {
            seen.waiting.push(Waiting { tenant, since, running: row.try_get("", "running")? });
        }
        if place.unsigned_abs() == TENANTS_AT_ONCE {
            seen.last = Some(tenant.0);
        }
    }
    Ok(seen)
}

/// Queues the jobs whose workers have not renewed their leases. A worker that comes back is refused: its job does not run.
async fn end_leases(db: &Db, wall: DateTime<Utc>) -> Result<(), DbErr> {
    let sql = format!(
        "update jobs set state = 'queued', leased_until = null where (tenant_id, id) in (
            select tenant_id, id from jobs
            where state = 'running' and test_clock_id is null and leased_until <= $1 {})",
        skip_locked(db)
    );
    db.write_alone(statement(db, &sql, vec![wall.into()])).await.map(drop)
}

const START: &str =
    "state = 'running', runs = runs + 1, lease_token = lease_token + 1, leased_until = $1, again = false";
const STARTED: &str =
    "returning tenant_id, id, name, payload, test_clock_id, runs, failures, run_at, lease_token";

/// Starts the longest due jobs of each tenant, so many of them, in one statement.
async fn start(
    db: &Db,
    wall: DateTime<Utc>,
    shares: Vec<(TenantId, u64)>,
    Claim { except, lease, .. }: Claim<'_>,
) -> Result<Vec<ClaimedJob>, DbErr> {
    let mut values: Vec<Value> = vec![(wall + lease).into(), wall.into()];
    let (others, skip_locked) = (but(except, &mut values), skip_locked(db));
    let mut chosen = Vec::new();
    for (place, (tenant, limit)) in shares.into_iter().enumerate() {
        values.push(tenant.into());
        chosen.push(format!(
            "chosen_{place} as materialized (
                select tenant_id, id from jobs
                where tenant_id = ${} and state = 'queued' and test_clock_id is null and run_at <= $2{others}
                order by run_at, id limit {limit} {skip_locked})",
            values.len()
        ));
    }
    let all: Vec<_> =
        (0..chosen.len()).map(|place| format!("select tenant_id, id from chosen_{place}")).collect();
    let sql = format!(
        "with {}, chosen as materialized ({})
        update jobs set {START} where (tenant_id, id) in (select tenant_id, id from chosen) {STARTED}",
        chosen.join(", "),
        all.join(" union all ")
    );
    db.write_alone(statement(db, &sql, values)).await?.iter().map(claimed).collect()
}

/// What a clock that stands still has come to.
const RESTING: &str = "jobs.test_clock_id is not null and exists (
    select 1 from test_clocks c
    where c.tenant_id = jobs.tenant_id and c.id = jobs.test_clock_id and c.advancing_to is null
    and (jobs.run_at <= c.now_at or jobs.retry_at <= $2))";

/// What a clock that is being moved has come to.
const MOVED: &str =
    "jobs.tenant_id = $3 and jobs.test_clock_id = $4 and (jobs.run_at <= $5 or jobs.retry_at <= $2)";

/// Those of customers on test clocks are few, for a clock that is moved does what is due before it moves on: all are
/// ranked.
async fn claim_by_test_clocks(
    db: &Db,
    wall: DateTime<Utc>,
    Claim { except, limit, lease, .. }: Claim<'_>,
    which: &str,
    values: Vec<Value>,
) -> Result<Vec<ClaimedJob>, DbErr> {
    let mut values = [vec![(wall + lease).into(), wall.into()], values].concat();
    let others = but(except, &mut values);
    let due = format!(
        "(jobs.state = 'queued' or (jobs.state = 'running' and jobs.leased_until <= $2)) and {which}{others}"
    );
    let sql = format!(
        "with ranked as materialized (
            select jobs.tenant_id, jobs.id, jobs.run_at, coalesce(busy.running, 0)
                + row_number() over (partition by jobs.tenant_id order by jobs.run_at, jobs.id) as place
            from jobs left join {BUSY} on busy.tenant_id = jobs.tenant_id where {due}),
        chosen as materialized (
            select jobs.tenant_id, jobs.id
            from ranked join jobs on jobs.tenant_id = ranked.tenant_id and jobs.id = ranked.id where {due}
            order by ranked.place, ranked.run_at, ranked.id limit {limit} {})
        update jobs set {START} where (tenant_id, id) in (select tenant_id, id from chosen) {STARTED}",
        skip_locked(db).replace("update", "update of jobs")
    );
    db.write_alone(statement(db, &sql, values)).await?.iter().map(claimed).collect()
}

/// What another process takes at this moment is left to it. On SQLite nobody else is there.
fn skip_locked(db: &Db) -> &'static str {
    if db.is_sqlite() { "" } else { "for update skip locked" }
}

fn statement(db: &Db, sql: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(db.reader().get_database_backend(), sql, values)
}

/// Leaves out the jobs of some names.
fn but(names: &[&'static str], values: &mut Vec<Value>) -> String {
    let mut others = String::new();
    for name in names {
        values.push((*name).into());
        write!(others, " and jobs.name <> ${}", values.len()).expect("a string takes it");
    }
    others
}

fn claimed(row: &QueryResult) -> Result<ClaimedJob, DbErr> {
    Ok(ClaimedJob {
        tenant: row.try_get("", "tenant_id")?,
        id: row.try_get("", "id")?,
        name: row.try_get("", "name")?,
        payload: row.try_get("", "payload")?,
        test_clock: row.try_get("", "test_clock_id")?,
        runs: row.try_get("", "runs")?,
        failures: row.try_get("", "failures")?,
        run_at: row.try_get("", "run_at")?,
        token: row.try_get("", "lease_token")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(tenant: u128, since: &str, running: i64) -> Waiting {
        Waiting { tenant: TenantId(Uuid::from_u128(tenant)), since: since.parse().unwrap(), running }
    }

    fn share(waiting: &[Waiting], limit: u64) -> Vec<(u128, u64)> {
        shares(waiting, limit).into_iter().map(|(tenant, given)| (tenant.0.as_u128(), given)).collect()
    }

    #[test]
    fn whoever_waits_longest_comes_first_and_all_have_as_many() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let both = [waiting(1, late, 0), waiting(2, early, 0)];
        assert_eq!(share(&both, 1), [(2, 1)]);
        assert_eq!(share(&both, 5), [(1, 2), (2, 3)]);
        assert_eq!(share(&both[..1], 8), [(1, 8)], "who is alone has all");
        assert_eq!(share(&[], 8), []);
    }

    #[test]
    fn whoever_has_jobs_running_lets_the_others_catch_up() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let both = [waiting(1, early, 3), waiting(2, late, 1)];
        assert_eq!(share(&both, 1), [(2, 1)]);
        assert_eq!(share(&both, 2), [(2, 2)]);
        assert_eq!(share(&both, 4), [(1, 1), (2, 3)]);
    }
}
