//! The calculators against another implementation of the rules: `tests/oracle`, in Python.
//!
//! The seed is new each time and printed; `ACCRUE_TEST_SEED` sets it. `ACCRUE_TEST_LONG` makes it 100,000 cases for
//! each calculator.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail, and what it measured is shown"
)]

#[path = "support/long.rs"]
mod long;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use accrue_core::{
    calculate::{amount, credits, invoice, periods, proration, usage},
    invalid::Invalid,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

const CALCULATORS: u32 = 6;

/// What the oracle prints: a question, as it is sent, and the answer that it expects.
#[derive(Deserialize)]
struct Case<'a> {
    calculator: &'a str,
    #[serde(borrow)]
    question: &'a RawValue,
    answer: Value,
}

#[test]
fn the_calculators_agree_with_another_implementation_to_the_digit() {
    let seed = seed();
    let count = CALCULATORS * long::cases(1_000);
    println!("the oracle's seed is {seed}: ACCRUE_TEST_SEED={seed} repeats this run");
    let mut oracle = oracle(seed, count);
    let lines = BufReader::new(oracle.stdout.take().expect("it is piped")).lines();
    let mut compared = 0;
    for line in lines {
        let line = line.unwrap();
        let case: Case = serde_json::from_str(&line).unwrap();
        let answer = answer(&case);
        assert!(
            case.answer == answer,
            "seed {seed}: {} {}\nexpected {}\nanswered {answer}",
            case.calculator,
            case.question,
            case.answer
        );
        compared += 1;
    }
    assert!(oracle.wait().unwrap().success());
    assert_eq!(compared, count);
    println!("{compared} cases agree");
}

#[expect(clippy::disallowed_methods, reason = "a run is repeated from outside, by its seed")]
fn seed() -> u64 {
    match std::env::var("ACCRUE_TEST_SEED") {
        Ok(seed) => seed.parse().expect("ACCRUE_TEST_SEED is a whole number"),
        Err(_) => std::process::id().into(),
    }
}

fn oracle(seed: u64, count: u32) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    python.env("PYTHONIOENCODING", "utf-8").stdin(Stdio::null()).stdout(Stdio::piped());
    python.spawn().expect("Python 3.9 or newer: `cargo xtask test` installs it on Debian")
}

fn answer(case: &Case) -> Value {
    match case.calculator {
        "amount" => ask(case.question, amount),
        "usage" => ask(case.question, usage),
        "periods" => ask(case.question, periods),
        "proration" => ask(case.question, proration),
        "invoice" => ask(case.question, invoice),
        "credits" => ask(case.question, credits),
        other => panic!("there is no calculator {other}"),
    }
}

/// Through JSON both ways, as over HTTP.
fn ask<Q: DeserializeOwned, A: Serialize>(
    question: &RawValue,
    calculate: impl Fn(&Q) -> Result<A, Vec<Invalid>>,
) -> Value {
    let question = serde_json::from_str(question.get()).unwrap_or_else(|error| panic!("{error}: {question}"));
    match calculate(&question) {
        Ok(answer) => serde_json::to_value(answer).unwrap(),
        Err(mistakes) => serde_json::to_value(mistakes).unwrap(),
    }
}
