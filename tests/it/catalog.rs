//! Metrics, features, taxes and plans.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// A plan with a price of each kind and a feature of each kind.
async fn sell_pro(world: &World) -> Value {
    world
        .create(
            "/v1/metrics",
            json!({"code": "tokens", "name": "Tokens", "event_name": "completion.finished",
                "aggregation": "sum", "property": "tokens"}),
        )
        .await;
    world.create("/v1/features", json!({"code": "sso", "kind": "switch"})).await;
    world.create("/v1/features", json!({"code": "seats", "kind": "limit"})).await;
    world.create("/v1/features", json!({"code": "tokens", "kind": "metered", "metric": "tokens"})).await;
    let plan = json!({
        "code": "pro", "name": "Pro", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "trial_days": 14,
        "prices": [
            {"code": "base", "kind": "fixed", "model": {"type": "flat", "amount": "10.5"}},
            {"code": "seats", "kind": "seat", "model": {"type": "per_unit", "unit_price": "5"}},
            {"code": "tokens", "kind": "usage", "metric": "tokens", "model": {"type": "graduated", "tiers": [
                {"up_to": "1000", "unit_price": "0"}, {"up_to": null, "unit_price": "0.0002"}]}},
        ],
        "features": [
            {"feature": "sso", "value": true},
            {"feature": "seats", "value": 10},
            {"feature": "tokens", "value": "1000000"},
        ],
        "metadata": {"tier": "2"},
    });
    world.create("/v1/plans", plan).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_read_as_it_was_made_by_its_identifier_and_by_its_code(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let made = sell_pro(&world).await;

    let by_id = world.get(&format!("/v1/plans/{}", text(&made["id"]))).await;
    let by_code = world.get("/v1/plans/pro").await;

    assert_eq!(by_id, made);
    assert_eq!(by_code, made);
    assert_eq!(world.list("/v1/plans").await, std::slice::from_ref(&made));
    assert_eq!(
        (&made["object"], &made["version"], &made["livemode"]),
        (&json!("plan"), &json!(1), &json!(false))
    );
    let prices = made["prices"].as_array().unwrap();
    let told: Vec<_> =
        prices.iter().map(|price| format!("{} {}", text(&price["code"]), text(&price["timing"]))).collect();
    assert_eq!(told, ["base advance", "seats advance", "tokens arrears"]);
    assert_eq!(prices[0]["model"], json!({"type": "flat", "amount": "10.50"}));
    assert_eq!(prices[2]["metric"], world.get("/v1/metrics/tokens").await["id"]);
    assert_eq!(made["features"][1], json!({"feature": "seats", "value": 10}));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_changes_what_is_named_and_the_old_one_stays_readable(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let first = sell_pro(&world).await;

    let prices = json!([{"code": "base", "kind": "fixed", "model": {"type": "flat", "amount": "20"}}]);
    let second = world.create("/v1/plans/pro/versions", json!({"prices": prices})).await;

    assert_eq!(second["version"], 2);
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["features"], first["features"]);
    assert_eq!(second["prices"][0]["model"]["amount"], "20.00");
    assert_eq!(world.get("/v1/plans/pro").await, second);
    assert_eq!(world.get("/v1/plans/pro?version=1").await, first);
    assert_eq!(world.list("/v1/plans/pro/versions").await, [second.clone(), first.clone()]);
    let after = format!("/v1/plans/pro/versions?starting_after={}", text(&second["version_id"]));
    assert_eq!(world.list(&after).await, [first]);
    assert_eq!(Reply::of(world.request("GET", "/v1/plans/pro?version=3")).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn renaming_a_plan_makes_no_version(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell_pro(&world).await;

    let change = json!({"name": "Professional", "metadata": {}});
    let renamed = world.send("PATCH", "/v1/plans/pro", &change).await.expect(200);

    assert_eq!((&renamed["name"], &renamed["version"]), (&json!("Professional"), &json!(1)));
    assert_eq!(renamed["metadata"], json!({}));
    let refused = world.send("PATCH", "/v1/plans/pro", &json!({"trial_days": 3})).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["/trial_days unknown_field".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_a_plan_is_named_with_its_place(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell_pro(&world).await;
    let plan = json!({
        "code": "a b", "currency": "USD", "interval": {"unit": "year", "count": 11},
        "prices": [
            {"code": "base", "kind": "fixed", "model": {"type": "flat", "amount": "1.234"}},
            {"code": "base", "kind": "usage", "metric": "none", "timing": "advance",
                "minimum_amount": "1000000000000.01", "model": {"type": "per_unit", "unit_price": "1"}},
        ],
        "features": [{"feature": "sso", "value": 1}],
    });

    let refused = world.send("POST", "/v1/plans", &plan).await;

    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.errors(),
        [
            "/code malformed",
            "/interval/count out_of_range",
            "/prices/0/model/amount invalid_amount",
            "/prices/1/code duplicate",
            "/prices/1/timing unsupported",
            "/prices/1/metric unknown",
            "/prices/1/minimum_amount out_of_range",
            "/features/0/value malformed",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_tells_usage_apart_in_one_way_too_many_is_refused_with_its_place(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let metric = json!({"code": "n", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let price = |code: usize, by: &[String]| {
        json!({"code": code.to_string(), "kind": "usage", "metric": "n", "group_by": by,
            "model": {"type": "per_unit", "unit_price": "1"}})
    };
    let way = |way: usize| vec![format!("property {way}")];
    let plan = |code: &str, prices: Vec<Value>| json!({"code": code, "currency": "USD", "interval": {"unit": "month", "count": 1}, "prices": prices});
    let some = (0..15).map(|number| price(number, &way(number))).collect();
    world.create("/v1/plans", plan("pro", some)).await;

    let more = vec![price(0, &way(15)), price(1, &way(3)), price(2, &way(16)), price(3, &way(17))];
    let refused = world.send("POST", "/v1/plans", &plan("max", more.clone())).await;
    let of_plan = world.send("POST", "/v1/plans/pro/versions", &json!({"prices": more})).await;

    let places = ["/prices/2 too_many_splits", "/prices/3 too_many_splits"];
    assert_eq!((refused.status, refused.errors()), (422, places.map(String::from).to_vec()));
    assert_eq!((of_plan.status, of_plan.errors()), (422, places.map(String::from).to_vec()));
    let detail = text(&refused.json()["errors"][0]["detail"]);
    assert!(detail.contains("the usage of n apart in 16 ways already: filter and group by"), "{detail}");
    let as_before = vec![price(0, &way(15)), price(1, &way(3)), price(2, &[])];
    world.create("/v1/plans", plan("max", as_before)).await;
    world.create("/v1/plans/pro/versions", json!({"trial_days": 3})).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_objects_of_a_kind_cannot_have_one_code(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell_pro(&world).await;
    world.create("/v1/taxes", json!({"code": "vat", "rate": "19"})).await;
    let again = [
        ("/v1/metrics", json!({"code": "tokens", "event_name": "e", "aggregation": "count"})),
        ("/v1/features", json!({"code": "sso", "kind": "switch"})),
        ("/v1/taxes", json!({"code": "vat", "rate": "7"})),
        ("/v1/plans", json!({"code": "pro", "currency": "USD", "interval": {"unit": "month", "count": 1}})),
    ];
    for (path, body) in again {
        let second = world.send("POST", path, &body).await;
        assert_eq!((second.status, &second.json()["code"]), (409, &json!("conflict")), "{path}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn versions_made_at_once_take_turns(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell_pro(&world).await;

    let make =
        async |number: usize| world.create("/v1/plans/pro/versions", json!({"trial_days": number})).await;
    let made = futures_util::future::join_all((0..6).map(make)).await;

    let mut versions: Vec<_> = made.iter().map(|plan| plan["version"].as_i64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_nothing_of_the_catalogue(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let plan = sell_pro(&world).await;
    let stranger = world.stranger().await;

    for path in ["/v1/metrics/tokens", "/v1/features/sso", "/v1/plans/pro", "/v1/plans/pro/versions"] {
        let unseen = Reply::of(world.request_as(&stranger, "GET", path)).await;
        assert_eq!(unseen.status, 404, "{path}");
    }
    let by_id = format!("/v1/plans/{}", text(&plan["id"]));
    assert_eq!(Reply::of(world.request_as(&stranger, "GET", &by_id)).await.status, 404);
    let body = json!({"code": "f", "kind": "metered", "metric": "tokens"});
    let refused = Reply::of(world.request_as(&stranger, "POST", "/v1/features").json(&body)).await;
    assert_eq!(refused.errors(), ["/metric unknown"]);
}
