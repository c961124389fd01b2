//! Requests for alerts: what is refused and why, lists, strangers.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Two customers, of whom only `acme` has a currency, and two metrics.
async fn prepare(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    for code in ["calls", "tokens"] {
        let metric = json!({"code": code, "name": code, "event_name": code, "aggregation": "count"});
        world.create("/v1/metrics", metric).await;
    }
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "currency": "USD"})).await;
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    Some(world)
}

fn alert(customer: &str, metric: &str, kind: &str, threshold: &str) -> Value {
    json!({"customer": customer, "metric": metric, "kind": kind, "threshold": threshold})
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_told_with_its_place_and_what_to_do(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = prepare(on).await else { return };
    let refused = async |body: Value| {
        let reply = world.send("POST", "/v1/usage_alerts", &body).await;
        format!("{} {}", reply.status, reply.errors().join(", "))
    };
    assert_eq!(refused(json!({})).await, "422 /metric required, /kind required, /threshold required");
    assert_eq!(refused(alert("nobody", "calls", "quantity", "1")).await, "404 /customer unknown");
    assert_eq!(refused(alert("acme", "nothing", "quantity", "1")).await, "404 /metric unknown");
    assert_eq!(refused(alert("acme", "calls", "quantity", "0")).await, "422 /threshold out_of_range");
    assert_eq!(refused(alert("acme", "calls", "quantity", "-1")).await, "422 /threshold out_of_range");
    assert_eq!(refused(alert("acme", "calls", "amount", "1.234")).await, "422 /threshold malformed");
    assert_eq!(refused(alert("other", "calls", "amount", "1")).await, "422 /customer no_currency");
    let mut nameless = alert("acme", "calls", "quantity", "1");
    nameless["name"] = json!(" ");
    assert_eq!(refused(nameless).await, "422 /name blank");
    let hopeless = world.send("POST", "/v1/usage_alerts", &alert("acme", "calls", "speed", "1")).await;
    assert_eq!(hopeless.status, 422);
    assert!(hopeless.text.contains("percent_of_limit"), "what would be right is named: {}", hopeless.text);
    let reply = world.send("POST", "/v1/usage_alerts", &alert("other", "calls", "amount", "1")).await;
    assert!(reply.text.contains("give the customer one, or a subscription, first"), "{}", reply.text);
    assert!(world.list("/v1/usage_alerts").await.is_empty());

    let made = world.create("/v1/usage_alerts", alert("acme", "calls", "amount", "1")).await;
    let path = format!("/v1/usage_alerts/{}", text(&made["id"]));
    for (change, error) in [
        (json!({"threshold": "0"}), "/threshold out_of_range"),
        (json!({"threshold": "0.001"}), "/threshold malformed"),
        (json!({"name": ""}), "/name blank"),
        (json!({"metric": "tokens"}), "/metric unknown_field"),
    ] {
        let reply = world.send("PATCH", &path, &change).await;
        assert_eq!((reply.status, reply.errors()), (422, vec![error.to_owned()]), "{change}");
    }
    assert_eq!(world.get(&path).await, made, "nothing was changed");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_at_most_twenty_alerts_on_a_metric(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = prepare(on).await else { return };
    for threshold in 1..=20 {
        world.create("/v1/usage_alerts", alert("acme", "calls", "quantity", &threshold.to_string())).await;
    }
    let refused = world.send("POST", "/v1/usage_alerts", &alert("acme", "calls", "quantity", "21")).await;
    assert_eq!((refused.status, text(&refused.json()["code"])), (409, "conflict".to_owned()));
    world.create("/v1/usage_alerts", alert("acme", "tokens", "quantity", "21")).await;
    world.create("/v1/usage_alerts", alert("other", "calls", "quantity", "21")).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_by_customer_metric_and_status_page_by_page(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = prepare(on).await else { return };
    let mut made = Vec::new();
    for (customer, metric, threshold) in
        [("acme", "calls", "1"), ("acme", "calls", "2"), ("acme", "tokens", "1"), ("other", "calls", "1")]
    {
        let body = alert(customer, metric, "quantity", threshold);
        made.push(text(&world.create("/v1/usage_alerts", body).await["id"]));
    }
    let off = json!({"active": false});
    world.send("PATCH", &format!("/v1/usage_alerts/{}", made[2]), &off).await.expect(200);
    world
        .post("/v1/usage_events", json!({"event_id": "a", "customer_id": "acme", "event_name": "calls"}))
        .await;
    world.work().await;
    let listed = async |query: &str| -> Vec<usize> {
        let found = world.list(&format!("/v1/usage_alerts?{query}")).await;
        found.iter().map(|alert| made.iter().position(|id| *id == text(&alert["id"])).unwrap()).collect()
    };
    assert_eq!(listed("").await, [3, 2, 1, 0]);
    assert_eq!(listed("customer=acme").await, [2, 1, 0]);
    assert_eq!(listed("metric=calls").await, [3, 1, 0]);
    assert_eq!(listed("customer=acme&metric=tokens").await, [2]);
    assert_eq!(listed("status=triggered").await, [0]);
    assert_eq!(listed("status=inactive").await, [2]);
    assert_eq!(listed("status=ok").await, [3, 1]);
    let first = world.get("/v1/usage_alerts?limit=3").await;
    assert_eq!((&first["has_more"], &first["url"]), (&json!(true), &json!("/v1/usage_alerts")));
    assert_eq!(listed(&format!("starting_after={}", made[1])).await, [0]);
    assert_eq!(world.send("GET", "/v1/usage_alerts?customer=nobody", &Value::Null).await.status, 404);
    assert_eq!(world.send("GET", "/v1/usage_alerts?status=asleep", &Value::Null).await.status, 422);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_alert_does_not_exist_and_keys_need_the_scope(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    use accrue::auth::{KeyKind, Mode};

    let Some(world) = prepare(on).await else { return };
    let made = world.create("/v1/usage_alerts", alert("acme", "calls", "quantity", "1")).await;
    let path = format!("/v1/usage_alerts/{}", text(&made["id"]));
    let live = world.new_key(Mode::Live, KeyKind::Secret, &[]).await;
    for stranger in [world.stranger().await, live] {
        for method in ["GET", "PATCH", "DELETE"] {
            let asked = async |path: &str| {
                let reply = Reply::of(world.request_as(&stranger, method, path).json(&json!({}))).await;
                (reply.status, reply.json()["detail"].clone())
            };
            let unknown = "/v1/usage_alerts/ual_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f";
            assert_eq!(asked(&path).await, (404, json!("there is no such usage alert")), "{method}");
            assert_eq!(asked(unknown).await, asked(&path).await);
        }
        let listed = Reply::of(world.request_as(&stranger, "GET", "/v1/usage_alerts")).await.expect(200);
        assert_eq!(listed["data"], json!([]));
        let body = alert(&text(&made["customer"]), "calls", "quantity", "1");
        let theirs = Reply::of(world.request_as(&stranger, "POST", "/v1/usage_alerts").json(&body)).await;
        assert_eq!((theirs.status, theirs.errors()), (404, vec!["/customer unknown".to_owned()]));
    }
    let ingest = world.new_key(Mode::Test, KeyKind::Ingest, &[]).await;
    assert_eq!(Reply::of(world.request_as(&ingest, "GET", &path)).await.status, 403);
    let reader = world.new_key(Mode::Test, KeyKind::Restricted, &["usage_alerts:read"]).await;
    assert_eq!(Reply::of(world.request_as(&reader, "GET", &path)).await.status, 200);
    assert_eq!(Reply::of(world.request_as(&reader, "DELETE", &path)).await.status, 403);
    assert_eq!(world.get(&path).await, made);
}
