//! What is read by the hour although it does not end with one, or although no price asks for it.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, text};

/// A metric `n`, and customers `acme` and `beta`.
async fn world(on: Engine, group_by: Value) -> Option<World> {
    let world = World::new(on).await?;
    world.clock.advance(chrono::TimeDelta::days(2));
    for customer in ["acme", "beta"] {
        world.create("/v1/customers", json!({"external_id": customer, "name": customer})).await;
    }
    let metric = json!({"code": "n", "event_name": "call", "aggregation": "sum", "property": "n",
        "group_by": group_by});
    let metric = world.create("/v1/metrics", metric).await;
    assert_eq!(metric["group_by"], group_by);
    Some(world)
}

async fn send(world: &World, customer: &str, event_id: &str, time: &str, n: u32) {
    let event = json!({"event_id": event_id, "customer_id": customer, "event_name": "call",
        "timestamp": format!("2026-01-02T{time}:00Z"),
        "metadata": {"n": n, "model": format!("m{}", n % 3), "region": "eu", "user": event_id}});
    let answer = world.post("/v1/usage_events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
}

/// How much was used from the day's start to a time of it.
async fn until(world: &World, customer: &str, time: &str) -> Value {
    let period = format!("start=2026-01-02T00:00:00Z&end=2026-01-02T{time}:00Z");
    let told = world.get(&format!("/v1/customers/{customer}/usage?metric=n&{period}")).await;
    let by_day =
        world.get(&format!("/v1/customers/{customer}/usage?metric=n&{period}&granularity=day")).await;
    assert_eq!(told["quantity"], by_day["data"][0]["quantity"]);
    told["quantity"].clone()
}

/// From here on no event tells anything.
async fn forget_events(world: &World) {
    world.sql("update usage_event_packs set events = '[]'").await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_in_which_nothing_is_later_than_what_is_asked_about_is_read_as_a_whole(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world(on, json!([])).await else { return };
    for (at, time) in ["05:00", "10:10", "10:20"].into_iter().enumerate() {
        for customer in ["acme", "beta"] {
            send(&world, customer, &format!("{customer} {at}"), time, 1 << at).await;
        }
    }
    world.work().await;
    let told = async |customer, times: [&'static str; 4]| {
        let mut told = Vec::new();
        for time in times {
            told.push(until(&world, customer, time).await);
        }
        told
    };
    let times = ["10:05", "10:15", "10:40", "11:00"];
    assert_eq!(told("acme", times).await, ["1", "3", "7", "7"]);

    send(&world, "acme", "late", "10:50", 8).await;
    assert_eq!(told("acme", times).await, ["1", "3", "7", "15"]);
    // It is not where its neighbours are.
    world.post("/v1/usage_events/late/void", json!({})).await;
    world.post("/v1/usage_events/acme%200/amend", json!({"timestamp": "2026-01-02T10:55:00Z"})).await;
    assert_eq!(told("acme", times).await, ["0", "2", "6", "7"]);

    forget_events(&world).await;
    assert_eq!(told("beta", ["10:15", "10:21", "10:40", "11:00"]).await, ["1", "7", "7", "7"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_apart_by_the_hour_as_a_metric_asks(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on, json!([["model", "region"]])).await else { return };
    send(&world, "acme", "first", "10:00", 1).await;
    world.work().await;
    send(&world, "acme", "second", "11:30", 2).await;
    let more = json!({"group_by": [["user"], ["region", "model"]]});
    let changed = world.send("PATCH", "/v1/metrics/n", &more).await.expect(200);
    assert_eq!(changed["group_by"], json!([["model", "region"], ["user"]]));
    send(&world, "acme", "third", "11:31", 4).await;
    world.work().await;

    forget_events(&world).await;

    let period = "start=2026-01-02T00:00:00Z&end=2026-01-02T12:00:00Z";
    let by = async |group_by: &str| {
        let path = format!("/v1/customers/acme/usage?metric=n&{period}&group_by={group_by}");
        let told = world.get(&path).await;
        let line = |usage: &Value| format!("{} {}", usage["key"], text(&usage["quantity"]));
        told["data"].as_array().expect("groups").iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(by("model").await, [r#"{"model":"m1"} 5"#, r#"{"model":"m2"} 2"#]);
    assert_eq!(by("region").await, [r#"{"region":"eu"} 7"#]);
    let users = [r#"{"user":"first"} 1"#, r#"{"user":"second"} 2"#, r#"{"user":"third"} 4"#];
    assert_eq!(by("user").await, users);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn hours_are_not_kept_apart_in_too_many_ways_nor_where_there_are_none(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let metric = |code: &str, aggregation: &str, group_by: Value| {
        json!({"code": code, "event_name": "call", "aggregation": aggregation, "property": "n",
            "group_by": group_by})
    };
    let sets = |count: usize| (0..count).map(|set| json!([format!("p{set}")])).collect::<Value>();
    let refused = async |metric: Value| world.send("POST", "/v1/metrics", &metric).await.errors();
    assert_eq!(refused(metric("n", "sum", sets(9))).await, ["/group_by too_many"]);
    assert_eq!(
        refused(metric("n", "sum", json!([[], ["a", "a"]]))).await,
        ["/group_by/0 blank", "/group_by/1/1 duplicate"]
    );
    let six = json!([["a", "b", "c", "d", "e", "f"]]);
    assert_eq!(refused(metric("n", "sum", six)).await, ["/group_by/0 too_many"]);
    assert_eq!(refused(metric("n", "unique_count", json!([["a"]]))).await, ["/group_by not_kept"]);

    world.create("/v1/metrics", metric("n", "sum", sets(8))).await;
    let more = world.send("PATCH", "/v1/metrics/n", &json!({"group_by": [["more"]]})).await;
    assert_eq!(more.errors(), ["/group_by too_many_splits"]);
    let known = world.send("PATCH", "/v1/metrics/n", &json!({"group_by": [["p3"]]})).await;
    assert_eq!(known.status, 200);

    // Prices have as many ways of their own.
    let plan = |by: Value| {
        let price = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "n",
            "model": {"type": "per_unit", "unit_price": "1"}, "group_by": by});
        json!({"code": text(&by[0]), "name": "Calls", "currency": "EUR",
            "interval": {"unit": "month", "count": 1}, "prices": [price]})
    };
    for way in 0..8 {
        world.create("/v1/plans", plan(json!([format!("way{way}")]))).await;
    }
    let ninth = world.send("POST", "/v1/plans", &plan(json!(["ninth"]))).await;
    assert_eq!(ninth.errors(), ["/prices/0 too_many_splits"]);
}
