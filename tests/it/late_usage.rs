//! Usage that comes after its period was billed.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, text};

/// A customer on a test clock whose only price is 0.50 for each call after the first hundred, from February on.
async fn metered(on: Engine) -> Option<(World, String, String)> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let tiers = json!([{"up_to": "100", "unit_price": "0"}, {"up_to": null, "unit_price": "0.5"}]);
    let price = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
        "model": {"type": "graduated", "tiers": tiers}});
    let plan = json!({"code": "api", "name": "API", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [price]});
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let body =
        json!({"customer": "acme", "plan": "api", "collection": "send_invoice", "net_terms_days": 365});
    let subscription = world.create("/v1/subscriptions", body).await;
    world.work().await;
    Some((world, clock, text(&subscription["id"])))
}

async fn calls(world: &World, event_id: &str, n: i32, at: &str) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
        "metadata": {"n": n}});
    let answer = world.post("/v1/usage_events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
}

/// Every line of every invoice, the oldest first: `reason kind month quantity amount`.
async fn lines(world: &World) -> Vec<String> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    let line = |invoice: &Value, line: &Value| {
        let words =
            [&invoice["reason"], &line["kind"], &line["period"]["start"], &line["quantity"], &line["amount"]];
        words.map(text).join(" ").replace("-01T00:00:00Z", "")
    };
    invoices
        .iter()
        .flat_map(|invoice| invoice["lines"].as_array().unwrap().iter().map(|of| line(invoice, of)))
        .collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_its_period_was_billed_is_on_the_next_invoice_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock, _)) = metered(on).await else { return };
    calls(&world, "a", 90, "2026-02-01T00:00:00Z").await;
    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    calls(&world, "b", 20, "2026-02-28T23:59:59Z").await;
    calls(&world, "c", 300, "2026-03-01T00:00:00Z").await;
    world.advance(&clock, "2026-04-02T00:00:00Z").await;
    calls(&world, "d", 1, "2026-02-28T23:59:59Z").await;
    calls(&world, "e", 1, "2026-03-28T23:59:59Z").await;

    world.advance(&clock, "2026-07-02T00:00:00Z").await;

    // 110 calls in February: ten of them cost, and the tiers are crossed once.
    assert_eq!(
        lines(&world).await,
        [
            "cycle usage 2026-02 90 0.00",
            "cycle usage 2026-03 300 100.00",
            "cycle usage_adjustment 2026-02 20 5.00",
            "cycle usage_adjustment 2026-02 1 0.50",
            "cycle usage_adjustment 2026-03 1 0.50",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_subscription_has_ended_has_an_invoice_of_its_own(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock, subscription)) = metered(on).await else { return };
    world.advance(&clock, "2026-02-10T00:00:00Z").await;
    calls(&world, "a", 102, "2026-02-09T00:00:00Z").await;
    world.post(&format!("/v1/subscriptions/{subscription}/cancel"), json!({"when": "now"})).await;
    world.advance(&clock, "2026-02-11T00:00:00Z").await;

    for (id, n, at) in [
        ("b", 2, "2026-02-09T00:00:00Z"),
        ("c", 4, "2026-02-08T00:00:00Z"),
        ("after", 1, "2026-02-10T12:00:00Z"),
    ] {
        calls(&world, id, n, at).await;
        world.advance(&clock, if id == "b" { "2026-02-12T00:00:00Z" } else { "2026-02-13T00:00:00Z" }).await;
    }

    assert_eq!(
        lines(&world).await,
        [
            "cancel usage 2026-02 102 1.00",
            "adjustment usage_adjustment 2026-02 2 1.00",
            "adjustment usage_adjustment 2026-02 4 2.00",
        ]
    );
}
