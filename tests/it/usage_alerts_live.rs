//! Alerts as processes run them: how soon they are told, that two processes tell them once, that a kill loses none.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Engine,
    Engine::*,
    Receiver,
    process::{Installation, Process, promised},
    text,
};

/// From the answer to the events that reach the threshold.
const WITHIN: Duration = Duration::from_secs(1);
/// What must happen happens long before that.
const PATIENCE: Duration = Duration::from_secs(20);

async fn prepare(home: &Installation, process: &Process) {
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    home.send(process, "POST", "/v1/metrics", &metric).await;
    home.send(process, "POST", "/v1/customers", &json!({"external_id": "acme", "name": "Acme"})).await;
}

async fn alert(home: &Installation, process: &Process, threshold: usize) -> String {
    let body = json!({"customer": "acme", "metric": "calls", "kind": "quantity", "threshold": threshold});
    text(&home.send(process, "POST", "/v1/usage_alerts", &body).await["id"])
}

async fn call(home: &Installation, process: &Process, event_id: &str) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call"});
    assert_eq!(home.send(process, "POST", "/v1/usage_events", &event).await["accepted"], 1);
}

/// The alerts that were told to have triggered, as often as they were.
async fn triggered(home: &Installation, process: &Process) -> Vec<String> {
    let events = home.all(process, "/v1/events").await;
    let of_alerts = events.iter().filter(|event| event["type"] == "usage_alert.triggered");
    of_alerts.map(|event| text(&event["data"]["object"]["id"])).collect()
}

/// Waits until so many alerts have triggered.
async fn wait_for(home: &Installation, process: &Process, count: usize) -> Vec<String> {
    let started = Instant::now();
    loop {
        let told = triggered(home, process).await;
        if told.len() >= count {
            return told;
        }
        assert!(started.elapsed() < PATIENCE, "{} of {count} alerts triggered", told.len());
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_there_within_a_second_of_the_answer_to_the_events(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve().await;
    prepare(&home, &process).await;
    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url, "events": ["usage_alert.triggered"]});
    home.send(&process, "POST", "/v1/webhook_endpoints", &endpoint).await;
    let mut slowest = Duration::ZERO;
    for threshold in 1..=5 {
        let id = alert(&home, &process, threshold).await;
        call(&home, &process, &threshold.to_string()).await;
        let answered = Instant::now();
        while receiver.received().len() < threshold {
            assert!(answered.elapsed() < promised(WITHIN), "alert {threshold} was told too late");
            tokio::task::yield_now().await;
        }
        slowest = slowest.max(answered.elapsed());
        assert_eq!(receiver.received()[threshold - 1].json()["data"]["object"]["id"], id);
    }
    report(on, slowest);
}

#[expect(clippy::print_stderr, reason = "the figures of the run")]
fn report(on: Engine, slowest: Duration) {
    eprintln!("{on:?}: the slowest of 5 webhooks came {} ms after the answer", slowest.as_millis());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_after_it_took_the_events_loses_no_alert(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    // It runs no jobs: what it leaves behind is what a kill between the commit and the job leaves.
    let process = home.serve_with(&["--role", "api"]).await;
    prepare(&home, &process).await;
    let id = alert(&home, &process, 2).await;
    call(&home, &process, "a").await;
    call(&home, &process, "b").await;
    assert!(triggered(&home, &process).await.is_empty());
    process.kill();

    let process = home.serve().await;
    assert_eq!(wait_for(&home, &process, 1).await, [id]);
    home.run_nothing_else(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_take_events_at_once_tell_each_alert_once() {
    const ALERTS: usize = 12;
    const EVENTS: usize = 120;

    let Some(home) = Installation::new(Postgres).await else { return };
    let (one, other) = (home.serve().await, home.serve().await);
    prepare(&home, &one).await;
    let mut alerts = Vec::new();
    for number in 1..=ALERTS {
        alerts.push(alert(&home, &one, number * EVENTS / ALERTS).await);
    }
    let names: Vec<String> = (0..EVENTS).map(|number| format!("event-{number}")).collect();
    let sent = names.iter().enumerate().map(|(number, name)| {
        let process = if number % 2 == 0 { &one } else { &other };
        call(&home, process, name)
    });
    futures_util::future::join_all(sent).await;

    let mut told = wait_for(&home, &one, ALERTS).await;
    told.sort();
    assert_eq!(told, alerts, "identifiers are given in the order of time");
    home.run_nothing_else(&one).await;
    assert_eq!(triggered(&home, &other).await.len(), ALERTS, "and none again");
}

impl Installation {
    /// Waits until no job of alerts is left.
    async fn run_nothing_else(&self, process: &Process) {
        let started = Instant::now();
        loop {
            let mut jobs = Vec::new();
            for state in ["queued", "running", "dead"] {
                let path = format!("/v1/jobs?state={state}");
                jobs.extend(
                    self.send(process, "GET", &path, &Value::Null).await["data"].as_array().unwrap().clone(),
                );
            }
            if !jobs.iter().any(|job| text(&job["name"]).starts_with("alerts.")) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "jobs are left: {jobs:?}");
        }
    }
}
