//! Usage of customers that do not exist yet, and how far from now usage may lie.

use chrono::TimeDelta;
use futures_util::StreamExt;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, text};

const FEBRUARY: &str = "start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z";

/// A world that sums up the `n` of the events `call`, sells each for 0.50, and keeps events of unknown customers.
async fn patient(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let price = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
        "model": {"type": "per_unit", "unit_price": "0.5"}});
    let plan = json!({"code": "api", "name": "API", "currency": "USD",
        "interval": {"unit": "month", "count": 1}, "prices": [price]});
    world.create("/v1/plans", plan).await;
    set(&world, json!({"allow_unknown_customer": true})).await;
    Some(world)
}

async fn set(world: &World, settings: Value) {
    world.send("PATCH", "/v1/account", &settings).await.expect(200);
}

fn call(event_id: &str, n: u32, at: &str) -> Value {
    json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at, "metadata": {"n": n}})
}

/// Accepted, duplicates, and the code of each rejected event.
async fn outcome(world: &World, query: &str, event: &Value) -> String {
    let answer = world.post(&format!("/v1/usage_events{query}"), event.clone()).await;
    let codes: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|rejected| text(&rejected["code"])).collect();
    format!("{} {} {}", answer["accepted"], answer["duplicates"], codes.join(" ")).trim_end().to_owned()
}

async fn appear(world: &World, clock: Option<&str>) {
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    world.work().await;
}

