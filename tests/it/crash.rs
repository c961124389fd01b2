//! The promises P1, P2, P6 and P7, with a process that is killed at random moments. The gateway's own
//! ledger is the witness.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use accrue_sandbox_gateway::Sandbox;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Engine,
    Engine::*,
    process::{Chance, Installation, Process, is_long},
    text,
};

/// How these customers' cards behave, in turn.
const TOKENS: &[&str] = &[
    "tok_visa",
    "tok_mastercard",
    "tok_visa",
    "tok_decline_then_ok",
    "tok_timeout_after_accept",
    "tok_visa",
    "tok_decline_insufficient_funds",
    "tok_timeout_before_accept",
    "tok_visa",
    "tok_decline_stolen",
];

const START: &str = "2026-01-31T12:00:00Z";
/// Two renewals after the start, the first of them on the last of February; dunning in between.
const END: &str = "2026-04-01T00:00:00Z";
const INVOICES_EACH: usize = 3;

fn size(long: usize, short: usize) -> usize {
    if is_long() { long } else { short }
}

async fn sell(home: &Installation, process: &Process, subscriptions: usize) -> String {
    let post = async |path: &str, body: Value| home.send(process, "POST", path, &body).await;
    post(
        "/v1/metrics",
        json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"}),
    )
    .await;
    post("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let prices = json!([
        {"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "10.00"}},
        {"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls", "model": {"type": "per_unit", "unit_price": "0.05"}},
    ]);
    let interval = json!({"unit": "month", "count": 1});
    post(
        "/v1/plans",
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": prices}),
    )
    .await;
    let clock = text(&post("/v1/test_clocks", json!({"now": START})).await["id"]);
    for number in 0..subscriptions {
        let name = format!("customer-{number}");
        let customer =
            json!({"external_id": name, "name": name, "email": "x@example.com", "test_clock": clock});
        post("/v1/customers", customer).await;
        let token = TOKENS[number % TOKENS.len()];
        post("/v1/payment_methods", json!({"customer": name, "token": token, "default": true})).await;
        post(
            "/v1/subscriptions",
            json!({"customer": name, "plan": "pro", "external_id": format!("s-{number}")}),
        )
        .await;
    }
    clock
}

/// Lets the month run, killing the process on the way; answers with the process that saw the end.
async fn run_with_kills(
    home: &Installation,
    mut process: Process,
    clock: &str,
    kills: usize,
    chance: &mut Chance,
) -> (Process, usize) {
    let path = format!("/v1/test_clocks/{clock}");
    let advance = (format!("{path}/advance"), json!({"to": END}));
    let mut killed = 0;
    loop {
        // Whoever waits for the end waits for all of the answer: a month of many is long.
        let patience = if killed < kills { 40 + chance.below(160) } else { 30_000 };
        let patience = Duration::from_millis(patience);
        let moving = home.try_send(&process, "POST", &advance.0, &advance.1);
        match tokio::time::timeout(patience, moving).await {
            Ok(Some(reply)) if reply.status == 200 => return (process, killed),
            Ok(Some(reply)) => assert_eq!(reply.status, 202, "{}", reply.text),
            Ok(None) => panic!("the process died by itself"),
            Err(_) if killed < kills => {
                process.kill();
                killed += 1;
                process = home.serve().await;
            }
            Err(_) => {}
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_random_leaves_no_double_no_gap_and_balanced_books(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    let (subscriptions, kills) = (size(200, 30), 20);
    let mut chance = Chance::new();
    let process = home.serve().await;
    let clock = sell(&home, &process, subscriptions).await;

    let started = Instant::now();
    let (process, killed) = run_with_kills(&home, process, &clock, kills, &mut chance).await;

    let invoices = home.all(&process, "/v1/invoices").await;
    let payments = home.all(&process, "/v1/payments").await;
    check_invoices(&invoices, subscriptions);
    check_gateway(&home, &payments).await;
    drop(process);
    let verdict = home.run(&["verify"]);
    assert_eq!(killed, kills, "the run was over before the last kill");
    report(on, subscriptions, killed, invoices.len(), started, &verdict);
}

#[expect(clippy::print_stderr, reason = "the figures of the run")]
fn report(on: Engine, subscriptions: usize, killed: usize, invoices: usize, started: Instant, verdict: &str) {
    let seconds = started.elapsed().as_secs_f32();
    eprintln!(
        "{on:?}: {subscriptions} subscriptions, {killed} kills, {invoices} invoices, {seconds:.1} s\n{verdict}"
    );
}

/// One invoice for each subscription and period, until it was canceled for not being paid; numbers 1…n.
fn check_invoices(invoices: &[Value], subscriptions: usize) {
    let mut periods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for invoice in invoices {
        let key = format!("{} {}", text(&invoice["period"]["start"]), text(&invoice["reason"]));
        let new = periods.entry(text(&invoice["subscription"])).or_default().insert(key);
        assert!(new, "two invoices for one period: {invoice}");
    }
    assert_eq!(periods.len(), subscriptions);
    let cured = periods.values().filter(|found| found.len() == INVOICES_EACH).count();
    let canceled = periods.values().filter(|found| found.len() == 1).count();
    // Of ten cards, eight pay in the end; two never do, and those subscriptions end before their first renewal.
    assert_eq!((cured, canceled), (subscriptions / 10 * 8, subscriptions / 10 * 2));

    let mut numbers: Vec<usize> = invoices
        .iter()
        .map(|invoice| text(&invoice["number"]).rsplit('-').next().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=invoices.len()).collect::<Vec<_>>(), "numbers without gaps");
}

/// The gateway took each invoice's money once, and just the sums that Accrue believes.
async fn check_gateway(home: &Installation, payments: &[Value]) {
    let gateway = Sandbox::open(home.gateway_file()).await.unwrap();
    let charges = gateway.succeeded().await.unwrap();
    let keys: BTreeSet<&str> = charges.iter().map(|charge| charge.idempotency_key.as_str()).collect();
    assert_eq!(keys.len(), charges.len(), "one success for each attempt");

    let captured: Vec<&Value> = payments.iter().filter(|payment| payment["status"] == "captured").collect();
    let cents = |amount: &Value| text(amount).replace('.', "").parse::<i64>().unwrap();
    let believed: i64 = captured.iter().map(|payment| cents(&payment["amount"])).sum();
    let taken: i64 = charges.iter().map(|charge| charge.captured_minor).sum();
    assert_eq!((captured.len(), believed), (charges.len(), taken), "what Accrue believes is what was taken");
    let open: Vec<_> = payments
        .iter()
        .flat_map(|payment| payment["attempts"].as_array().unwrap())
        .filter(|attempt| ["started", "unknown"].contains(&attempt["status"].as_str().unwrap()))
        .collect();
    assert!(open.is_empty(), "every outcome is known: {open:?}");
}
