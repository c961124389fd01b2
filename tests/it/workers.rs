//! The queue and its workers: jobs that died, leases that were lost, leaders that are gone, endpoints that hang, work
//! that takes long.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use accrue::{
    app::{
        App, Job, JobContext, JobError, Share, enqueue, job_runner, start_workers, tell_all, work_until_idle,
    },
    auth::{self, Mode},
};
use accrue_core::id::TenantId;
use accrue_platform::{
    gate::Gate,
    lease::Lease,
    queue::{self, Claim, Due, JobState, NewJob, Turn},
};
use chrono::TimeDelta;
use rstest::rstest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{Engine, Engine::*, Reply, Shop, World, text};

/// What must happen happens long before that.
const PATIENCE: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(30);

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_listed_and_runs_again_or_is_forgotten_when_somebody_says_so(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_invalid_request")).await;
    let world = &shop.world;
    let dead = world.dead_jobs().await;
    let [job] = dead.as_slice() else { panic!("{dead:#?}") };
    assert_eq!((&job["name"], &job["state"]), (&json!("payments.collect"), &json!("dead")));
    assert!(text(&job["last_error"]).contains("refuses every request"), "{job}");
    assert_eq!(world.list("/v1/jobs?state=dead").await, dead);
    let address = format!("/v1/jobs/{}", text(&job["id"]));

    let retried = world.post(&format!("{address}/retry"), json!({})).await;
    assert_eq!(retried["state"], "queued");
    assert_eq!(world.list("/v1/jobs?state=queued").await[0]["id"], job["id"]);
    assert_eq!(world.send("POST", &format!("{address}/retry"), &json!({})).await.status, 404, "not dead");
    assert_eq!(world.send("DELETE", &address, &json!({})).await.status, 404, "not dead");
    world.work().await;
    assert_eq!(shop.attempts().await.len(), 2, "it ran again, and died again");

    assert_eq!(world.send("DELETE", &address, &json!({})).await.expect(200)["state"], "discarded");
    assert!(world.dead_jobs().await.is_empty());
    assert_eq!(world.send("DELETE", &address, &json!({})).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_dead_job_does_not_exist_and_a_cursor_that_is_none_is_refused(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_invalid_request")).await;
    let world = &shop.world;
    let address = format!("/v1/jobs/{}", text(&world.dead_jobs().await[0]["id"]));
    let stranger = world.stranger().await;

    let list = Reply::of(world.request_as(&stranger, "GET", "/v1/jobs")).await.expect(200);
    assert_eq!(list["data"], json!([]));
    for (method, path) in [("POST", format!("{address}/retry")), ("DELETE", address)] {
        let reply = Reply::of(world.request_as(&stranger, method, &path).json(&json!({}))).await;
        assert_eq!(reply.status, 404, "{method}");
    }
    for cursor in ["starting_after", "ending_before"] {
        let reply = world.send("GET", &format!("/v1/jobs?{cursor}=nonsense"), &json!({})).await;
        assert_eq!((reply.status, reply.errors()), (422, vec![format!("{cursor} malformed")]));
    }
    assert_eq!(world.send("GET", "/v1/jobs?state=tired", &json!({})).await.status, 422);
    assert_eq!(world.dead_jobs().await.len(), 1);
}

/// A customer who lives by the real time, and an invoice that is about to be collected.
async fn sell(world: &World, token: &str) {
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "30"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    world.create("/v1/plans", plan).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    world.create("/v1/payment_methods", json!({"customer": "acme", "token": token})).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "pro"})).await;
}

