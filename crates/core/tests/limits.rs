//! No question that the calculators take costs much: under 2 ms if it is an ordinary one, and never more than a second
//! or 64 MB. The bodies are as large as the API lets them be.
//!
//! One test, in a process of its own, so that the peak of its memory is the calculators'.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail, and what it measured is shown"
)]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use accrue_core::{
    calculate::{amount, credits, invoice, periods, proration, usage},
    invalid::Invalid,
};
use serde::{Serialize, de::DeserializeOwned};

/// What a request body may have.
const BODY_MAX: usize = 1024 * 1024;
const MEMORY_MAX_KB: u64 = 64 * 1024;
const TIME_MAX: Duration = Duration::from_secs(1);
const ORDINARY_MAX: Duration = Duration::from_millis(2);
/// Without optimizations everything takes a multiple of the time.
const SLOWER: u32 = if cfg!(debug_assertions) { 10 } else { 1 };

#[test]
fn no_question_costs_much_time_or_memory() {
    ordinary_questions();
    let start = peak_kb();
    for (name, question) in worst() {
        assert!(question.len() <= BODY_MAX, "{name}: {} bytes", question.len());
        let (took, answer) = timed(name, &question);
        println!("{name:<40} {took:>8.1?} {:>6} KB at most so far", peak_kb() - start);
        assert!(took < TIME_MAX * SLOWER, "{name} took {took:?}");
        assert!(!answer.is_empty());
    }
    let peak = peak_kb() - start;
    assert!(peak < MEMORY_MAX_KB, "{peak} KB");
}

/// The peak of this process's memory; nothing where the system does not tell.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// The fastest of a few, since the machine has other things to do.
fn ordinary_questions() {
    for (name, question) in ORDINARY {
        let took = (0..20).map(|_| timed(name, question).0).min().expect("twenty of them");
        println!("{name:<40} {took:>8.1?}");
        assert!(took < ORDINARY_MAX, "{name} took {took:?}");
    }
}

/// From the text of a question to the text of its answer.
fn timed(name: &str, question: &str) -> (Duration, String) {
    let start = Instant::now();
    let answer = match name.split(' ').next().expect("a name") {
        "amount" => ask(question, amount),
        "usage" => ask(question, usage),
        "periods" => ask(question, periods),
        "proration" => ask(question, proration),
        "invoice" => ask(question, invoice),
        "credits" => ask(question, credits),
        other => panic!("there is no calculator {other}"),
    };
    (start.elapsed(), answer)
}

fn ask<Q: DeserializeOwned, A: Serialize>(
    question: &str,
    calculate: impl Fn(&Q) -> Result<A, Vec<Invalid>>,
) -> String {
    match calculate(&serde_json::from_str(question).unwrap()) {
        Ok(answer) => serde_json::to_string(&answer).unwrap(),
        Err(mistakes) => serde_json::to_string(&mistakes).unwrap(),
    }
}

const ORDINARY: &[(&str, &str)] = &[
    (
        "amount",
        r#"{"currency":"USD","quantity":"1500","model":{"type":"graduated","tiers":[
            {"up_to":"10","unit_price":"1"},{"up_to":"1000","unit_price":"0.5","flat_fee":"3"},
            {"up_to":null,"unit_price":"0.1"}]},"already_rated_quantity":"20","minimum_amount":"10"}"#,
    ),
    (
        "usage",
        r#"{"metric":{"aggregation":"sum","property":"n"},"group_by":["r"],
            "period":{"start":"2026-01-01T00:00:00Z","end":"2026-02-01T00:00:00Z"},"events":[
            {"id":"1","timestamp":"2026-01-02T00:00:00Z","properties":{"n":1,"r":"eu"}},
            {"id":"2","timestamp":"2026-01-03T00:00:00Z","properties":{"n":2.5,"r":"us"}}]}"#,
    ),
    (
        "periods",
        r#"{"interval":{"unit":"month","count":1},"anchor":"2026-01-31T09:00:00Z","timezone":"America/New_York",
            "count":24}"#,
    ),
    (
        "proration",
        r#"{"currency":"USD","timezone":"Europe/Berlin","change_at":"2026-04-16T00:00:00Z",
            "period":{"start":"2026-04-01T00:00:00Z","end":"2026-05-01T00:00:00Z"},
            "old":{"amount":"10"},"new":{"amount":"30"}}"#,
    ),
    (
        "invoice",
        r#"{"currency":"EUR","lines":[{"id":"a","amount":"60","tax_rates":["20"]},{"id":"b","amount":"19.996"}],
            "coupons":[{"type":"percent","percent":"10"}],"wallets":[{"balance":"5"}]}"#,
    ),
    (
        "credits",
        r#"{"start":"2026-01-01T00:00:00Z","at":"2026-12-01T00:00:00Z","grants":[
            {"id":"a","amount":"100","effective_at":"2026-01-01T00:00:00Z",
            "recurrence":{"interval":{"unit":"month","count":1},"anchor":"2026-01-01T00:00:00Z"}}],
            "usage":[{"timestamp":"2026-03-01T00:00:00Z","amount":"30"}]}"#,
    ),
];

