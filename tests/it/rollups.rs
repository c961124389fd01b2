//! Usage by the hour: the same as the events say, however it came about.

use std::sync::atomic::{AtomicUsize, Ordering};

use accrue::{
    auth::Mode,
    auth::service::first_tenant,
    catalog, customers,
    metering::{self, Building, Grain, service::MeteringError},
};
use accrue_core::calendar::Period;
use accrue_platform::db::Db;
use chrono::TimeDelta;
use rstest::rstest;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DbErr, ExecResult, QueryResult, Statement,
    prelude::async_trait::async_trait,
};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, Reply, World};

const DAYS: &str = "select u.day, u.hours from (
    select id, grain_id, build, cast(day as text) as day, hours from usage_rollups) u
    join (select id, build as number from usage_rollup_builds where is_complete) b
    on b.id = u.grain_id and b.number = u.build order by u.day, u.hours";

/// Every hour of the complete builds: `day hour count sum`.
async fn hours(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), DAYS)).await.unwrap();
    let lines = |row: &sea_orm::QueryResult| {
        let (day, hours): (String, String) =
            (row.try_get("", "day").unwrap(), row.try_get("", "hours").unwrap());
        let hours: Vec<Value> = serde_json::from_str(&hours).unwrap();
        let line = move |hour: Value| format!("{day} {} {} {}", hour["hour"], hour["count"], hour["sum"]);
        hours.into_iter().map(line)
    };
    rows.iter().flat_map(lines).collect()
}

async fn send(world: &World, from: u32, to: u32) {
    let event = |number: u32| {
        let at = format!("2026-01-01T{:02}:{:02}:00Z", number / 60 % 24, number % 60);
        json!({"event_id": number.to_string(), "customer_id": "acme", "event_name": "call", "timestamp": at,
            "metadata": {"n": format!("{number}.25")}})
    };
    let events: Vec<Value> = (from..to).map(event).collect();
    let answer = world.post("/v1/usage_events?backfill=true", json!({"events": events})).await;
    assert_eq!(answer["accepted"], u64::from(to - from), "{answer}");
}

async fn usage(world: &World) -> Value {
    let period = "start=2026-01-01T00:30:00Z&end=2026-01-01T12:10:00Z";
    world.get(&format!("/v1/customers/acme/usage?metric=n&{period}")).await["quantity"].clone()
}