async fn quantity(world: &World) -> String {
    text(&world.get(&format!("/v1/customers/acme/usage?metric=calls&{FEBRUARY}")).await["quantity"])
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_customer_who_appears_after_the_window_has_passed_is_billed_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(31));
    let first = call("a", 4, "2026-02-01T00:00:00Z");
    assert_eq!(outcome(&world, "", &first).await, "1 0");
    assert_eq!(outcome(&world, "", &first).await, "0 1");
    assert_eq!(outcome(&world, "", &call("a", 5, "2026-02-01T00:00:00Z")).await, "0 0 conflict");
    assert_eq!(outcome(&world, "?backfill=true", &call("old", 100, "2025-02-10T00:00:00Z")).await, "1 0");
    // Identifiers are given by us: nobody will ever have this one.
    let mut stranger = call("b", 1, "2026-02-01T00:00:00Z");
    stranger["customer_id"] = json!("cus_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f");
    assert_eq!(outcome(&world, "", &stranger).await, "0 0 unknown_customer");
    world.clock.advance(TimeDelta::days(90));

    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    appear(&world, Some(&clock)).await;
    let body = json!({"customer": "acme", "plan": "api", "collection": "send_invoice"});
    world.create("/v1/subscriptions", body).await;
    assert_eq!(outcome(&world, "", &first).await, "0 1");
    world.advance(&clock, "2026-04-02T00:00:00Z").await;

    assert_eq!(quantity(&world).await, "4");
    let invoices = world.list("/v1/invoices").await;
    let totals: Vec<_> = invoices.iter().map(|invoice| text(&invoice["total"])).collect();
    assert_eq!(totals, ["2.00"]);
    let explained = world.get("/v1/usage_events/a/explain").await;
    assert_eq!(
        (&explained["billed"], &explained["outcomes"][0]["invoice"]),
        (&json!(true), &invoices[0]["id"])
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_for_whom_it_waits_and_can_be_corrected_meanwhile(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(40));
    for (event_id, n) in [("a", 1), ("b", 2), ("c", 4)] {
        assert_eq!(outcome(&world, "", &call(event_id, n, "2026-02-03T10:00:00Z")).await, "1 0");
    }
    let waiting = world.list("/v1/usage_events?awaited_customer=acme").await;
    assert_eq!(waiting.len(), 3);
    assert_eq!((&waiting[0]["customer_id"], &waiting[0]["awaited_customer"]), (&Value::Null, &json!("acme")));
    let explained = world.get("/v1/usage_events/a/explain").await;
    assert_eq!(explained["reason"], "unknown_customer");
    world.post("/v1/usage_events/b/void", json!({"reason": "a test"})).await;
    world.post("/v1/usage_events/c/amend", json!({"metadata": {"n": 8}})).await;

    appear(&world, None).await;

    assert_eq!(quantity(&world).await, "9");
    assert!(world.list("/v1/usage_events?awaited_customer=acme").await.is_empty());
    let counted = world.get("/v1/usage_events/a").await;
    assert_eq!(
        (&counted["awaited_customer"], &counted["created_at"]),
        (&Value::Null, &json!("2026-02-10T00:00:00Z"))
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_is_renamed_gets_the_events_of_the_new_name(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(40));
    outcome(&world, "", &call("a", 1, "2026-02-03T10:00:00Z")).await;
    world.create("/v1/customers", json!({"name": "Acme", "external_id": "nobody"})).await;
    world.work().await;

    world.send("PATCH", "/v1/customers/nobody", &json!({"external_id": "acme"})).await.expect(200);
    world.work().await;

    assert_eq!(quantity(&world).await, "1");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_missed_its_customer_is_found_by_the_sweep_and_hours_agree_with_events(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(40));
    let clock = world.test_clock("2026-02-10T00:00:00Z").await;
    for (event_id, at) in [("a", "2026-02-03T10:00:00Z"), ("b", "2026-02-03T10:59:59.999999Z")] {
        outcome(&world, "", &call(event_id, 3, at)).await;
    }
    world.work().await;
    appear(&world, Some(&clock)).await;
    assert_eq!(quantity(&world).await, "6");
    // As if they had been on their way while the customer appeared.
    world
        .sql(r#"update usage_event_packs set customer_id = null, awaited_customer = 'acme' where events like '%"b"%'; delete from usage_rollups"#)
        .await;

    world.sweep().await;

    assert_eq!(quantity(&world).await, "3");
    world.sweep().await;
    assert_eq!(quantity(&world).await, "3");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_of_another_tenant_is_not_the_one_that_is_awaited(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(40));
    outcome(&world, "", &call("a", 1, "2026-02-03T10:00:00Z")).await;
    let stranger = world.stranger().await;
    let body = json!({"external_id": "acme", "name": "Another Acme"});
    let made = world.request_as(&stranger, "POST", "/v1/customers").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);

    world.sweep().await;

    assert_eq!(world.list("/v1/usage_events?awaited_customer=acme").await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_account_decides_how_far_from_now_usage_may_lie(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = patient(on).await else { return };
    let account = world.get("/v1/account").await;
    assert_eq!(
        (&account["usage_past_days_max"], &account["usage_future_minutes_max"]),
        (&json!(35), &json!(5))
    );
    let (old, early) = (call("old", 1, "2025-12-29T00:00:00Z"), call("early", 1, "2026-01-01T00:30:00Z"));
    set(&world, json!({"usage_past_days_max": 2, "usage_future_minutes_max": 30})).await;
    assert_eq!(outcome(&world, "", &old).await, "0 0 timestamp_out_of_window");
    assert_eq!(outcome(&world, "?backfill=true", &old).await, "1 0");
    assert_eq!(outcome(&world, "", &early).await, "1 0");
    set(&world, json!({"usage_future_minutes_max": 29, "allow_unknown_customer": false})).await;
    assert_eq!(outcome(&world, "", &call("later", 1, "2026-01-01T00:30:00Z")).await, "0 0 unknown_customer");
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    assert_eq!(
        outcome(&world, "", &call("later", 1, "2026-01-01T00:30:00Z")).await,
        "0 0 timestamp_out_of_window"
    );

    let wrong = json!({"usage_past_days_max": 367, "usage_future_minutes_max": 1441});
    let refused = world.send("PATCH", "/v1/account", &wrong).await;
    assert_eq!(
        refused.errors(),
        ["/usage_past_days_max out_of_range", "/usage_future_minutes_max out_of_range"]
    );
    let refused = world.send("PATCH", "/v1/account", &json!({"usage_past_days_max": 0})).await;
    assert_eq!(refused.errors(), ["/usage_past_days_max out_of_range"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_while_their_customers_appear_count_once_each(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = patient(on).await else { return };
    world.clock.advance(TimeDelta::days(40));
    world.work().await;
    let send = |number: u32| {
        let world = &world;
        async move {
            let customer = format!("customer-{}", number % 10);
            let mut event = call(&format!("e{number}"), 1, "2026-02-03T10:00:00Z");
            event["customer_id"] = json!(customer);
            // Every third one twice, as after a lost answer.
            for _ in 0..if number.is_multiple_of(3) { 2 } else { 1 } {
                let answer = world.post("/v1/usage_events", event.clone()).await;
                assert_eq!(answer["rejected"], json!([]));
            }
            if number.is_multiple_of(20) {
                let name = format!("customer-{}", number / 20);
                world.create("/v1/customers", json!({"external_id": name, "name": name})).await;
            }
            if number.is_multiple_of(7) {
                world.work().await;
            }
        }
    };

    futures_util::stream::iter(0..200).for_each_concurrent(16, send).await;
    world.sweep().await;

    assert!(
        world
            .list("/v1/usage_events?limit=100")
            .await
            .iter()
            .all(|event| event["awaited_customer"].is_null())
    );
    for customer in 0..10 {
        let path = format!("/v1/customers/customer-{customer}/usage?metric=calls&{FEBRUARY}");
        assert_eq!(world.get(&path).await["quantity"], "20", "{customer}");
    }
}
