//! Usage that nothing counts, or nothing bills: somebody is told.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// A world with a customer `acme` and a metric that sums up the `n` of the events `call` in Europe.
async fn world_of_acme(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let filters = json!([{"property": "region", "values": ["eu"]}]);
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum",
        "property": "n", "filters": filters});
    world.create("/v1/metrics", metric).await;
    world.work().await;
    Some(world)
}

async fn send(world: &World, event_id: &str, event_name: &str, metadata: Value) {
    let event =
        json!({"event_id": event_id, "customer_id": "acme", "event_name": event_name, "metadata": metadata});
    let answer = world.post("/v1/usage_events", event).await;
    assert_eq!(answer["rejected"], json!([]));
}

/// `reason name count`, sorted.
async fn unmatched(world: &World) -> Vec<String> {
    let listed = world.list("/v1/usage_events/unmatched?limit=100").await;
    let mut lines: Vec<_> = listed.iter().map(|one| line(one, "count")).collect();
    lines.sort();
    lines
}

fn line(one: &Value, count: &str) -> String {
    format!("{} {} {}", text(&one["reason"]), text(&one["event_name"]), one[count])
}

/// The reports that were told, the oldest first.
async fn reports(world: &World) -> Vec<Value> {
    let mut told = world.list("/v1/events?type=usage.unmatched").await;
    told.reverse();
    told.iter().map(|event| event["data"]["object"].clone()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_nothing_counts_is_counted_with_the_reason(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    send(&world, "counted", "call", json!({"region": "eu", "n": 1})).await;
    assert!(unmatched(&world).await.is_empty());

    send(&world, "typo", "cal", json!({"region": "eu", "n": 1})).await;
    send(&world, "typo-again", "cal", json!({})).await;
    send(&world, "typo", "cal", json!({"region": "eu", "n": 1})).await;
    send(&world, "elsewhere", "call", json!({"region": "us", "n": 1})).await;
    send(&world, "empty", "call", json!({"region": "eu"})).await;
    world.send("PATCH", "/v1/account", &json!({"allow_unknown_customer": true})).await.expect(200);
    let early = json!({"event_id": "early", "customer_id": "nobody", "event_name": "call"});
    world.post("/v1/usage_events", early).await;

    let counted =
        ["filtered_out call 1", "no_metric cal 2", "property_missing call 1", "unknown_customer call 1"];
    assert_eq!(unmatched(&world).await, counted);
    let typo = world.list("/v1/usage_events/unmatched").await;
    let typo = typo.iter().find(|one| one["event_name"] == "cal").unwrap();
    let last = world.get("/v1/usage_events/typo-again").await;
    assert_eq!((&typo["last_event"], &typo["last_seen_at"]), (&last["id"], &last["created_at"]));
    let measured = Reply::of(world.request("GET", "/metrics")).await.text;
    let tenant = text(&world.get("/v1/account").await["id"]);
    let line = format!(r#"usage_events_unmatched_total{{tenant="{tenant}",reason="no_metric"}} 2"#);
    assert!(measured.contains(&line), "{measured}");
    let stranger = world.stranger().await;
    let theirs = Reply::of(world.request_as(&stranger, "GET", "/v1/usage_events/unmatched")).await;
    assert_eq!(theirs.expect(200)["data"], json!([]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_that_is_refused_leaves_no_counter_behind(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let events = json!([
        {"event_id": "a", "customer_id": "acme", "event_name": "cal"},
        {"event_id": "b", "customer_id": "nobody", "event_name": "cal"},
    ]);
    assert_eq!(world.send("POST", "/v1/usage_events?atomic=true", &events).await.status, 422);
    assert!(unmatched(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_counts_is_told_at_most_once_an_hour(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    world.sweep().await;
    assert!(reports(&world).await.is_empty());

    send(&world, "a", "cal", json!({})).await;
    send(&world, "b", "cal", json!({})).await;
    world.sweep().await;
    send(&world, "c", "cal", json!({})).await;
    send(&world, "d", "login", json!({})).await;
    world.clock.advance(TimeDelta::minutes(59));
    world.sweep().await;
    world.sweep().await;
    let told = reports(&world).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["count"], line(&told[0]["data"][0], "new")),
        (&json!(2), "no_metric cal 2".to_owned())
    );

    world.clock.advance(TimeDelta::minutes(1));
    world.sweep().await;
    world.clock.advance(TimeDelta::hours(5));
    world.sweep().await;
    let told = reports(&world).await;
    assert_eq!(told.len(), 2);
    let mut news: Vec<_> = told[1]["data"].as_array().unwrap().iter().map(|one| line(one, "new")).collect();
    news.sort();
    assert_eq!(news, ["no_metric cal 1", "no_metric login 1"]);
    assert_eq!(unmatched(&world).await, ["no_metric cal 3", "no_metric login 1"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_counted_and_that_nothing_bills_is_told_within_the_hour(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    for (code, name) in [("logins", "login"), ("reads", "read"), ("more-calls", "call")] {
        let metric = json!({"code": code, "event_name": name, "aggregation": "count"});
        world.create("/v1/metrics", metric).await;
    }
    world.create("/v1/features", json!({"code": "reads", "kind": "metered", "metric": "reads"})).await;
    let price = json!({"code": "calls", "kind": "usage", "metric": "calls",
        "model": {"type": "per_unit", "unit_price": "1"}});
    let plan = json!({"code": "api", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [price], "features": [{"feature": "reads", "value": 10}]});
    world.create("/v1/plans", plan).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "api"})).await;
    world.create("/v1/customers", json!({"external_id": "guest", "name": "Guest"})).await;
    world.clock.advance(TimeDelta::minutes(10));
    let eu = json!({"region": "eu", "n": 1});
    for (event_id, customer, name, metadata) in [
        ("billed", "acme", "call", &eu),
        ("counts-against-a-limit", "acme", "read", &json!({})),
        ("no-price", "acme", "login", &json!({})),
        ("priced-otherwise", "acme", "call", &json!({"region": "us"})),
        ("no-subscription", "guest", "call", &eu),
        ("taken-back", "guest", "call", &eu),
    ] {
        let event = json!({"event_id": event_id, "customer_id": customer, "event_name": name,
            "metadata": metadata});
        world.post("/v1/usage_events", event).await;
    }
    let before = json!({"event_id": "before", "customer_id": "acme", "event_name": "call",
        "timestamp": "2025-12-31T23:00:00Z", "metadata": eu});
    world.post("/v1/usage_events", before).await;
    world.post("/v1/usage_events/taken-back/void", json!({})).await;
    world.sweep().await;
    assert!(unmatched(&world).await.is_empty(), "it is young: somebody may be about to make what bills it");

    world.clock.advance(TimeDelta::minutes(6));
    world.sweep().await;
    let told = ["no_price call 1", "no_price login 1", "no_subscription call 2"];
    assert_eq!(unmatched(&world).await, told);
    world.sweep().await;
    world.sweep().await;
    assert_eq!(unmatched(&world).await, told, "once each");
    for (event_id, reason) in [
        ("no-price", "no_price"),
        ("priced-otherwise", "no_price"),
        ("no-subscription", "no_subscription"),
        ("before", "no_subscription"),
        ("taken-back", "no_subscription"),
    ] {
        let explained = world.get(&format!("/v1/usage_events/{event_id}/explain")).await;
        assert_eq!(explained["reason"], reason, "{event_id}");
    }

    send(&world, "later", "login", json!({})).await;
    world.clock.advance(TimeDelta::hours(3));
    world.sweep().await;
    assert_eq!(unmatched(&world).await[1], "no_price login 2", "also if nobody looked for hours");
    let news: Vec<_> =
        reports(&world).await.iter().flat_map(|told| told["data"].as_array().unwrap().clone()).collect();
    assert!(news.iter().any(|one| one["reason"] == "no_subscription"), "{news:?}");
    let measured = Reply::of(world.request("GET", "/metrics")).await.text;
    let tenant = text(&world.get("/v1/account").await["id"]);
    let line = format!(r#"usage_events_unmatched_total{{tenant="{tenant}",reason="no_subscription"}} 2"#);
    assert!(measured.contains(&line), "{measured}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_not_seen_for_90_days_is_forgotten(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    send(&world, "a", "cal", json!({})).await;
    world.clock.advance(TimeDelta::days(60));
    send(&world, "b", "login", json!({})).await;
    world.clock.advance(TimeDelta::days(31));
    world.sweep().await;
    assert_eq!(unmatched(&world).await, ["no_metric login 1"]);
}
