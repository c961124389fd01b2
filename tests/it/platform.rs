//! What every request has: keys and scopes, idempotency, problems, limits; and test clocks.

use accrue::auth::{KeyKind, Mode};
use rstest::rstest;
use serde_json::json;

use crate::support::{Engine, Engine::*, Reply, World, text};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_do_what_its_scopes_say_and_nothing_after_it_is_revoked(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let made =
        world.create("/v1/api_keys", json!({"kind": "restricted", "scopes": ["customers:read"]})).await;
    let key = text(&made["key"]);
    let with_key =
        |method: &str| Reply::of(world.request_as(&key, method, "/v1/customers").json(&json!({"name": "A"})));

    assert_eq!(with_key("GET").await.status, 200);
    assert_eq!(with_key("POST").await.status, 403);

    world.post(&format!("/v1/api_keys/{}/revoke", text(&made["id"])), json!({})).await;
    assert_eq!(with_key("GET").await.status, 401);
    assert!(!world.get("/v1/api_keys").await.to_string().contains(&key), "a key is shown once");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_good_key_is_refused(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let mut wrong = world.key.clone();
    wrong.replace_range(wrong.len() - 1.., if wrong.ends_with('A') { "E" } else { "A" });
    for key in ["", "sk_test_x", &wrong] {
        let reply = Reply::of(world.request_as(key, "GET", "/v1/customers")).await;
        assert_eq!((reply.status, text(&reply.json()["code"])), (401, "unauthenticated".to_owned()), "{key}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_the_same_key_has_one_effect_and_one_answer(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let send = |name: &'static str| {
        let request = world.request("POST", "/v1/customers").header("idempotency-key", "\"k1\"");
        Reply::of(request.json(&json!({"name": name})))
    };

    let first = send("Acme").await;
    let second = send("Acme").await;
    let other = send("Other").await;

    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    assert_eq!((second.status, second.header("idempotent-replayed")), (201, "true"));
    assert_eq!(first.bytes, second.bytes);
    assert_eq!((other.status, text(&other.json()["code"])), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(world.list("/v1/customers").await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_with_one_key_have_one_effect(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let send = |key: usize| {
        let request = world.request("POST", "/v1/customers").header("idempotency-key", format!("key {key}"));
        Reply::of(request.json(&json!({"name": format!("Customer {key}")})))
    };

    let replies = futures_util::future::join_all((0..200).map(|number| send(number % 10))).await;

    for reply in &replies {
        assert!(reply.status == 201 || reply.json()["code"] == "idempotency_in_flight", "{}", reply.text);
    }
    assert_eq!(world.list("/v1/customers?limit=100").await.len(), 10);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_write_leaves_an_audit_entry(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let made = world.create("/v1/customers", json!({"name": "Acme"})).await;

    let log = world.list("/v1/audit_log").await;

    assert_eq!(log[0]["action"], "POST /v1/customers");
    assert_eq!(log[0]["object_id"], made["id"]);
    assert!(text(&log[0]["actor"]).starts_with("key_"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_clock_moves_forward_only(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let clock = world.test_clock("2026-01-31T10:00:00Z").await;
    let customer = world.create("/v1/customers", json!({"name": "Acme", "test_clock": clock})).await;
    assert_eq!(customer["created_at"], "2026-01-31T10:00:00Z");

    let path = format!("/v1/test_clocks/{clock}/advance");
    world.post(&path, json!({"to": "2026-03-01T00:00:00Z"})).await;
    let back = world.send("POST", &path, &json!({"to": "2026-02-01T00:00:00Z"})).await;

    assert_eq!(back.status, 409);
    let now = world.get(&format!("/v1/test_clocks/{clock}")).await;
    assert_eq!((&now["now"], &now["status"]), (&json!("2026-03-01T00:00:00Z"), &json!("ready")));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_has_what_happens_at_the_starting_instant_and_nothing_from_before(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let start = "2026-02-01T09:30:00Z";
    let clock = world.test_clock(start).await;
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "5"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    world.create("/v1/plans", plan).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "pro"})).await;

    let first = world.advance(&clock, start).await;
    let again = world.advance(&clock, start).await;

    assert!(first.contains(&format!("{start} invoice.finalized")), "{first:?}");
    assert!(!first.contains(&format!("{start} customer.created")), "{first:?}");
    assert_eq!(again, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn live_mode_knows_no_test_clocks(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let live = world.new_key(Mode::Live, KeyKind::Secret, &[]).await;
    let request = world.request_as(&live, "POST", "/v1/test_clocks");
    let reply = Reply::of(request.json(&json!({"now": "2026-01-01T00:00:00Z"}))).await;
    assert_eq!(reply.status, 422);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_does_not_exist_gets_a_problem_and_one_of_another_method_405(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let nowhere = world.send("GET", "/v1/nothing", &json!({})).await;
    let elsewhere = world.send("DELETE", "/v1/customers", &json!({})).await;
    assert_eq!((nowhere.status, text(&nowhere.json()["code"])), (404, "not_found".to_owned()));
    assert_eq!((elsewhere.status, elsewhere.header("allow")), (405, "GET, POST"));

    let page = text(&nowhere.json()["type"]);
    let page = Reply::of(world.request("GET", &page)).await;
    assert!(page.status == 200 && page.text.contains("<h1>404"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_leap_second_of_a_test_clock_is_the_second_after_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let clock = world.create("/v1/test_clocks", json!({"now": "2016-12-31T23:59:60.5Z"})).await;
    assert_eq!(clock["now"], "2017-01-01T00:00:00.500Z");
    let path = format!("/v1/test_clocks/{}/advance", text(&clock["id"]));
    let moved = world.post(&path, json!({"to": "2017-01-31T23:59:60Z"})).await;
    assert_eq!((&moved["now"], &moved["has_more"]), (&json!("2017-02-01T00:00:00Z"), &json!(false)));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_says_that_there_is_more_than_it_shows(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "1"}});
    let plan = json!({"code": "pro", "name": "Pro", "currency": "USD",
        "interval": {"unit": "day", "count": 1}, "prices": [price]});
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-01-01T00:00:00Z").await;
    for customer in ["a", "b", "c", "d"] {
        world
            .create("/v1/customers", json!({"external_id": customer, "name": customer, "test_clock": clock}))
            .await;
        let body =
            json!({"customer": customer, "plan": "pro", "collection": "send_invoice", "net_terms_days": 365});
        world.create("/v1/subscriptions", body).await;
    }
    let path = format!("/v1/test_clocks/{clock}/advance");
    let moved = world.post(&path, json!({"to": "2026-01-02T12:00:00Z"})).await;
    let first = moved["timeline"].as_array().unwrap().len();
    assert_eq!(moved["has_more"], false);

    // Whether it comes that far in the time of one request or not.
    let moved = world.send("POST", &path, &json!({"to": "2026-05-01T12:00:00Z"})).await;
    assert!([200, 202].contains(&moved.status), "{}", moved.text);
    let moved = moved.json();

    assert!(first * 100 > 1000, "{first} a day");
    assert_eq!(moved["timeline"].as_array().unwrap().len(), 1000);
    assert_eq!(moved["has_more"], true);
}