async fn world_with_metric(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.clock.advance(chrono::TimeDelta::days(2));
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let metric =
        json!({"code": "n", "name": "N", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    Some(world)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_is_made_after_its_events_counts_them_too(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.clock.advance(chrono::TimeDelta::days(2));
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    send(&world, 0, 900).await;
    let metric =
        json!({"code": "n", "name": "N", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let from_events = usage(&world).await;
    send(&world, 900, 901).await;
    assert!(hours(&world).await.is_empty());

    world.work().await;

    assert_eq!(hours(&world).await.len(), 16);
    // 30 to 729, each and a quarter.
    assert_eq!((&usage(&world).await, &from_events), (&json!("265825"), &json!("265825")));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_hours_are_the_ones_that_were_there_and_events_may_come_meanwhile(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_with_metric(on).await else { return };
    send(&world, 0, 700).await;
    world.work().await;
    send(&world, 700, 1000).await;
    let before = hours(&world).await;

    let meanwhile = rebuild(&world.app.db, async || {
        send(&world, 1000, 1030).await;
        usage(&world).await
    });
    let meanwhile = meanwhile.await;

    let after = hours(&world).await;
    assert_eq!(after[..16], before[..16]);
    assert_eq!((before.len(), after.len()), (17, 18));
    assert!(after[16].contains(" 60 ") && after[17].contains(" 10 "), "{after:?}");
    assert_eq!((meanwhile, usage(&world).await), (json!("265825"), json!("265825")));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn hours_that_are_too_many_to_be_built_up_at_once_are_built_up_all_the_same(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    const HOURS: i64 = 5600;
    let Some(world) = world_with_metric(on).await else { return };
    let first: chrono::DateTime<chrono::Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
    let event = |hour: i64| {
        json!({"event_id": hour.to_string(), "customer_id": "acme", "event_name": "call",
            "timestamp": (first + TimeDelta::hours(hour)).to_rfc3339(), "metadata": {"n": hour + 1}})
    };
    for start in (0..HOURS).step_by(800) {
        let events: Vec<Value> = (start..start + 800).map(event).collect();
        let answer = world.post("/v1/usage_events?backfill=true", json!({"events": events})).await;
        assert_eq!(answer["accepted"], 800, "{answer}");
    }

    world.work().await;
    let by_the_job = hours(&world).await;
    rebuild(&world.app.db, async || ()).await;

    let told: Vec<Vec<&str>> = by_the_job.iter().map(|line| line.rsplitn(3, ' ').collect()).collect();
    for (hour, told) in (1..).zip(&told) {
        assert_eq!(told[..2], [format!("\"{hour}\"").as_str(), "1"]);
    }
    assert_eq!(told.len(), usize::try_from(HOURS).unwrap());
    assert!(hours(&world).await == by_the_job, "built anew, it is the same");
}

/// Builds up the hours of the first metric anew; says what was true meanwhile.
async fn rebuild<T>(db: &Db, meanwhile: impl AsyncFnOnce() -> T) -> T {
    let tenant = first_tenant(db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let metric = catalog::service::all_metrics(db.reader(), tenant).await.unwrap().remove(0);
    let tx = db.begin().await.unwrap();
    let grain = Grain { metric_id: metric.id, properties: Vec::new() };
    let building = Building::begin(db, &tx, tenant, metric, grain, true).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let seen = meanwhile().await;
    building.finish(db, |_| {}).await.unwrap();
    seen
}

/// A connection of somebody who reads hours. Before or after the first of them are read, they are built up anew.
struct Interrupted<'a> {
    db: &'a Db,
    before: bool,
    reads: AtomicUsize,
}

#[async_trait]
impl ConnectionTrait for Interrupted<'_> {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.db.reader().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.db.reader().execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.reader().execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.db.reader().query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let reads_hours = statement.sql.contains("\"usage_rollups\"");
        let is_first = reads_hours && self.reads.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first && self.before {
            rebuild(self.db, async || ()).await;
        }
        let rows = self.db.reader().query_all_raw(statement).await?;
        if is_first && !self.before {
            rebuild(self.db, async || ()).await;
        }
        Ok(rows)
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_many_days_is_read_part_by_part_and_not_while_it_is_built_up_anew(
    #[values(true, false)] before: bool,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_with_metric(on).await else { return };
    let event = |day: i64| {
        let at = world.app.now() - TimeDelta::days(300 - day);
        json!({"event_id": day.to_string(), "customer_id": "acme", "event_name": "call", "timestamp": at,
            "metadata": {"n": 1}})
    };
    let events: Vec<Value> = (0..300).map(event).collect();
    world.post("/v1/usage_events?backfill=true", json!({"events": events})).await;
    world.work().await;
    let db = &world.app.db;
    let tenant = first_tenant(db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let metric = catalog::service::all_metrics(db.reader(), tenant).await.unwrap().remove(0);
    let customer = customers::service::resolve(db.reader(), tenant, "acme").await.unwrap().id;
    let (start, end) = ("2024-01-01T00:00:00Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    let period = Period::try_new(start, end).unwrap();

    let interrupted = Interrupted { db, before, reads: AtomicUsize::new(0) };
    let told = metering::service::quantity(&interrupted, tenant, customer, &metric, period).await;
    assert!(matches!(told, Err(MeteringError::Rebuilt)), "{told:?}");
    let told = metering::service::quantity(&interrupted, tenant, customer, &metric, period).await.unwrap();
    assert_eq!(told, 300.into());
    let reads = if before { 3 } else { 4 };
    assert_eq!(interrupted.reads.into_inner(), reads, "two for each that is whole");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_again_is_told_what_is_true_now(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_with_metric(on).await else { return };
    let asked = "usage?metric=n&start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z";
    let ask = async |customer: &str| {
        let told = world.get(&format!("/v1/customers/{customer}/{asked}")).await;
        (told["quantity"].clone(), told["customer_id"].clone())
    };
    send(&world, 0, 2).await;
    world.work().await;
    let (_, acme) = ask("acme").await;
    assert_eq!(ask("acme").await, (json!("1.5"), acme.clone()));

    send(&world, 2, 3).await;
    assert_eq!(ask("acme").await.0, json!("3.75"), "an event more");
    rebuild(&world.app.db, async || ()).await;
    assert_eq!(ask("acme").await.0, json!("3.75"), "hours that were built up anew");
    assert_eq!(ask("acme").await.0, json!("3.75"));
    let renamed = world.send("PATCH", "/v1/customers/acme", &json!({"external_id": "old-acme"})).await;
    renamed.expect(200);
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    assert_eq!(ask("acme").await.0, json!("0"), "the name is another's now");
    assert_eq!(ask("old-acme").await, (json!("3.75"), acme));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn more_windows_and_groups_than_anybody_reads_are_refused(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.clock.advance(TimeDelta::days(2));
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let metric = json!({"code": "n", "event_name": "call", "aggregation": "sum", "property": "n",
        "recurring": true});
    world.create("/v1/metrics", metric).await;
    let event = |user: u32| {
        json!({"event_id": user.to_string(), "customer_id": "acme", "event_name": "call",
            "timestamp": "2025-12-31T10:00:00Z", "metadata": {"n": 1, "user": user}})
    };
    let events: Vec<Value> = (0..101).map(event).collect();
    world.post("/v1/usage_events", json!({"events": events})).await;
    let ask = async |end: &str| {
        let asked = format!("metric=n&group_by=user&granularity=hour&start=2026-01-01T00:00:00Z&end={end}");
        Reply::of(world.request("GET", &format!("/v1/customers/acme/usage?{asked}"))).await
    };

    let refused = ask("2026-02-11T16:00:00Z").await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["group_by too_many".to_owned()]));
    let told = ask("2026-01-02T00:00:00Z").await.expect(200);
    assert_eq!((told["data"].as_array().unwrap().len(), &told["quantity"]), (24 * 101, &json!("101")));
}

/// A subscription to a price that tells usage apart by region and model.
async fn split_usage(on: Engine) -> Option<Metered> {
    let world = World::new(on).await?;
    let metric = json!({"code": "n", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let metered = Metered::subscribe_to(
        world,
        json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "n",
            "model": {"type": "per_unit", "unit_price": "1"},
            "filters": [{"where": {"region": ["eu"]}, "model": {"type": "per_unit", "unit_price": "2"}}],
            "group_by": ["model"]}),
    )
    .await;
    metered.advance("2026-02-03T00:00:00Z").await;
    Some(metered)
}

async fn split_call(metered: &Metered, event_id: &str, n: u32, region: &str, model: &Value) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call",
        "timestamp": "2026-02-02T10:20:00Z", "metadata": {"n": n, "region": region, "model": model}});
    let answer = metered.world.post("/v1/usage_events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
}

/// `group quantity` as usage is told group by group.
async fn by_model(metered: &Metered) -> Vec<String> {
    let period = "start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z";
    let path = format!("/v1/customers/acme/usage?metric=n&group_by=model&{period}");
    let told = metered.world.get(&path).await;
    let line = |usage: &Value| format!("{} {}", usage["key"]["model"], usage["quantity"]);
    told["data"].as_array().expect("windows").iter().map(line).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_a_price_tells_apart_is_read_by_the_hour_too(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(metered) = split_usage(on).await else { return };
    split_call(&metered, "first", 1, "eu", &json!("a")).await;
    metered.world.work().await;
    split_call(&metered, "second", 2, "us", &json!("a")).await;
    split_call(&metered, "number", 4, "eu", &json!(1.50)).await;
    split_call(&metered, "same", 8, "eu", &json!("1.5")).await;
    split_call(&metered, "none", 16, "us", &Value::Null).await;
    split_call(&metered, "void", 32, "us", &json!("gone")).await;
    metered.world.post("/v1/usage_events/void/void", json!({})).await;
    metered
        .world
        .post("/v1/usage_events/same/amend", json!({"metadata": {"n": 9, "region": "eu", "model": "a"}}))
        .await;

    // From here on no event tells anything.
    metered.world.sql("update usage_event_packs set events = '[]'").await;

    assert_eq!(by_model(&metered).await, ["null \"16\"", "\"1.5\" \"4\"", "\"a\" \"12\""]);
    metered.advance("2026-03-02T00:00:00Z").await;
    let mut amounts: Vec<String> =
        metered.lines().await.into_iter().filter(|line| line.contains("usage")).collect();
    amounts.sort();
    let billed =
        ["16 16.00", "2 2.00", "4 8.00", "10 20.00"].map(|line| format!("cycle usage 2026-02 {line}"));
    assert_eq!(amounts, sorted(billed));
}

fn sorted<const N: usize>(mut lines: [String; N]) -> [String; N] {
    lines.sort();
    lines
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_tells_usage_apart_otherwise_has_hours_built_up_for_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(metered) = split_usage(on).await else { return };
    split_call(&metered, "first", 1, "eu", &json!("a")).await;
    metered.world.work().await;
    let rebuilt = async || {
        let db = metered.world.app.db.reader();
        let sql = "select count(*) from usage_rollup_builds where is_complete";
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
        row.unwrap().try_get_by_index::<i64>(0).unwrap()
    };
    assert_eq!(rebuilt().await, 2, "all of it, and by model and region");
    let price = json!({"code": "tiers", "name": "Tiers", "kind": "usage", "metric": "n",
        "model": {"type": "per_unit", "unit_price": "1"}, "group_by": ["tier"]});
    let plan = json!({"code": "tiers", "name": "Tiers", "currency": "USD",
        "interval": {"unit": "month", "count": 1}, "prices": [price]});
    metered.world.create("/v1/plans", plan).await;

    split_call(&metered, "second", 2, "us", &json!("a")).await;
    metered.world.work().await;

    assert_eq!(rebuilt().await, 3);
    assert_eq!(by_model(&metered).await, ["\"a\" \"3\""]);
}
