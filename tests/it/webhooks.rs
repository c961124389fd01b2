//! Outgoing webhooks: signed, retried, filtered, and never in each other's way.

use std::time::{Duration, Instant};

use accrue::app::start_workers;
use accrue_platform::signature::{Secret, SignatureError, SignatureHeaders, verify};
use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Receiver, Reply, Shop, World, text};

async fn endpoint(world: &World, receiver: &Receiver, events: &[&str]) -> Value {
    world.create("/v1/webhook_endpoints", json!({"url": receiver.url, "events": events})).await
}

/// Something that happens to somebody who lives by the real time.
async fn customer(world: &World, name: &str) {
    world.create("/v1/customers", json!({"external_id": name, "name": name})).await;
    world.work().await;
}

/// The only delivery, with its attempts.
async fn delivery(world: &World) -> Value {
    let deliveries = world.list("/v1/webhook_deliveries").await;
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    world.get(&format!("/v1/webhook_deliveries/{}", text(&deliveries[0]["id"]))).await
}

fn statuses(delivery: &Value) -> Vec<u64> {
    let attempts = delivery["attempts"].as_array().expect("attempts");
    attempts.iter().map(|attempt| attempt["answered_status"].as_u64().unwrap_or_default()).collect()
}

fn address(endpoint: &Value) -> String {
    format!("/v1/webhook_endpoints/{}", text(&endpoint["id"]))
}

