//! Usage by the hour: the same as the events say, however it came about.

use accrue::{auth::Mode, auth::service::first_tenant, catalog, metering::Building};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World};

const DAYS: &str = "select u.day, u.hours from (
    select id, metric_id, build, cast(day as text) as day, hours from usage_rollups) u
    join (select id, build as number from usage_rollup_builds where is_complete) b
    on b.id = u.metric_id and b.number = u.build order by u.day, u.hours";

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
    let db = &world.app.db;
    let tenant = first_tenant(db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let metric = catalog::service::all_metrics(db.reader(), tenant).await.unwrap().remove(0);

    let tx = db.begin().await.unwrap();
    let mut building = Building::begin(db, &tx, tenant, metric, true).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    send(&world, 1000, 1030).await;
    let meanwhile = usage(&world).await;
    loop {
        let tx = db.begin().await.unwrap();
        let added = building.step(&tx).await.unwrap();
        tx.commit().await.unwrap();
        if added == 0 {
            break;
        }
    }
    let tx = db.begin().await.unwrap();
    building.end(&tx).await.unwrap();
    tx.commit().await.unwrap();

    let after = hours(&world).await;
    assert_eq!(after[..16], before[..16]);
    assert_eq!((before.len(), after.len()), (17, 18));
    assert!(after[16].contains(" 60 ") && after[17].contains(" 10 "), "{after:?}");
    assert_eq!((meanwhile, usage(&world).await), (json!("265825"), json!("265825")));
}
