//! Processes that die while usage events come in: what was acknowledged is stored once, and counted once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    Engine::{self, *},
    process::{Chance, Installation, Process, is_long},
    text,
};

const CUSTOMERS: u64 = 3;
const SENDERS: usize = 6;
const BATCH_MAX: u64 = 40;
/// Events lie within so many hours.
const HOURS: i64 = 12;
/// Of the hours of a metric, after the last kill.
const BUILT_WITHIN: Duration = Duration::from_mins(1);

/// What all senders share.
struct Traffic {
    home: Installation,
    /// Where the process that runs now listens.
    url: Mutex<String>,
    /// Rung after each answer.
    answered: Notify,
    /// Names given out so far.
    names: AtomicU64,
    is_over: AtomicBool,
    /// Of each event that was acknowledged, its tokens.
    acknowledged: Mutex<BTreeMap<String, u64>>,
    /// Where the hours begin.
    start: DateTime<Utc>,
}

impl Traffic {
    /// An event; the same name says the same, unless somebody changes it.
    fn event(&self, number: u64) -> Value {
        let seconds = i64::try_from(number * 7919).unwrap() % (HOURS * 3600);
        json!({
            "event_id": format!("event-{number}"),
            "customer_id": format!("customer-{}", number % CUSTOMERS),
            "event_name": "call",
            "timestamp": self.start + TimeDelta::seconds(seconds),
            "metadata": {"tokens": number % 1000},
        })
    }

    /// Mostly new events, some that were sent before, some of these with another body.
    fn request(&self, chance: &mut Chance) -> Vec<Value> {
        let count = if chance.below(3) == 0 { 1 + chance.below(BATCH_MAX) } else { 1 };
        let mut event = || match chance.below(10) {
            old @ (0 | 1) => {
                let sent = self.names.load(Ordering::Relaxed);
                let mut event = self.event(chance.below(sent.max(1)));
                if old == 0 {
                    event["metadata"]["tokens"] = json!(1000 + chance.below(9));
                }
                event
            }
            _ => self.event(self.names.fetch_add(1, Ordering::Relaxed)),
        };
        (0..count).map(|_| event()).collect()
    }

    /// Sends until it is acknowledged, by whichever process then runs.
    async fn send(&self, events: &[Value]) -> Value {
        let body = if let [event] = events { event.clone() } else { json!({"events": events}) };
        loop {
            let url = self.url.lock().unwrap().clone();
            let Some(reply) = self.home.try_send_to(&url, "POST", "/v1/usage_events", &body).await else {
                tokio::task::yield_now().await;
                continue;
            };
            assert!(reply.status == 200 || reply.status == 503, "{}", reply.text);
            if reply.status == 200 {
                return reply.json();
            }
        }
    }

    async fn send_until_over(&self, mut chance: Chance) {
        while !self.is_over.load(Ordering::Relaxed) {
            let events = self.request(&mut chance);
            let answer = self.send(&events).await;
            self.answered.notify_one();
            let refused: Vec<usize> = answer["rejected"]
                .as_array()
                .unwrap()
                .iter()
                .map(|rejection| {
                    assert_eq!(rejection["code"], "conflict", "{rejection}");
                    usize::try_from(rejection["index"].as_u64().unwrap()).unwrap()
                })
                .collect();
            let count = |field: &str| usize::try_from(answer[field].as_u64().unwrap()).unwrap();
            assert_eq!(count("accepted") + count("duplicates") + refused.len(), events.len());
            let mut acknowledged = self.acknowledged.lock().unwrap();
            for (index, event) in events.iter().enumerate().filter(|(index, _)| !refused.contains(index)) {
                let tokens = event["metadata"]["tokens"].as_u64().unwrap();
                let before = acknowledged.insert(text(&event["event_id"]), tokens);
                assert!(
                    before.is_none_or(|before| before == tokens),
                    "{index} {event}: two bodies of one name"
                );
            }
        }
    }
}

