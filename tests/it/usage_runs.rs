//! On SQLite, packs that come together stand together in the index (decision 0044), and nobody notices.

use chrono::TimeDelta;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// A world in March with a customer `acme`, and a metric of the events `call` that is read event by event.
async fn world_of_acme(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.clock.advance(TimeDelta::days(60));
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let metric = json!({"code": "values", "name": "Values", "event_name": "call", "aggregation": "unique_count",
        "property": "n"});
    world.create("/v1/metrics", metric).await;
    Some(world)
}

fn call(n: usize, at: &str) -> Value {
    json!({"event_id": n.to_string(), "customer_id": "acme", "event_name": "call", "timestamp": at,
        "metadata": {"n": n}})
}

/// How many values there were from an instant of 2026 to before another.
async fn values(world: &World, start: &str, end: &str) -> String {
    let path = format!("/v1/customers/acme/usage?metric=values&start=2026-{start}Z&end=2026-{end}Z");
    text(&world.get(&path).await["quantity"])
}

async fn runs(world: &World) -> i64 {
    let db = world.app.db.reader();
    let count = Statement::from_string(db.get_database_backend(), "select count(*) from usage_event_runs");
    db.query_one_raw(count).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_in_every_run_that_reaches_into_their_time(#[values(Sqlite, Postgres)] on: Engine) {
    const HOURS: usize = 600;

    let Some(world) = world_of_acme(on).await else { return };
    for request in 0..8 {
        let event = |hour: usize| {
            call(request * HOURS + hour, &format!("2026-02-{:02}T{:02}:30:00Z", 1 + hour / 24, hour % 24))
        };
        let events: Vec<Value> = (0..HOURS).map(event).collect();
        assert_eq!(world.post("/v1/usage_events", json!(events)).await["accepted"], HOURS);
        world.clock.advance(TimeDelta::seconds(1));
    }
    world.post("/v1/usage_events", json!([call(9999, "2026-02-27T10:00:00Z")])).await;
    world.work().await;

    assert_eq!(runs(&world).await, if on == Sqlite { 2 } else { 0 }, "a run is full with 4,096 packs");
    assert_eq!(values(&world, "02-01T00:00:00", "03-01T00:00:00").await, "4801");
    assert_eq!(values(&world, "02-10T00:00:00", "02-11T00:00:00").await, "192");
    assert_eq!(values(&world, "02-10T10:15:00", "02-10T11:15:00").await, "8");
    assert_eq!(values(&world, "02-26T00:00:00", "02-28T00:00:00").await, "1");
    assert_eq!(values(&world, "02-27T10:00:00", "02-27T10:00:01").await, "1");
    assert_eq!(values(&world, "02-27T10:00:01", "02-28T00:00:00").await, "0");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_reaches_no_further_because_of_what_was_not_stored(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    world.post("/v1/usage_events", json!([call(1, "2026-02-20T10:00:00Z")])).await;
    let broken = json!([call(2, "2026-02-10T10:00:00Z"), {"event_id": "3"}]);
    let path = "/v1/usage_events?atomic=true";
    assert_eq!(world.send("POST", path, &broken).await.status, 422);
    let once = world.request("POST", path).header("idempotency-key", "k");
    assert_eq!(Reply::of(once.json(&broken)).await.status, 422);
    assert_eq!(values(&world, "02-01T00:00:00", "03-01T00:00:00").await, "1");

    world.post("/v1/usage_events", json!([call(2, "2026-02-10T10:00:00Z")])).await;

    assert_eq!(values(&world, "02-10T00:00:00", "02-11T00:00:00").await, "1");
    assert_eq!(values(&world, "02-20T00:00:00", "02-21T00:00:00").await, "1");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn requests_with_a_key_stand_in_one_run_too(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    for n in 1..=3 {
        let once = world.request("POST", "/v1/usage_events").header("idempotency-key", n.to_string());
        let event = call(n, &format!("2026-02-{:02}T10:00:00Z", 20 - n));
        Reply::of(once.json(&json!([event]))).await.expect(200);
        world.clock.advance(TimeDelta::seconds(1));
    }

    assert_eq!(runs(&world).await, i64::from(on == Sqlite));
    assert_eq!(values(&world, "02-01T00:00:00", "03-01T00:00:00").await, "3");
    assert_eq!(values(&world, "02-18T00:00:00", "02-19T00:00:00").await, "1");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn groups_that_follow_one_another_lose_nothing_and_let_others_in(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let requests = (0..300).map(|n| {
        let (world, event) = (&world, call(n, "2026-02-10T10:00:00Z"));
        async move {
            let reply = match n % 5 {
                0 => world.send("POST", "/v1/usage_events?atomic=true", &json!([event])).await,
                1 => world.send("POST", "/v1/usage_events?atomic=true", &json!([event, {}])).await,
                2 => world.send("POST", "/v1/customers", &json!({"name": "Other"})).await,
                _ => world.send("POST", "/v1/usage_events", &event).await,
            };
            (n % 5, reply.status)
        }
    });

    let answers = futures_util::future::join_all(requests).await;

    let expected = |kind| match kind {
        1 => 422,
        2 => 201,
        _ => 200,
    };
    assert!(answers.iter().all(|(kind, status)| *status == expected(*kind)), "{answers:?}");
    assert_eq!(values(&world, "02-01T00:00:00", "03-01T00:00:00").await, "180");
    assert_eq!(world.list("/v1/customers?limit=100").await.len(), 61);
}

/// SQLite undoes a transaction by itself when it cannot write. A connection that does not know is not used again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_after_the_disk_was_full_is_stored() {
    let Some(world) = world_of_acme(Sqlite).await else { return };
    let large = |n: usize| {
        let mut event = call(n, "2026-02-10T10:00:00Z");
        event["metadata"]["text"] = json!("x".repeat(4000));
        event
    };
    let pages_max = async || {
        let tx = world.app.db.begin().await.unwrap();
        let pragma = Statement::from_string(tx.get_database_backend(), "pragma max_page_count");
        let row = tx.query_one_raw(pragma).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        row.try_get_by_index::<i64>(0).unwrap()
    };
    // For this connection the disk has as many pages as there are.
    world.sql("pragma max_page_count = 1").await;
    let few = pages_max().await;
    let mut taken = 0;
    for n in 1..=20 {
        taken += usize::from(world.send("POST", "/v1/usage_events", &large(n)).await.status == 200);
    }
    assert!(pages_max().await > few, "it ran into the end of the disk");

    let refused = json!([call(0, "2026-02-10T10:00:00Z"), {"event_id": "broken"}]);
    assert_eq!(world.send("POST", "/v1/usage_events?atomic=true", &refused).await.status, 422);
    for n in 21..=23 {
        world.post("/v1/usage_events", large(n)).await;
        taken += 1;
        assert_eq!(values(&world, "02-01T00:00:00", "03-01T00:00:00").await, taken.to_string());
    }
}
