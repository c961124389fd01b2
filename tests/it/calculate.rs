//! The calculators over HTTP: they answer what the documentation shows, point at mistakes, and write nothing.
//! What they answer is tested where the rules are, in `crates/core`.

use accrue::{
    api,
    auth::{KeyKind, Mode},
};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World};

/// A worked example of the OpenAPI document.
pub struct Example {
    pub path: String,
    pub question: Value,
    pub answer: Value,
}

/// The worked examples of all calculators.
pub fn examples() -> Vec<Example> {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let calculators = paths.filter(|(path, _)| path.starts_with("/v1/calculate/"));
    let json = |content: &Value| content["content"]["application/json"]["example"].clone();
    calculators
        .map(|(path, item)| Example {
            path: path.clone(),
            question: json(&item["post"]["requestBody"]),
            answer: json(&item["post"]["responses"]["200"]),
        })
        .collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_worked_example_of_the_documentation_is_what_is_answered(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let examples = examples();
    assert_eq!(examples.len(), 6);
    for Example { path, question, answer } in examples {
        assert_eq!(world.post(&path, question).await, answer, "{path}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_the_scope_calculate_is_all_it_takes(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for Example { path, question, answer } in examples() {
        for (mode, kind, scopes, status) in [
            (Mode::Test, KeyKind::Restricted, &["calculate"][..], 200),
            (Mode::Live, KeyKind::Restricted, &["calculate:read"], 200),
            (Mode::Live, KeyKind::Restricted, &["calculate:write"], 200),
            (Mode::Test, KeyKind::Restricted, &["catalog", "invoices:read"], 403),
            (Mode::Test, KeyKind::Ingest, &[], 403),
        ] {
            let key = world.new_key(mode, kind, scopes).await;
            let reply = Reply::of(world.request_as(&key, "POST", &path).json(&question)).await;
            assert_eq!(reply.status, status, "{path} {scopes:?} {}", reply.text);
            if status == 200 {
                assert_eq!(reply.json(), answer);
            }
        }
        assert_eq!(Reply::of(world.request_as("", "POST", &path).json(&question)).await.status, 401);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn asking_writes_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let before = rows(&world).await;
    for Example { path, mut question, answer } in examples() {
        let ask = |question: Value| {
            Reply::of(world.request("POST", &path).header("idempotency-key", "k1").json(&question))
        };
        for _ in 0..2 {
            let reply = ask(question.clone()).await;
            assert_eq!(reply.header("idempotent-replayed"), "");
            assert_eq!(reply.expect(200), answer);
        }
        question["surprise"] = json!(1);
        assert_eq!(ask(question).await.errors(), ["/surprise unknown_field"]);
    }
    assert_eq!(rows(&world).await, before);
}

async fn rows(world: &World) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["idempotency_keys", "audit_entries", "events", "jobs"] {
        let db = world.app.db.reader();
        let count =
            Statement::from_string(db.get_database_backend(), format!("select count(*) from {table}"));
        let row = db.query_one_raw(count).await.unwrap().unwrap();
        counts.push(row.try_get_by_index(0).unwrap());
    }
    counts
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_pointed_at(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for (calculator, place, value, expected) in [
        ("amount", "/currency", json!("XXX"), "/currency malformed"),
        ("amount", "/currency", Value::Null, "/currency malformed"),
        ("amount", "/model/tiers/0/up_to", json!("ten"), "/model/tiers/0/up_to malformed"),
        ("amount", "/model/tiers/1/up_to", json!("20"), "/model/tiers/1/up_to last_tier_must_be_open"),
        ("amount", "/model/tiers/1/unit_price", json!("-1"), "/model/tiers/1/unit_price negative"),
        ("amount", "/quantity", json!("1e400"), "/quantity malformed"),
        ("amount", "/quantity", json!("12345678901234567890123456789"), "/quantity malformed"),
        ("amount", "/quantity", json!("9999999999999999999999999999"), "/quantity too_large"),
        ("amount", "/minimum_amount", json!("1.234"), "/minimum_amount invalid_amount"),
        ("usage", "/metric/property", Value::Null, "/metric/property required"),
        ("usage", "/metric/aggregation", json!("sums"), "/metric/aggregation malformed"),
        ("usage", "/metric/code", json!(1), "/metric/code malformed"),
        ("usage", "/events/1/timestamp", json!("yesterday"), "/events/1/timestamp malformed"),
        ("usage", "/events/1/timestamp", json!("+10000-01-01T00:00:00Z"), "/events/1/timestamp out_of_range"),
        ("usage", "/period/end", json!("2026-01-01T00:00:00Z"), "/period malformed"),
        ("usage", "/group_by/0", json!(""), "/group_by/0 out_of_range"),
        ("periods", "/interval/count", json!(0), "/interval/count malformed"),
        ("periods", "/alignment", json!({"day_of_month": 32}), "/alignment/day_of_month malformed"),
        ("periods", "/timezone", json!("Mars/Olympus"), "/timezone malformed"),
        ("periods", "/count", json!(10_001), "/count out_of_range"),
        ("periods", "/anchor", json!("0000-01-01T00:00:00Z"), "/anchor out_of_range"),
        ("proration", "/change_at", json!("2026-05-02T00:00:00Z"), "/change_at outside_of_period"),
        ("proration", "/old/quantity", json!("-5"), "/old/quantity negative"),
        ("invoice", "/lines/1/id", json!("seats"), "/lines/1/id duplicate"),
        ("invoice", "/lines/0/tax_rates/0", json!("101"), "/lines/0/tax_rates/0 out_of_range"),
        ("invoice", "/coupons/0/percent", Value::Null, "/coupons/0/percent required"),
        ("invoice", "/wallets/0/balance", json!("-1"), "/wallets/0/balance negative"),
        ("credits", "/grants/0/amount", json!("NaN"), "/grants/0/amount malformed"),
        ("credits", "/at", json!("2025-12-31T23:59:59Z"), "/at before_start"),
        ("credits", "/usage/1/amount", json!("-1"), "/usage/1/amount negative"),
    ] {
        let path = format!("/v1/calculate/{calculator}");
        let mut question = examples().into_iter().find(|example| example.path == path).unwrap().question;
        put(&mut question, place, value.clone());
        let reply = world.send("POST", &path, &question).await;
        assert_eq!(reply.status, 422, "{path} {place} {value}: {}", reply.text);
        assert_eq!(reply.errors(), [expected], "{path} {value}");
    }
}

/// Sets one place of a question, which may not be there yet.
fn put(question: &mut Value, place: &str, value: Value) {
    let (parent, field) = place.rsplit_once('/').unwrap();
    match question.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        object => object[field] = value,
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for (calculator, question, expected) in [
        ("amount", json!({}), &["/currency", "/model"][..]),
        ("amount", json!({"currency": "USD", "model": {"type": "dynamic"}}), &["/quantity"]),
        ("usage", json!({"metric": {}}), &["/events", "/metric/aggregation", "/period"]),
        ("periods", json!({"interval": {"unit": "day"}}), &["/anchor", "/interval/count"]),
        ("invoice", json!({"currency": "USD"}), &["/lines"]),
        ("invoice", json!({"currency": "USD", "lines": [{"id": "a"}]}), &["/lines/0/amount"]),
        ("proration", json!({"currency": "USD"}), &["/change_at", "/period"]),
        ("credits", json!({"start": "2026-01-01T00:00:00Z"}), &["/at", "/grants"]),
    ] {
        let reply = world.send("POST", &format!("/v1/calculate/{calculator}"), &question).await;
        let expected: Vec<String> = expected.iter().map(|field| format!("{field} required")).collect();
        let mut told = reply.errors();
        told.sort();
        assert_eq!((reply.status, told), (422, expected), "{calculator}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_read_as_they_are_written(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let body = r#"{"currency":"USD","model":{"type":"per_unit","unit_price":0.0000000000000000000000001},
        "quantity":10.10,"already_rated_quantity":1e1,"already_billed":"-0.00"}"#;
    let request = world.request("POST", "/v1/calculate/amount").header("content-type", "application/json");
    let answer = Reply::of(request.body(body)).await.expect(200);
    assert_eq!(answer["exact_amount"], "0.00000000000000000000000201");
    assert_eq!((&answer["amount"], &answer["true_up"]), (&json!("0.00"), &json!("0.00")));
}