async fn prepare(home: &Installation, process: &Process) {
    for (code, aggregation, property) in [("calls", "count", None), ("tokens", "sum", Some("tokens"))] {
        let metric = json!({"code": code, "name": code, "event_name": "call", "aggregation": aggregation, "property": property});
        home.send(process, "POST", "/v1/metrics", &metric).await;
    }
    for number in 0..CUSTOMERS {
        let name = format!("customer-{number}");
        let customer = json!({"external_id": name, "name": name, "email": "x@example.com"});
        home.send(process, "POST", "/v1/customers", &customer).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_stored_once_and_counted_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    let kills = if is_long() { 50 } else { 4 };
    let mut chance = Chance::new();
    let mut process = home.serve().await;
    prepare(&home, &process).await;
    let now = home.send(&process, "GET", "/v1/customers/customer-0", &Value::Null).await;
    let now: DateTime<Utc> = text(&now["created_at"]).parse().unwrap();
    let hour = now.timestamp() / 3600 * 3600;
    let traffic = Arc::new(Traffic {
        home,
        url: Mutex::new(process.url.clone()),
        answered: Notify::new(),
        names: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        start: DateTime::from_timestamp(hour, 0).unwrap() - TimeDelta::hours(HOURS),
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (traffic, chance) = (traffic.clone(), chance.split());
            tokio::spawn(async move { traffic.send_until_over(chance).await })
        })
        .collect();
    for _ in 0..kills {
        for _ in 0..=chance.below(200) {
            traffic.answered.notified().await;
        }
        process.kill();
        process = traffic.home.serve().await;
        traffic.url.lock().unwrap().clone_from(&process.url);
    }
    traffic.is_over.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    wait_until_built(&traffic.home).await;
    let stored = check(&traffic, &process).await;
    report(on, kills, stored, traffic.acknowledged.lock().unwrap().len());
}

/// From then on usage is read from hours.
async fn wait_until_built(home: &Installation) {
    let db = Database::connect(&home.database_url).await.unwrap();
    let started = Instant::now();
    loop {
        let sql = "select count(*) from usage_rollup_builds where is_complete";
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let complete: i64 = db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
        if complete == 2 {
            break db.close().await.unwrap();
        }
        assert!(started.elapsed() < BUILT_WITHIN, "{complete} of 2 metrics are built up");
        tokio::task::yield_now().await;
    }
}

/// The list of events is the truth: it holds all that was acknowledged, once, and the hours say what it says.
async fn check(traffic: &Traffic, process: &Process) -> usize {
    let listed = traffic.home.all(process, "/v1/usage_events").await;
    let mut stored = BTreeMap::new();
    let mut by_hour = BTreeMap::<(u64, i64), Vec<u64>>::new();
    for event in &listed {
        let (name, tokens) = (text(&event["event_id"]), event["metadata"]["tokens"].as_u64().unwrap());
        let number: u64 = name.strip_prefix("event-").unwrap().parse().unwrap();
        let at: DateTime<Utc> = text(&event["timestamp"]).parse().unwrap();
        by_hour.entry((number % CUSTOMERS, (at - traffic.start).num_hours())).or_default().push(tokens);
        assert!(stored.insert(name, tokens).is_none(), "stored twice: {event}");
    }
    for (name, tokens) in &*traffic.acknowledged.lock().unwrap() {
        assert_eq!(stored.get(name), Some(tokens), "{name} was acknowledged");
    }
    for customer in 0..CUSTOMERS {
        for hour in 0..HOURS {
            let tokens = by_hour.remove(&(customer, hour)).unwrap_or_default();
            let expected = [("calls", tokens.len() as u64), ("tokens", tokens.iter().sum())];
            for (metric, expected) in expected {
                let start = traffic.start + TimeDelta::hours(hour);
                let [from, to] =
                    [start, start + TimeDelta::hours(1)].map(|at| at.format("%Y-%m-%dT%H:%M:%SZ"));
                let path =
                    format!("/v1/customers/customer-{customer}/usage?metric={metric}&start={from}&end={to}");
                let usage = traffic.home.send(process, "GET", &path, &Value::Null).await;
                assert_eq!(usage["quantity"].to_string().trim_matches('"'), expected.to_string(), "{path}");
            }
        }
    }
    assert!(by_hour.is_empty(), "events outside of all hours");
    listed.len()
}

#[expect(clippy::print_stderr, reason = "the figures of the run")]
fn report(on: Engine, kills: usize, stored: usize, acknowledged: usize) {
    eprintln!("{on:?}: {kills} kills, {acknowledged} events acknowledged, {stored} stored and counted");
}