/// What costs most of all that is allowed, and of what is refused.
fn worst() -> Vec<(&'static str, String)> {
    vec![
        ("amount of stateful units in 100 tiers", stateful_units()),
        ("amount of unlike fractions in 100 tiers", unlike_fractions()),
        ("amount of 10,000 events", events_of_money()),
        ("amount of too many tiers", too_many("{", r#""tiers":["#, "{}", "]}}")),
        ("usage by group, prorated", grouped_usage()),
        ("usage with many exclusions", excluded_usage()),
        ("usage of wide events", wide_events()),
        ("periods of days since the year 5", days()),
        ("periods to the last year there is", last_periods()),
        ("proration of 8,000 years", proration_by_the_second()),
        ("invoice of 5,000 lines, per rate", large_invoice("rate", false)),
        ("invoice of 5,000 lines, inclusive", large_invoice("rate", true)),
        ("invoice of 5,000 lines, per invoice", large_invoice("invoice", false)),
        ("invoice of mistakes", mistaken_invoice()),
        ("credits with refills for centuries", refilled_credits()),
        ("credits refilled too often", refilled_too_often()),
    ]
}

/// `count` entries, separated by commas.
fn listed(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

fn stateful_units() -> String {
    let up_to = |i: usize| if i == 99 { "null".to_owned() } else { ((i + 1) * 40_000).to_string() };
    let tiers =
        listed(100, |i| format!(r#"{{"up_to":{},"unit_price":"0.123456789","flat_fee":"1"}}"#, up_to(i)));
    let parts =
        listed(10_000, |i| format!(r#"{{"quantity":"{}.5","prorated":"{}.123456789"}}"#, i % 1000, i % 500));
    format!(
        r#"{{"currency":"USD","model":{{"type":"graduated","tiers":[{tiers}]}},"already_rated_quantity":"7",
            "prorated_events":[{parts}]}}"#
    )
}

/// Sizes without a common divisor, each part through all tiers and back: fractions that grow with each.
fn unlike_fractions() -> String {
    let up_to = |i: usize| if i == 99 { "null".to_owned() } else { format!("{}.0000001", i + 1) };
    let tiers =
        listed(100, |i| format!(r#"{{"up_to":{},"unit_price":"0.1234567890123","flat_fee":"1"}}"#, up_to(i)));
    let parts = listed(10_000, |i| {
        let sign = if i % 2 == 0 { "" } else { "-" };
        format!(r#"{{"quantity":"{sign}2{i}.{i}000000000000{i}1","prorated":"{sign}{i}.123456789{i}7"}}"#)
    });
    format!(
        r#"{{"currency":"USD","model":{{"type":"graduated","tiers":[{tiers}]}},"prorated_events":[{parts}],
            "conversion":{{"operation":"divide","factor":"86399.9999999"}}}}"#
    )
}

fn events_of_money() -> String {
    let events = listed(10_000, |i| format!("\"{i}.1234567890123456789\""));
    format!(
        r#"{{"currency":"USD","model":{{"type":"percentage","rate":"2.987654321","fixed_fee":"0.3",
            "free_events":5000,"min_per_event":"0.5"}},"already_rated_quantity":"7","events":[{events}]}}"#
    )
}

/// As many of a short thing as fit in a body.
fn too_many(before: &str, list: &str, entry: &str, after: &str) -> String {
    let mut body =
        format!(r#"{before}"currency":"USD","quantity":"1","model":{{"type":"graduated",{list}{entry}"#);
    while body.len() + entry.len() + after.len() + 1 < BODY_MAX {
        let _ = write!(body, ",{entry}");
    }
    body + after
}

const MONTH: &str = r#""period":{"start":"2026-01-01T00:00:00Z","end":"2026-02-01T00:00:00Z"}"#;

fn grouped_usage() -> String {
    let keys = listed(5, |i| if i == 0 { "\"u\"".to_owned() } else { format!("\"{}{i}\"", "k".repeat(98)) });
    let events = listed(10_000, |i| {
        format!(
            r#"{{"id":"{i}","timestamp":"2026-01-{:02}T00:00:00Z","properties":{{"u":"{i}","operation":"add"}}}}"#,
            1 + i % 31
        )
    });
    format!(
        r#"{{"metric":{{"aggregation":"unique_count","property":"u","recurring":true}},"prorated":true,{MONTH},
            "timezone":"America/New_York","group_by":[{keys}],"events":[{events}]}}"#
    )
}

fn excluded_usage() -> String {
    let values = listed(50, |i| format!("\"{}\"", i + 10));
    let exclude = listed(20, |_| format!(r#"{{"u":[{values}]}}"#));
    let filters = listed(20, |_| r#"{"property":"u"}"#.to_owned());
    let event =
        |i| format!(r#"{{"id":"{i}","timestamp":"2026-01-01T00:00:00Z","properties":{{"u":"00","n":"1"}}}}"#);
    format!(
        r#"{{"metric":{{"aggregation":"sum","property":"n","filters":[{filters}]}},{MONTH},"exclude":[{exclude}],
            "events":[{}]}}"#,
        listed(10_000, event)
    )
}

fn wide_events() -> String {
    let properties = listed(80_000, |i| format!("\"{i:x}\":{}", i % 10));
    format!(
        r#"{{"metric":{{"aggregation":"count"}},{MONTH},"group_by":["a"],
            "events":[{{"id":"1","timestamp":"2026-01-01T00:00:00Z","properties":{{{properties}}}}}]}}"#
    )
}

fn days() -> String {
    r#"{"interval":{"unit":"day","count":1},"anchor":"0005-01-01T10:00:00Z","timezone":"America/New_York",
        "start":"1950-01-01T00:00:00Z","count":10000}"#
        .to_owned()
}

