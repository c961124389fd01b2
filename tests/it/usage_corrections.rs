//! Usage events that turn out to be wrong.

use rstest::rstest;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, Reply, World, text};

/// Metrics of the events `call`, one for each way in which hours add up, all of property `n`.
const METRICS: [&str; 6] = ["count", "sum", "max", "min", "latest", "average"];

/// The customer pays 1.00 for each unit of a metric.
async fn metered(on: Engine, billed: &str) -> Option<Metered> {
    let world = World::new(on).await?;
    for aggregation in METRICS {
        let mut metric = json!({"code": aggregation, "name": aggregation, "event_name": "call",
            "aggregation": aggregation});
        if aggregation != "count" {
            metric["property"] = json!("n");
        }
        world.create("/v1/metrics", metric).await;
    }
    Some(Metered::subscribe(world, billed, json!({"type": "per_unit", "unit_price": "1"})).await)
}

/// What each metric says of February.
async fn quantities(world: &World) -> String {
    let mut said = Vec::new();
    for metric in METRICS {
        let period = "start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z";
        let usage = world.get(&format!("/v1/customers/acme/usage?metric={metric}&{period}")).await;
        said.push(format!("{metric} {}", text(&usage["quantity"])));
    }
    said.join(", ")
}

async fn amend(world: &World, event_id: &str, to: Value) -> Value {
    world.post(&format!("/v1/usage_events/{event_id}/amend"), to).await
}

