//! Alerts that hold for every customer, each for itself.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Two metrics, a plan that sells one of them in euros, and two customers without a subscription.
async fn prepare(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    for code in ["calls", "logins"] {
        let metric =
            json!({"code": code, "event_name": code, "aggregation": "sum", "property": "n", "name": code});
        world.create("/v1/metrics", metric).await;
    }
    let price = json!({"code": "calls", "kind": "usage", "metric": "calls",
        "model": {"type": "per_unit", "unit_price": "1"}});
    for (code, currency) in [("euro", "EUR"), ("dollar", "USD")] {
        let plan = json!({"code": code, "currency": currency, "interval": {"unit": "month", "count": 1},
            "prices": [price]});
        world.create("/v1/plans", plan).await;
    }
    for name in ["acme", "other"] {
        world.create("/v1/customers", json!({"external_id": name, "name": name})).await;
    }
    world.work().await;
    Some(world)
}

async fn alert(world: &World, kind: &str, threshold: &str, currency: Option<&str>) -> String {
    let mut body = json!({"metric": "calls", "kind": kind, "threshold": threshold, "name": "Much"});
    if let Some(currency) = currency {
        body["currency"] = json!(currency);
    }
    let made = world.create("/v1/usage_alerts", body).await;
    world.work().await;
    assert_eq!(
        (&made["customer"], &made["template"], &made["status"]),
        (&Value::Null, &Value::Null, &json!("ok"))
    );
    text(&made["id"])
}

async fn call(world: &World, event_id: &str, customer: &str, n: i32) {
    let event = json!({"event_id": event_id, "customer_id": customer, "event_name": "calls",
        "metadata": {"n": n}});
    assert_eq!(world.post("/v1/usage_events", event).await["accepted"], 1);
    world.work().await;
}

