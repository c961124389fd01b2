//! Bugs that nobody has found yet: a request that panics is answered, and is nobody else's trouble.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use accrue::{app::App, cli::serve, metering::Grouping};
use accrue_core::clock::{Clock, TestClock};
use accrue_platform::request;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;

use crate::support::{Engine, Engine::*, Reply, World};

/// A clock that panics: a bug wherever somebody asks for the time.
struct Broken {
    clock: Arc<TestClock>,
    /// How many times requests asked.
    asked: AtomicUsize,
    /// How often it is still to panic within a request, and outside of any.
    within: AtomicI64,
    outside: AtomicI64,
}

impl Clock for Broken {
    fn now(&self) -> DateTime<Utc> {
        let left = if request::id().is_empty() { &self.outside } else { &self.within };
        assert!(left.fetch_sub(1, Ordering::Relaxed) <= 0, "a bug");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }
}

/// A second server on the same database, by the broken clock; where it listens.
fn serve_by(world: &World, clock: Arc<Broken>) -> (String, actix_web::dev::ServerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = App { clock, ..world.app.clone() };
    let server = serve::start_with(&app, listener, Grouping { writers: 1, ..Grouping::default() }).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    (url, handle)
}

fn broken(world: &World) -> Arc<Broken> {
    let (within, outside) = (AtomicI64::new(0), AtomicI64::new(0));
    Arc::new(Broken { clock: world.clock.clone(), asked: AtomicUsize::new(0), within, outside })
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_panics_gets_a_problem_and_the_next_an_answer(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let clock = broken(&world);
    let (url, server) = serve_by(&world, clock.clone());
    let client = reqwest::Client::new();
    let list = || {
        let request = client.get(format!("{url}/v1/customers")).bearer_auth(&world.key);
        Reply::of(request.header("x-request-id", "req_mine"))
    };
    clock.within.store(1, Ordering::Relaxed);

    let panicked = list().await;
    let answered = list().await;

    assert_eq!(panicked.status, 500, "{}", panicked.text);
    assert_eq!(panicked.header("content-type"), "application/problem+json");
    assert_eq!(panicked.header("x-request-id"), "req_mine");
    let problem = panicked.json();
    assert_eq!((&problem["code"], &problem["request_id"]), (&json!("internal"), &json!("req_mine")));
    assert_eq!(answered.status, 200);
    server.stop(false).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_beside_those_that_panic_are_taken(#[values(Sqlite, Postgres)] on: Engine) {
    const SENDERS: usize = 8;
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let clock = broken(&world);
    let (url, server) = serve_by(&world, clock.clone());
    let client = reqwest::Client::new();
    let send = |number: usize| {
        let event = json!({"event_id": number.to_string(), "customer_id": "acme", "event_name": "call"});
        let request = client.post(format!("{url}/v1/usage_events")).bearer_auth(&world.key).json(&event);
        Reply::of(request)
    };
    // A group, one or two of it alone, then perhaps another group and one of that.
    clock.outside.store(4, Ordering::Relaxed);
    // Who writes has to wait, so that the others come together.
    let writing = world.app.db.begin().await.unwrap();
    let release = async {
        while clock.asked.load(Ordering::Relaxed) < SENDERS {
            tokio::task::yield_now().await;
        }
        writing.rollback().await.unwrap();
    };

    let (answers, ()) = tokio::join!(join_all((0..SENDERS).map(send)), release);

    let failed = answers.iter().filter(|answer| answer.status == 500).count();
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert!((1..=3).contains(&failed) && failed + taken == SENDERS, "{statuses:?}");
    assert_eq!(world.list("/v1/usage_events").await.len(), taken);
    server.stop(false).await;
}
