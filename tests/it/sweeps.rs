//! Sweeps as people use them: looking at how late work is, and running one by hand for one's own things.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use accrue::app::{App, LastLag, lag as lag_of_all, start_workers};
use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

async fn ask(world: &World, key: &str, method: &str, path: &str, body: Value) -> Value {
    let reply = Reply::of(world.request_as(key, method, path).json(&body)).await;
    assert!(reply.status < 300, "{path}: {}", reply.text);
    reply.json()
}

/// A plan of 10.00 a month in advance, and a customer who has it, by the real time unless there is a test clock.
async fn sell(world: &World, key: &str, test_clock: Option<&str>) -> String {
    let name = test_clock.unwrap_or("by-the-wall");
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "10"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": name, "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    ask(world, key, "POST", "/v1/plans", plan).await;
    let customer = json!({"external_id": name, "name": "Acme", "test_clock": test_clock});
    ask(world, key, "POST", "/v1/customers", customer).await;
    let subscription = json!({"customer": name, "plan": name, "collection": "send_invoice"});
    text(&ask(world, key, "POST", "/v1/subscriptions", subscription).await["id"])
}

async fn run(world: &World, name: &str, body: Value) -> Value {
    world.post(&format!("/v1/sweeps/{name}/run"), body).await
}

async fn invoices(world: &World, key: &str) -> usize {
    ask(world, key, "GET", "/v1/invoices", Value::Null).await["data"].as_array().unwrap().len()
}

