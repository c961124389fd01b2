//! Random lives of subscriptions against another implementation of the rules: `tests/oracle/lifecycle.py`.
//!
//! Whatever is done to a subscription, it bills and gives back what the other implementation says, and every verb does what
//! its preview promised. The seed is new each time and printed; `ACCRUE_TEST_SEED` sets it. `ACCRUE_TEST_LONG` lives a
//! hundred lives on each database.
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

use accrue::{
    auth::{self, Mode},
    invoices,
};
use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, process::is_long, text};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_random_life_bills_and_gives_back_what_another_implementation_says_and_what_was_promised(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let first = seed();
    let lives = if is_long() { 100 } else { 3 };
    println!("the first life's seed is {first}: ACCRUE_TEST_SEED={first} repeats this run");
    for seed in first..first + lives {
        let Some(world) = World::new(on).await else { return };
        live(world, seed).await;
    }
}

/// Another seed for each long run, far from its neighbours'. A short one lives the same lives each time: it fails for who
/// changes what they show, and not for somebody else.
fn seed() -> u64 {
    if !is_long() {
        return 77_000;
    }
    let given = std::env::var("ACCRUE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) * 1000)
}

fn told_by_the_oracle(seed: u64) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/lifecycle.py");
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).args(["--seed", &seed.to_string()]);
    let oracle = python.env("PYTHONIOENCODING", "utf-8").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut oracle = oracle.expect("Python 3.9 or newer: `cargo xtask test` installs it on Debian");
    let lines = BufReader::new(oracle.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(oracle.wait().unwrap().success());
    lines
}

/// Lives one life, step by step. Each is printed, so that a failure shows how it came to that.
async fn live(world: World, seed: u64) {
    println!("the life with the seed {seed}:");
    let steps = told_by_the_oracle(seed);
    let mut life = Life::begin(world, &steps[0]["make"], text(&steps[0]["now"])).await;
    for (i, step) in steps.iter().enumerate() {
        println!("{step}");
        let unlike = match life.take(step).await {
            Ok(()) => life.compare(step).await,
            unlike => unlike,
        };
        if let Err(unlike) = unlike {
            panic!("step {i} of the life with the seed {seed}: {unlike}");
        }
    }
    life.is_sound().await;
}

struct Life {
    world: World,
    clock: String,
    id: String,
    /// `plan/price` of each price, and whether it is a fixed one in advance.
    prices: BTreeMap<String, (String, bool)>,
    /// What each line of an invoice is for: `plan/price start end`.
    lines: BTreeMap<String, String>,
    /// The newest that were compared.
    last_invoice: Option<Value>,
    last_note: Option<Value>,
    /// Fixed prices in advance that were billed, by line: from when to when, and until when after some was given back.
    fees: BTreeMap<String, [DateTime<Utc>; 2]>,
    /// Whether a change gave back nothing, as was asked for: then the new period lies beside what was billed before.
    keeps_old_fees: bool,
}

impl Life {
    async fn begin(world: World, wanted: &Value, now: String) -> Self {
        for (code, how) in [
            ("count", json!({"aggregation": "count"})),
            ("sum", json!({"aggregation": "sum", "property": "n"})),
        ] {
            let mut metric = json!({"code": code, "name": code, "event_name": code});
            metric.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
            world.create("/v1/metrics", metric).await;
        }
        let mut prices = BTreeMap::new();
        for plan in wanted["plans"].as_array().unwrap() {
            let made = world.create("/v1/plans", plan.clone()).await;
            for price in made["prices"].as_array().unwrap() {
                let name = format!("{}/{}", text(&plan["code"]), text(&price["code"]));
                let is_fee = price["kind"] == "fixed" && price["timing"] == "advance";
                prices.insert(text(&price["id"]), (name, is_fee));
            }
        }
        let clock = world.test_clock(&now).await;
        let acme = json!({"external_id": "acme", "name": "Acme", "test_clock": clock});
        world.create("/v1/customers", acme).await;
        let card = json!({"customer": "acme", "token": "tok_visa", "default": true});
        world.create("/v1/payment_methods", card).await;
        let made = world.create("/v1/subscriptions", wanted["subscription"].clone()).await;
        world.work().await;
        let (lines, fees) = (BTreeMap::new(), BTreeMap::new());
        let (last_invoice, last_note, id) = (None, None, text(&made["id"]));
        Self { world, clock, id, prices, lines, last_invoice, last_note, fees, keeps_old_fees: false }
    }

    async fn take(&mut self, step: &Value) -> Result<(), String> {
        if let Some(to) = step["advance"].as_str() {
            self.world.advance(&self.clock, to).await;
        } else if step.get("send").is_some() {
            let sent = json!({"events": step["send"]});
            let answer = self.world.post("/v1/usage_events?backfill=true", sent).await;
            assert_eq!(
                answer["accepted"].as_u64(),
                step["send"].as_array().map(|all| all.len() as u64),
                "{answer}"
            );
        } else if step.get("verb").is_some() {
            self.act(step).await?;
        }
        self.world.work().await;
        Ok(())
    }

    async fn subscription(&self) -> Value {
        self.world.get(&format!("/v1/subscriptions/{}", self.id)).await
    }