async fn void(world: &World, event_id: &str) -> Value {
    world.post(&format!("/v1/usage_events/{event_id}/void"), json!({})).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_quantity_is_as_if_only_what_is_true_had_been_sent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.advance("2026-02-20T00:00:00Z").await;
    shop.call("a", "10", "2026-02-10T10:00:00Z").await;
    shop.call("b", "40.25", "2026-02-10T10:30:00Z").await;
    shop.call("c", "1", "2026-02-10T10:59:59Z").await;
    shop.call("d", "5", "2026-02-11T00:00:00Z").await;
    shop.call("e", "8", "2026-02-12T00:00:00Z").await;
    world.work().await;
    assert_eq!(quantities(world).await, "count 5, sum 64.25, max 40.25, min 1, latest 8, average 12.85");

    void(world, "b").await;
    void(world, "e").await;
    assert_eq!(
        quantities(world).await,
        "count 3, sum 16, max 10, min 1, latest 5, average 5.333333333333333333333333333"
    );
    amend(world, "c", json!({"metadata": {"n": "2.5"}})).await;
    assert_eq!(
        quantities(world).await,
        "count 3, sum 17.5, max 10, min 2.5, latest 5, average 5.833333333333333333333333333"
    );
    // To another hour, where it is the latest of all; and out of the month.
    amend(world, "a", json!({"timestamp": "2026-02-13T12:00:00Z"})).await;
    amend(world, "d", json!({"timestamp": "2026-01-31T23:59:59Z"})).await;
    assert_eq!(quantities(world).await, "count 2, sum 12.5, max 10, min 2.5, latest 10, average 6.25");
    // Without the number it is still a call.
    amend(world, "a", json!({"metadata": {}})).await;
    assert_eq!(quantities(world).await, "count 2, sum 2.5, max 2.5, min 2.5, latest 2.5, average 2.5");

    // A metric that is made now is built from what is true.
    let late =
        json!({"code": "late", "name": "Late", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", late).await;
    shop.call("f", "1", "2026-02-19T00:00:00Z").await;
    world.work().await;
    let usage = world.get("/v1/customers/acme/usage?metric=late").await;
    assert_eq!(usage["quantity"], "3.5");
}

#[rstest]
// Billed: both events; without `a`, which is voided; with 2.5 in place of 10 for `b`.
#[case("sum", "50.25", &["-40.25", "-7.50"])]
#[case("max", "40.25", &["-30.25", "-7.50"])]
#[case("latest", "10.00", &["-7.50"])]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_billed_is_put_right_to_the_cent(
    #[case] metric: &str,
    #[case] billed: &str,
    #[case] adjustments: &[&str],
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on, metric).await else { return };
    let world = &shop.world;
    shop.advance("2026-02-15T00:00:00Z").await;
    shop.call("a", "40.25", "2026-02-10T10:00:00Z").await;
    shop.call("b", "10", "2026-02-10T10:30:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    // Something to take it off from.
    shop.call("march", "100", "2026-03-01T12:00:00Z").await;
    void(world, "a").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    shop.call("april", "100", "2026-04-01T12:00:00Z").await;
    amend(world, "b", json!({"metadata": {"n": 2.5}, "reason": "measured in the wrong unit"})).await;

    shop.advance("2026-07-02T00:00:00Z").await;

    let lines = shop.lines().await;
    let of_february = |kind: &str| -> Vec<&str> {
        let start = format!("cycle {kind} 2026-02 ");
        let lines = lines.iter().filter(|line| line.starts_with(&start));
        lines.map(|line| line.rsplit(' ').next().unwrap()).collect()
    };
    assert_eq!(of_february("usage"), [billed], "{lines:?}");
    assert_eq!(of_february("usage_adjustment"), adjustments, "{lines:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_moves_to_another_period_is_taken_off_there_and_billed_here(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.advance("2026-02-15T00:00:00Z").await;
    shop.call("a", "30", "2026-02-14T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("b", "7", "2026-03-01T00:00:00Z").await;

    amend(world, "a", json!({"timestamp": "2026-03-01T12:00:00Z"})).await;
    shop.advance("2026-04-02T00:00:00Z").await;

    assert_eq!(
        shop.lines().await,
        [
            "cycle usage 2026-02 30 30.00",
            "cycle usage 2026-03 37 37.00",
            "cycle usage_adjustment 2026-02 -30 -30.00"
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_event_keeps_its_identity_and_its_history(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.advance("2026-02-15T00:00:00Z").await;
    let body = r#"{"event_id":"a","customer_id":"acme","event_name":"call","source":"eu",
        "timestamp":"2026-02-14T00:00:00Z","metadata":{"n":1234567890123456789012345.50}}"#;
    let send = async || {
        let request = world.request("POST", "/v1/usage_events").header("content-type", "application/json");
        Reply::of(request.body(body)).await.expect(200)
    };
    assert_eq!(send().await["accepted"], 1);

    let path = "/v1/usage_events/a/amend?source=eu";
    let amended = world
        .post(path, json!({"metadata": {"n": 2}, "timestamp": "2026-02-13T00:00:00Z", "reason": "typo"}));
    let amended = amended.await;
    assert_eq!(world.get("/v1/usage_events/a?source=eu").await, amended);
    assert_eq!(world.post(path, json!({"metadata": {"n": 2}})).await, amended, "nothing has changed");
    shop.advance("2026-02-16T00:00:00Z").await;
    let voided = world.post("/v1/usage_events/a/void?source=eu", json!({"reason": "a test"})).await;
    shop.advance("2026-02-17T00:00:00Z").await;
    let again = world.post("/v1/usage_events/a/void?source=eu", json!({})).await;
    assert_eq!(again, voided);

    assert_eq!(
        (&amended["amended_at"], &amended["voided_at"]),
        (&json!("2026-02-15T00:00:00Z"), &Value::Null)
    );
    assert_eq!(voided["voided_at"], "2026-02-16T00:00:00Z");
    let history = voided["history"].as_array().unwrap();
    let line = |version: &Value| {
        let words = ["timestamp", "change", "changed_at", "reason"].map(|name| text(&version[name]));
        format!("{} {}", words.join(" "), version["metadata"]["n"])
    };
    assert_eq!(line(&history[1]), "2026-02-13T00:00:00Z voided 2026-02-16T00:00:00Z a test 2");
    assert!(line(&history[0]).starts_with("2026-02-14T00:00:00Z amended 2026-02-15T00:00:00Z typo "));
    assert!(text(&history[0]["changed_by"]).starts_with("key_"));
    let shown = Reply::of(world.request("GET", "/v1/usage_events/a?source=eu")).await.text;
    assert!(shown.contains(r#"{"n":1234567890123456789012345.50}"#), "{shown}");
    assert!(world.list("/v1/usage_events").await[0].get("history").is_none());

    assert_eq!(send().await["duplicates"], 1, "the first write wins");
    assert_eq!(world.get("/v1/customers/acme/usage?metric=count").await["quantity"], "0");
    let mut events = Reply::of(world.request("GET", "/v1/events?type=usage_event.amended")).await;
    assert_eq!(events.json()["data"].as_array().unwrap().len(), 1);
    assert!(events.text.contains(r#""previous":{"#) && events.text.contains("1234567890123456789012345.50"));
    events = Reply::of(world.request("GET", "/v1/events?type=usage_event.voided")).await;
    assert_eq!(events.json()["data"].as_array().unwrap().len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_amended_event_is_held_to_the_rules_of_a_new_one(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.advance("2026-02-15T00:00:00Z").await;
    shop.call("a", "1", "2026-02-14T00:00:00Z").await;
    let before = world.get("/v1/usage_events/a").await;
    for (body, error) in [
        (json!({}), "/timestamp required"),
        (json!({"timestamp": "2026-02-15T00:05:01Z"}), "/timestamp timestamp_out_of_window"),
        (json!({"timestamp": "2026-01-10T00:00:00Z"}), "/timestamp timestamp_out_of_window"),
        (json!({"metadata": {"n": "many"}}), "/metadata/n malformed_number"),
        (json!({"metadata": {"n": "x".repeat(9000)}}), "/metadata metadata_too_large"),
        (json!({"metadata": {}, "reason": " "}), "/reason blank"),
        (json!({"customer_id": "other"}), "/customer_id unknown_field"),
    ] {
        let reply = world.send("POST", "/v1/usage_events/a/amend", &body).await;
        assert_eq!((reply.status, reply.errors()), (422, vec![error.to_owned()]), "{body}");
    }
    assert_eq!(world.get("/v1/usage_events/a").await, before);
    let path = "/v1/usage_events/a/amend?backfill=true";
    world.post(path, json!({"timestamp": "2020-01-10T00:00:00Z"})).await;

    void(world, "a").await;
    let reply = world.send("POST", "/v1/usage_events/a/amend", &json!({"metadata": {}})).await;
    assert_eq!(reply.status, 409, "{}", reply.text);
    for verb in ["void", "amend"] {
        let reply = world.send("POST", &format!("/v1/usage_events/x/{verb}"), &json!({"metadata": {}})).await;
        assert!([404, 422].contains(&reply.status), "{}", reply.text);
    }
    let ingest = world.new_key(accrue::auth::Mode::Test, accrue::auth::KeyKind::Ingest, &[]).await;
    let request = world.request_as(&ingest, "POST", "/v1/usage_events/a/void").json(&json!({}));
    assert_eq!(Reply::of(request).await.status, 403);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_corrected_before_the_hours_are_built_is_right_in_them(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    for (id, n) in [("a", "1"), ("b", "20"), ("c", "300")] {
        shop.call(id, n, "2026-02-01T00:00:00Z").await;
    }
    void(world, "b").await;
    amend(world, "c", json!({"metadata": {"n": 4000}})).await;
    let right = "count 2, sum 4001, max 4000, min 1, latest 4000, average 2000.5";
    assert_eq!(quantities(world).await, right);

    world.work().await;

    assert_eq!(quantities(world).await, right);
    void(world, "a").await;
    assert_eq!(quantities(world).await, "count 1, sum 4000, max 4000, min 4000, latest 4000, average 4000");
    assert!(world.dead_jobs().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn history_cannot_be_rewritten(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.call("a", "1", "2026-02-01T00:00:00Z").await;
    void(world, "a").await;
    for statement in ["update usage_event_versions set metadata = ''", "delete from usage_event_versions"] {
        let tx = world.app.db.begin().await.unwrap();
        let refused = tx.execute_unprepared(statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn corrections_and_new_events_at_once_leave_exact_hours(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on, "sum").await else { return };
    let world = &shop.world;
    shop.advance("2026-02-15T00:00:00Z").await;
    let at = "2026-02-14T10:00:00Z";
    let events: Vec<Value> = (0..30)
        .map(|n| {
            json!({"event_id": format!("old-{n}"), "customer_id": "acme", "event_name": "call",
            "timestamp": at, "metadata": {"n": 1}})
        })
        .collect();
    world.post("/v1/usage_events", json!(events)).await;
    world.work().await;

    let correct = futures_util::future::join_all((0..30).map(|n| async move {
        if n % 2 == 0 {
            void(world, &format!("old-{n}")).await;
        } else {
            amend(world, &format!("old-{n}"), json!({"metadata": {"n": 100}})).await;
        }
    }));
    let send = futures_util::future::join_all((0..60).map(|n| {
        let shop = &shop;
        async move { shop.call(&format!("new-{n}"), "0.5", at).await }
    }));
    futures_util::future::join(correct, send).await;

    assert_eq!(
        quantities(world).await.split(", ").take(4).collect::<Vec<_>>(),
        ["count 75", "sum 1530", "max 100", "min 0.5"]
    );
}