/// The status of every attempt at every payment.
async fn attempts(world: &World) -> Vec<String> {
    let payments = world.list("/v1/payments").await;
    let attempts = payments.iter().flat_map(|payment| payment["attempts"].as_array().unwrap());
    attempts.map(|attempt| text(&attempt["status"])).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_changes_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    // The gateway takes longer, two seconds, than we wait: there is time to lose a lease.
    let Some(world) = World::with(on, &[("gateway_timeout_ms", "1500")]).await else { return };
    sell(&world, "tok_slow").await;
    let app = world.app.clone();
    let paused = tokio::spawn(async move { work_until_idle(&app).await });
    let started = Instant::now();
    while attempts(&world).await != ["started"] {
        assert!(started.elapsed() < PATIENCE, "the moment was missed");
    }

    world.clock.advance(TimeDelta::seconds(31));
    let claim = Claim { due: Due::ByWallClock, except: &[], limit: 10, lease: LEASE };
    let stolen = queue::claim(&world.app.db, world.app.now(), claim, &mut Turn::default()).await.unwrap();
    assert!(stolen.iter().any(|job| job.name == "payments.collect"), "{stolen:#?}");
    paused.await.unwrap().unwrap();
    assert_eq!(attempts(&world).await, ["started"], "who lost the lease may not say what became of it");

    // The thief has died as well.
    world.clock.advance(TimeDelta::seconds(31));
    world.work().await;
    assert_eq!(attempts(&world).await, ["succeeded"]);
    assert_eq!(world.list("/v1/invoices").await[0]["status"], "paid");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_process_leads_once_the_leaders_lease_has_ended(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open_by_the_wall_clock(world, "tok_visa").await;
    let world = &shop.world;
    world.clock.set("2026-02-01T00:00:00Z".parse().unwrap());
    let ttl = Duration::from_secs(15);
    let gone = Lease::take(&world.app.db, "scheduler", "gone", world.app.now(), ttl).await.unwrap();
    let gone = gone.expect("nobody leads yet");
    let workers = start_workers(&world.app);
    let other = Lease::take(&world.app.db, "scheduler", "other", world.app.now(), ttl).await.unwrap();
    assert_eq!(other, None);
    assert_eq!(world.list("/v1/invoices").await.len(), 1, "nobody looks for what is due");

    world.clock.advance(TimeDelta::seconds(16));
    let started = Instant::now();
    while world.list("/v1/invoices").await.len() < 2 {
        assert!(started.elapsed() < PATIENCE, "nobody took over");
    }

    let tx = world.app.db.begin().await.unwrap();
    assert!(!gone.fence(&tx).await.unwrap(), "who led before is refused");
    tx.rollback().await.unwrap();
    workers.stop(Duration::from_secs(5)).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_collected_although_every_endpoint_hangs(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    // They take connections and never answer.
    let endpoints: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    for endpoint in &endpoints {
        let url = format!("http://{}/hooks", endpoint.local_addr().unwrap());
        world.create("/v1/webhook_endpoints", json!({"url": url, "events": ["*"]})).await;
    }
    for number in 0..10 {
        world.create("/v1/customers", json!({"name": format!("Customer {number}")})).await;
    }
    let workers = start_workers(&world.app);
    let started = Instant::now();
    while world.list("/v1/jobs?state=running").await.is_empty() {
        assert!(started.elapsed() < PATIENCE, "nothing is delivered");
    }

    sell(&world, "tok_visa").await;

    let started = Instant::now();
    let is_paid = |invoices: &[Value]| invoices.iter().any(|invoice| invoice["status"] == "paid");
    while !is_paid(&world.list("/v1/invoices").await) {
        assert!(started.elapsed() < Duration::from_secs(10), "webhooks have taken every worker");
    }
    let running = world.list("/v1/jobs?state=running").await;
    let delivering = running.iter().filter(|job| job["name"] == "webhooks.deliver").count();
    assert!(delivering <= world.app.config.workers / 2, "{delivering}");
    drop(endpoints);
    workers.stop(Duration::ZERO).await;
}

/// Tells whom it may concern that it runs, and runs until it is let go.
#[derive(Serialize, Deserialize)]
struct Work<const IS_LONG: bool> {
    address: SocketAddr,
}

impl<const IS_LONG: bool> Job for Work<IS_LONG> {
    const NAME: &'static str = if IS_LONG { "tests.long" } else { "tests.short" };
    const SHARE: Share = if IS_LONG { Share::Quarter } else { Share::All };

    async fn run(&self, _: &JobContext) -> Result<(), JobError> {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        stream.write_u8(IS_LONG.into()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        Ok(())
    }
}

static LONG_AND_SHORT: accrue::app::Work = accrue::app::Work {
    jobs: &[&[job_runner::<Work<true>>(), job_runner::<Work<false>>()]],
    sweeps: &[],
    upkeep: &[],
    listeners: &[],
    belongings: &[],
    customer_locks: &[],
};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_take_long_have_a_quarter_of_the_workers(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let tenant = auth::service::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, now) = (listener.local_addr().unwrap(), world.app.now());
    let tx = world.app.db.begin().await.unwrap();
    for number in 0..5 {
        enqueue(&tx, tenant, None, now, number, &Work::<true> { address }).await.unwrap();
    }
    let later = now + TimeDelta::milliseconds(1);
    enqueue(&tx, tenant, None, later, 0, &Work::<false> { address }).await.unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(TimeDelta::seconds(1));
    let next = async || {
        let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a job starts").unwrap();
        (stream.read_u8().await.unwrap() == 1, stream)
    };

    let workers = start_workers(&App { work: &LONG_AND_SHORT, ..world.app.clone() });
    let running = [next().await, next().await, next().await];

    assert_eq!(running.iter().filter(|(is_long, _)| *is_long).count(), 2, "of 8 workers");
    let all = queue::list(world.app.db.reader(), tenant, JobState::Running, 10).await.unwrap();
    assert_eq!(all.len(), 3, "the other long ones wait: {all:#?}");
    drop(running);
    for _ in 0..3 {
        assert!(next().await.0, "one after the other has its turn");
    }
    workers.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_collected_although_many_hours_are_being_built_up() {
    let Some(world) = World::new(Postgres).await else { return };
    let tenant = auth::service::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id;
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    for number in 0..10 {
        let metric = json!({"code": format!("m{number}"), "event_name": "call", "aggregation": "count"});
        world.create("/v1/metrics", metric).await;
    }
    let event = json!({"event_id": "1", "customer_id": "other", "event_name": "call"});
    world.post("/v1/usage_events", event).await;
    // Events are on their way that do not arrive: every build waits for them.
    let writer = world.app.db.begin().await.unwrap();
    Gate::Usage.pass(&writer, tenant).await.unwrap();
    let workers = start_workers(&world.app);

    sell(&world, "tok_visa").await;

    let started = Instant::now();
    let is_paid = |invoices: &[Value]| invoices.iter().any(|invoice| invoice["status"] == "paid");
    while !is_paid(&world.list("/v1/invoices").await) {
        assert!(started.elapsed() < Duration::from_secs(10), "builds have taken every worker");
    }
    let running = world.list("/v1/jobs?state=running").await;
    let building = running.iter().filter(|job| job["name"] == "metering.build_hours").count();
    assert!(building <= 2, "{running:#?}");
    writer.rollback().await.unwrap();
    workers.stop(PATIENCE).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_lease_of_a_test_clock_does_not_move_its_hands(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let endpoint = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", endpoint.local_addr().unwrap());
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/webhook_endpoints", json!({"url": url, "events": ["customer.created"]})).await;
    world.create("/v1/customers", json!({"name": "Acme", "test_clock": clock})).await;
    let address = format!("/v1/test_clocks/{clock}");

    let path = format!("{address}/advance");
    let to = json!({"to": "2026-03-01T00:00:00Z"});
    let moving = world.send("POST", &path, &to);
    let stealing = async {
        // The instant takes long: in its middle somebody else takes the clock.
        let (mut stream, _) = endpoint.accept().await.unwrap();
        let name = format!("test_clock:{clock}");
        let steal = "update leases set token = token + 1, expires_at = '2027-01-01T00:00:00+00:00'";
        world.sql(&format!("{steal} where name = '{name}'")).await;
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        let started = Instant::now();
        while world.list("/v1/webhook_deliveries").await[0]["status"] != "succeeded" {
            assert!(started.elapsed() < PATIENCE, "it was not delivered");
        }
        for _ in 0..100 {
            assert_eq!(world.get(&address).await["now"], "2026-02-01T00:00:00Z");
        }
        let release = "update leases set expires_at = '2025-01-01T00:00:00+00:00'";
        world.sql(&format!("{release} where name = '{name}'")).await;
    };
    let (moved, ()) = tokio::join!(moving, stealing);

    let moved = moved.expect(200);
    assert_eq!((&moved["now"], &moved["status"]), (&json!("2026-03-01T00:00:00Z"), &json!("ready")));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_should_have_run_or_whose_worker_is_dead_is_found(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/webhook_endpoints", json!({"url": "http://127.0.0.1:1/", "events": ["*"]})).await;
    world.create("/v1/customers", json!({"name": "Acme"})).await;
    let db = world.app.db.reader();
    let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    tell_all(&world.app, tenant).await.unwrap();
    let (now, later) = (world.app.now(), world.app.now() + TimeDelta::hours(1));

    assert!(queue::stuck(db, tenant, now).await.unwrap().is_empty());
    assert_eq!(queue::stuck(db, tenant, later).await.unwrap()[0].1, "webhooks.deliver");
    world.sql("update jobs set state = 'running', leased_until = run_at").await;
    assert!(queue::stuck(db, tenant, now).await.unwrap().is_empty());
    assert_eq!(queue::stuck(db, tenant, later).await.unwrap().len(), 1);
}

/// What looks at the present state, and has to look again after it changed.
fn look(world: &World, tenant: TenantId) -> NewJob {
    let (key, payload) = ("look:acme".to_owned(), "{}".to_owned());
    NewJob { tenant, name: "nobody.knows", key, payload, run_at: world.app.now(), test_clock: None }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_enqueued_again_while_it_runs_runs_once_more(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let tenant = auth::service::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let (db, now) = (&world.app.db, world.app.now());
    let enqueue = async || {
        let tx = db.begin().await.unwrap();
        queue::enqueue_again(&tx, now, vec![look(&world, tenant)]).await.unwrap();
        tx.commit().await.unwrap();
    };
    let claim_at = async |at| {
        let claim = Claim { due: Due::ByWallClock, except: &[], limit: 10, lease: LEASE };
        queue::claim(db, at, claim, &mut Turn::default()).await.unwrap()
    };
    let (claim, later) = (async || claim_at(now).await, now + TimeDelta::seconds(1));
    enqueue().await;
    enqueue().await;
    let first = claim().await;
    assert_eq!(first.len(), 1, "it waited, so twice is once");

    enqueue().await;
    enqueue().await;
    assert!(claim().await.is_empty(), "one at a time");
    queue::finish(db, &first[0], later).await.unwrap();

    assert!(claim().await.is_empty(), "it stands at the end of the queue");
    let second = claim_at(later).await;
    assert_eq!(second.len(), 1, "it has not seen what happened while it ran");
    queue::finish(db, &second[0], later).await.unwrap();
    assert!(claim_at(later).await.is_empty());

    enqueue().await;
    world.sql("update jobs set state = 'dead', failures = 20 where name = 'nobody.knows'").await;
    assert!(claim_at(later).await.is_empty());
    enqueue().await;
    assert_eq!(claim_at(later).await.len(), 1, "what it failed on may be another now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_not_run_before_what_enqueued_it_again_is_committed() {
    let Some(world) = World::new(Postgres).await else { return };
    let tenant = auth::service::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let (db, now) = (&world.app.db, world.app.now());
    let claim = Claim { due: Due::ByWallClock, except: &[], limit: 10, lease: LEASE };
    let tx = db.begin().await.unwrap();
    queue::enqueue_again(&tx, now, vec![look(&world, tenant)]).await.unwrap();
    tx.commit().await.unwrap();

    let changing = db.begin().await.unwrap();
    queue::enqueue_again(&changing, now, vec![look(&world, tenant)]).await.unwrap();
    assert!(
        queue::claim(db, now, claim, &mut Turn::default()).await.unwrap().is_empty(),
        "it would not see the change"
    );
    changing.commit().await.unwrap();
    let claimed = queue::claim(db, now, claim, &mut Turn::default()).await.unwrap();
    assert_eq!(claimed.len(), 1);

    // It ends while another change is under way: the end waits for that.
    let changing = db.begin().await.unwrap();
    queue::enqueue_again(&changing, now, vec![look(&world, tenant)]).await.unwrap();
    let end = queue::finish(db, &claimed[0], now);
    let (ended, ()) = tokio::join!(end, async { changing.commit().await.unwrap() });
    ended.unwrap();
    assert_eq!(
        queue::claim(db, now, claim, &mut Turn::default()).await.unwrap().len(),
        1,
        "it runs once more"
    );
}
