//! P8: several processes on one PostgreSQL share the work and do none of it twice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use accrue_core::clock::{Clock, SystemClock};
use accrue_platform::db::{Db, DbConfig};
use serde_json::{Value, json};

use crate::support::{Engine::Postgres, process::Installation, process::Process, text};

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
