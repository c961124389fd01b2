//! Subscriptions from their start to their end, and who is told of it.

use accrue::auth::{self, Mode};
use accrue_platform::{
    outbox::{self, Event, EventFilter},
    page::PageQuery,
};
use chrono::{SecondsFormat, TimeDelta};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, text};

/// The plans `pro` (EUR, a fixed fee and seats), `trial` (the same with 14 days of trial) and `dollars`.
async fn make_plans(world: &World) {
    let plan = |code: &str, currency: &str, trial_days: u16| {
        json!({
            "code": code, "name": "Pro", "currency": currency, "interval": {"unit": "month", "count": 1},
            "trial_days": trial_days,
            "prices": [
                {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance", "model": {"type": "flat", "amount": "10.00"}},
                {"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance", "model": {"type": "per_unit", "unit_price": "2"}},
            ],
        })
    };
    for (code, currency, trial_days) in [("pro", "EUR", 0), ("trial", "EUR", 14), ("dollars", "USD", 0)] {
        world.create("/v1/plans", plan(code, currency, trial_days)).await;
    }
}

/// A world with plans and the customer `acme`, who lives by the test clock that is answered.
async fn world_with_customer(on: Engine, now: &str) -> Option<(World, String)> {
    let world = World::new(on).await?;
    make_plans(&world).await;
    let clock = world.test_clock(now).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    Some((world, clock))
}

async fn subscribe(world: &World, plan: &str, more: Value) -> Value {
    let mut body = json!({"customer": "acme", "plan": plan, "collection": "send_invoice"});
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    world.create("/v1/subscriptions", body).await
}

/// The events of subscriptions so far, the oldest first.
async fn events(world: &World) -> Vec<Event> {
    world.work().await;
    let db = world.app.db.reader();
    let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap();
    let page = PageQuery { limit: Some(100), ..PageQuery::default() };
    let mut events = outbox::list(db, tenant.id, EventFilter::default(), &page).await.unwrap();
    events.retain(|event| event.kind.starts_with("subscription."));
    events.reverse();
    events
}

/// What was told of subscriptions so far: `2026-01-01T00:00:00Z created`.
async fn told(world: &World) -> Vec<String> {
    let line = |event: Event| {
        let at = event.created_at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        format!("{at} {}", event.kind.trim_start_matches("subscription."))
    };
    events(world).await.into_iter().map(line).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_announced_becomes_active_renews_and_ends_when_it_was_asked_to(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock)) = world_with_customer(on, "2026-01-17T08:00:00Z").await else { return };

    let made =
        subscribe(&world, "trial", json!({"external_id": "acme-pro", "quantities": {"seats": 3}})).await;
    assert_eq!(made["status"], "trialing");
    assert_eq!(made["trial_end"], "2026-01-31T08:00:00Z");
    assert_eq!(
        made["current_period"],
        json!({"start": "2026-01-17T08:00:00Z", "end": "2026-01-31T08:00:00Z"})
    );
    assert_eq!((&made["quantities"], &made["access"]), (&json!({"seats": "3"}), &json!("full")));
    assert_eq!((&made["plan"]["code"], &made["plan"]["version"]), (&json!("trial"), &json!(1)));
    assert_eq!((&made["timezone"], &made["alignment"]), (&json!("UTC"), &json!("anniversary")));

    world.advance(&clock, "2026-02-10T00:00:00Z").await;
    let running = world.get("/v1/subscriptions/acme-pro").await;
    assert_eq!(running["status"], "active");
    assert_eq!(
        running["current_period"],
        json!({"start": "2026-01-31T08:00:00Z", "end": "2026-02-28T08:00:00Z"})
    );

    world.advance(&clock, "2026-03-05T00:00:00Z").await;
    let canceled = world.post("/v1/subscriptions/acme-pro/cancel", json!({})).await;
    assert_eq!(
        (&canceled["status"], &canceled["cancel_at"]),
        (&json!("active"), &json!("2026-03-31T08:00:00Z"))
    );
    let again = world.post("/v1/subscriptions/acme-pro/cancel", json!({"when": "period_end"})).await;
    assert_eq!(again, canceled);

    world.advance(&clock, "2026-06-01T00:00:00Z").await;
    let ended = world.get("/v1/subscriptions/acme-pro").await;
    assert_eq!((&ended["status"], &ended["ended_at"]), (&json!("canceled"), &json!("2026-03-31T08:00:00Z")));
    assert_eq!((&ended["cancel_reason"], &ended["id"]), (&json!("requested"), &made["id"]));
    assert_eq!(
        told(&world).await,
        [
            "2026-01-17T08:00:00Z created",
            "2026-01-28T08:00:00Z trial_will_end",
            "2026-01-31T08:00:00Z activated",
            "2026-02-28T08:00:00Z changed",
            "2026-03-05T00:00:00Z changed",
            "2026-03-31T08:00:00Z canceled",
        ]
    );
    // The trial and the last turn have nothing to bill: two paid periods, two invoices.
    assert_eq!(world.list("/v1/invoices").await.len(), 2);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_tells_the_period_before(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = world_with_customer(on, "2026-01-31T08:00:00Z").await else { return };
    subscribe(&world, "pro", json!({})).await;
    world.advance(&clock, "2026-03-01T00:00:00Z").await;

    let [created, activated, changed] = events(&world).await.try_into().unwrap();
    assert_eq!(
        (created.kind.as_str(), activated.kind.as_str()),
        ("subscription.created", "subscription.activated")
    );
    let data: Value = serde_json::from_str(&changed.data).unwrap();
    let before = json!({"start": "2026-01-31T08:00:00Z", "end": "2026-02-28T08:00:00Z"});
    assert_eq!(data["previous"], json!({"current_period": before}));
    assert_eq!(data["object"], world.list("/v1/subscriptions").await[0]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_canceled_is_neither_announced_nor_billed(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = world_with_customer(on, "2026-01-01T00:00:00Z").await else { return };
    let made = subscribe(&world, "trial", json!({})).await;
    world.post(&format!("/v1/subscriptions/{}/cancel", text(&made["id"])), json!({})).await;

    world.advance(&clock, "2026-03-01T00:00:00Z").await;

    assert_eq!(
        told(&world).await,
        ["2026-01-01T00:00:00Z created", "2026-01-01T00:00:00Z changed", "2026-01-15T00:00:00Z canceled",]
    );
    assert!(world.list("/v1/invoices").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn by_the_wall_clock_a_trial_is_announced_by_the_sweep_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    make_plans(&world).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    subscribe(&world, "trial", json!({})).await;

    world.clock.advance(TimeDelta::days(11) - TimeDelta::seconds(1));
    world.sweep().await;
    assert_eq!(told(&world).await, ["2026-01-01T00:00:00Z created"]);

    for _ in 0..3 {
        world.clock.advance(TimeDelta::minutes(5));
        world.sweep().await;
    }
    assert_eq!(told(&world).await, ["2026-01-01T00:00:00Z created", "2026-01-12T00:04:59Z trial_will_end"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_gets_one_trial_of_a_plan_however_often_it_subscribes(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, _)) = world_with_customer(on, "2026-01-01T00:00:00Z").await else { return };
    // A trial that never began does not count.
    let future = subscribe(&world, "trial", json!({"start_at": "2026-02-01T00:00:00Z"})).await;
    assert_eq!(future["status"], "pending");
    world.post(&format!("/v1/subscriptions/{}/cancel", text(&future["id"])), json!({})).await;
    let first = subscribe(&world, "trial", json!({})).await;
    assert_eq!(first["status"], "trialing");
    world
        .post(&format!("/v1/subscriptions/{}/cancel", text(&first["id"])), json!({"when": "period_end"}))
        .await;

    let second = subscribe(&world, "trial", json!({})).await;
    assert_eq!((&second["status"], &second["trial_end"]), (&json!("active"), &Value::Null));

    let body = json!({"customer": "acme", "plan": "trial", "trial_end": "2026-02-01T00:00:00Z"});
    let refused = world.send("POST", "/v1/subscriptions", &body).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["/trial_end already_used".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_canceled_before_its_start_is_never_billed(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = world_with_customer(on, "2026-01-01T00:00:00Z").await else { return };
    let made = subscribe(&world, "pro", json!({"start_at": "2026-02-01T00:00:00Z"})).await;
    let path = format!("/v1/subscriptions/{}/cancel", text(&made["id"]));

    let canceled = world.post(&path, json!({"when": "now"})).await;
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(world.post(&path, json!({"when": "now"})).await, canceled);

    world.advance(&clock, "2026-06-01T00:00:00Z").await;
    assert!(world.list("/v1/invoices").await.is_empty());
    assert_eq!(told(&world).await.len(), 2);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_starts_in_the_past_has_every_period_since_billed_once_and_in_order(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock)) = world_with_customer(on, "2026-04-14T00:00:00Z").await else { return };
    let made = subscribe(&world, "pro", json!({"start_at": "2026-01-15T00:00:00Z"})).await;
    world.advance(&clock, "2026-04-14T00:00:01Z").await;

    let invoices = world.list("/v1/invoices").await;
    let starts: Vec<_> = invoices.iter().rev().map(|invoice| text(&invoice["period"]["start"])).collect();
    assert_eq!(starts, ["2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z"]);
    let now = world.get(&format!("/v1/subscriptions/{}", text(&made["id"]))).await;
    assert_eq!(now["current_period"]["end"], "2026-04-15T00:00:00Z");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_by_customer_plan_and_status(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, _)) = world_with_customer(on, "2026-01-01T00:00:00Z").await else { return };
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    let active = subscribe(&world, "pro", json!({})).await;
    let trialing = subscribe(&world, "trial", json!({})).await;
    let others = world.create("/v1/subscriptions", json!({"customer": "other", "plan": "dollars"})).await;

    let list = async |query: &str| world.list(&format!("/v1/subscriptions{query}")).await;
    assert_eq!(list("").await.len(), 3);
    assert_eq!(list("?customer=acme").await, [trialing.clone(), active.clone()]);
    assert_eq!(list("?plan=pro").await, [active]);
    assert_eq!(list("?status=trialing").await, [trialing]);
    assert_eq!(list("?plan=dollars&customer=other&status=active").await, [others]);
    assert!(list("?plan=dollars&customer=acme").await.is_empty());
    assert_eq!(world.send("GET", "/v1/subscriptions?customer=nobody", &json!({})).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_named_with_its_place_and_changes_nothing(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, _)) = world_with_customer(on, "2026-01-01T00:00:00Z").await else { return };
    let refused = async |body: Value| {
        let mut whole = json!({"customer": "acme", "plan": "pro"});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let reply = world.send("POST", "/v1/subscriptions", &whole).await;
        (reply.status, reply.errors().join(", "))
    };
    let unprocessable = |errors: &str| (422, errors.to_owned());

    assert_eq!(
        refused(json!({"external_id": "a b", "timezone": "Mars/Base", "net_terms_days": 366})).await,
        unprocessable("/external_id malformed, /timezone unknown, /net_terms_days out_of_range")
    );
    assert_eq!(
        refused(json!({"quantities": {"seats": "-1", "base": 2}, "ends_at": "2025-12-31T00:00:00Z"})).await,
        unprocessable("/quantities/seats out_of_range, /quantities/base unknown, /ends_at out_of_range")
    );
    assert_eq!(refused(json!({"alignment": {"day_of_month": 32}})).await.0, 422);
    assert_eq!(refused(json!({"start_at": "tomorrow"})).await, unprocessable("/start_at malformed"));
    assert_eq!(refused(json!({"customer": "nobody"})).await.0, 404);
    assert_eq!(refused(json!({"plan": "nothing"})).await.0, 404);
    assert!(world.list("/v1/subscriptions").await.is_empty());

    subscribe(&world, "pro", json!({"external_id": "mine"})).await;
    assert_eq!(refused(json!({"external_id": "mine"})).await.0, 409);
    assert_eq!(refused(json!({"plan": "dollars"})).await, unprocessable("/plan currency_mismatch"));
    assert_eq!(world.list("/v1/subscriptions").await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_could_never_be_billed_is_not_sold(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let plan = |code: &str, kind: &str, model: Value| {
        json!({"code": code, "name": code, "currency": "USD", "interval": {"unit": "month", "count": 1},
            "prices": [{"code": "x", "name": "X", "kind": kind, "model": model}]})
    };
    let flat = |amount: &str| json!({"type": "flat", "amount": amount});
    let refused = world.send("POST", "/v1/plans", &plan("a", "fixed", flat("9223372036854775.80"))).await;
    assert_eq!(refused.errors(), ["/prices/0/model out_of_range"]);
    world.create("/v1/plans", plan("b", "fixed", flat("1000000000000"))).await;
    let seats = json!({"type": "per_unit", "unit_price": "1000.01"});
    world.create("/v1/plans", plan("c", "seat", seats)).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;

    let subscribe = |quantity: &str| json!({"customer": "acme", "plan": "c", "quantities": {"x": quantity}, "collection": "send_invoice"});
    let refused = world.send("POST", "/v1/subscriptions", &subscribe("1000000000")).await;
    assert_eq!(refused.errors(), ["/quantities/x out_of_range"]);
    world.create("/v1/subscriptions", subscribe("999990000")).await;
    world.sweep().await;

    assert_eq!(world.list("/v1/invoices").await.len(), 1);
    let books = world.get("/v1/ledger/trial_balance").await;
    assert_eq!(books["currencies"][0]["debit"], "999999999900.00", "{books}");
}