    /// Asks for the preview of a verb, and then for the verb: both are refused, or both do the same.
    async fn act(&mut self, step: &Value) -> Result<(), String> {
        let path = format!("/v1/subscriptions/{}/{}", self.id, text(&step["verb"]));
        let before = self.subscription().await;
        self.keeps_old_fees |= step["body"]["proration"] == "none" && step["status"] == 200;
        let promised = self.world.send("POST", &format!("{path}/preview"), &step["body"]).await;
        is("what a preview left", &before, &self.subscription().await)?;
        let (invoices, notes) = (self.news("invoices").await, self.news("credit_notes").await);
        is("what a preview billed", &0, &(invoices.len() + notes.len()))?;
        let done = self.world.send("POST", &path, &step["body"]).await;
        is("the status", &step["status"].as_u64(), &Some(u64::from(done.status)))?;
        is("the preview's status", &done.status, &promised.status)?;
        let (promised, done) = (promised.json(), done.json());
        let shown = self.subscription().await;
        if step["status"] != 200 {
            is("the preview's errors", &done["errors"], &promised["errors"])?;
            return is("what a refused verb left", &before, &shown);
        }
        is("the answer", &promised["subscription"], &done)?;
        is("what is shown", &promised["subscription"], &shown)?;
        is("the state", &step["is_now"], &shown["status"])?;
        let invoices = self.news("invoices").await;
        is("the invoices", &unnamed(promised["invoices"].clone()), &unnamed(Value::from(invoices)))?;
        let notes = self.news("credit_notes").await;
        is("the credit notes", &unnamed(promised["credit_notes"].clone()), &unnamed(Value::from(notes)))
    }

    /// Those that were made since the last comparison, the oldest first.
    async fn news(&self, what: &str) -> Vec<Value> {
        let last = if what == "invoices" { &self.last_invoice } else { &self.last_note };
        let all = self.world.list(&format!("/v1/{what}?limit=100")).await;
        let is_new = |one: &&Value| last.as_ref() != Some(&one["id"]);
        let mut news: Vec<Value> = all.iter().take_while(is_new).cloned().collect();
        news.reverse();
        news
    }

    /// Holds what was billed and given back since the last step against what the oracle says.
    async fn compare(&mut self, step: &Value) -> Result<(), String> {
        let mut billed = Vec::new();
        for invoice in self.news("invoices").await {
            let mut of_invoice = Vec::new();
            for line in invoice["lines"].as_array().unwrap() {
                let [start, end] = [&line["period"]["start"], &line["period"]["end"]].map(text);
                let (price, is_fee) = &self.prices[&text(&line["price"])];
                let name = format!("{price} {start} {end}");
                if *is_fee {
                    self.fees.insert(text(&line["id"]), [instant(&start), instant(&end)]);
                }
                if !decimal(&line["amount"]).is_zero() {
                    of_invoice.push(format!("{name} {} {}", text(&line["quantity"]), text(&line["amount"])));
                }
                self.lines.insert(text(&line["id"]), name);
            }
            of_invoice.sort();
            billed.extend((!of_invoice.is_empty()).then_some(of_invoice));
            self.last_invoice = Some(invoice["id"].clone());
        }
        let mut given = BTreeMap::<String, Decimal>::new();
        for note in self.news("credit_notes").await {
            for line in note["lines"].as_array().unwrap() {
                if let Some([_, until]) = self.fees.get_mut(&text(&line["line"])) {
                    *until = instant(&text(&note["created_at"])).min(*until);
                }
                *given.entry(self.lines[&text(&line["line"])].clone()).or_default() +=
                    decimal(&line["amount"]);
            }
            self.last_note = Some(note["id"].clone());
        }
        let credited: Vec<String> = given.iter().map(|(name, amount)| format!("{name} {amount}")).collect();
        is("the bills", &step["bills"], &json!(billed))?;
        is("the credits", &step["gives"], &json!(credited))
    }

    /// No time is paid for twice; the books add up, and no job died.
    async fn is_sound(&self) {
        let mut fees: Vec<_> = self.fees.values().filter(|[start, until]| start < until).collect();
        fees.sort();
        for pair in fees.windows(2).filter(|_| !self.keeps_old_fees) {
            // Within the last local day of a period no day is left to give back.
            assert!(pair[0][1] - pair[1][0] < TimeDelta::days(1), "twice: {pair:?}");
        }
        let db = self.world.app.db.reader();
        let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap();
        assert_eq!(invoices::service::verify(db, tenant.id).await.unwrap(), Vec::<String>::new());
        assert_eq!(self.world.dead_jobs().await, Vec::<Value>::new());
    }
}

fn is<T: PartialEq + std::fmt::Debug>(what: &str, right: &T, told: &T) -> Result<(), String> {
    if right == told { Ok(()) } else { Err(format!("{what}:\n  right {right:?}\n  told  {told:?}")) }
}

/// Without what is only given when it is kept: identifiers of its own and numbers.
fn unnamed(mut all: Value) -> Value {
    for one in all.as_array_mut().unwrap() {
        let one = one.as_object_mut().unwrap();
        one.remove("id");
        one.remove("number");
        if one.get("object") == Some(&json!("invoice")) {
            for line in one["lines"].as_array_mut().unwrap() {
                line.as_object_mut().unwrap().remove("id");
            }
        }
    }
    all
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}