fn last_periods() -> String {
    r#"{"interval":{"unit":"week","count":1},"anchor":"9998-01-01T10:00:00Z","timezone":"Asia/Beirut","count":10000}"#
        .to_owned()
}

fn proration_by_the_second() -> String {
    r#"{"currency":"CLF","basis":"second","timezone":"Asia/Beirut","change_at":"8000-01-01T00:00:00Z",
        "period":{"start":"0001-01-02T00:00:00Z","end":"9999-12-30T00:00:00Z"},
        "old":{"amount":"1.2345678901234567890","quantity":"3"},"new":{"amount":"9.8765432109876543210"}}"#
        .to_owned()
}

fn large_invoice(rounding: &str, inclusive: bool) -> String {
    let rates = r#""19","7","1.1","2.2","3.3","4.4","5.5","6.6","7.7""#;
    let lines = listed(5_000, |i| {
        format!(r#"{{"id":"{i}","amount":"{i}.337","tax_rates":["{}.5",{rates}]}}"#, i % 90)
    });
    let ids = listed(2_500, |i| format!("\"{i}\""));
    let coupons = listed(20, |i| format!(r#"{{"type":"percent","percent":"{i}.5","lines":[{ids}]}}"#));
    let sources = |name: &str| listed(1_000, |i| format!(r#"{{"{name}":"{i}"}}"#));
    format!(
        r#"{{"currency":"USD","tax_rounding":"{rounding}","tax_inclusive":{inclusive},"lines":[{lines}],
            "coupons":[{coupons}],"credit_notes":[{}],"wallets":[{}]}}"#,
        sources("available"),
        sources("balance")
    )
}

fn mistaken_invoice() -> String {
    let rates = listed(10, |_| "-1".to_owned());
    let line = |_| format!(r#"{{"id":"","amount":0,"tax_rates":[{rates}]}}"#);
    format!(r#"{{"currency":"USD","lines":[{}]}}"#, listed(16_000, line))
}

fn refilled_credits() -> String {
    let recurrence =
        r#","recurrence":{"interval":{"unit":"week","count":2},"anchor":"0001-01-01T00:00:00Z"}"#;
    let grants = listed(200, |i| {
        let recurrence = if i < 2 { recurrence } else { "" };
        format!(
            r#"{{"id":"g{i}","amount":"100","priority":{},"effective_at":"1826-01-01T00:00:00Z",
                "rollover":{{"min":"50","max":"100"}}{recurrence}}}"#,
            i % 7
        )
    });
    let date =
        |i: usize| format!("{}-{:02}-{:02}T{:02}:00:00Z", 1900 + i % 120, 1 + i % 12, 1 + i % 28, i % 24);
    let usage = listed(10_000, |i| format!(r#"{{"timestamp":"{}","amount":"{}"}}"#, date(i), 1000 + i % 900));
    let resets = listed(500, |i| format!("\"{}\"", date(i * 7)));
    format!(
        r#"{{"start":"1826-01-01T00:00:00Z","at":"2026-01-01T00:00:00Z","grants":[{grants}],"usage":[{usage}],
            "resets":[{resets}]}}"#
    )
}

fn refilled_too_often() -> String {
    let grants = listed(200, |i| {
        format!(
            r#"{{"id":"g{i}","amount":"1","effective_at":"0001-01-01T00:00:00Z",
                "recurrence":{{"interval":{{"unit":"day","count":1}},"anchor":"0001-01-01T00:00:00Z"}}}}"#
        )
    });
    format!(r#"{{"start":"0001-01-01T00:00:00Z","at":"9999-01-01T00:00:00Z","grants":[{grants}]}}"#)
}
