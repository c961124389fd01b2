//! Usage events: taken once each, and what they add up to.

use accrue::auth::{KeyKind, Mode};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// A world with a customer `acme` and two metrics of the events `call`: their number and their tokens.
async fn world_of_acme(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let calls = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", calls).await;
    let tokens = json!({"code": "tokens", "name": "Tokens", "event_name": "call", "aggregation": "sum",
        "property": "tokens"});
    world.create("/v1/metrics", tokens).await;
    Some(world)
}

fn call(event_id: impl std::fmt::Display, tokens: &Value) -> Value {
    json!({"event_id": event_id.to_string(), "customer_id": "acme", "event_name": "call",
        "metadata": {"tokens": tokens}})
}

fn call_at(event_id: impl std::fmt::Display, at: &str) -> Value {
    json!({"event_id": event_id.to_string(), "customer_id": "acme", "event_name": "call", "timestamp": at})
}

/// Accepted, duplicates, and `index code` of each rejected event.
fn outcome(answer: &Value) -> (u64, u64, Vec<String>) {
    let line = |rejection: &Value| format!("{} {}", rejection["index"], text(&rejection["code"]));
    let rejected = answer["rejected"].as_array().unwrap().iter().map(line).collect();
    (answer["accepted"].as_u64().unwrap(), answer["duplicates"].as_u64().unwrap(), rejected)
}

