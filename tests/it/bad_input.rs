//! What no request may do: get a 500, or leave something half-written. A table of bad input, sent to every
//! operation that takes a body.

use accrue::api;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    calculate,
    support::{Engine, Engine::*, Reply, World},
};

/// Every operation that takes a body, with its path filled in by identifiers that do not exist.
fn operations() -> Vec<(&'static str, String)> {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path
            .split('/')
            .map(|part| if part.starts_with('{') { "acme" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for (name, method) in [("post", "POST"), ("patch", "PATCH"), ("put", "PUT")] {
            if item.get(name).is_some() {
                found.push((method, filled.clone()));
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Texts that are no body anybody wants.
fn bodies() -> Vec<String> {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let many = (0..10_000).map(|key| format!("\"k{key}\":1")).collect::<Vec<_>>().join(",");
    let mut bodies: Vec<String> = [
        "",
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "[[[[",
        "{\"a\":}",
        "\u{feff}{}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"\\u0000\"}",
        "NaN",
    ]
    .map(str::to_owned)
    .into();
    bodies.push(deep);
    bodies.push(format!("{{{many}}}"));
    bodies.extend(VALUES.iter().map(|value| everywhere(value)));
    bodies
}

/// Values that every field is tried with.
const VALUES: &[&str] = &[
    "1e400",
    "-1e400",
    "1e-400",
    "123456789012345678901234567890",
    "0.000000000000000000000000000001",
    "-1",
    "\"１２\"",
    "\"1_000\"",
    "\"NaN\"",
    "\"Infinity\"",
    "\"\"",
    "\" \"",
    "null",
    "true",
    "[]",
    "{}",
    "\"a\\r\\nBcc: x\"",
    "\"=1+1\"",
    "\"<script>alert(1)</script>\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"10000-01-01T00:00:00Z\"",
    "\"+10000-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"-000001-01-01T00:00:00Z\"",
    "\"2026-01-01T00:00:60Z\"",
    "\"2026-01-01T00:00:00\"",
    "\"../../etc/passwd\"",
    "\"'; drop table customers; --\"",
    "\"{{7*7}}\"",
    "\"\\u202e\"",
    "18446744073709551616",
    "9007199254740993",
];

/// Fields of all kinds of bodies, each with the value.
fn everywhere(value: &str) -> String {
    const FIELDS: &[&str] = &[
        "name",
        "code",
        "external_id",
        "email",
        "currency",
        "timezone",
        "locale",
        "metadata",
        "customer",
        "plan",
        "token",
        "amount",
        "payment",
        "rate",
        "kind",
        "aggregation",
        "event_name",
        "property",
        "metric",
        "interval",
        "trial_days",
        "prices",
        "features",
        "quantities",
        "start_at",
        "trial_end",
        "when",
        "alignment",
        "now",
        "to",
        "url",
        "events",
        "event_id",
        "customer_id",
        "timestamp",
        "scopes",
        "expires_at",
        "quantity",
        "threshold",
        "active",
    ];
    let pairs: Vec<String> = FIELDS.iter().map(|field| format!("\"{field}\":{value}")).collect();
    format!("{{{}}}", pairs.join(","))
}

fn check(method: &str, path: &str, body: &str, reply: &Reply) {
    let shown: String = body.chars().take(200).collect();
    assert!(
        (400..500).contains(&reply.status) || reply.status < 300,
        "{method} {path} {shown}: {} {}",
        reply.status,
        reply.text
    );
    if reply.status >= 400 {
        assert_eq!(reply.header("content-type"), "application/problem+json", "{method} {path} {shown}");
        let problem = reply.json();
        assert_eq!(problem["status"], json!(reply.status));
        if problem["code"] == "invalid_request" {
            let errors = problem["errors"].as_array().into_iter().flatten();
            let pointers: Vec<_> = errors.map(|error| error["pointer"].as_str().unwrap()).collect();
            assert!(!pointers.is_empty(), "{method} {path} {shown}: {problem}");
        }
        assert!(problem["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{problem}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_body_gets_a_500_from_any_operation(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for (method, path) in operations() {
        for body in bodies() {
            let request =
                world.request(method, &path).header("content-type", "application/json").body(body.clone());
            check(method, &path, &body, &Reply::of(request).await);
        }
    }
}

/// Valid bodies, of which one field at a time is spoiled by every value.
fn valid() -> Vec<(String, Value)> {
    let prices = json!([{"code": "c", "name": "C", "kind": "seat", "model": {"type": "graduated", "tiers": [{"up_to": "1", "unit_price": "1"}, {"up_to": null, "unit_price": "1"}]}}]);
    let interval = json!({"unit": "month", "count": 1});
    let bodies = [
        (
            "/v1/account",
            json!({"name": "A", "timezone": "UTC", "invoice_prefix": "INV", "credit_note_prefix": "CN", "net_terms_days": 30, "invoice_footer": "f", "brand_color": "#1f4fd8", "issuer": {"name": "A", "address": ["a"], "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}], "email": "a@example.com"}}),
        ),
        (
            "/v1/issuers",
            json!({"code": "i", "name": "I", "address": ["a"], "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}], "email": "a@example.com", "timezone": "UTC", "currency": "USD", "invoice_prefix": "I", "credit_note_prefix": "IC", "net_terms_days": 1, "invoice_footer": "f", "brand_color": "#1f4fd8", "metadata": {"a": "b"}}),
        ),
        (
            "/v1/customers",
            json!({"external_id": "x", "issuer": "de", "net_terms_days": 1, "name": "X", "email": "x@example.com", "currency": "USD", "timezone": "UTC", "locale": "en", "address": {"line1": "a", "country": "DE"}, "tax_ids": [{"kind": "gb_vat", "value": "980780684"}], "exemption": "exempt", "invoice_contacts": [{"email": "y@example.com", "name": "Y"}], "metadata": {"a": "b"}}),
        ),
        (
            "/v1/metrics",
            json!({"code": "m", "name": "M", "event_name": "e", "aggregation": "sum", "property": "p"}),
        ),
        ("/v1/features", json!({"code": "f", "name": "F", "kind": "limit", "metadata": {"a": "b"}})),
        ("/v1/taxes", json!({"code": "t", "name": "T", "rate": "20"})),
        (
            "/v1/plans",
            json!({"code": "p", "name": "P", "currency": "USD", "interval": interval, "trial_days": 1, "prices": prices, "features": [{"feature": "theme", "value": {"a": 1}}]}),
        ),
        (
            "/v1/subscriptions",
            json!({"customer": "acme", "plan": "pro", "quantities": {"seats": "1"}, "start_at": "2026-01-01T00:00:00Z", "timezone": "UTC", "alignment": "calendar"}),
        ),
        (
            "/v1/usage_events",
            json!({"event_id": "e", "customer_id": "acme", "event_name": "call", "timestamp": "2026-01-01T00:00:00Z", "metadata": {"n": 1}}),
        ),
        (
            "/v1/usage_alerts",
            json!({"customer": "acme", "metric": "m", "kind": "quantity", "threshold": "10", "name": "A", "metadata": {"a": "b"}}),
        ),
        (
            "/v1/customers/acme/balance_entries",
            json!({"amount": "1.00", "currency": "USD", "description": "d", "metadata": {"a": "b"}}),
        ),
        ("/v1/webhook_endpoints", json!({"url": "http://127.0.0.1:1/x", "events": ["*"]})),
        ("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa", "default": true})),
        ("/v1/test_clocks", json!({"now": "2026-01-01T00:00:00Z"})),
        ("/v1/sweeps/invoices.cycle/run", json!({"dry_run": true})),
        (
            "/v1/api_keys",
            json!({"kind": "restricted", "scopes": ["usage:read"], "expires_at": "2027-01-01T00:00:00Z"}),
        ),
    ];
    let mut bodies: Vec<_> = bodies.into_iter().map(|(path, body)| (path.to_owned(), body)).collect();
    bodies.extend(calculate::examples().into_iter().map(|example| (example.path, example.question)));
    bodies
}

/// Every place in a body, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut go = |name: String, inner: &Value| {
        found.push(format!("{at}/{name}"));
        places(inner, &format!("{at}/{name}"), found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| go(name.clone(), inner)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| go(index.to_string(), inner));
        }
        _ => {}
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_single_bad_field_gets_a_500(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let prices = json!([{"code": "seats", "name": "Seats", "kind": "seat", "model": {"type": "per_unit", "unit_price": "1"}}]);
    world.create("/v1/plans", json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": {"unit": "month", "count": 1}, "prices": prices})).await;
    world.create("/v1/features", json!({"code": "theme", "kind": "config"})).await;
    for (path, body) in valid() {
        let method = if path == "/v1/account" { "PATCH" } else { "POST" };
        let mut found = Vec::new();
        places(&body, "", &mut found);
        for pointer in found {
            for value in VALUES {
                // Numbers like 1e400 are no values of a JSON library: they are put in as text.
                let mut spoiled = body.clone();
                *spoiled.pointer_mut(&pointer).unwrap() = json!("@@");
                let text = spoiled.to_string().replace("\"@@\"", value);
                let request = world
                    .request(method, &path)
                    .header("content-type", "application/json")
                    .body(text.clone());
                check(method, &path, &text, &Reply::of(request).await);
            }
        }
    }
}

/// Every address that is read, with its query parameters.
fn queries() -> Vec<(String, Vec<String>)> {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        let query = parameters.filter(|parameter| parameter["in"] == "query");
        let names: Vec<_> = query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
        if !names.is_empty() {
            found.push((path.replace("{id}", "acme").replace("{event_id}", "e"), names));
        }
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

fn asked(path: &str, name: &str, value: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    format!("{path}?{query}")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_query_parameter_gets_a_500_and_none_that_is_unknown_is_ignored(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    for (path, names) in queries() {
        for name in &names {
            for value in VALUES.iter().map(|value| value.trim_matches('"')).chain(["%00", "0", "101", "x"]) {
                let request = world.request("GET", &asked(&path, name, value));
                let reply = Reply::of(request).await;
                check("GET", &path, &format!("{name}={value}"), &reply);
                let is_bad_limit = name == "limit" && !(1..=100).contains(&value.parse().unwrap_or(0));
                assert!(!is_bad_limit || reply.status >= 400, "{path} {name}={value}");
            }
        }
        let unknown = Reply::of(world.request("GET", &asked(&path, "nonsense", "1"))).await;
        let told = unknown.errors();
        let is_named = told.contains(&"nonsense unknown_parameter".to_owned());
        assert!(
            unknown.status == 422 && (is_named || told[0].ends_with("required")),
            "{path}: {}",
            unknown.text
        );
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_addresses_have_limits(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let send = |path: &'static str, media_type: &'static str, body: String| {
        Reply::of(world.request("POST", path).header("content-type", media_type).body(body))
    };
    assert_eq!(send("/v1/customers", "application/json", " ".repeat(1024 * 1024 + 1)).await.status, 413);
    assert_eq!(
        send("/v1/usage_events", "application/json", " ".repeat(5 * 1024 * 1024 + 1)).await.status,
        413
    );
    assert_eq!(send("/v1/customers", "text/plain", "{}".to_owned()).await.status, 415);
    for path in [
        "/v1/customers/%00",
        "/v1/customers?starting_after=%00",
        "/v1/customers/%ff",
        "/v1/customers?limit=x",
        "/v1/customers/a%2Fb",
    ] {
        let reply = Reply::of(world.request("GET", path)).await;
        check("GET", path, "", &reply);
        assert!(reply.status >= 400, "{path}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_null_character_is_refused_where_it_stands(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for (path, body, pointer) in [
        ("/v1/customers", r#"{"name": "a\u0000"}"#, "/name"),
        ("/v1/customers", r#"{"name": "a", "metadata": {"a/b": "\u0000"}}"#, "/metadata/a~1b"),
        ("/v1/customers", r#"{"name": "a", "metadata": {"\u0000": "b"}}"#, "/metadata"),
    ] {
        let request = world.request("POST", path).header("content-type", "application/json").body(body);
        let refused = Reply::of(request).await;
        assert_eq!((refused.status, refused.errors()), (422, vec![format!("{pointer} malformed")]), "{body}");
    }
    let events = r#"{"events": [{"event_id": "a"}, {"event_id": "\u0000"}]}"#;
    let request =
        world.request("POST", "/v1/usage_events").header("content-type", "application/json").body(events);
    let rejected = Reply::of(request).await.expect(200)["rejected"][1].take();
    assert_eq!((&rejected["index"], &rejected["pointer"]), (&json!(1), &json!("/event_id")), "{rejected}");
}
