//! P8: several processes on one PostgreSQL share the work and do none of it twice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::{Db, DbConfig};
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use serde_json::{Value, json};

use crate::support::{Engine::Postgres, Reply, World, process::Installation, process::Process, text};

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_on_a_new_database_open_one_account() {
    let Some(home) = Installation::empty(Postgres).await else { return };
    let starts = (0..4).map(|_| home.serve());
    let processes = futures_util::future::join_all(starts).await;
    let db = Db::open(&DbConfig::new(home.database_url.clone())).await.unwrap();
    let tenants = accrue::auth::service::all_tenants(db.reader()).await.unwrap();
    drop(processes);
    assert_eq!(tenants.len(), 2, "one account has a live and a test tenant: {tenants:?}");
}

const SUBSCRIPTIONS: usize = 60;

async fn jobs_done(home: &Installation, process: &Process) -> u64 {
    let reply = home.try_send(process, "GET", "/metrics", &Value::Null).await.unwrap();
    let counts = reply.text.lines().filter(|line| line.starts_with("jobs_total") && line.contains("done"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_and_do_none_of_it_twice() {
    let Some(home) = Installation::new(Postgres).await else { return };
    let (one, other) = (home.serve().await, home.serve().await);
    let post =
        async |process: &Process, path: &str, body: Value| home.send(process, "POST", path, &body).await;
    let prices = json!([{"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "10.00"}}]);
    let interval = json!({"unit": "month", "count": 1});
    post(
        &one,
        "/v1/plans",
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": prices}),
    )
    .await;

    // Back-dated by two whole periods: three invoices each are due at once, by the real time.
    let start = SystemClock.now() - chrono::TimeDelta::days(65);
    for number in 0..SUBSCRIPTIONS {
        let process = if number % 2 == 0 { &one } else { &other };
        let name = format!("customer-{number}");
        post(process, "/v1/customers", json!({"external_id": name, "name": name, "email": "x@example.com"}))
            .await;
        post(process, "/v1/payment_methods", json!({"customer": name, "token": "tok_visa"})).await;
        post(process, "/v1/subscriptions", json!({"customer": name, "plan": "pro", "start_at": start})).await;
    }

    let started = Instant::now();
    let invoices = loop {
        let invoices = home.all(&one, "/v1/invoices").await;
        let paid = invoices.iter().filter(|invoice| invoice["status"] == "paid").count();
        if paid == 3 * SUBSCRIPTIONS {
            break invoices;
        }
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "{paid} of {} invoices are paid",
            3 * SUBSCRIPTIONS
        );
    };

    let periods: BTreeSet<String> = invoices
        .iter()
        .map(|invoice| format!("{} {}", text(&invoice["subscription"]), text(&invoice["period"]["start"])))
        .collect();
    assert_eq!((invoices.len(), periods.len()), (3 * SUBSCRIPTIONS, 3 * SUBSCRIPTIONS));
    let charges =
        accrue_sandbox_gateway::Sandbox::open(home.gateway_file()).await.unwrap().succeeded().await.unwrap();
    assert_eq!(charges.len(), 3 * SUBSCRIPTIONS);
    let done = (jobs_done(&home, &one).await, jobs_done(&home, &other).await);
    assert!(done.0 > 0 && done.1 > 0, "both work: {done:?}");
    home.run(&["verify"]);
}

/// Two servers on one database that know nothing of each other.
async fn two_servers() -> Option<(World, String)> {
    let world = World::new(Postgres).await?;
    let other = world.serve_again();
    Some((world, other))
}

async fn make(world: &World, url: &str, path: &str, key: String, body: &Value) -> Reply {
    let request = reqwest::Client::new().post(format!("{url}{path}")).bearer_auth(&world.key);
    Reply::of(request.header("idempotency-key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_twin_runs_on_another_replica_is_told_so_and_not_refused_for_good() {
    let Some((world, other)) = two_servers().await else { return };
    let body = json!({"external_id": "acme", "name": "Acme"});
    // Whoever inserts has to wait, and so the first request is under way as long as the test wants.
    let holding = world.app.db.begin().await.unwrap();
    holding.execute_unprepared("lock table customers in exclusive mode").await.unwrap();
    let waiting = async |count: i64| {
        loop {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                and wait_event_type = 'Lock' and wait_event = 'relation'";
            let row =
                world.app.db.reader().query_one_raw(Statement::from_string(DatabaseBackend::Postgres, sql));
            if row.await.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap() == count {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let twins = async {
        waiting(1).await;
        let twin = make(&world, &other, "/v1/customers", "k".to_owned(), &body);
        let twin = tokio::select! { twin = twin => Some(twin), () = waiting(2) => None };
        holding.rollback().await.unwrap();
        twin
    };

    let (first, twin) = tokio::join!(make(&world, &world.url, "/v1/customers", "k".to_owned(), &body), twins);

    let twin = twin.expect("the twin does not wait");
    assert_eq!((twin.status, text(&twin.json()["code"])), (409, "idempotency_in_flight".to_owned()));
    let again = make(&world, &other, "/v1/customers", "k".to_owned(), &body).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!((again.status, again.text), (201, first.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_on_two_replicas_at_once_has_one_effect_and_is_never_refused_for_good() {
    let Some((world, other)) = two_servers().await else { return };
    for round in 0..20 {
        let name = format!("customer-{round}");
        let body = json!({"external_id": name, "name": name});
        let urls = [&world.url, &other, &world.url, &other];
        let sent = urls.map(|url| make(&world, url, "/v1/customers", name.clone(), &body));
        for reply in futures_util::future::join_all(sent).await {
            let in_flight = reply.status == 409 && reply.json()["code"] == "idempotency_in_flight";
            assert!(in_flight || reply.status == 201, "{}", reply.text);
        }
    }
    assert_eq!(world.list("/v1/customers?limit=100").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_on_one_replica_is_refused_by_the_other_within_a_second() {
    let Some((world, other)) = two_servers().await else { return };
    let key = world.create("/v1/api_keys", json!({"kind": "secret"})).await;
    let ask = async || {
        let request = reqwest::Client::new().get(format!("{other}/v1/customers"));
        Reply::of(request.bearer_auth(text(&key["key"]))).await.status
    };
    assert_eq!(ask().await, 200, "the other knows the key now");

    world.post(&format!("/v1/api_keys/{}/revoke", text(&key["id"])), json!({})).await;

    let revoked_at = Instant::now();
    loop {
        // What counts is when it was asked: the answer may take its time.
        let asked_after = revoked_at.elapsed();
        if ask().await != 200 {
            break;
        }
        assert!(asked_after < Duration::from_secs(1), "still good");
    }
    assert_eq!(ask().await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_one_replica_holds_for_the_next_event_on_the_other() {
    let Some((world, other)) = two_servers().await else { return };
    let metric =
        |code: &str| json!({"code": code, "name": code, "event_name": "call", "aggregation": "count"});
    let call = async |event_id: &str| {
        let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call"});
        let request = reqwest::Client::new().post(format!("{other}/v1/usage_events"));
        let taken = Reply::of(request.bearer_auth(&world.key).json(&event)).await;
        assert_eq!(taken.json()["accepted"], 1, "{taken:?}");
    };
    world.create("/v1/metrics", metric("calls")).await;
    let first = world.create("/v1/customers", json!({"external_id": "acme", "name": "First"})).await;
    call("e-000001").await;

    let path = format!("/v1/customers/{}", text(&first["id"]));
    world.send("PATCH", &path, &json!({"external_id": "acme-old"})).await;
    let second = world.create("/v1/customers", json!({"external_id": "acme", "name": "Second"})).await;
    world.create("/v1/metrics", metric("calls_again")).await;
    call("e-000002").await;

    world.work().await;
    for (customer, used) in [(&first, "1"), (&second, "1")] {
        for code in ["calls", "calls_again"] {
            let path = format!("/v1/customers/{}/usage?metric={code}", text(&customer["id"]));
            assert_eq!(world.get(&path).await["quantity"], used, "{code}");
        }
    }
}
