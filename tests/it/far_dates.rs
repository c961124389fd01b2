//! Times far away: nanoseconds in 64 bits count from 1677 to 2262, and people send other years too.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

const FIRST: &str = "0001-01-01T00:00:00Z";
const ALL_OF_TIME: &str = "start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59Z";

/// A metric for each way in which hours add up, and a customer.
async fn measured(on: Engine, customer: Value) -> Option<World> {
    let world = World::new(on).await?;
    for aggregation in ["count", "sum", "max", "latest"] {
        let property = (aggregation != "count").then_some("n");
        let metric = json!({"code": aggregation, "name": aggregation, "event_name": "call",
            "aggregation": aggregation, "property": property});
        world.create("/v1/metrics", metric).await;
    }
    world.create("/v1/customers", customer).await;
    Some(world)
}

fn call(event_id: &str, at: &str) -> Value {
    json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
        "metadata": {"n": 2}})
}

async fn said(world: &World, query: &str) -> Vec<String> {
    let mut said = Vec::new();
    for metric in ["count", "sum", "max", "latest"] {
        let usage = world.get(&format!("/v1/customers/acme/usage?metric={metric}&{query}")).await;
        said.push(text(&usage["quantity"]));
    }
    said
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_of_any_year_are_taken_counted_and_corrected(#[values(Sqlite, Postgres)] on: Engine) {
    let customer = json!({"external_id": "acme", "name": "Acme", "timezone": "Pacific/Auckland"});
    let Some(world) = measured(on, customer).await else { return };
    let events = json!([
        call("a", FIRST),
        call("b", "1677-09-20T23:59:59.999999Z"),
        call("c", "1969-07-20T20:17:40Z")
    ]);

    let taken = world.post("/v1/usage_events?backfill=true", events).await;

    assert_eq!(taken["accepted"], 3, "{taken}");
    assert_eq!(said(&world, ALL_OF_TIME).await, ["3", "6", "2", "2"]);
    world.work().await;
    assert!(world.dead_jobs().await.is_empty());
    world.post("/v1/usage_events?backfill=true", call("d", FIRST)).await;
    assert_eq!(said(&world, ALL_OF_TIME).await, ["4", "8", "2", "2"]);
    let months = format!("{ALL_OF_TIME}&group_by=n");
    assert_eq!(said(&world, &months).await, ["4", "8", "2", "2"]);

    let amended = world.post("/v1/usage_events/c/amend?backfill=true", json!({"timestamp": FIRST})).await;
    assert_eq!(amended["timestamp"], FIRST);
    world.post("/v1/usage_events/b/void", json!({})).await;
    assert_eq!(said(&world, ALL_OF_TIME).await, ["3", "6", "2", "2"]);
    let first_hour = "start=0001-01-01T00:00:00Z&end=0001-01-01T01:00:00Z&granularity=hour";
    assert_eq!(said(&world, first_hour).await, ["3", "6", "2", "2"]);

    let ahead = world.post("/v1/usage_events?backfill=true", call("e", "9999-12-31T23:59:59Z")).await;
    assert_eq!(ahead["rejected"][0]["code"], "timestamp_out_of_window");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_may_be_asked_for_from_and_to_any_year(#[values(Sqlite, Postgres)] on: Engine) {
    let customer = json!({"external_id": "acme", "name": "Acme", "timezone": "Asia/Kolkata"});
    let Some(world) = measured(on, customer).await else { return };
    world.post("/v1/usage_events", call("a", "2026-01-01T00:00:00Z")).await;
    world.work().await;
    for query in [
        ALL_OF_TIME,
        "start=0001-01-01T00:00:00.000001Z&end=2027-01-01T00:00:00Z",
        "start=2025-01-01T00:00:00Z&end=9999-01-01T00:00:00Z",
    ] {
        assert_eq!(said(&world, query).await[0], "1", "{query}");
    }
    for (granularity, status) in [("hour", 422), ("day", 422), ("month", 422)] {
        let path = format!("/v1/customers/acme/usage?metric=sum&{ALL_OF_TIME}&granularity={granularity}");
        let refused = Reply::of(world.request("GET", &path)).await;
        assert_eq!(refused.status, status, "{path}: {}", refused.text);
        assert!(!refused.errors().is_empty());
    }
    let last = "start=9999-12-31T22:00:00Z&end=9999-12-31T23:59:59Z";
    for granularity in ["hour", "day", "month"] {
        let path = format!("/v1/customers/acme/usage?metric=sum&{last}&granularity={granularity}");
        let reply = Reply::of(world.request("GET", &path)).await;
        assert!(matches!(reply.status, 200 | 422), "{path}: {}", reply.text);
    }
}

#[rstest]
#[case("1970-01-01T00:00:00Z", "1970-03-15T00:00:00Z")]
#[case("2262-03-11T12:34:56Z", "2262-06-15T00:00:00Z")]
#[case("8999-10-31T12:34:56Z", "9000-12-31T23:59:59Z")]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_may_live_in_any_year_of_a_test_clock(
    #[values(Sqlite, Postgres)] on: Engine,
    #[case] from: &str,
    #[case] to: &str,
) {
    let Some(world) = World::new(on).await else { return };
    let clock = world.test_clock(from).await;
    let customer =
        json!({"external_id": "acme", "name": "Acme", "email": "a@acme.example", "test_clock": clock});
    world.create("/v1/customers", customer).await;
    world.create("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa"})).await;
    let metric =
        json!({"code": "sum", "name": "N", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let prices = json!([
        {"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "30"}},
        {"code": "calls", "name": "Calls", "kind": "usage", "metric": "sum", "model": {"type": "per_unit", "unit_price": "1"}},
    ]);
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": prices});
    world.create("/v1/plans", plan).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "pro"})).await;
    let taken = world.post("/v1/usage_events", call("a", from)).await;
    assert_eq!(taken["accepted"], 1, "{taken}");

    world.work().await;
    let happened = world.advance(&clock, to).await;

    assert!(world.dead_jobs().await.is_empty());
    assert!(happened.iter().any(|line| line.ends_with("invoice.paid")), "{happened:?}");
    let mut invoices = world.list("/v1/invoices").await;
    invoices.reverse();
    assert_eq!(invoices[0]["total"], "30.00");
    assert_eq!(invoices[1]["total"], "32.00", "{}", invoices[1]);
    for kind in ["", ".pdf", "/explain"] {
        let path = format!("/v1/invoices/{}{kind}", text(&invoices[1]["id"]));
        let document = Reply::of(world.request("GET", &path)).await;
        assert!(document.status < 500, "{path}: {}", document.text);
    }
    assert_eq!(said_sum(&world).await, "2");
}

async fn said_sum(world: &World) -> String {
    text(&world.get(&format!("/v1/customers/acme/usage?metric=sum&{ALL_OF_TIME}")).await["quantity"])
}