/// How many rows there are in each table that a sweep may write.
async fn rows(world: &World) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["jobs", "events", "invoices", "audit_entries", "idempotency_keys", "schedules"] {
        let db = world.app.db.reader();
        let sql = format!("select count(*) from {table}");
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await;
        counts.push(row.unwrap().unwrap().try_get_by_index(0).unwrap());
    }
    counts
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_run_by_hand_does_what_is_due_of_the_caller_once_and_nothing_of_others(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let stranger = world.stranger().await;
    let clock = world.test_clock("2026-01-01T00:00:00Z").await;
    let own = sell(&world, &world.key, None).await;
    sell(&world, &stranger, None).await;
    sell(&world, &world.key, Some(&clock)).await;
    world.work().await;
    assert_eq!((invoices(&world, &world.key).await, invoices(&world, &stranger).await), (2, 1));
    world.clock.set("2026-02-01T00:00:01Z".parse().unwrap());

    let before = rows(&world).await;
    let looked = run(&world, "invoices.cycle", json!({"dry_run": true})).await;
    let due = json!([{"id": own, "due_at": "2026-02-01T00:00:00Z"}]);
    let would = json!({"object": "sweep_run", "name": "invoices.cycle", "dry_run": true, "found": 1,
        "enqueued": 0, "data": due, "has_more": false});
    assert_eq!(looked, would);
    assert_eq!(rows(&world).await, before, "a dry run writes nothing");

    let first = run(&world, "invoices.cycle", json!({})).await;
    assert_eq!((&first["found"], &first["enqueued"], &first["data"]), (&json!(1), &json!(1), &due));
    let second = run(&world, "invoices.cycle", json!({"dry_run": false})).await;
    assert_eq!((&second["found"], &second["enqueued"]), (&json!(1), &json!(0)), "it is under way");
    world.work().await;
    assert_eq!(invoices(&world, &world.key).await, 3, "what lives by a test clock stays with it");
    assert_eq!(invoices(&world, &stranger).await, 1, "a stranger's things are not touched");

    let third = run(&world, "invoices.cycle", json!({})).await;
    assert_eq!((&third["found"], &third["data"]), (&json!(0), &json!([])));
    world.work().await;
    assert_eq!(invoices(&world, &world.key).await, 3);
    let actions = world.list("/v1/audit_log").await;
    let runs = actions.iter().filter(|entry| entry["action"] == "POST /v1/sweeps/{name}/run");
    assert_eq!(runs.count(), 3, "who ran it is in the log");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_runs_no_sweep_again(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world, &world.key, None).await;
    world.work().await;
    world.clock.advance(TimeDelta::days(31));
    let send = async || {
        let request = world.request("POST", "/v1/sweeps/invoices.cycle/run").header("idempotency-key", "k");
        Reply::of(request.json(&json!({}))).await
    };

    let first = send().await.expect(200);
    world.work().await;
    let again = send().await;

    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!((&first["enqueued"], again.expect(200)), (&json!(1), first.clone()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_sweep_can_be_run_by_hand_and_an_unknown_one_is_told_the_names(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let sweeps = world.list("/v1/sweeps").await;
    let names: Vec<String> = sweeps.iter().map(|sweep| text(&sweep["name"])).collect();
    assert!(names.contains(&"invoices.cycle".to_owned()) && names.len() > 8, "{names:?}");
    let unbilled = run(&world, "invoices.unbilled", json!({"dry_run": true})).await;
    assert_eq!(unbilled["found"], 1, "what is found whenever somebody looks is enqueued once too");
    for name in &names {
        for (dry_run, enqueues) in [(true, false), (false, true), (false, false)] {
            let ran = run(&world, name, json!({"dry_run": dry_run})).await;
            assert_eq!((&ran["name"], &ran["has_more"]), (&json!(name), &json!(false)));
            assert!(enqueues || ran["enqueued"] == 0, "twice is the same as once: {ran}");
            world.clock.advance(TimeDelta::seconds(1));
        }
    }
    world.work().await;
    assert!(world.dead_jobs().await.is_empty());

    // What keeps the installation in order is nobody's.
    for name in ["metering.partitions", "nothing", "INVOICES.CYCLE"] {
        let reply = world.send("POST", &format!("/v1/sweeps/{name}/run"), &json!({})).await;
        let detail = text(&reply.json()["detail"]);
        assert_eq!(reply.status, 404);
        assert!(names.iter().all(|name| detail.contains(name)), "{detail}");
    }
    let body = json!({"dry": true});
    assert_eq!(world.send("POST", "/v1/sweeps/invoices.cycle/run", &body).await.status, 422);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_needs_the_accounts_scope_to_run_a_sweep(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let (mode, kind) = (accrue::auth::Mode::Test, accrue::auth::KeyKind::Restricted);
    let reader = world.new_key(mode, kind, &["account:read"]).await;
    let other = world.new_key(mode, kind, &["invoices"]).await;
    let status = async |key: &str, method: &str, path: &str| {
        Reply::of(world.request_as(key, method, path).json(&json!({}))).await.status
    };
    assert_eq!(status(&reader, "GET", "/v1/sweeps").await, 200);
    assert_eq!(status(&reader, "POST", "/v1/sweeps/invoices.cycle/run").await, 403);
    assert_eq!(status(&other, "GET", "/v1/sweeps").await, 403);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_says_when_it_ran_and_when_it_runs_next(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let cycle = async || {
        let sweeps = world.list("/v1/sweeps").await;
        sweeps.into_iter().find(|sweep| sweep["name"] == "invoices.cycle").unwrap()
    };
    let new = cycle().await;
    assert_eq!((&new["last_run_at"], &new["next_run_at"]), (&Value::Null, &Value::Null), "it never ran");
    world.clock.set("2026-01-01T00:00:30Z".parse().unwrap());

    let workers = start_workers(&world.app);
    let started = Instant::now();
    while cycle().await["last_run_at"].is_null() {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody ticks");
    }
    workers.stop(Duration::from_secs(5)).await;

    let ran = json!({"object": "sweep", "name": "invoices.cycle", "schedule": "0 * * * * *",
        "last_run_at": "2026-01-01T00:00:30Z", "next_run_at": "2026-01-01T00:01:00Z", "lag_seconds": 0});
    assert_eq!(cycle().await, ran);
}

/// A figure of `/metrics`, which is everybody's.
async fn figure(world: &World, metric: &str, name: &str) -> i64 {
    let reply = Reply::of(world.request("GET", "/metrics")).await;
    let start = format!("{metric}{{name=\"{name}\"}} ");
    let line = reply.text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{start} is not in {}", reply.text)).parse().unwrap()
}

/// The lag of the cycle and of its jobs, as the list of jobs says it to somebody.
async fn lag(world: &World, key: &str) -> (Value, Value) {
    let lag = ask(world, key, "GET", "/v1/jobs", Value::Null).await["lag"].clone();
    (lag["sweeps"]["invoices.cycle"].clone(), lag["jobs"]["invoices.cycle"].clone())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lag_rises_while_nobody_works_and_falls_to_nothing_when_all_is_done(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let stranger = world.stranger().await;
    let clock = world.test_clock("2025-01-01T00:00:00Z").await;
    sell(&world, &world.key, None).await;
    sell(&world, &world.key, Some(&clock)).await;
    world.work().await;
    assert_eq!(lag(&world, &world.key).await, (json!(0), Value::Null));
    let due: DateTime<Utc> = "2026-02-01T00:00:00Z".parse().unwrap();

    for seconds in [0, 1, 3600] {
        world.clock.set(due + TimeDelta::seconds(seconds));
        assert_eq!(lag(&world, &world.key).await, (json!(seconds), Value::Null), "nobody has looked");
        assert_eq!(figure(&world, "sweep_lag_seconds", "invoices.cycle").await, seconds);
    }
    run(&world, "invoices.cycle", json!({})).await;
    let waiting = json!({"lag_seconds": 3600, "waiting": 1});
    assert_eq!(lag(&world, &world.key).await, (json!(3600), waiting), "it is found, and not done");
    assert_eq!(figure(&world, "job_lag_seconds", "invoices.cycle").await, 3600);
    assert_eq!(figure(&world, "jobs_waiting", "invoices.cycle").await, 1);
    assert_eq!(lag(&world, &stranger).await, (json!(0), Value::Null), "a stranger has nothing to wait for");

    world.work().await;
    assert_eq!(lag(&world, &world.key).await, (json!(0), Value::Null));
    for metric in ["sweep_lag_seconds", "job_lag_seconds", "jobs_waiting"] {
        assert_eq!(figure(&world, metric, "invoices.cycle").await, 0, "{metric}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_goes_by_nothing_but_its_schedule_is_late_when_the_schedule_is(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let missed = "insert into schedules (name, next_tick_at, last_tick_at) values ('invoices.unbilled',
        '2026-01-01 00:07:00+00:00', null), ('metering.partitions', '2026-01-01 00:23:00+00:00', null)";
    world.sql(missed).await;
    for (now, unbilled, partitions) in [("2026-01-01T00:05:00Z", 0, 0), ("2026-01-01T00:24:00Z", 17 * 60, 60)]
    {
        world.clock.set(now.parse().unwrap());
        assert_eq!(figure(&world, "sweep_lag_seconds", "invoices.unbilled").await, unbilled);
        assert_eq!(figure(&world, "sweep_lag_seconds", "metering.partitions").await, partitions);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lag_is_read_once_for_all_who_ask_soon_after_each_other(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let app = App { last_lag: Arc::new(LastLag::new(Duration::from_hours(1))), ..world.app.clone() };
    sell(&world, &world.key, None).await;
    world.work().await;
    let before = lag_of_all(&app).await.unwrap();

    world.clock.set("2026-02-01T00:01:00Z".parse().unwrap());

    let readings = futures_util::future::join_all((0..16).map(|_| lag_of_all(&app))).await;
    assert!(readings.into_iter().all(|lag| lag.unwrap() == before), "the database is not asked again");
    assert_eq!(lag_of_all(&world.app).await.unwrap().sweeps["invoices.cycle"], 60);
}
