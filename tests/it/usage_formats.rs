//! Usage events in every format in which they may come.
#![expect(clippy::disallowed_methods, reason = "tests read from the environment which Python has the SDK")]

use std::{io::Write, path::Path, process::Command};

use flate2::{Compression, write::GzEncoder};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

const LINES: &str = "application/x-ndjson";
const CLOUD_EVENT: &str = "application/cloudevents+json";
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

/// A world with a customer `acme` and a metric that adds up the tokens of events `call`.
async fn world_of_acme(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let tokens = json!({"code": "tokens", "name": "Tokens", "event_name": "call", "aggregation": "sum",
        "property": "tokens"});
    world.create("/v1/metrics", tokens).await;
    Some(world)
}

async fn send(world: &World, query: &str, media_type: &str, body: impl Into<reqwest::Body>) -> Reply {
    let request = world.request("POST", &format!("/v1/usage_events{query}"));
    Reply::of(request.header("content-type", media_type).body(body)).await
}

/// `accepted duplicates: index event_id pointer code, …`
fn outcome(reply: Reply) -> String {
    let answer = reply.expect(200);
    let rejection = |one: &Value| {
        let event_id = one["event_id"].as_str().unwrap_or("-");
        format!("{} {event_id} {} {}", one["index"], text(&one["pointer"]), text(&one["code"]))
    };
    let rejected: Vec<_> = answer["rejected"].as_array().unwrap().iter().map(rejection).collect();
    format!("{} {}: {}", answer["accepted"], answer["duplicates"], rejected.join(", "))
}

async fn tokens(world: &World) -> String {
    text(&world.get("/v1/customers/acme/usage?metric=tokens").await["quantity"])
}

fn line(event_id: &str, tokens: &str) -> String {
    format!(
        r#"{{"event_id":"{event_id}","customer_id":"acme","event_name":"call","metadata":{{"tokens":{tokens}}}}}"#
    )
}