async fn quantity(world: &World, query: &str) -> String {
    text(&world.get(&format!("/v1/customers/acme/usage?{query}")).await["quantity"])
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_batch_is_judged_alone(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let too_many: serde_json::Map<_, _> = (0..51).map(|key| (format!("k{key}"), json!(1))).collect();
    let mut crowded = call("crowded", &json!(1));
    crowded["metadata"] = Value::Object(too_many);
    let mut strange = call("strange", &json!(1));
    strange["customer_id"] = json!("nobody");
    let events = json!([
        call("a", &json!(1)),
        call("a", &json!(1)),
        call("a", &json!(2)),
        strange,
        call("text", &json!("12 kB")),
        crowded,
        call_at("late", "2025-11-26T23:59:59Z"),
        call_at("early", "2026-01-01T00:05:01Z"),
        {"event_id": "short"},
        call("b", &json!("2.5")),
    ]);

    let answer = world.post("/v1/usage_events", events).await;

    let rejected = [
        "2 conflict",
        "3 unknown_customer",
        "4 malformed_number",
        "5 metadata_too_large",
        "6 timestamp_out_of_window",
        "7 timestamp_out_of_window",
        "8 required",
    ];
    assert_eq!(outcome(&answer), (2, 1, rejected.map(str::to_owned).into()));
    assert_eq!(answer["object"], "usage_ingest");
    assert_eq!(answer["rejected"][6]["event_id"], "short");
    assert_eq!(quantity(&world, "metric=tokens").await, "3.5");
    assert_eq!(quantity(&world, "metric=calls").await, "2");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_again_is_a_duplicate_and_another_body_a_conflict(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let first = world.post("/v1/usage_events", call("a", &json!(7))).await;
    assert_eq!(outcome(&first), (1, 0, vec![]));
    let stored = world.get("/v1/usage_events/a").await;
    world.clock.advance(TimeDelta::days(60));

    // No time was sent, so the time that was filled in does not count.
    let again = world.post("/v1/usage_events", json!({"events": [call("a", &json!(7))]})).await;
    let other = world.post("/v1/usage_events", call("a", &json!(8))).await;
    let mut from_elsewhere = call("a", &json!(8));
    from_elsewhere["source"] = json!("eu");
    let elsewhere = world.post("/v1/usage_events", from_elsewhere).await;

    assert_eq!(outcome(&again), (0, 1, vec![]));
    assert_eq!(outcome(&other), (0, 0, vec!["0 conflict".to_owned()]));
    assert_eq!(outcome(&elsewhere), (1, 0, vec![]));
    assert_eq!(world.get("/v1/usage_events/a").await, stored);
    assert_eq!(world.get("/v1/usage_events/a?source=eu").await["metadata"]["tokens"], 8);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_is_known_for_ever_though_its_time_is_long_past(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let event = call_at("a", "2026-01-01T00:00:00Z");
    world.post("/v1/usage_events", event.clone()).await;
    world.clock.advance(TimeDelta::days(365));

    let again = world.post("/v1/usage_events", event).await;
    let late = world.post("/v1/usage_events", call_at("b", "2026-01-01T00:00:00Z")).await;
    let filled = world.post("/v1/usage_events?backfill=true", call_at("b", "2026-01-01T00:00:00Z")).await;

    assert_eq!(outcome(&again), (0, 1, vec![]));
    assert_eq!(outcome(&late), (0, 0, vec!["0 timestamp_out_of_window".to_owned()]));
    assert_eq!(outcome(&filled), (1, 0, vec![]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_with_one_bad_event_changes_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let events = json!({"events": [call("a", &json!(1)), call_at("b", "2027-01-01T00:00:00Z")]});

    let refused = world.send("POST", "/v1/usage_events?atomic=true", &events).await;

    assert_eq!(refused.status, 422);
    assert_eq!(refused.errors(), ["/events/1/timestamp timestamp_out_of_window"]);
    assert!(world.list("/v1/usage_events").await.is_empty());

    let events = json!([call("a", &json!(1)), call("b", &json!(1)), call("a", &json!(1))]);
    let taken = world.post("/v1/usage_events?atomic=true", events).await;
    assert_eq!(outcome(&taken), (2, 1, vec![]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_kept_and_added_with_every_digit(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let digits = ["0.1", "123456789012345678901234.678", "-0.0001", "2e3"];
    let events = digits.iter().enumerate().map(|(number, tokens)| {
        format!(
            r#"{{"event_id":"e{number}","customer_id":"acme","event_name":"call","metadata":{{"tokens":{tokens}}}}}"#
        )
    });
    let body = format!("[{}]", events.collect::<Vec<_>>().join(","));
    let request = world.request("POST", "/v1/usage_events").header("content-type", "application/json");
    assert_eq!(outcome(&Reply::of(request.body(body)).await.expect(200)), (4, 0, vec![]));

    for (number, tokens) in digits.iter().enumerate() {
        let reply = Reply::of(world.request("GET", &format!("/v1/usage_events/e{number}"))).await;
        assert!(reply.text.contains(&format!(r#""metadata":{{"tokens":{tokens}}}"#)), "{}", reply.text);
    }
    assert_eq!(quantity(&world, "metric=tokens").await, "123456789012345678903234.7779");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_belongs_to_the_period_that_holds_its_timestamp(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let events = json!([
        call_at("before", "2025-12-09T23:59:59.999999Z"),
        call_at("first", "2025-12-10T00:00:00Z"),
        call_at("offset", "2025-12-10T23:30:00.5-01:00"),
        call_at("last", "2025-12-19T23:59:59.999999Z"),
        call_at("after", "2025-12-20T00:00:00Z"),
    ]);
    assert_eq!(outcome(&world.post("/v1/usage_events", events).await), (5, 0, vec![]));

    let period = "metric=calls&start=2025-12-10T00:00:00Z&end=2025-12-20T00:00:00Z";
    assert_eq!(quantity(&world, period).await, "3");
    let next = "metric=calls&start=2025-12-20T00:00:00Z&end=2025-12-21T00:00:00Z";
    assert_eq!(quantity(&world, next).await, "1");
    let empty = "metric=tokens&start=2025-12-10T00:00:00Z&end=2025-12-20T00:00:00Z";
    assert_eq!(quantity(&world, empty).await, "0", "events without the property are skipped");
    for wrong in ["start=2025-12-10T00:00:00Z", "start=2025-12-10T00:00:00Z&end=2025-12-10T00:00:00Z"] {
        let path = format!("/v1/customers/acme/usage?metric=calls&{wrong}");
        assert_eq!(world.send("GET", &path, &Value::Null).await.status, 422, "{wrong}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_events_of_one_instant_are_all_counted(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    for batch in 0..6 {
        let event = |number| call_at(format!("{batch}-{number}"), "2026-01-01T00:00:00Z");
        let events: Vec<Value> = (0..1000).map(event).collect();
        let answer = world.post("/v1/usage_events", json!(events)).await;
        assert_eq!(outcome(&answer), (1000, 0, vec![]));
    }

    assert_eq!(quantity(&world, "metric=calls").await, "6000");
    let too_many: Vec<Value> = (0..1001).map(|number| call(number, &json!(1))).collect();
    let refused = world.send("POST", "/v1/usage_events", &json!({"events": too_many})).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["/events too_many".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn senders_of_the_same_events_at_once_count_each_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let events: Vec<Value> = (0..200).map(|number| call(number, &json!(1))).collect();
    let send = async |turned: bool| {
        let mut events = events.clone();
        if turned {
            events.reverse();
        }
        outcome(&world.post("/v1/usage_events", json!(events)).await)
    };

    let outcomes = join_all((0..8).map(|sender| send(sender % 2 == 1))).await;

    assert_eq!(outcomes.iter().map(|(accepted, ..)| accepted).sum::<u64>(), 200);
    assert_eq!(outcomes.iter().map(|(_, duplicates, _)| duplicates).sum::<u64>(), 1400);
    assert_eq!(quantity(&world, "metric=tokens").await, "200");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_on_a_test_clock_lives_by_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let clock = world.test_clock("2030-06-15T12:00:00Z").await;
    world
        .create("/v1/customers", json!({"external_id": "later", "name": "Later", "test_clock": clock}))
        .await;
    let event = |id: &str, at: Option<&str>| json!({"event_id": id, "customer_id": "later", "event_name": "call", "timestamp": at});
    let events = json!([
        event("now", None),
        event("ahead", Some("2030-06-15T12:05:00Z")),
        event("wall", Some("2026-01-01T00:00:00Z")),
    ]);

    let answer = world.post("/v1/usage_events", events).await;

    assert_eq!(outcome(&answer), (2, 0, vec!["2 timestamp_out_of_window".to_owned()]));
    assert_eq!(world.get("/v1/usage_events/now").await["timestamp"], "2030-06-15T12:00:00Z");
    let usage = world.get("/v1/customers/later/usage?metric=calls").await;
    assert_eq!(usage["quantity"], "2");
    assert_eq!(usage["period"], json!({"start": "2030-06-01T00:00:00Z", "end": "2030-07-01T00:00:00Z"}));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_for_the_month_that_it_is_where_the_customer_lives(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let made = world
        .create(
            "/v1/customers",
            json!({"external_id": "west", "name": "West", "timezone": "America/Los_Angeles"}),
        )
        .await;

    let usage = world.get("/v1/customers/west/usage?metric=calls").await;

    assert_eq!(usage["period"], json!({"start": "2025-12-01T08:00:00Z", "end": "2026-01-01T08:00:00Z"}));
    assert_eq!((&usage["object"], &usage["metric"]), (&json!("usage"), &json!("calls")));
    assert_eq!(usage["customer"], made["id"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_customer_and_name_and_found_by_either_name(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    let event = |id: &str, customer: &str, name: &str| json!({"event_id": id, "customer_id": customer, "event_name": name});
    let events =
        json!([event("1", "acme", "call"), event("2", "other", "call"), event("3", "acme", "login")]);
    world.post("/v1/usage_events", events).await;
    let ids = async |query: &str| -> Vec<String> {
        let events = world.list(&format!("/v1/usage_events?{query}")).await;
        events.iter().map(|event| text(&event["event_id"])).collect()
    };

    assert_eq!(ids("").await, ["3", "2", "1"]);
    assert_eq!(ids("customer=acme").await, ["3", "1"]);
    assert_eq!(ids("customer=acme&event_name=call").await, ["1"]);
    assert_eq!(ids("limit=1").await, ["3"]);
    let found = world.get("/v1/usage_events/2").await;
    assert_eq!(world.get(&format!("/v1/usage_events/{}", text(&found["id"]))).await, found);
    assert_eq!(found["object"], "usage_event");
    assert_eq!(world.send("GET", "/v1/usage_events?customer=nobody", &Value::Null).await.status, 404);
    assert_eq!(world.send("GET", "/v1/usage_events/4", &Value::Null).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_key_sends_events_and_nobody_else_sees_them(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let ingest = world.new_key(Mode::Test, KeyKind::Ingest, &[]).await;
    let send = world.request_as(&ingest, "POST", "/v1/usage_events").json(&call("a", &json!(1)));
    assert_eq!(outcome(&Reply::of(send).await.expect(200)), (1, 0, vec![]));

    let read = Reply::of(world.request_as(&ingest, "GET", "/v1/usage_events/a")).await;
    assert_eq!(read.status, 403);
    let stranger = world.stranger().await;
    for path in
        ["/v1/usage_events/a", "/v1/usage_events?customer=acme", "/v1/customers/acme/usage?metric=calls"]
    {
        assert_eq!(Reply::of(world.request_as(&stranger, "GET", path)).await.status, 404, "{path}");
    }
    let theirs = world.request_as(&stranger, "POST", "/v1/usage_events").json(&call("a", &json!(1)));
    assert_eq!(outcome(&Reply::of(theirs).await.expect(200)).2, ["0 unknown_customer"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_an_idempotency_key_is_answered_alike_each_time(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let send = async || {
        let request = world.request("POST", "/v1/usage_events").header("idempotency-key", "batch-1");
        Reply::of(request.json(&json!([call("a", &json!(1)), {"event_id": "b"}]))).await
    };

    let (first, second) = (send().await, send().await);

    assert_eq!(outcome(&first.json()), (1, 0, vec!["1 required".to_owned()]));
    assert_eq!((second.status, &second.text), (200, &first.text));
    assert_eq!(second.header("idempotent-replayed"), "true");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_whose_they_are_what_they_are_and_when_they_happened(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "globex", "name": "Globex"})).await;
    let mut of_globex = call_at("d", "2025-12-31T11:00:00Z");
    of_globex["customer_id"] = json!("globex");
    let mut from_elsewhere = call_at("c", "2025-12-31T12:00:00Z");
    from_elsewhere["source"] = json!("eu");
    from_elsewhere["event_name"] = json!("login");
    let events = [
        call_at("a", "2025-12-31T10:00:00Z"),
        call_at("b", "2025-12-31T11:00:00Z"),
        from_elsewhere,
        of_globex,
    ];
    for event in events {
        world.post("/v1/usage_events", event).await;
    }

    let listed = async |query: &str| {
        let found = world.list(&format!("/v1/usage_events?{query}")).await;
        found.iter().map(|event| text(&event["event_id"])).collect::<String>()
    };

    assert_eq!(listed("").await, "dcba");
    assert_eq!(listed("customer=acme").await, "cba");
    assert_eq!(listed("event_name=call").await, "dba");
    assert_eq!(listed("source=eu").await, "c");
    assert_eq!(listed("start=2025-12-31T11:00:00Z").await, "dcb");
    assert_eq!(listed("end=2025-12-31T11:00:00Z").await, "a");
    let hour = "start=2025-12-31T11:00:00Z&end=2025-12-31T12:00:00Z";
    assert_eq!(listed(&format!("{hour}&customer=acme")).await, "b");
    let odd = world.send("GET", "/v1/usage_events?start=yesterday", &Value::Null).await;
    assert_eq!((odd.status, odd.errors()), (422, vec!["start malformed".to_owned()]));
}