/// What was told, the oldest first: `triggered` or `recovered`, the customer's name, and the value then.
async fn told(world: &World) -> Vec<String> {
    let mut events = world.list("/v1/events?limit=100").await;
    events.retain(|event| text(&event["type"]).starts_with("usage_alert."));
    events.reverse();
    let mut lines = Vec::new();
    for event in events {
        let alert = &event["data"]["object"];
        let customer = world.get(&format!("/v1/customers/{}", text(&alert["customer"]))).await;
        let kind = text(&event["type"]).replace("usage_alert.", "");
        let value = if kind == "triggered" { "value" } else { "recovered_value" };
        lines.push(format!("{kind} {} {}", text(&customer["name"]), text(&alert["last_trigger"][value])));
    }
    lines
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_without_a_customer_triggers_for_each_that_reaches_it_once_in_a_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = prepare(on).await else { return };
    call(&world, "before", "acme", 70).await;
    let all = alert(&world, "quantity", "100", None).await;
    assert_eq!(world.list("/v1/usage_alerts").await.len(), 1, "nothing is stored of who is below it");

    call(&world, "a", "acme", 30).await;
    call(&world, "b", "acme", 30).await;
    call(&world, "c", "other", 99).await;
    assert_eq!(told(&world).await, ["triggered acme 100"]);
    world.create("/v1/customers", json!({"external_id": "new", "name": "new"})).await;
    call(&world, "d", "new", 101).await;
    assert_eq!(told(&world).await, ["triggered acme 100", "triggered new 101"]);

    let copies = world.list("/v1/usage_alerts?customer=acme").await;
    let [copy] = copies.as_slice() else { panic!("{copies:#?}") };
    assert_eq!((&copy["template"], &copy["status"]), (&json!(all), &json!("triggered")));
    assert_eq!((&copy["name"], &copy["threshold"]), (&json!("Much"), &json!("100")));
    assert_eq!(world.get(&format!("/v1/usage_alerts/{all}")).await["status"], "ok");

    world.post("/v1/usage_events/a/void", json!({})).await;
    world.post("/v1/usage_events/b/void", json!({})).await;
    world.work().await;
    assert_eq!(told(&world).await[2..], ["recovered acme 70"]);
    call(&world, "e", "acme", 50).await;
    assert_eq!(told(&world).await.len(), 3, "once in a period");
    world.clock.set("2026-02-01T00:00:10Z".parse().unwrap());
    world.sweep().await;
    assert_eq!(told(&world).await[3..], ["recovered new 0"], "the next period began");
    call(&world, "f", "acme", 100).await;
    assert_eq!(told(&world).await[4..], ["triggered acme 100"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_counts_for_everybody_and_a_change_is_one_for_everybody(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = prepare(on).await else { return };
    let clock = world.test_clock("2026-01-10T00:00:00Z").await;
    world
        .create("/v1/customers", json!({"external_id": "tested", "name": "tested", "test_clock": clock}))
        .await;
    call(&world, "a", "acme", 50).await;
    call(&world, "b", "other", 80).await;
    call(&world, "c", "tested", 90).await;
    let all = alert(&world, "quantity", "80", None).await;
    // Each customer has its own time, so what was told of several has no order.
    let sorted = async || {
        let mut told = told(&world).await;
        told.sort();
        told
    };
    assert_eq!(sorted().await, ["triggered other 80", "triggered tested 90"]);
    call(&world, "d", "tested", 1).await;
    assert_eq!(told(&world).await.len(), 2);

    let path = format!("/v1/usage_alerts/{all}");
    let change = json!({"threshold": "50", "name": "Half"});
    assert_eq!(world.send("PATCH", &path, &change).await.expect(200)["threshold"], "50");
    world.work().await;
    let again = ["triggered acme 50", "triggered other 80", "triggered other 80"];
    assert_eq!(sorted().await[..3], again);
    assert_eq!(sorted().await[3..], ["triggered tested 90", "triggered tested 91"]);
    let copies = world.list("/v1/usage_alerts?customer=other").await;
    assert_eq!((&copies[0]["name"], &copies[0]["threshold"]), (&json!("Half"), &json!("50")));

    world.send("PATCH", &path, &json!({"active": false})).await.expect(200);
    assert_eq!(world.list("/v1/usage_alerts?status=inactive").await.len(), 4, "with all that it told");
    call(&world, "e", "acme", -50).await;
    world.create("/v1/customers", json!({"external_id": "new", "name": "new"})).await;
    call(&world, "f", "new", 60).await;
    assert_eq!(told(&world).await.len(), 5, "nobody looks");
    world.send("PATCH", &path, &json!({"active": true})).await.expect(200);
    world.work().await;
    assert_eq!(sorted().await[..3], ["recovered acme 0", "triggered acme 50", "triggered new 60"]);

    world.send("DELETE", &path, &json!({})).await.expect(200);
    assert!(world.list("/v1/usage_alerts").await.is_empty());
    call(&world, "g", "acme", 500).await;
    assert_eq!(told(&world).await.len(), 7);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_amount_for_everybody_is_one_in_its_currency(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = prepare(on).await else { return };
    for (customer, plan) in [("acme", "euro"), ("other", "dollar")] {
        world.create("/v1/subscriptions", json!({"customer": customer, "plan": plan})).await;
    }
    world.clock.advance(TimeDelta::hours(1));
    world.work().await;
    alert(&world, "amount", "10", Some("EUR")).await;

    call(&world, "a", "acme", 10).await;
    call(&world, "b", "other", 1000).await;

    assert_eq!(told(&world).await, ["triggered acme 10.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_an_alert_for_everybody_told_of_one_customer_is_changed_with_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = prepare(on).await else { return };
    let refused = async |body: Value| {
        let reply = world.send("POST", "/v1/usage_alerts", &body).await;
        format!("{} {}", reply.status, reply.errors().join(", "))
    };
    let mut body = json!({"metric": "calls", "kind": "amount", "threshold": "10"});
    assert_eq!(refused(body.clone()).await, "422 /currency required");
    body["currency"] = json!("XXX");
    assert_eq!(refused(body.clone()).await, "422 /currency unknown");
    body["currency"] = json!("JPY");
    body["threshold"] = json!("0.5");
    assert_eq!(refused(body.clone()).await, "422 /threshold malformed");
    body["customer"] = json!("acme");
    assert_eq!(refused(body.clone()).await, "422 /currency unexpected");
    body = json!({"metric": "calls", "kind": "quantity", "threshold": "1", "currency": "EUR"});
    assert_eq!(refused(body).await, "422 /currency unexpected");

    let all = alert(&world, "quantity", "10", None).await;
    call(&world, "a", "acme", 10).await;
    let copy = text(&world.list("/v1/usage_alerts?customer=acme").await[0]["id"]);
    for (method, change) in [("PATCH", json!({"threshold": "20"})), ("DELETE", json!({}))] {
        let reply = world.send(method, &format!("/v1/usage_alerts/{copy}"), &change).await;
        assert_eq!(reply.status, 409, "{method}");
        assert!(reply.text.contains(&all), "{}", reply.text);
    }
    for threshold in 11..=29 {
        let body = json!({"metric": "calls", "kind": "quantity", "threshold": threshold.to_string()});
        world.create("/v1/usage_alerts", body).await;
    }
    let one_more = json!({"metric": "calls", "kind": "quantity", "threshold": "30"});
    assert_eq!(world.send("POST", "/v1/usage_alerts", &one_more).await.status, 409);
    let own = json!({"customer": "acme", "metric": "calls", "kind": "quantity", "threshold": "30"});
    world.create("/v1/usage_alerts", own).await;
    let stranger = world.stranger().await;
    let theirs = Reply::of(world.request_as(&stranger, "GET", "/v1/usage_alerts")).await.expect(200);
    assert_eq!(theirs["data"], json!([]));
}
