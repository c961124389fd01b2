//! A tenant who has much to do keeps nobody waiting.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use accrue::{
    app::{App, Found, FoundPage, Sweep, Work, enqueue_found, sweep_all},
    auth,
};
use accrue_core::id::{JobId, SubscriptionId, TenantId};
use accrue_platform::{
    due::PAGE,
    queue::{self, Claim, ClaimedJob, Due, Late, NewJob, Turn},
    schedule::Schedule,
};
use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use sea_orm::DbErr;
use serde_json::json;

use crate::support::{Engine, Engine::*, Reply, World};

const LEASE: Duration = Duration::from_secs(30);
const WORKERS: u64 = 8;

async fn tenants(world: &World, count: usize) -> Vec<TenantId> {
    let tx = world.app.db.begin().await.unwrap();
    let mut tenants = Vec::new();
    while tenants.len() < count {
        let (live, test) = auth::service::open_account(&tx, "Other", world.app.now()).await.unwrap();
        tenants.extend([live.id, test.id]);
    }
    tx.commit().await.unwrap();
    tenants
}

fn job(tenant: TenantId, number: impl Display, run_at: DateTime<Utc>) -> NewJob {
    let (key, payload) = (format!("job:{number}"), "{}".to_owned());
    NewJob { tenant, name: "nobody.knows", key, payload, run_at, test_clock: None }
}

async fn enqueue(world: &World, jobs: Vec<NewJob>) {
    let tx = world.app.db.begin().await.unwrap();
    queue::enqueue_all(&tx, jobs).await.unwrap();
    tx.commit().await.unwrap();
}