fn cloud_event(id: &str, tokens: impl Into<Value>) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/eu", "type": "call", "subject": "acme",
        "data": {"tokens": tokens.into()}})
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_judged_alone_and_blank_ones_are_passed_over(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let mut body = Vec::new();
    for line in [
        &line("a", "1.50"),
        "",
        "{\"event_id\":",
        " \t",
        &line("a", "1.50"),
        "{\"event_id\":\"null\",\"customer_id\":\"a\\u0000\",\"event_name\":\"call\"}",
        &format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
        &line("text", "\"many\""),
        &line("b", "123456789012345678901234.5"),
    ] {
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"\xff\xfe\n");

    let reply = send(&world, "", LINES, body).await;

    assert_eq!(
        outcome(reply),
        "2 1: 1 -  malformed, 3 null /customer_id malformed, 4 -  malformed, 5 text /metadata/tokens malformed_number, \
         7 -  malformed"
    );
    assert_eq!(tokens(&world).await, "123456789012345678901236");
    assert_eq!(outcome(send(&world, "", LINES, "").await), "0 0: ");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_lines_of_twenty_mebibytes_are_taken_at_once_and_no_more(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let padding = " ".repeat(1900);
    let lines = |count: u32| -> String {
        (0..count).map(|number| line(&number.to_string(), "1") + &padding + "\n").collect()
    };
    let body = lines(10_000);
    assert!(body.len() > 18 * 1024 * 1024);

    assert_eq!(outcome(send(&world, "", LINES, body.clone()).await), "10000 0: ");
    assert_eq!(outcome(send(&world, "", LINES, body).await), "0 10000: ");
    assert_eq!(tokens(&world).await, "10000");
    let refused = send(&world, "", LINES, lines(10_001)).await;
    assert_eq!((refused.status, refused.errors()), (422, vec![" too_many".to_owned()]));
    let refused = send(&world, "", LINES, " ".repeat(20 * 1024 * 1024 + 1)).await;
    assert_eq!(refused.status, 413);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing_and_the_past_are_asked_for_alike_in_every_format(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let old = "2020-01-01T00:00:00Z";
    let own =
        |id: &str| json!({"event_id": id, "customer_id": "acme", "event_name": "call", "timestamp": old});
    let lines = format!("{}\n\n{}", line("lines", "1"), own("old-lines"));
    let mut event = cloud_event("old-event", 1);
    event["time"] = json!(old);
    let mut batched = event.clone();
    batched["id"] = json!("old-batch");
    let batch = json!([cloud_event("batch", 1), batched]);
    for (media_type, body, pointer, taken) in [
        (LINES, lines, "/1/timestamp", "2 0: "),
        (CLOUD_EVENT, event.to_string(), "/time", "1 0: "),
        (CLOUD_EVENTS, batch.to_string(), "/1/time", "2 0: "),
    ] {
        let refused = send(&world, "?atomic=true", media_type, body.clone()).await;
        assert_eq!(refused.status, 422, "{media_type}");
        assert_eq!(refused.errors(), [format!("{pointer} timestamp_out_of_window")], "{media_type}");
        let reply = send(&world, "?atomic=true&backfill=true", media_type, body).await;
        assert_eq!(outcome(reply), taken, "{media_type}");
    }
    assert_eq!(world.list("/v1/usage_events").await.len(), 5);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_is_a_usage_event_in_other_words(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let mut event = cloud_event("a", 7);
    event["time"] = json!("2025-12-31T10:00:00.25+01:00");
    event["datacontenttype"] = json!("application/json");
    event["traceparent"] = json!("00-1");
    let media_type = "Application/CloudEvents+JSON; charset=utf-8";
    assert_eq!(outcome(send(&world, "", media_type, event.to_string()).await), "1 0: ");

    let taken = world.get("/v1/usage_events/a?source=/eu").await;
    assert_eq!(
        [&taken["event_name"], &taken["source"], &taken["timestamp"], &taken["metadata"]],
        [&json!("call"), &json!("/eu"), &json!("2025-12-31T09:00:00.250Z"), &json!({"tokens": 7})]
    );
    // The same in our own words, or with another trace, is the same event.
    event["traceparent"] = json!("00-2");
    assert_eq!(outcome(send(&world, "", CLOUD_EVENTS, json!([event]).to_string()).await), "0 1: ");
    let own = json!({"event_id": "a", "source": "/eu", "customer_id": "acme", "event_name": "call",
        "timestamp": "2025-12-31T09:00:00.25Z", "metadata": {"tokens": 7}});
    assert_eq!(world.post("/v1/usage_events", own).await["duplicates"], 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_cloud_events_are_told_by_the_names_of_attributes(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let with = |id: &str, name: &str, value: Value| {
        let mut event = cloud_event(id, 1);
        event[name] = value;
        event
    };
    let mut without = cloud_event("j", 1);
    without.as_object_mut().unwrap().remove("subject");
    let events = json!([
        cloud_event("a", 1),
        cloud_event("a", 2),
        with("b", "specversion", json!("0.3")),
        with("c", "subject", json!("nobody")),
        with("d", "time", json!("2030-01-01T00:00:00Z")),
        with("e", "data", json!([1])),
        with("f", "data", json!({"tokens": "many"})),
        with("g", "data_base64", json!("AA==")),
        with("h", "source", json!("")),
        with("i", "type", json!(7)),
        without,
        with("k", "data", Value::Null),
    ]);

    let reply = send(&world, "", CLOUD_EVENTS, events.to_string()).await;

    assert_eq!(
        outcome(reply),
        "2 0: 1 a /id conflict, 2 b /specversion unsupported, 3 c /subject unknown_customer, \
         4 d /time timestamp_out_of_window, 5 e /data malformed, 6 f /data/tokens malformed_number, \
         7 g /data_base64 unsupported, 8 h /source blank, 9 i /type malformed, 10 j /subject required"
    );
    let too_many = json!(vec![cloud_event("a", 1); 1001]).to_string();
    assert_eq!(send(&world, "", CLOUD_EVENTS, too_many).await.errors(), [" too_many"]);
    assert_eq!(send(&world, "", CLOUD_EVENT, "{").await.status, 400);
}

/// A request in binary mode.
async fn binary(world: &World, headers: &[(&str, &str)], body: &'static str) -> Reply {
    let mut request = world.request("POST", "/v1/usage_events").header("content-type", "application/json");
    let own = [("ce-specversion", "1.0"), ("ce-source", "/eu"), ("ce-type", "call"), ("ce-subject", "acme")];
    for (name, value) in own.iter().filter(|(name, _)| headers.iter().all(|(other, _)| other != name)) {
        request = request.header(*name, *value);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::of(request.body(body)).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_events_attributes_may_stand_in_headers(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let at = "2025-12-31T10:00:00Z";
    let reply = binary(&world, &[("ce-id", "a"), ("ce-time", at)], r#"{"tokens": 2.50}"#).await;
    assert_eq!(outcome(reply), "1 0: ");
    let taken = world.get("/v1/usage_events/a?source=/eu").await;
    assert_eq!((&taken["timestamp"], &taken["metadata"]["tokens"]), (&json!(at), &json!(2.5)));

    assert_eq!(outcome(binary(&world, &[("ce-id", "%C3%BC%201"), ("ce-extra", "x")], "").await), "1 0: ");
    assert_eq!(world.get("/v1/usage_events/%C3%BC%201?source=/eu").await["event_id"], "ü 1");
    assert_eq!(outcome(binary(&world, &[("ce-id", r#""q \"1\"""#)], "{}").await), "1 0: ");
    assert_eq!(world.list("/v1/usage_events").await[0]["event_id"], "q \"1\"");

    for (headers, body, rejected) in [
        (vec![], "{}", "0 - /id required"),
        (vec![("ce-id", "b"), ("ce-specversion", "1.1")], "{}", "0 b /specversion unsupported"),
        (vec![("ce-id", "b"), ("ce-time", "now")], "{}", "0 b /time malformed"),
        (vec![("ce-id", "b"), ("ce-subject", "nobody")], "{}", "0 b /subject unknown_customer"),
        (vec![("ce-id", "b")], "7", "0 b /data malformed"),
        (vec![("ce-id", "b")], "{", "0 b /data malformed"),
        (vec![("ce-id", "%00")], "{}", "0 \0 /id malformed"),
    ] {
        assert_eq!(outcome(binary(&world, &headers, body).await), format!("0 0: {rejected}"), "{headers:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_knows_the_attributes_in_headers(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let key = ("idempotency-key", "k");
    let first = binary(&world, &[key, ("ce-id", "a")], "{}").await;
    let again = binary(&world, &[key, ("ce-id", "a")], "{}").await;
    let other = binary(&world, &[key, ("ce-id", "b")], "{}").await;
    assert_eq!((again.header("idempotent-replayed"), &again.text), ("true", &first.text));
    assert_eq!(outcome(first), "1 0: ");
    assert_eq!((other.status, text(&other.json()["code"])), (422, "idempotency_key_reused".to_owned()));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_unpacked_and_its_limit_is_of_what_was_in_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let send = async |media_type: &str, encoding: &str, body: Vec<u8>| {
        let request = world.request("POST", "/v1/usage_events").header("content-type", media_type);
        Reply::of(request.header("content-encoding", encoding).body(body)).await
    };
    let event = line("a", "1");
    assert_eq!(outcome(send("application/json", "gzip", gzip(event.as_bytes())).await), "1 0: ");
    assert_eq!(outcome(send(LINES, "gzip", gzip(format!("{event}\n{event}").as_bytes())).await), "0 2: ");

    let bomb = gzip(&vec![b' '; 300 * 1024 * 1024]);
    assert!(bomb.len() < 512 * 1024, "{}", bomb.len());
    for media_type in ["application/json", LINES] {
        assert_eq!(send(media_type, "gzip", bomb.clone()).await.status, 413, "{media_type}");
    }
    let packed = gzip(event.as_bytes());
    assert_eq!(send(LINES, "gzip", packed[..packed.len() - 4].to_vec()).await.status, 400);
    assert_eq!(send(LINES, "gzip", event.clone().into()).await.status, 400);
    assert_eq!(send(LINES, "zstd", packed).await.status, 415);
    for media_type in ["text/plain", "application/cloudevents+avro", ""] {
        assert_eq!(send(media_type, "identity", event.clone().into()).await.status, 415, "{media_type}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_for_cloud_events_is_understood(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let python = std::env::var("ACCRUE_TEST_PYTHON")
        .expect("run the tests by `cargo xtask test`, which installs the SDK in a Python of its own");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/cloudevents_send.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).args([&world.url, &world.key]).env("PYTHONIOENCODING", "utf-8");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let accepted: Vec<&str> = printed.lines().collect();
    assert_eq!(accepted, ["structured 1", "batch 2", "binary 1"]);
    let december = "start=2025-12-01T00:00:00Z&end=2026-01-01T00:00:00Z";
    let usage = world.get(&format!("/v1/customers/acme/usage?metric=tokens&{december}")).await;
    assert_eq!(usage["quantity"], "17.5");
    let taken = world.get("/v1/usage_events/binary-ü?source=/python").await;
    assert_eq!(taken["timestamp"], "2025-12-31T10:00:00Z");
    assert_eq!(taken["metadata"], json!({"tokens": 10, "model": "größer"}));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_for_cloud_events_is_understood(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let modules = std::env::var("ACCRUE_TEST_NODE_MODULES")
        .expect("run the tests by `cargo xtask test`, which installs the SDK in a folder of its own");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/cloudevents_send.cjs");
    let mut command = Command::new("node");
    command.arg(script).args([&world.url, &world.key]).env("NODE_PATH", modules);

    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let accepted: Vec<&str> = printed.lines().collect();
    assert_eq!(accepted, ["structured 1", "batch 2", "binary 1", "emitter 1"]);
    let december = "start=2025-12-01T00:00:00Z&end=2026-01-01T00:00:00Z";
    let usage = world.get(&format!("/v1/customers/acme/usage?metric=tokens&{december}")).await;
    assert_eq!(usage["quantity"], "37.5");
    let taken = world.get("/v1/usage_events/binary-1?source=/javascript").await;
    assert_eq!(taken["timestamp"], "2025-12-31T10:00:00Z");
    assert_eq!(taken["metadata"], json!({"tokens": 10, "model": "größer"}));
}
