//! What customers may use, and how others learn of it.

use accrue::{
    auth::{Mode, service as auth},
    entitlements,
    subscriptions::{self, Access},
};
use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::{
    outbox::{self, EventFilter},
    page::PageQuery,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Two plans that grant the same features, and a customer who has none of them yet.
async fn prepare(world: &World) -> CustomerId {
    let metric = json!({"code": "calls", "event_name": "api.call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    world.create("/v1/features", json!({"code": "sso", "kind": "switch"})).await;
    world.create("/v1/features", json!({"code": "seats", "kind": "limit"})).await;
    world.create("/v1/features", json!({"code": "calls", "kind": "metered", "metric": "calls"})).await;
    world.create("/v1/features", json!({"code": "audit", "kind": "switch"})).await;
    for (code, sso, seats, calls) in [("small", false, 5, "100"), ("large", true, 10, "1000")] {
        let plan = json!({
            "code": code, "currency": "USD", "interval": {"unit": "month", "count": 1},
            "features": [{"feature": "sso", "value": sso}, {"feature": "seats", "value": seats},
                {"feature": "calls", "value": calls}],
        });
        world.create("/v1/plans", plan).await;
    }
    let clock = world.test_clock("2026-01-10T00:00:00Z").await;
    let customer = json!({"external_id": "acme", "name": "Acme", "test_clock": clock});
    text(&world.create("/v1/customers", customer).await["id"]).parse().unwrap()
}

async fn subscribe(world: &World, plan: &str) -> Value {
    let made = world.create("/v1/subscriptions", json!({"customer": "acme", "plan": plan})).await;
    world.work().await;
    made
}

async fn tenant(world: &World) -> TenantId {
    auth::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id
}

/// Dunning's part: says what payment allows.
async fn set_access(world: &World, subscription: &Value, access: Access) {
    let id = text(&subscription["id"]).parse().unwrap();
    let tx = world.app.db.begin().await.unwrap();
    let now = "2026-01-10T00:00:00Z".parse().unwrap();
    subscriptions::service::set_access(&tx, now, tenant(world).await, id, access).await.unwrap();
    tx.commit().await.unwrap();
    world.work().await;
}

async fn granted(world: &World) -> Value {
    world.get("/v1/customers/acme/entitlements").await
}

/// The versions that were told, the newest first.
async fn told(world: &World) -> Vec<i64> {
    let filter = EventFilter { kind: Some("entitlements.updated".into()), ..EventFilter::default() };
    let page = PageQuery::default();
    let events = outbox::list(world.app.db.reader(), tenant(world).await, filter, &page).await.unwrap();
    let version = |data: &str| serde_json::from_str::<Value>(data).unwrap()["object"]["version"].as_i64();
    events.iter().map(|event| version(&event.data).unwrap()).collect()
}

async fn check(world: &World, feature: &str, body: Value) -> Value {
    world.post(&format!("/v1/customers/acme/entitlements/{feature}/check"), body).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_a_subscription_may_use_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let customer = prepare(&world).await;
    world.work().await;

    let nothing = granted(&world).await;

    assert_eq!((&nothing["version"], &nothing["features"]), (&json!(0), &json!({})));
    assert_eq!((&nothing["customer"], &nothing["as_of"]), (&json!(customer), &json!("2026-01-10T00:00:00Z")));
    let verdict = check(&world, "sso", json!({})).await;
    assert_eq!((&verdict["allowed"], &verdict["reason"]), (&json!(false), &json!("not_granted")));
    let missing = ["/v1/customers/acme/entitlements/sso", "/v1/customers/none/entitlements"];
    for path in missing {
        assert_eq!(Reply::of(world.request("GET", path)).await.status, 404, "{path}");
    }
    assert!(told(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_grants_what_its_plan_says_and_usage_counts_against_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    subscribe(&world, "large").await;
    let events: Vec<_> = (0..990)
        .map(|n| {
            json!({"event_id": format!("e{n}"), "customer_id": "acme", "event_name": "api.call",
            "timestamp": "2026-01-10T00:00:00Z"})
        })
        .collect();
    world.post("/v1/usage_events", json!({"events": events})).await;

    assert_eq!(
        granted(&world).await["features"],
        json!({
            "sso": {"kind": "switch", "value": true, "source": "plan"},
            "seats": {"kind": "limit", "value": 10, "source": "plan"},
            "calls": {"kind": "metered", "limit": "1000", "used": "990", "remaining": "10",
                "resets_at": "2026-02-10T00:00:00Z", "has_access": true, "source": "plan"},
        })
    );
    let one = world.get("/v1/customers/acme/entitlements/calls").await;
    assert_eq!(
        (&one["feature"], &one["version"], &one["remaining"]),
        (&json!("calls"), &json!(1), &json!("10"))
    );

    let fits = check(&world, "calls", json!({"quantity": 10})).await;
    assert_eq!(
        fits,
        json!({"object": "entitlement_check", "allowed": true, "remaining": "10", "reason": "granted"})
    );
    assert_eq!(check(&world, "calls", json!({"quantity": "10.5"})).await["reason"], "limit_exceeded");
    assert_eq!(check(&world, "seats", json!({"quantity": 11})).await["allowed"], false);
    assert_eq!(check(&world, "sso", json!({})).await["allowed"], true);
    assert_eq!(check(&world, "audit", json!({})).await["reason"], "not_granted");
    let path = "/v1/customers/acme/entitlements/calls/check";
    assert_eq!(world.send("POST", path, &json!({"quantity": -1})).await.errors(), ["/quantity negative"]);
    assert_eq!(granted(&world).await["features"]["calls"]["used"], "990");
    assert_eq!(told(&world).await, [1]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_access_is_one_version_told_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    let subscription = subscribe(&world, "large").await;

    set_access(&world, &subscription, Access::Grace).await;
    let grace = granted(&world).await;
    assert_eq!(grace["features"]["seats"], json!({"kind": "limit", "value": 10, "source": "grace"}));

    set_access(&world, &subscription, Access::Grace).await;
    set_access(&world, &subscription, Access::Restricted).await;
    let restricted = granted(&world).await;
    assert_eq!(restricted["version"], 3);
    assert_eq!(
        restricted["features"]["sso"],
        json!({"kind": "switch", "value": false, "source": "restricted"})
    );
    assert_eq!(restricted["features"]["calls"]["has_access"], false);
    assert_eq!(check(&world, "seats", json!({"quantity": 1})).await["reason"], "restricted");

    set_access(&world, &subscription, Access::Full).await;
    assert_eq!(granted(&world).await["features"]["seats"]["value"], 10);
    assert_eq!(told(&world).await, [4, 3, 2, 1]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_grant_together_until_one_ends(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    let large = subscribe(&world, "large").await;
    subscribe(&world, "small").await;

    let both = granted(&world).await;
    assert_eq!(both["features"]["seats"]["value"], 15);
    assert_eq!(both["features"]["calls"]["limit"], "1100");
    assert_eq!(both["features"]["sso"]["value"], true);

    let cancel = format!("/v1/subscriptions/{}/cancel", text(&large["id"]));
    world.post(&cancel, json!({"when": "now"})).await;
    world.work().await;

    let one = granted(&world).await;
    assert_eq!((&one["features"]["seats"]["value"], &one["version"]), (&json!(5), &json!(3)));
    assert_eq!(one["features"]["sso"], json!({"kind": "switch", "value": false, "source": "plan"}));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_resets_what_is_metered(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    subscribe(&world, "small").await;
    let event = json!({"event_id": "e", "customer_id": "acme", "event_name": "api.call",
        "timestamp": "2026-01-10T00:00:00Z"});
    world.post("/v1/usage_events", event).await;
    assert_eq!(granted(&world).await["features"]["calls"]["used"], "1");

    let clock = text(&world.get("/v1/customers/acme").await["test_clock"]);
    world.advance(&clock, "2026-02-10T00:00:01Z").await;

    let renewed = granted(&world).await;
    assert_eq!(renewed["features"]["calls"]["used"], "0");
    assert_eq!(renewed["features"]["calls"]["resets_at"], "2026-03-10T00:00:00Z");
    assert_eq!(renewed["version"], 2);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refreshes_at_the_same_time_make_one_version(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let customer = prepare(&world).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "large"})).await;
    let (tenant, now) = (tenant(&world).await, "2026-01-10T00:00:00Z".parse().unwrap());

    let refresh = async |_| {
        let tx = world.app.db.begin().await.unwrap();
        entitlements::service::refresh(&tx, now, tenant, customer, None).await.unwrap();
        tx.commit().await.unwrap();
    };
    futures_util::future::join_all((0..8).map(refresh)).await;
    world.work().await;

    assert_eq!(granted(&world).await["version"], 1);
    assert_eq!(told(&world).await, [1]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_read_entitlements_may_check_them(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    subscribe(&world, "large").await;
    let key = world.new_key(Mode::Test, accrue::auth::KeyKind::Restricted, &["entitlements:read"]).await;

    let path = "/v1/customers/acme/entitlements/sso/check";
    let verdict = Reply::of(world.request_as(&key, "POST", path).json(&json!({}))).await;
    assert_eq!(verdict.expect(200)["allowed"], true);
    let stranger = world.stranger().await;
    assert_eq!(Reply::of(world.request_as(&stranger, "POST", path).json(&json!({}))).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_told_as_the_plan_says_it_while_it_is_paid_for(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    prepare(&world).await;
    world.create("/v1/features", json!({"code": "theme", "kind": "config"})).await;
    let theme = json!({"color": "#1f4fd8", "days": 90, "rates": [0.25, 1], "name": "10"});
    let plan = json!({"code": "own", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "features": [{"feature": "theme", "value": theme}]});
    let made = world.create("/v1/plans", plan).await;
    assert_eq!(made["features"], json!([{"feature": "theme", "value": theme}]));
    assert_eq!(world.get("/v1/plans/own").await, made);

    let subscription = subscribe(&world, "own").await;

    let config = json!({"kind": "config", "value": theme, "source": "plan"});
    let all = granted(&world).await;
    assert_eq!((&all["features"]["theme"], &all["version"]), (&config, &json!(1)));
    let events = world.list("/v1/events?type=entitlements.updated").await;
    assert_eq!(events[0]["data"]["object"]["features"]["theme"], config);
    let one = world.get("/v1/customers/acme/entitlements/theme").await;
    assert_eq!((&one["kind"], &one["value"], &one["source"]), (&json!("config"), &theme, &json!("plan")));
    assert_eq!(check(&world, "theme", json!({"quantity": 7})).await["reason"], "granted");

    set_access(&world, &subscription, Access::Restricted).await;
    let unpaid = granted(&world).await;
    let config = json!({"kind": "config", "value": null, "source": "restricted"});
    assert_eq!((&unpaid["features"]["theme"], &unpaid["version"]), (&config, &json!(2)));
    assert_eq!(check(&world, "theme", json!({})).await["reason"], "restricted");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_others_could_not_hold_is_refused_with_its_place(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/features", json!({"code": "theme", "kind": "config"})).await;
    world.create("/v1/features", json!({"code": "text", "kind": "config"})).await;
    let features = |value: &str| {
        format!(
            r#"{{"code":"own","currency":"USD","interval":{{"unit":"month","count":1}},"features":[
            {{"feature":"text","value":"1e400 \" {{"}},{{"feature":"theme","value": {value} }}]}}"#
        )
    };
    let send = |value: &str| {
        let request = world.request("POST", "/v1/plans").header("content-type", "application/json");
        Reply::of(request.body(features(value)))
    };
    for (value, code) in [
        ("1e400", "not_exact"),
        ("{\"n\": 12345678901234567}", "not_exact"),
        ("null", "malformed"),
        (r#""\ud800""#, "malformed"),
        (r#"{"\udfff": 1}"#, "malformed"),
        (&format!("\"{}\"", "x".repeat(4095)), "too_long"),
    ] {
        let refused = send(value).await;
        assert_eq!(
            (refused.status, refused.errors()),
            (422, vec![format!("/features/1/value {code}")]),
            "{value}"
        );
    }
    let metric = json!({"code": "f", "kind": "config", "metric": "calls"});
    assert!(
        world.send("POST", "/v1/features", &metric).await.errors().contains(&"/metric unexpected".to_owned())
    );
    let made = send("{ \"a\" : [ 1.50 , true ] }").await;
    assert!(made.text.contains(r#""value":{"a":[1.50,true]}"#), "{}", made.text);
    made.expect(201);
}