async fn claim(app: &App, limit: u64, turn: &mut Turn) -> Vec<ClaimedJob> {
    let claim = Claim { due: Due::ByWallClock, except: &[], limit, lease: LEASE };
    queue::claim(&app.db, app.now(), claim, turn).await.unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_one_job_of_a_tenant_runs_next_although_another_has_five_thousand_older_ones(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let [busy, small] = tenants(&world, 2).await.try_into().unwrap();
    let now = world.app.now();
    let old = now - TimeDelta::days(1);
    let many = (0..5_000).map(|number| job(busy, number, old + TimeDelta::milliseconds(number)));
    enqueue(&world, many.collect()).await;
    let mut turn = Turn::default();

    let first = claim(&world.app, WORKERS, &mut turn).await;
    let keys: Vec<_> = first.iter().map(|job| (job.tenant, job.run_at)).collect();
    let oldest: Vec<_> = (0..8).map(|number| (busy, old + TimeDelta::milliseconds(number))).collect();
    assert_eq!(keys, oldest, "who is alone has every worker, and the oldest come first");

    enqueue(&world, vec![job(small, 0, now)]).await;
    queue::finish(&world.app.db, &first[0], now).await.unwrap();
    let next = claim(&world.app, 1, &mut turn).await;
    assert_eq!(next[0].tenant, small, "the first worker that is free is the other's");
    queue::finish(&world.app.db, &first[1], now).await.unwrap();
    let next = claim(&world.app, 1, &mut turn).await;
    assert_eq!(next[0].tenant, busy, "and nobody else waits now");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tenants_who_all_have_much_to_do_have_as_many_workers_each(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let tenants = tenants(&world, 4).await;
    let now = world.app.now();
    for (place, tenant) in (0..).zip(&tenants) {
        // The later ones are younger, every one of them.
        let run_at = now - TimeDelta::hours(10) + TimeDelta::hours(place);
        enqueue(&world, (0..100).map(|number| job(*tenant, number, run_at)).collect()).await;
    }

    let claimed = claim(&world.app, WORKERS, &mut Turn::default()).await;

    for tenant in tenants {
        assert_eq!(claimed.iter().filter(|job| job.tenant == tenant).count(), 2);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_more_tenants_than_are_looked_at_together_each_has_its_turn(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let tenants = tenants(&world, 1_100).await;
    let now = world.app.now();
    enqueue(&world, tenants.iter().map(|tenant| job(*tenant, 0, now)).collect()).await;
    let mut turn = Turn::default();

    let mut served = BTreeSet::new();
    loop {
        let claimed = claim(&world.app, 50, &mut turn).await;
        if claimed.is_empty() {
            break;
        }
        for job in claimed {
            assert!(served.insert(job.tenant), "one after the other");
        }
    }
    assert_eq!(served.len(), tenants.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_claim_at_once_take_each_job_once() {
    let Some(world) = World::new(Postgres).await else { return };
    let tenants = tenants(&world, 6).await;
    let now = world.app.now();
    let jobs = tenants.iter().flat_map(|tenant| (0..100).map(|number| job(*tenant, number, now)));
    enqueue(&world, jobs.collect()).await;

    let process = async |app: App| {
        let (mut turn, mut taken) = (Turn::default(), Vec::new());
        // What another one takes at this moment is skipped, so there may be none although some are left.
        while !queue::late(app.db.reader(), None, now).await.unwrap().is_empty() {
            let claimed = claim(&app, WORKERS, &mut turn).await;
            taken.extend(claimed.into_iter().map(|job| (job.tenant, job.id)));
        }
        taken
    };
    let taken: Vec<Vec<(TenantId, JobId)>> =
        futures_util::future::join_all((0..4).map(|_| process(world.app.clone()))).await;

    let all: Vec<_> = taken.iter().flatten().collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (600, 600));
    assert!(taken.iter().all(|taken| !taken.is_empty()), "all of them work");
}

/// What a sweep enqueued, in this order.
static ENQUEUED: Mutex<Vec<(TenantId, u128)>> = Mutex::new(Vec::new());
static TENANTS: OnceLock<Vec<TenantId>> = OnceLock::new();

/// The first tenant has five thousand due things, all older than the one of the other.
const SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "tests.sweep", cron: "0 * * * * *" },
    tenants: |_, now| {
        Box::pin(async move { Ok(TENANTS.get().unwrap().iter().map(|tenant| (*tenant, now)).collect()) })
    },
    find: |_, scope, now, after| {
        let tenant = scope.tenant();
        let last = if tenant == TENANTS.get().unwrap()[0] { 5_000 } else { 1 };
        let from = after.map_or(0, |(_, id)| id.as_u128() + 1);
        let found = (from..last).take(PAGE).map(|number| Found {
            object: SubscriptionId(uuid::Uuid::from_u128(number)).to_string(),
            place: (now, uuid::Uuid::from_u128(number)),
            job: job(tenant, number, now),
        });
        let found: Vec<_> = found.collect();
        let next = found.get(PAGE - 1).map(|found| found.place);
        Box::pin(async move { Ok(FoundPage { found, next }) })
    },
    enqueue: |tx, now, found| {
        let mut enqueued = ENQUEUED.lock().unwrap();
        enqueued.extend(found.iter().map(|found| (found.job.tenant, found.place.1.as_u128())));
        enqueue_found(tx, now, found)
    },
    next_due: None,
};

static SWEEPING: Work = Work {
    jobs: &[],
    sweeps: &[&[SWEEP]],
    upkeep: &[],
    listeners: &[],
    belongings: &[],
    customer_locks: &[],
};

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_enqueues_the_one_due_thing_of_a_tenant_after_a_page_of_another_who_has_five_thousand() {
    let Some(world) = World::new(Sqlite).await else { return };
    let [busy, small] = tenants(&world, 2).await.try_into().unwrap();
    TENANTS.set(vec![busy, small]).unwrap();

    sweep_all(&App { work: &SWEEPING, ..world.app.clone() }).await.unwrap();

    let enqueued = ENQUEUED.lock().unwrap().clone();
    let expected: Vec<u128> = (0..5_000).collect();
    let of_busy: Vec<u128> =
        enqueued.iter().filter(|(tenant, _)| *tenant == busy).map(|(_, number)| *number).collect();
    assert_eq!(of_busy, expected, "each once, the longest due first");
    assert_eq!(enqueued.iter().position(|(tenant, _)| *tenant == small), Some(PAGE));
    assert_eq!(enqueued.len(), 5_001);
}

static BROKEN: OnceLock<TenantId> = OnceLock::new();

/// Everybody has a due thing, and one tenant's cannot be enqueued.
const BREAKING_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "tests.breaking", cron: "0 * * * * *" },
    tenants: |db, now| {
        Box::pin(async move {
            let tenants = auth::service::all_tenants(db.reader()).await?;
            Ok(tenants.iter().map(|tenant| (tenant.id, now)).collect())
        })
    },
    find: |_, scope, now, _| {
        let (tenant, place) = (scope.tenant(), (now, scope.tenant().0));
        let found = Found { object: tenant.to_string(), place, job: job(tenant, 0, now) };
        Box::pin(async move { Ok(FoundPage::whole(vec![found])) })
    },
    enqueue: |tx, now, found| {
        if found.iter().any(|found| Some(&found.job.tenant) == BROKEN.get()) {
            return Box::pin(async { Err(DbErr::Custom("it does not fit".to_owned())) });
        }
        enqueue_found(tx, now, found)
    },
    next_due: None,
};

static BREAKING: Work = Work {
    jobs: &[],
    sweeps: &[&[BREAKING_SWEEP]],
    upkeep: &[],
    listeners: &[],
    belongings: &[],
    customer_locks: &[],
};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_jobs_cannot_be_enqueued_keeps_no_other_from_theirs() {
    let Some(world) = World::new(Sqlite).await else { return };
    let others = tenants(&world, 4).await;
    BROKEN.set(others[1]).unwrap();

    sweep_all(&App { work: &BREAKING, ..world.app.clone() }).await.unwrap();

    let claimed = claim(&world.app, 100, &mut Turn::default()).await;
    let served: BTreeSet<_> = claimed.iter().map(|job| job.tenant).collect();
    assert!(!served.contains(&others[1]));
    assert_eq!(others.iter().filter(|tenant| served.contains(tenant)).count(), 3);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_has_died_is_late_since_its_lease_ended(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let [tenant, other] = tenants(&world, 2).await.try_into().unwrap();
    let start = world.app.now();
    enqueue(&world, vec![job(tenant, 0, start)]).await;
    claim(&world.app, 1, &mut Turn::default()).await;
    let late = async |tenant| queue::late(world.app.db.reader(), tenant, world.app.now()).await.unwrap();
    assert_eq!(late(None).await, [], "it runs");

    world.clock.advance(TimeDelta::seconds(40));

    let expected =
        [Late { name: "nobody.knows".to_owned(), since: start + TimeDelta::seconds(30), count: 1 }];
    assert_eq!(late(None).await, expected);
    assert_eq!(late(Some(tenant)).await, expected);
    assert_eq!(late(Some(other)).await, []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_renewed_next_although_another_tenant_has_five_thousand_that_are_due_longer(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let stranger = world.stranger().await;
    for key in [&world.key, &stranger] {
        sell(&world, key).await;
        world.work().await;
        world.clock.advance(TimeDelta::seconds(1));
    }
    multiply_subscriptions(&world, on).await;
    world.clock.set("2026-02-01T00:01:00Z".parse().unwrap());

    sweep_all(&world.app).await.unwrap();

    let jobs = queue::late(world.app.db.reader(), None, world.app.now()).await.unwrap();
    let cycles = jobs.iter().find(|late| late.name == "invoices.cycle").unwrap();
    assert_eq!(cycles.count, 5_002, "all of them are found");
    // Other sweeps have found something for each tenant.
    let except = &["invoices.unbilled", "archives.usage"];
    let claim = Claim { due: Due::ByWallClock, except, limit: WORKERS, lease: LEASE };
    let first = queue::claim(&world.app.db, world.app.now(), claim, &mut Turn::default()).await.unwrap();
    let tenants: BTreeSet<_> = first.iter().map(|job| job.tenant).collect();
    assert_eq!(
        (first.len(), tenants.len()),
        (5, 2),
        "half of the workers for each, and one has one thing to do"
    );
}

/// A plan, and a customer who has it.
async fn sell(world: &World, key: &str) {
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "10"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    for (path, body) in [
        ("/v1/plans", plan),
        ("/v1/customers", json!({"external_id": "acme", "name": "Acme"})),
        ("/v1/subscriptions", json!({"customer": "acme", "plan": "pro", "collection": "send_invoice"})),
    ] {
        Reply::of(world.request_as(key, "POST", path).json(&body)).await.expect(201);
    }
}

/// Five thousand more of the first subscription that there is.
async fn multiply_subscriptions(world: &World, on: Engine) {
    let (numbers, id) = match on {
        Sqlite => (
            "(with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) select i from n)",
            "randomblob(16)",
        ),
        Postgres => ("generate_series(1, 5000) as n(i)", "gen_random_uuid()"),
    };
    world
        .sql(&format!(
            "create temporary table copies as
                select s.* from (select * from subscriptions order by next_due_at limit 1) as s cross join {numbers};
            update copies set id = {id};
            insert into subscriptions select * from copies"
        ))
        .await;
}
