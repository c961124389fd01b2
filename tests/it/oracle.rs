//! The running service against another implementation of the rules: `tests/oracle/service.py`.
//!
//! The seed is new each time and printed; `ACCRUE_TEST_SEED` sets it. `ACCRUE_TEST_LONG` makes it 100,000 events.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a run is repeated from outside, by its seed, which is shown"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, process::is_long, text};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_bills_for_random_events_is_what_another_implementation_bills(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let seed = seed();
    let events = if is_long() { 100_000 } else { 1000 };
    println!("the oracle's seed is {seed}: ACCRUE_TEST_SEED={seed} repeats this run");
    let mut told = BTreeMap::new();
    let (mut clock, mut compared) = (String::new(), 0);
    for line in told_by_the_oracle(seed, events) {
        if line.get("make").is_some() {
            clock = make(&world, &line["make"]).await;
        } else if line.get("send").is_some() {
            send(&world, &line).await;
        } else if line.get("void").is_some() {
            world.post(&format!("/v1/usage_events/{}/void", text(&line["void"])), json!({})).await;
        } else if line.get("amend").is_some() {
            let path = format!("/v1/usage_events/{}/amend?backfill=true", text(&line["amend"]));
            world.post(&path, line["body"].clone()).await;
        } else if line.get("advance").is_some() {
            world.advance(&clock, line["advance"].as_str().unwrap()).await;
        } else {
            if told.is_empty() {
                told = billed(&world).await;
            }
            compare(&world, &line, &told).await;
            compared += 1;
        }
    }
    println!("{compared} quantities and amounts of {events} events agree");
    assert_eq!(compared, 4 * 8 * 10);
}

fn seed() -> u64 {
    let given = std::env::var("ACCRUE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::process::id().into())
}

fn told_by_the_oracle(seed: u64, events: u32) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/service.py");
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).args(["--seed", &seed.to_string(), "--events", &events.to_string()]);
    let oracle = python.env("PYTHONIOENCODING", "utf-8").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut oracle = oracle.expect("Python 3.9 or newer: `cargo xtask test` installs it on Debian");
    let lines = BufReader::new(oracle.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(oracle.wait().unwrap().success());
    lines
}

/// Makes everything before the first event; answers with the test clock.
async fn make(world: &World, all: &Value) -> String {
    for metric in all["metrics"].as_array().unwrap() {
        world.create("/v1/metrics", metric.clone()).await;
    }
    world.create("/v1/plans", all["plan"].clone()).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    for name in all["customers"].as_array().unwrap() {
        let customer = json!({"external_id": name, "name": name, "test_clock": clock});
        world.create("/v1/customers", customer).await;
        let subscription = json!({"customer": name, "plan": "plan", "external_id": name,
            "collection": "send_invoice", "net_terms_days": 365});
        world.create("/v1/subscriptions", subscription).await;
    }
    world.work().await;
    clock
}

async fn send(world: &World, line: &Value) {
    let answer = world.post("/v1/usage_events?backfill=true", json!({"events": line["send"]})).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&line["accepted"], &line["duplicates"]));
    let rejected = answer["rejected"].as_array().unwrap();
    assert!(rejected.iter().all(|rejected| rejected["code"] == "conflict"), "{rejected:?}");
    assert_eq!(json!(rejected.len()), line["conflicts"]);
}

/// What all lines of all invoices bill, by customer, price, and start of the period.
async fn billed(world: &World) -> BTreeMap<[String; 3], Decimal> {
    let plan = world.get("/v1/plans/plan").await;
    let prices: BTreeMap<String, String> = plan["prices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|price| (text(&price["id"]), text(&price["code"])))
        .collect();
    let mut billed = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = world.get(&format!("/v1/invoices?limit=100{after}")).await;
        for invoice in page["data"].as_array().unwrap() {
            let subscription =
                world.get(&format!("/v1/subscriptions/{}", text(&invoice["subscription"]))).await;
            for line in invoice["lines"].as_array().unwrap() {
                let price = prices[&text(&line["price"])].clone();
                let key = [text(&subscription["external_id"]), price, text(&line["period"]["start"])];
                *billed.entry(key).or_default() += decimal(&line["amount"]);
            }
        }
        if page["has_more"] != true {
            return billed;
        }
        after = format!("&starting_after={}", text(&page["data"].as_array().unwrap().last().unwrap()["id"]));
    }
}

async fn compare(world: &World, right: &Value, billed: &BTreeMap<[String; 3], Decimal>) {
    let [customer, metric, start, end] =
        ["customer", "metric", "start", "end"].map(|name| text(&right[name]));
    let path = format!("/v1/customers/{customer}/usage?metric={metric}&start={start}&end={end}");
    let quantity = text(&world.get(&path).await["quantity"]);
    assert!(agree(&text(&right["quantity"]), &quantity), "{right}: measured {quantity}");
    let amount = billed.get(&[customer, metric, start]).copied().unwrap_or_default();
    assert_eq!(amount, decimal(&right["billed"]), "{right}: billed {amount}");
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

/// Digits after the point that a measured quantity has at most.
const SCALE_MAX: u32 = 28;

/// To the last digit, unless the oracle writes more of a number without an end than a quantity holds: then the last
/// one may be rounded twice.
fn agree(expected: &str, measured: &str) -> bool {
    let is_cut = expected.split_once('.').is_some_and(|(_, part)| part.len() > SCALE_MAX as usize);
    let number = |text: &str| text.parse::<Decimal>().unwrap();
    let is_near = || (number(expected) - number(measured)).abs() <= Decimal::new(1, SCALE_MAX);
    expected == measured || (is_cut && is_near())
}
