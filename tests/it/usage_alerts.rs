//! Alerts on usage: when they trigger, when they recover, and who hears of it.

use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Receiver, Reply, World, text};

/// A world that sums up the `n` of the events `call`, and sells them: the first 100 for 0.10, the others for 0.015
/// each; 50 of them are granted. Its customer `acme` lives in Berlin on a test clock, from 10 January on.
struct Calls {
    world: World,
    clock: String,
}

impl Calls {
    async fn new(on: Engine) -> Option<Self> {
        let world = World::new(on).await?;
        let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum",
            "property": "n"});
        world.create("/v1/metrics", metric).await;
        world.create("/v1/features", json!({"code": "calls", "kind": "metered", "metric": "calls"})).await;
        let tiers = json!([{"up_to": "100", "unit_price": "0.10"}, {"up_to": null, "unit_price": "0.015"}]);
        let price = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
            "minimum_amount": "1.00", "model": {"type": "graduated", "tiers": tiers}});
        let plan = json!({"code": "api", "name": "API", "currency": "USD",
            "interval": {"unit": "month", "count": 1}, "prices": [price],
            "features": [{"feature": "calls", "value": "50"}]});
        world.create("/v1/plans", plan).await;
        let clock = world.test_clock("2026-01-10T12:00:00Z").await;
        let customer = json!({"external_id": "acme", "name": "Acme", "test_clock": clock, "currency": "USD",
            "timezone": "Europe/Berlin"});
        world.create("/v1/customers", customer).await;
        world.work().await;
        Some(Self { world, clock })
    }

    async fn subscribe(&self) -> String {
        let made = self.world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "api"})).await;
        self.world.work().await;
        text(&made["id"])
    }

    async fn alert(&self, kind: &str, threshold: &str) -> String {
        let body = json!({"customer": "acme", "metric": "calls", "kind": kind, "threshold": threshold});
        let made = self.world.create("/v1/usage_alerts", body).await;
        self.world.work().await;
        text(&made["id"])
    }

    async fn change(&self, alert: &str, change: Value) -> Value {
        let changed =
            self.world.send("PATCH", &format!("/v1/usage_alerts/{alert}"), &change).await.expect(200);
        self.world.work().await;
        changed
    }

    async fn call(&self, event_id: &str, n: &str, at: &str) {
        let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
            "metadata": {"n": n}});
        let answer = self.world.post("/v1/usage_events", event).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
        self.world.work().await;
    }

    async fn void(&self, event_id: &str) {
        self.world.post(&format!("/v1/usage_events/{event_id}/void"), json!({})).await;
        self.world.work().await;
    }

    async fn advance(&self, to: &str) {
        self.world.advance(&self.clock, to).await;
    }

    /// What was told, the oldest first: `triggered` or `recovered`, and the value then.
    async fn told(&self) -> Vec<String> {
        told(&self.world).await
    }

    async fn status(&self, alert: &str) -> String {
        text(&self.world.get(&format!("/v1/usage_alerts/{alert}")).await["status"])
    }
}

