//! What is paid once: whole, when the subscription begins to cost something, and never again.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, text};

/// A setup fee of 31.00, and 31.00 a month in advance.
async fn sell(on: Engine, terms: Value) -> Option<(World, String)> {
    let world = World::new(on).await?;
    let plan = json!({
        "code": "pro", "name": "Pro", "currency": "USD", "interval": {"unit": "month", "count": 1}, "trial_days": 14,
        "prices": [
            {"code": "setup", "name": "Setup", "kind": "one_time", "model": {"type": "flat", "amount": "31.00"}},
            {"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "31.00"}},
        ],
    });
    let made = world.create("/v1/plans", plan).await;
    let setup = &made["prices"][0];
    assert_eq!(
        (&setup["kind"], &setup["timing"], &setup["prorate"]),
        (&json!("one_time"), &json!("advance"), &json!(false))
    );
    let clock = world.test_clock("2026-03-10T00:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let mut body =
        json!({"customer": "acme", "plan": "pro", "collection": "send_invoice", "net_terms_days": 365});
    body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    world.create("/v1/subscriptions", body).await;
    world.work().await;
    Some((world, clock))
}

/// Of each line, the oldest first: `kind start amount`.
async fn lines(world: &World) -> Vec<String> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    let told = |line: &Value| {
        let words = [&line["kind"], &line["period"]["start"], &line["amount"]].map(text);
        words.join(" ").replace("T00:00:00Z", "")
    };
    let of = |invoice: &Value| invoice["lines"].as_array().unwrap().iter().map(told).collect::<Vec<_>>();
    invoices.iter().flat_map(of).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_setup_fee_is_paid_whole_in_a_short_first_period_and_never_again(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let terms = json!({"trial_end": "2026-03-10T00:00:00Z", "alignment": "calendar"});
    let Some((world, clock)) = sell(on, terms).await else { return };
    world.advance(&clock, "2026-06-02T00:00:00Z").await;

    assert_eq!(
        lines(&world).await,
        [
            "one_time 2026-03-10 31.00",
            "fixed 2026-03-10 22.00",
            "fixed 2026-04-01 31.00",
            "fixed 2026-05-01 31.00",
            "fixed 2026-06-01 31.00",
        ]
    );
    let explained = world.get("/v1/invoices/INV-000001/explain").await;
    assert_eq!(explained["lines"][0]["price"]["kind"], "one_time");
    assert_eq!(explained["lines"][0]["proration"], Value::Null);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn after_a_trial_it_is_paid_at_the_trials_end(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = sell(on, json!({})).await else { return };
    world.advance(&clock, "2026-03-23T00:00:00Z").await;
    assert!(lines(&world).await.is_empty());
    world.advance(&clock, "2026-05-01T00:00:00Z").await;
    assert_eq!(
        lines(&world).await,
        ["one_time 2026-03-24 31.00", "fixed 2026-03-24 31.00", "fixed 2026-04-24 31.00"]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_in_the_trial_never_pays_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = sell(on, json!({"external_id": "s"})).await else { return };
    world.post("/v1/subscriptions/s/cancel", json!({})).await;
    world.advance(&clock, "2026-05-01T00:00:00Z").await;
    assert!(lines(&world).await.is_empty());
}
