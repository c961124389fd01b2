//! Nobody led the scheduler for forty days: what was due meanwhile is made up for, in order, to the cent, for every tenant.

use std::time::{Duration, Instant};

use accrue::app::{lag, start_workers};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

async fn ask(world: &World, key: &str, method: &str, path: &str, body: Value) -> Value {
    let reply = Reply::of(world.request_as(key, method, path).json(&body)).await;
    assert!(reply.status < 300, "{path}: {}", reply.text);
    reply.json()
}

async fn sell(world: &World, key: &str, (name, unit): (&str, &str), more: Value, prices: Value) {
    let mut plan = json!({"code": name, "name": name, "currency": "USD",
        "interval": {"unit": unit, "count": 1}, "prices": prices});
    plan.as_object_mut().unwrap().extend(more["plan"].as_object().cloned().unwrap_or_default());
    ask(world, key, "POST", "/v1/plans", plan).await;
    ask(world, key, "POST", "/v1/customers", json!({"external_id": name, "name": name})).await;
    let mut subscription = json!({"customer": name, "plan": name, "collection": "send_invoice"});
    let terms = more["subscription"].as_object().cloned().unwrap_or_default();
    subscription.as_object_mut().unwrap().extend(terms);
    ask(world, key, "POST", "/v1/subscriptions", subscription).await;
}

async fn call(world: &World, events: usize, at: &str) {
    world.clock.set(at.parse().unwrap());
    let event = |number| json!({"event_id": format!("{at} {number}"), "customer_id": "metered", "event_name": "call"});
    let events: Vec<Value> = (0..events).map(event).collect();
    let answer = world.post("/v1/usage_events", json!(events)).await;
    assert_eq!(answer["accepted"], events.len());
}

/// Every line of every invoice of a customer, the oldest first: `kind from until quantity amount`.
async fn lines(world: &World, key: &str, customer: &str) -> Vec<String> {
    let list =
        ask(world, key, "GET", &format!("/v1/invoices?customer={customer}&limit=100"), Value::Null).await;
    let mut invoices = list["data"].as_array().unwrap().clone();
    invoices.sort_by_key(|invoice| text(&invoice["number"]));
    let line = |line: &Value| {
        let period = &line["period"];
        let words = [&line["kind"], &period["start"], &period["end"], &line["quantity"], &line["amount"]];
        words.map(text).join(" ").replace("2026-", "").replace("T00:00:00Z", "")
    };
    invoices.iter().flat_map(|invoice| invoice["lines"].as_array().unwrap().iter().map(line)).collect()
}

/// The numbers of all invoices of a tenant, in order.
async fn numbers(world: &World, key: &str) -> Vec<String> {
    let list = ask(world, key, "GET", "/v1/invoices?limit=100", Value::Null).await;
    let mut numbers: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|each| text(&each["number"])).collect();
    numbers.sort();
    numbers
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn forty_days_without_a_scheduler_are_made_up_for_in_order_and_to_the_cent(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let (own, stranger) = (world.key.clone(), world.stranger().await);
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    let flat = |amount: &str| json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": amount}});
    let seats = json!({"code": "seats", "name": "Seats", "kind": "seat", "model": {"type": "per_unit", "unit_price": "4.99"}});
    let calls = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls", "model": {"type": "per_unit", "unit_price": "0.015"}});
    let three = json!({"subscription": {"quantities": {"seats": "3"}}});
    sell(&world, &own, ("metered", "month"), three, json!([flat("30"), seats, calls])).await;
    sell(&world, &own, ("trial", "month"), json!({"plan": {"trial_days": 14}}), json!([flat("20")])).await;
    sell(&world, &stranger, ("weekly", "week"), Value::Null, json!([flat("7.77")])).await;
    world.work().await;
    call(&world, 151, "2026-01-05T12:00:00Z").await;
    call(&world, 20, "2026-02-01T00:00:00Z").await;
    world.clock.set("2026-02-10T00:00:00Z".parse().unwrap());
    assert_eq!(lag(&world.app).await.unwrap().sweeps["invoices.cycle"], 33 * 24 * 3600, "since 8 January");

    let workers = start_workers(&world.app);
    let started = Instant::now();
    let is_late = async || {
        let lag = lag(&world.app).await.unwrap();
        lag.sweeps.values().any(|seconds| *seconds > 0) || lag.jobs.values().any(|jobs| jobs.waiting > 0)
    };
    while is_late().await {
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", lag(&world.app).await);
    }
    workers.stop(Duration::from_secs(10)).await;
    world.sweep().await;

    assert_eq!(
        lines(&world, &own, "metered").await,
        [
            "fixed 01-01 02-01 1 30.00",
            "seat 01-01 02-01 3 14.97",
            "fixed 02-01 03-01 1 30.00",
            "seat 02-01 03-01 3 14.97",
            // 151 × 0.015 = 2.265, half away from nought; those of February are on March's invoice.
            "usage 01-01 02-01 151 2.27",
        ]
    );
    assert_eq!(lines(&world, &own, "trial").await, ["fixed 01-15 02-15 1 20.00"]);
    let weeks = ["01-01 01-08", "01-08 01-15", "01-15 01-22", "01-22 01-29", "01-29 02-05", "02-05 02-12"];
    let weekly: Vec<_> = weeks.iter().map(|week| format!("fixed {week} 1 7.77")).collect();
    assert_eq!(lines(&world, &stranger, "weekly").await, weekly);
    assert_eq!(numbers(&world, &own).await, ["INV-000001", "INV-000002", "INV-000003"]);
    assert_eq!(numbers(&world, &stranger).await.len(), 6);
    assert!(world.dead_jobs().await.is_empty());
}