async fn told(world: &World) -> Vec<String> {
    let mut events = world.list("/v1/events?limit=100").await;
    events.retain(|event| text(&event["type"]).starts_with("usage_alert."));
    events.reverse();
    let line = |event: &Value| {
        let last = &event["data"]["object"]["last_trigger"];
        let kind = text(&event["type"]).replace("usage_alert.", "");
        let value = if kind == "triggered" { &last["value"] } else { &last["recovered_value"] };
        format!("{kind} {}", value.as_str().unwrap_or("-"))
    };
    events.iter().map(line).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_triggers_exactly_at_its_threshold_and_once_in_a_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = Calls::new(on).await else { return };
    let alert = shop.alert("quantity", "100.5").await;
    shop.call("a", "100.4999999999999999999999999", "2026-01-10T11:00:00Z").await;
    assert_eq!((shop.told().await.len(), shop.status(&alert).await), (0, "ok".to_owned()));

    shop.call("b", "0.0000000000000000000000001", "2026-01-10T11:30:00Z").await;
    shop.call("c", "7", "2026-01-10T11:40:00Z").await;

    assert_eq!(shop.told().await, ["triggered 100.5"]);
    let seen = shop.world.get(&format!("/v1/usage_alerts/{alert}")).await;
    assert_eq!((&seen["status"], &seen["threshold"]), (&json!("triggered"), &json!("100.5")));
    let last = &seen["last_trigger"];
    // No subscription: the month in Berlin.
    let january = json!({"start": "2025-12-31T23:00:00Z", "end": "2026-01-31T23:00:00Z"});
    assert_eq!((&last["period"], &last["subscription"]), (&january, &Value::Null));
    assert_eq!(
        (&last["triggered_at"], &last["recovered_at"]),
        (&json!("2026-01-10T12:00:00Z"), &Value::Null)
    );
    let measured = Reply::of(shop.world.request("GET", "/metrics")).await.text;
    assert!(measured.contains(r#"usage_alerts_total{outcome="triggered"}"#), "{measured}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn it_recovers_below_the_threshold_and_is_quiet_until_the_next_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = Calls::new(on).await else { return };
    let alert = shop.alert("quantity", "10").await;
    shop.call("a", "10", "2026-01-10T11:00:00Z").await;
    shop.void("a").await;
    assert_eq!(shop.told().await, ["triggered 10", "recovered 0"]);
    assert_eq!(shop.status(&alert).await, "ok");

    shop.call("b", "15", "2026-01-10T11:00:00Z").await;
    let amended = json!({"metadata": {"n": "9"}});
    shop.world.post("/v1/usage_events/b/amend", amended).await;
    shop.world.work().await;
    shop.call("c", "40", "2026-01-10T11:00:00Z").await;
    shop.call("d", "-45", "2026-01-10T11:00:00Z").await;
    assert_eq!(shop.told().await.len(), 2, "once in a period");

    shop.advance("2026-02-05T00:00:00Z").await;
    shop.call("e", "10", "2026-02-01T00:00:00Z").await;
    assert_eq!(shop.told().await, ["triggered 10", "recovered 0", "triggered 10"]);
    shop.call("f", "-0.5", "2026-02-01T00:00:00Z").await;
    assert_eq!(shop.told().await.last().unwrap(), "recovered 9.5");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_period_is_told_as_a_recovery_at_that_instant(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    let subscription = shop.subscribe().await;
    let alert = shop.alert("quantity", "10").await;
    shop.call("a", "10", "2026-01-10T12:00:00Z").await;
    // Of the day before the subscription.
    shop.call("before", "1000", "2026-01-09T12:00:00Z").await;
    assert_eq!(shop.told().await, ["triggered 10"]);
    let last = shop.world.get(&format!("/v1/usage_alerts/{alert}")).await["last_trigger"].clone();
    let period = json!({"start": "2026-01-10T12:00:00Z", "end": "2026-02-10T12:00:00Z"});
    assert_eq!((&last["subscription"], &last["period"]), (&json!(subscription), &period));

    let timeline = shop.world.advance(&shop.clock, "2026-02-10T12:00:00Z").await;

    assert!(timeline.contains(&"2026-02-10T12:00:00Z usage_alert.recovered".to_owned()), "{timeline:#?}");
    assert_eq!(shop.told().await, ["triggered 10", "recovered 0"]);
    shop.call("b", "11", "2026-02-10T12:00:00Z").await;
    assert_eq!(shop.told().await.last().unwrap(), "triggered 11");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_amount_is_what_the_invoice_would_say_to_the_cent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    shop.alert("amount", "10.08").await;
    // Nobody bills it yet.
    shop.call("early", "5000", "2026-01-10T11:00:00Z").await;
    assert_eq!(shop.told().await, [""; 0]);
    let subscription = shop.subscribe().await;
    shop.call("a", "104.9", "2026-01-10T12:00:00Z").await;
    let usage = shop.world.get(&format!("/v1/subscriptions/{subscription}/usage")).await;
    assert_eq!((&usage["amount"], shop.told().await.len()), (&json!("10.07"), 0));

    // 10 and 5 × 0.015 are 10.075, which is billed as 10.08.
    shop.call("b", "0.1", "2026-01-10T12:00:00Z").await;

    assert_eq!(shop.told().await, ["triggered 10.08"]);
    let alert = shop.world.list("/v1/usage_alerts").await[0].clone();
    assert_eq!((&alert["currency"], &alert["threshold"]), (&json!("USD"), &json!("10.08")));
    shop.advance("2026-02-10T12:00:00Z").await;
    let billed = shop.world.list("/v1/invoices").await[0].clone();
    assert_eq!(billed["lines"][0]["amount"], "10.08", "{billed:#}");
    assert_eq!(shop.told().await.last().unwrap(), "recovered 0.00");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_that_nobody_used_triggers_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    shop.subscribe().await;
    shop.alert("amount", "0.50").await;
    shop.call("a", "4.9", "2026-01-10T12:00:00Z").await;
    assert!(shop.told().await.is_empty(), "the minimum of 1.00 is not usage");
    shop.call("b", "0.1", "2026-01-10T12:00:00Z").await;
    assert_eq!(shop.told().await, ["triggered 0.50"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_limit_follows_the_limit(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    shop.alert("percent_of_limit", "80").await;
    shop.call("early", "5000", "2026-01-10T11:00:00Z").await;
    assert!(shop.told().await.is_empty(), "nothing is granted yet");
    let subscription = shop.subscribe().await;
    shop.call("a", "39.99", "2026-01-10T12:00:00Z").await;
    assert!(shop.told().await.is_empty());
    shop.call("b", "0.01", "2026-01-10T12:00:00Z").await;
    assert_eq!(shop.told().await, ["triggered 80"]);

    // Without a plan there is no limit, and no part of it.
    let path = format!("/v1/subscriptions/{subscription}/cancel");
    shop.world.post(&path, json!({"when": "now"})).await;
    shop.world.work().await;
    assert_eq!(shop.told().await, ["triggered 80", "recovered -"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_begins_to_bind_triggers_without_a_new_event(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    shop.alert("percent_of_limit", "100").await;
    shop.call("a", "60", "2026-01-10T12:00:00Z").await;
    assert!(shop.told().await.is_empty());
    shop.subscribe().await;
    assert_eq!(shop.told().await, ["triggered 120"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_counts_and_another_threshold_is_another_chance(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = Calls::new(on).await else { return };
    shop.call("a", "100", "2026-01-10T11:00:00Z").await;
    let alert = shop.alert("quantity", "80").await;
    assert_eq!(shop.told().await, ["triggered 100"]);

    shop.change(&alert, json!({"threshold": "120"})).await;
    assert_eq!(shop.told().await, ["triggered 100", "recovered 100"]);
    shop.call("b", "20", "2026-01-10T11:00:00Z").await;
    assert_eq!(shop.told().await.last().unwrap(), "triggered 120");
    shop.change(&alert, json!({"threshold": "80"})).await;
    assert_eq!(shop.told().await.len(), 3, "it triggered at 80 before");
    assert_eq!(shop.world.get(&format!("/v1/usage_alerts/{alert}")).await["status"], "triggered");
    shop.world.post("/v1/usage_events/a/void", json!({})).await;
    shop.world.work().await;
    assert_eq!(shop.told().await.last().unwrap(), "recovered 20");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_turned_off_or_deleted_is_silent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    let (off, gone) = (shop.alert("quantity", "10").await, shop.alert("quantity", "20").await);
    let changed = shop.change(&off, json!({"active": false, "name": "Quiet"})).await;
    assert_eq!((&changed["active"], &changed["status"]), (&json!(false), &json!("inactive")));
    let path = format!("/v1/usage_alerts/{gone}");
    let deleted = shop.world.send("DELETE", &path, &Value::Null).await.expect(200);
    assert_eq!(deleted, json!({"id": gone, "object": "usage_alert", "deleted": true}));

    shop.call("a", "50", "2026-01-10T11:00:00Z").await;
    shop.advance("2026-01-20T00:00:00Z").await;
    assert!(shop.told().await.is_empty());
    assert_eq!(Reply::of(shop.world.request("GET", &path)).await.status, 404);
    assert_eq!(shop.world.send("DELETE", &path, &Value::Null).await.status, 404);

    shop.change(&off, json!({"active": true})).await;
    assert_eq!(shop.told().await, ["triggered 50"]);
    // Turned off while it is triggered nothing is told, and turned on again it is as it was.
    shop.change(&off, json!({"active": false})).await;
    shop.change(&off, json!({"active": true})).await;
    assert_eq!((shop.told().await.len(), shop.status(&off).await), (1, "triggered".to_owned()));
    shop.void("a").await;
    assert_eq!(shop.told().await, ["triggered 50", "recovered 0"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_of_it_with_the_whole_alert(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url, "events": ["usage_alert.*"]});
    shop.world.create("/v1/webhook_endpoints", endpoint).await;
    let alert = shop.alert("quantity", "10").await;
    shop.call("a", "12", "2026-01-10T11:00:00Z").await;
    shop.void("a").await;

    assert_eq!(receiver.kinds(), ["usage_alert.triggered", "usage_alert.recovered"]);
    let data = receiver.received()[0].json()["data"].clone();
    assert_eq!((&data["object"]["id"], &data["object"]["metric"]), (&json!(alert), &json!("calls")));
    assert_eq!(data["previous"], json!({"status": "ok", "last_trigger": null}));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_waited_for_its_customer_and_usage_by_every_event_trigger_too(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let metric = json!({"code": "users", "name": "Users", "event_name": "login", "aggregation": "unique_count",
        "property": "user"});
    world.create("/v1/metrics", metric).await;
    world.send("PATCH", "/v1/account", &json!({"allow_unknown_customer": true})).await.expect(200);
    let login = |event_id: &str, user: &str| json!({"event_id": event_id, "customer_id": "acme", "event_name": "login", "metadata": {"user": user}});
    world.post("/v1/usage_events", json!([login("a", "ann"), login("b", "bob"), login("c", "ann")])).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let alert = json!({"customer": "acme", "metric": "users", "kind": "quantity", "threshold": 2});
    world.create("/v1/usage_alerts", alert).await;
    world.work().await;
    assert_eq!(told(&world).await, ["triggered 2"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_new_period_counts_in_it_although_the_old_one_is_not_billed_yet(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = Calls::new(on).await else { return };
    let world = &shop.world;
    world.create("/v1/customers", json!({"external_id": "now", "name": "Now"})).await;
    world.create("/v1/subscriptions", json!({"customer": "now", "plan": "api"})).await;
    for kind in ["quantity", "amount"] {
        let body = json!({"customer": "now", "metric": "calls", "kind": kind, "threshold": "5"});
        world.create("/v1/usage_alerts", body).await;
    }
    world.work().await;
    world.clock.set("2026-02-01T00:00:05Z".parse().unwrap());
    let event = |event_id: &str, at: &str| json!({"event_id": event_id, "customer_id": "now", "event_name": "call", "timestamp": at, "metadata": {"n": 60}});
    let events = json!([event("old", "2026-01-31T23:59:59Z"), event("new", "2026-02-01T00:00:00Z")]);
    assert_eq!(world.post("/v1/usage_events", events).await["accepted"], 2);

    // Nothing is swept: the turn waits.
    world.work().await;

    let mut told = shop.told().await;
    told.sort();
    assert_eq!(told, ["triggered 6.00", "triggered 60"]);
    world.sweep().await;
    assert_eq!(shop.told().await.len(), 2, "it is the same period when it is billed");
}

/// Jobs that wait.
async fn jobs(world: &World) -> i64 {
    let db = world.app.db.reader();
    let sql = "select count(*) from jobs where name = 'alerts.usage_moved'";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_nobody_watches_makes_no_job(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = Calls::new(on).await else { return };
    let world = &shop.world;
    world
        .create(
            "/v1/metrics",
            json!({"code": "logins", "name": "L", "event_name": "login", "aggregation": "count"}),
        )
        .await;
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    let event = |event_id: &str, customer: &str, name: &str| {
        json!({"event_id": event_id, "customer_id": customer, "event_name": name, "timestamp": "2026-01-10T11:00:00Z",
            "metadata": {"n": 1}})
    };
    let send = async |of: &str| {
        let id = |name: &str| format!("{of}-{name}");
        let all = json!([
            event(&id("a"), "acme", "call"),
            event(&id("b"), "acme", "call"),
            event(&id("c"), "acme", "login"),
            event(&id("d"), "other", "call"),
            event(&id("e"), "acme", "else")
        ]);
        world.clock.set("2026-01-10T12:00:00Z".parse().unwrap());
        assert_eq!(world.post("/v1/usage_events", all).await["accepted"], 5);
    };
    send("before").await;
    assert_eq!(jobs(world).await, 0);

    let alert = shop.alert("quantity", "10").await;
    shop.alert("quantity", "20").await;
    send("with").await;
    send("again").await;
    assert_eq!(
        jobs(world).await,
        1,
        "one for the customer and the metric, whatever the number of alerts and events"
    );

    world.work().await;
    shop.change(&alert, json!({"active": false})).await;
    send("same-metric").await;
    assert_eq!(jobs(world).await, 1, "the other alert watches");
}
