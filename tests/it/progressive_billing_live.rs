//! Progressive billing as processes run it: how soon there is an invoice, that two processes make it once, that a kill
//! loses none.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Engine,
    Engine::*,
    process::{Chance, Installation, Process, promised},
    text,
};

/// What must happen happens long before that.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the answer to the events that come to the threshold.
const WITHIN: Duration = Duration::from_secs(1);

async fn sell(home: &Installation, process: &Process) {
    let post = async |path: &str, body: Value| home.send(process, "POST", path, &body).await;
    post(
        "/v1/metrics",
        json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"}),
    )
    .await;
    let tiers = json!([{"up_to": "100", "unit_price": "0.333"},
        {"up_to": null, "unit_price": "0.1267", "flat_fee": "1"}]);
    let price = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
        "model": {"type": "graduated", "tiers": tiers}});
    let interval = json!({"unit": "month", "count": 1});
    post(
        "/v1/plans",
        json!({"code": "api", "name": "API", "currency": "USD", "interval": interval, "prices": [price]}),
    )
    .await;
    post("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    post(
        "/v1/subscriptions",
        json!({"customer": "acme", "plan": "api", "collection": "send_invoice", "progressive_billing_threshold": "3.33"}),
    )
    .await;
}

async fn call(home: &Installation, process: &Process, numbers: std::ops::Range<u32>) {
    let event =
        |number: u32| json!({"event_id": number.to_string(), "customer_id": "acme", "event_name": "call"});
    let events: Vec<Value> = numbers.map(event).collect();
    let answer = home.send(process, "POST", "/v1/usage_events", &json!(events)).await;
    assert_eq!(answer["accepted"], events.len());
}

/// What stands on invoices, in cents, once it is `cents` or more.
async fn billed(home: &Installation, process: &Process, cents: i64, within: Duration) -> i64 {
    let started = Instant::now();
    loop {
        let invoices = home.all(process, "/v1/invoices").await;
        let amount = |invoice: &Value| text(&invoice["subtotal"]).replace('.', "").parse::<i64>().unwrap();
        let sum = invoices.iter().map(amount).sum();
        if sum >= cents {
            return sum;
        }
        assert!(started.elapsed() < within, "{sum} of {cents} cents are billed");
    }
}

/// Waits until its first turn is done: usage is watched from then on.
async fn wait_until_begun(home: &Installation, process: &Process) {
    let started = Instant::now();
    loop {
        let queued = home.send(process, "GET", "/v1/jobs?state=queued", &Value::Null).await;
        let running = home.send(process, "GET", "/v1/jobs?state=running", &Value::Null).await;
        let events = home.all(process, "/v1/events").await;
        let is_told = events.iter().any(|event| event["type"] == "subscription.created");
        if is_told && [queued, running].iter().all(|jobs| jobs["data"] == json!([])) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the subscription does not begin");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_invoice_is_there_within_a_second_and_a_kill_loses_none(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve().await;
    sell(&home, &process).await;
    wait_until_begun(&home, &process).await;
    call(&home, &process, 0..10).await;
    assert_eq!(billed(&home, &process, 333, promised(WITHIN)).await, 333);
    process.kill();

    // It runs no jobs: what it leaves behind is what a kill between the commit and the job leaves.
    let process = home.serve_with(&["--role", "api"]).await;
    call(&home, &process, 10..30).await;
    process.kill();
    let process = home.serve().await;
    assert_eq!(billed(&home, &process, 999, PATIENCE).await, 999);
    drop(process);
    home.run(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_take_usage_at_once_bill_none_of_it_twice() {
    let Some(home) = Installation::new(Postgres).await else { return };
    let (one, other) = (home.serve().await, home.serve().await);
    sell(&home, &one).await;
    wait_until_begun(&home, &one).await;
    let sent = (0..40).map(|number| {
        let process = if number % 2 == 0 { &one } else { &other };
        call(&home, process, number * 5..number * 5 + 5)
    });
    futures_util::future::join_all(sent).await;

    // 200 are 33.30 + 1 + 12.67; less than the threshold of it may wait.
    let sum = billed(&home, &one, 4697 - 332, PATIENCE).await;
    assert!(sum <= 4697, "{sum}");
    wait_until_begun(&home, &one).await;
    let invoices = home.all(&one, "/v1/invoices").await;
    assert!(invoices.iter().all(|invoice| invoice["reason"] == "threshold"), "{invoices:#?}");
    assert!(billed(&home, &one, sum, PATIENCE).await <= 4697);
    home.run(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_events_of_many_watched_customers_wait_for_nobody_in_a_circle() {
    const CUSTOMERS: u64 = 12;

    let Some(home) = Installation::new(Postgres).await else { return };
    let (one, other) = (home.serve().await, home.serve().await);
    sell(&home, &one).await;
    for number in 0..CUSTOMERS {
        let customer = format!("customer-{number}");
        let post = async |path: &str, body: Value| home.send(&one, "POST", path, &body).await;
        post("/v1/customers", json!({"external_id": customer, "name": customer})).await;
        let subscription = json!({"customer": customer, "plan": "api", "collection": "send_invoice",
            "progressive_billing_threshold": "3.33"});
        post("/v1/subscriptions", subscription).await;
        let alert = json!({"customer": customer, "metric": "calls", "kind": "amount", "threshold": "10"});
        post("/v1/usage_alerts", alert).await;
    }
    wait_until_begun(&home, &one).await;
    let mut chance = Chance::new();
    let batches: Vec<Vec<Value>> = (0..60)
        .map(|batch| {
            let event = |number| {
                json!({"event_id": format!("{batch}-{number}"), "event_name": "call",
                    "customer_id": format!("customer-{}", chance.below(CUSTOMERS))})
            };
            (0..30).map(event).collect()
        })
        .collect();
    let sent = batches.iter().enumerate().map(async |(number, batch)| {
        let process = if number % 2 == 0 { &one } else { &other };
        let answer = home.send(process, "POST", "/v1/usage_events", &json!(batch)).await;
        assert_eq!(answer["accepted"], batch.len());
        let voided = format!("/v1/usage_events/{number}-7/void");
        home.send(process, "POST", &voided, &json!({})).await;
    });
    futures_util::future::join_all(sent).await;
    wait_until_begun(&home, &one).await;

    let log = std::fs::read_to_string(home.folder.path().join("serve.log")).unwrap();
    for trouble in ["deadlock", "could not be taken together", "will be tried again", "could not be told"] {
        assert!(!log.contains(trouble), "{log}");
    }
    home.run(&["verify"]);
}