/// Is the last webhook signed with this secret, at `now`?
fn check(receiver: &Receiver, secret: &str, now: DateTime<Utc>) -> Result<(), SignatureError> {
    let secret: Secret = secret.parse().unwrap();
    let webhooks = receiver.received();
    let webhook = webhooks.last().expect("one came");
    let headers = SignatureHeaders {
        id: Some(&webhook.id),
        timestamp: Some(&webhook.timestamp),
        signature: Some(&webhook.signature),
    };
    verify(&[secret], &headers, &webhook.body, now, TimeDelta::minutes(5))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_tried_until_it_is_taken_with_the_same_bytes_and_a_fresh_signature(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let secret = text(&endpoint(&world, &receiver, &["customer.created"]).await["secret"]);
    receiver.fail_with(&[500, 302]);
    customer(&world, "acme").await;

    for wait in [TimeDelta::seconds(6), TimeDelta::minutes(6)] {
        assert_eq!(check(&receiver, &secret, world.app.now()), Ok(()));
        world.work().await;
        world.clock.advance(wait);
        world.work().await;
    }
    world.clock.advance(TimeDelta::days(5));
    world.work().await;

    let received = receiver.received();
    assert_eq!(received.len(), 3, "taken at the third attempt, and not sent again");
    assert!(received.iter().all(|webhook| webhook.body == received[0].body && webhook.id == received[0].id));
    assert!(received[0].timestamp < received[1].timestamp && received[1].timestamp < received[2].timestamp);
    let delivery = delivery(&world).await;
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(statuses(&delivery), [500, 302, 200]);

    let sent = received[0].json();
    assert_eq!(sent, world.get(&format!("/v1/events/{}", received[0].id)).await);
    assert_eq!((&sent["type"], &sent["livemode"]), (&json!("customer.created"), &json!(false)));
    assert_eq!(sent["data"]["object"]["external_id"], "acme");
    assert!(sent["sequence"].is_i64());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn ten_attempts_follow_the_real_time_whatever_a_test_clock_says_and_a_person_may_try_once_more(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    endpoint(&world, &receiver, &["customer.created"]).await;
    receiver.fail_with(&[503; 10]);
    let clock = world.test_clock("2026-05-01T00:00:00Z").await;
    world.create("/v1/customers", json!({"name": "Acme", "test_clock": clock})).await;
    world.work().await;
    world.advance(&clock, "2026-05-05T00:00:00Z").await;
    assert_eq!(receiver.received().len(), 1, "the rest waits for the real time");

    for (tried, minutes) in (1..).zip([1, 7, 37, 3 * 60, 6 * 60, 12 * 60, 17 * 60, 24 * 60, 29 * 60]) {
        assert_eq!(receiver.received().len(), tried);
        world.clock.advance(TimeDelta::minutes(minutes));
        world.work().await;
    }

    let exhausted = delivery(&world).await;
    assert_eq!((&exhausted["status"], statuses(&exhausted)), (&json!("exhausted"), vec![503; 10]));
    assert_eq!(exhausted["next_attempt_at"], Value::Null);
    let endpoints = world.list("/v1/webhook_endpoints").await;
    assert_eq!(endpoints[0]["enabled"], true, "five days have not passed");

    world.post(&format!("/v1/webhook_deliveries/{}/retry", text(&exhausted["id"])), json!({})).await;
    world.work().await;
    let taken = delivery(&world).await;
    assert_eq!((&taken["status"], &taken["attempt_count"]), (&json!("succeeded"), &json!(11)));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_moved_waits_for_no_endpoint_that_fails(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/webhook_endpoints", json!({"url": "http://127.0.0.1:1/", "events": ["*"]})).await;
    let shop = Shop::open(world, Some("tok_visa")).await;
    let world = &shop.world;
    let before = world.list("/v1/webhook_deliveries?limit=100").await;
    assert!(before.iter().any(|delivery| delivery["attempt_count"] == 1), "{before:?}");
    world.clock.advance(TimeDelta::hours(1));

    shop.advance("2026-05-01T00:00:00Z").await;

    let of_renewals = async || {
        let mut all = world.list("/v1/webhook_deliveries?limit=100").await;
        all.retain(|delivery| before.iter().all(|known| known["id"] != delivery["id"]));
        all
    };
    let waiting = of_renewals().await;
    assert!(waiting.len() >= 10, "{}", waiting.len());
    for delivery in &waiting {
        let told = (&delivery["status"], &delivery["attempt_count"], &delivery["next_attempt_at"]);
        assert_eq!(told, (&json!("pending"), &json!(0), &json!("2026-01-01T01:00:00Z")));
    }
    world.work().await;
    assert!(of_renewals().await.iter().all(|delivery| delivery["attempt_count"] == 1));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_does_not_wait_and_leaves_no_attempt_too_many(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    endpoint(&world, &receiver, &["*"]).await;
    receiver.fail_with(&[500, 500]);
    customer(&world, "acme").await;
    let retry = format!("/v1/webhook_deliveries/{}/retry", text(&delivery(&world).await["id"]));

    for _ in 0..2 {
        world.post(&retry, json!({})).await;
    }
    world.work().await;
    assert_eq!(statuses(&delivery(&world).await), [500, 500], "asked twice before it ran: tried once");
    world.post(&retry, json!({})).await;
    world.work().await;
    world.clock.advance(TimeDelta::days(5));
    world.work().await;

    assert_eq!(statuses(&delivery(&world).await), [500, 500, 200]);
    assert_eq!(receiver.received().len(), 3, "the attempts that waited for their time were not made");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_hears_nothing_more_and_the_others_are_told(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let (gone, other) = (Receiver::start(), Receiver::start());
    let made = endpoint(&world, &gone, &["*"]).await;
    endpoint(&world, &other, &["webhook_endpoint.*"]).await;
    gone.fail_with(&[410]);

    customer(&world, "one").await;
    customer(&world, "two").await;

    assert_eq!(gone.kinds(), ["customer.created"]);
    assert_eq!(other.kinds(), ["webhook_endpoint.disabled"]);
    assert_eq!(other.received()[0].json()["data"]["object"]["id"], made["id"]);
    let now = world.get(&address(&made)).await;
    assert_eq!((&now["enabled"], &now["disabled_reason"]), (&json!(false), &json!("gone")));
    let canceled = world.list("/v1/webhook_deliveries?status=canceled").await;
    assert_eq!(canceled.len(), 1);
    let retry = format!("/v1/webhook_deliveries/{}/retry", text(&canceled[0]["id"]));
    assert_eq!(world.send("POST", &retry, &json!({})).await.status, 409);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn five_days_of_nothing_but_failures_disable_an_endpoint(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let made = endpoint(&world, &receiver, &["customer.created"]).await;
    receiver.fail_with(&[500; 100]);

    for day in 0..5 {
        customer(&world, &format!("day-{day}")).await;
        assert_eq!(world.get(&address(&made)).await["enabled"], true, "day {day}");
        world.clock.advance(TimeDelta::days(1));
    }
    customer(&world, "day-5").await;

    let disabled = world.get(&address(&made)).await;
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("failing")));
    assert_eq!(disabled["failing_since_at"], "2026-01-01T00:00:00Z");
    let enabled = world.send("PATCH", &address(&made), &json!({"enabled": true})).await.expect(200);
    assert_eq!((&enabled["enabled"], &enabled["failing_since_at"]), (&json!(true), &Value::Null));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_replayed_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let made = endpoint(&world, &receiver, &["customer.created"]).await;
    customer(&world, "taken").await;
    world.send("PATCH", &address(&made), &json!({"enabled": false})).await.expect(200);
    customer(&world, "missed").await;
    let replay = json!({"since": "2026-01-01T00:00:00Z"});
    let path = format!("{}/replay", address(&made));
    assert_eq!(world.send("POST", &path, &replay).await.status, 409, "it is off");

    world.send("PATCH", &address(&made), &json!({"enabled": true})).await.expect(200);
    for _ in 0..2 {
        world.send("POST", &path, &replay).await.expect(202);
        world.work().await;
    }

    let names: Vec<_> =
        receiver.received().iter().map(|webhook| text(&webhook.json()["data"]["object"]["name"])).collect();
    assert_eq!(names, ["taken", "missed"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_after_a_rotation_both_sign_for_a_day(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({"url": receiver.url, "events": ["*"], "secret": own});
    let made = world.create("/v1/webhook_endpoints", body).await;
    assert_eq!(made["secret"], own);
    assert_eq!(world.get(&address(&made)).await.get("secret"), None);

    let rotated = world.post(&format!("{}/rotate_secret", address(&made)), json!({})).await;
    let new = text(&rotated["secret"]);
    customer(&world, "soon").await;
    let now = world.app.now();
    assert_eq!((check(&receiver, own, now), check(&receiver, &new, now)), (Ok(()), Ok(())));

    world.clock.advance(TimeDelta::hours(24));
    customer(&world, "later").await;
    let now = world.app.now();
    assert_eq!(check(&receiver, own, now), Err(SignatureError::Mismatch));
    assert_eq!(check(&receiver, &new, now), Ok(()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_what_the_endpoint_said_and_leaves_no_trace(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let made = endpoint(&world, &receiver, &["invoice.*"]).await;
    let test = format!("{}/test", address(&made));
    receiver.fail_with(&[500]);

    let failed = world.post(&test, json!({})).await;
    let passed = world.post(&test, json!({})).await;

    assert_eq!((&failed["succeeded"], &failed["attempt"]["answered_status"]), (&json!(false), &json!(500)));
    assert_eq!((&passed["succeeded"], &passed["attempt"]["answered_status"]), (&json!(true), &json!(200)));
    assert_eq!(receiver.kinds(), ["webhook.test", "webhook.test"]);
    assert_eq!(check(&receiver, &text(&made["secret"]), world.app.now()), Ok(()));
    assert!(
        world.list("/v1/events").await.is_empty() && world.list("/v1/webhook_deliveries").await.is_empty()
    );
    drop(receiver);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_address_inside_can_be_entered(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0x0a000001/",
        "http://[fd00::1]/",
        "http://user@example.com/",
        "ftp://example.com/",
        "http://example.com:6379/",
        "nonsense",
    ] {
        let body = json!({"url": url, "events": ["*"]});
        let refused = world.send("POST", "/v1/webhook_endpoints", &body).await;
        assert_eq!((refused.status, refused.errors()), (422, vec!["/url unreachable".to_owned()]), "{url}");
    }
    let body = json!({"url": "https://example.com", "events": ["invoice", "*"], "secret": "hunter2"});
    let refused = world.send("POST", "/v1/webhook_endpoints", &body).await;
    assert_eq!(refused.errors(), ["/events/0 malformed", "/secret malformed"]);
    assert!(world.list("/v1/webhook_endpoints").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_endpoint_is_gone_and_its_log_stays(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let made = endpoint(&world, &receiver, &["*"]).await;
    receiver.fail_with(&[500]);
    customer(&world, "acme").await;

    world.send("DELETE", &address(&made), &json!({})).await.expect(200);
    customer(&world, "bcme").await;
    world.clock.advance(TimeDelta::days(1));
    world.work().await;

    assert_eq!(world.send("GET", &address(&made), &Value::Null).await.status, 404);
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(delivery(&world).await["status"], "canceled");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_events_is_filtered_and_nobody_elses(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let made = endpoint(&world, &receiver, &["*"]).await;
    customer(&world, "acme").await;
    customer(&world, "bcme").await;
    world.send("PATCH", "/v1/customers/acme", &json!({"name": "Acme Inc"})).await.expect(200);
    world.work().await;

    let of = async |filter: &str| -> Vec<String> {
        let events = world.list(&format!("/v1/events?{filter}")).await;
        events.iter().map(|event| text(&event["type"])).collect()
    };
    assert_eq!(of("customer=acme").await, ["customer.updated", "customer.created"]);
    assert_eq!(of("type=customer.created").await.len(), 2);
    let bcme = text(&world.get("/v1/customers/bcme").await["id"]);
    assert_eq!(of(&format!("object={bcme}")).await, ["customer.created"]);

    let stranger = world.stranger().await;
    let event = text(&world.list("/v1/events").await[0]["id"]);
    let delivery = text(&world.list("/v1/webhook_deliveries").await[0]["id"]);
    for path in [address(&made), format!("/v1/events/{event}"), format!("/v1/webhook_deliveries/{delivery}")]
    {
        assert_eq!(Reply::of(world.request_as(&stranger, "GET", &path)).await.status, 404, "{path}");
    }
    let theirs = Reply::of(world.request_as(&stranger, "GET", "/v1/events")).await.json();
    assert_eq!(theirs["data"], json!([]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_does_not_delay_another(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    // Takes connections and never answers.
    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", slow.local_addr().unwrap());
    world.create("/v1/webhook_endpoints", json!({"url": url, "events": ["*"]})).await;
    let fast = Receiver::start();
    endpoint(&world, &fast, &["*"]).await;
    let workers = start_workers(&world.app);

    let started = Instant::now();
    for number in 0..20 {
        world.create("/v1/customers", json!({"name": format!("Customer {number}")})).await;
    }
    while fast.received().len() < 20 && started.elapsed() < Duration::from_secs(12) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert_eq!(fast.received().len(), 20, "all of them before one attempt at the slow endpoint has ended");
    workers.stop(Duration::from_millis(1)).await;
}
