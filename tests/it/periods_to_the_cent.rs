//! Whole lives of subscriptions, every line of every invoice to the cent: month ends, zones whose clocks change, starts in
//! the past, and long ways of a test clock.

use std::time::{Duration, Instant};

use accrue::{
    auth::{self, Mode},
    invoices,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Engine::{self, *},
    World,
    process::{is_long, promised},
    text,
};

/// A world with a metric and the plan `pro`: 31.00 USD in advance, and 0.25 USD for each call.
async fn world_with_plan(on: Engine, unit: &str) -> Option<World> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    let base = json!({"code": "base", "name": "Base", "kind": "fixed", "timing": "advance",
        "model": {"type": "flat", "amount": "31"}});
    let calls = json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
        "model": {"type": "per_unit", "unit_price": "0.25"}});
    let plan = json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": {"unit": unit, "count": 1},
        "prices": [base, calls]});
    world.create("/v1/plans", plan).await;
    Some(world)
}

/// The customer `acme` of a zone, who lives by a new test clock.
async fn customer(world: &World, zone: &str, now: &str) -> String {
    let clock = world.test_clock(now).await;
    let acme = json!({"external_id": "acme", "name": "Acme", "timezone": zone, "test_clock": clock});
    world.create("/v1/customers", acme).await;
    clock
}

async fn subscribe(world: &World, more: Value) {
    let mut body =
        json!({"customer": "acme", "plan": "pro", "collection": "send_invoice", "net_terms_days": 365});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.create("/v1/subscriptions", body).await;
    world.work().await;
}

async fn call(world: &World, at: &str) {
    let event = json!({"event_id": at, "customer_id": "acme", "event_name": "call", "timestamp": at});
    let taken = world.post("/v1/usage_events?backfill=true", event).await;
    assert_eq!(taken["accepted"], 1, "{taken}");
}

/// Every line, the oldest invoice first: `issued: code from – to: amount`, without what every instant ends in.
async fn lines(world: &World, ending: &str) -> Vec<String> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    let line = |invoice: &Value, line: &Value| {
        let [issued, start, end] =
            [&invoice["issued_at"], &line["period"]["start"], &line["period"]["end"]].map(text);
        let line = format!("{issued}: {} {start} – {end}: {}", text(&line["kind"]), text(&line["amount"]));
        line.replace(ending, "")
    };
    let of = |invoice: &Value| {
        let lines = invoice["lines"].as_array().unwrap();
        lines.iter().map(|each| line(invoice, each)).collect::<Vec<_>>()
    };
    invoices.iter().flat_map(of).collect()
}

async fn books_are_right(world: &World) {
    let db = world.app.db.reader();
    let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap();
    assert_eq!(invoices::service::verify(db, tenant.id).await.unwrap(), Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn from_the_31st_of_january_through_a_leap_year(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_with_plan(on, "month").await else { return };
    let clock = customer(&world, "UTC", "2028-01-31T10:00:00Z").await;
    subscribe(&world, json!({})).await;

    world.advance(&clock, "2028-02-29T09:59:59Z").await;
    call(&world, "2028-02-29T09:59:59Z").await;
    world.advance(&clock, "2028-02-29T11:00:00Z").await;
    call(&world, "2028-02-29T10:00:00Z").await;
    world.advance(&clock, "2029-03-01T00:00:00Z").await;

    let boundaries = [
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
        "2028-05-31",
        "2028-06-30",
        "2028-07-31",
        "2028-08-31",
        "2028-09-30",
        "2028-10-31",
        "2028-11-30",
        "2028-12-31",
        "2029-01-31",
        "2029-02-28",
        "2029-03-31",
    ];
    let mut expected: Vec<String> = boundaries
        .windows(2)
        .map(|period| format!("{}: fixed {} – {}: 31.00", period[0], period[0], period[1]))
        .collect();
    expected.insert(2, "2028-02-29: usage 2028-01-31 – 2028-02-29: 0.25".to_owned());
    expected.insert(4, "2028-03-31: usage 2028-02-29 – 2028-03-31: 0.25".to_owned());
    assert_eq!(lines(&world, "T10:00:00Z").await, expected);
    books_are_right(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn months_of_new_york_begin_at_its_midnight_whatever_its_clocks_do(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_with_plan(on, "month").await else { return };
    let clock = customer(&world, "America/New_York", "2026-03-02T15:00:00Z").await;
    subscribe(&world, json!({"alignment": "calendar"})).await;

    world.advance(&clock, "2026-11-01T03:59:59Z").await;
    call(&world, "2026-11-01T03:59:59Z").await;
    world.advance(&clock, "2026-12-01T04:45:00Z").await;
    call(&world, "2026-11-01T04:00:00Z").await;
    call(&world, "2026-12-01T04:30:00Z").await;
    world.advance(&clock, "2026-12-02T00:00:00Z").await;

    let expected = [
        // 30 of the 31 days of March, of which one has 23 hours.
        "2026-03-02T15: fixed 2026-03-02T15 – 2026-04-01T04: 30.00",
        "2026-04-01T04: fixed 2026-04-01T04 – 2026-05-01T04: 31.00",
        "2026-05-01T04: fixed 2026-05-01T04 – 2026-06-01T04: 31.00",
        "2026-06-01T04: fixed 2026-06-01T04 – 2026-07-01T04: 31.00",
        "2026-07-01T04: fixed 2026-07-01T04 – 2026-08-01T04: 31.00",
        "2026-08-01T04: fixed 2026-08-01T04 – 2026-09-01T04: 31.00",
        "2026-09-01T04: fixed 2026-09-01T04 – 2026-10-01T04: 31.00",
        "2026-10-01T04: fixed 2026-10-01T04 – 2026-11-01T04: 31.00",
        "2026-11-01T04: fixed 2026-11-01T04 – 2026-12-01T05: 31.00",
        "2026-11-01T04: usage 2026-10-01T04 – 2026-11-01T04: 0.25",
        "2026-12-01T05: fixed 2026-12-01T05 – 2027-01-01T05: 31.00",
        "2026-12-01T05: usage 2026-11-01T04 – 2026-12-01T05: 0.50",
    ];
    assert_eq!(lines(&world, ":00:00Z").await, expected);
    books_are_right(&world).await;
}

/// Samoa went from 29 to 31 December 2011, and from summer to winter on 1 April 2012.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_apia_left_out_begins_a_period_at_the_instant_after_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_with_plan(on, "month").await else { return };
    let clock = customer(&world, "Pacific/Apia", "2011-11-30T10:00:00Z").await;
    subscribe(&world, json!({})).await;

    world.advance(&clock, "2012-05-01T00:00:00Z").await;

    let expected = [
        "2011-11-30T10: fixed 2011-11-30T10 – 2011-12-30T10: 31.00",
        "2011-12-30T10: fixed 2011-12-30T10 – 2012-01-29T10: 31.00",
        "2012-01-29T10: fixed 2012-01-29T10 – 2012-02-28T10: 31.00",
        "2012-02-28T10: fixed 2012-02-28T10 – 2012-03-29T10: 31.00",
        "2012-03-29T10: fixed 2012-03-29T10 – 2012-04-29T11: 31.00",
        "2012-04-29T11: fixed 2012-04-29T11 – 2012-05-29T11: 31.00",
    ];
    assert_eq!(lines(&world, ":00:00Z").await, expected);
    books_are_right(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_start_three_periods_ago_has_all_of_them_billed_with_what_was_used(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_with_plan(on, "month").await else { return };
    customer(&world, "UTC", "2026-05-15T12:00:00Z").await;
    for at in ["2026-02-20T00:00:00Z", "2026-03-10T11:59:59Z", "2026-03-10T12:00:00Z"] {
        call(&world, at).await;
    }

    subscribe(&world, json!({"start_at": "2026-02-10T12:00:00Z"})).await;

    let expected = [
        "2026-05-15: fixed 2026-02-10 – 2026-03-10: 31.00",
        "2026-05-15: fixed 2026-03-10 – 2026-04-10: 31.00",
        "2026-05-15: usage 2026-02-10 – 2026-03-10: 0.50",
        "2026-05-15: fixed 2026-04-10 – 2026-05-10: 31.00",
        "2026-05-15: usage 2026-03-10 – 2026-04-10: 0.25",
        "2026-05-15: fixed 2026-05-10 – 2026-06-10: 31.00",
    ];
    assert_eq!(lines(&world, "T12:00:00Z").await, expected);
    books_are_right(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_clock_goes_through_very_many_periods(#[values(Sqlite, Postgres)] on: Engine) {
    let days = if is_long() { 2000 } else { 100 };
    let Some(world) = world_with_plan(on, "day").await else { return };
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = customer(&world, "UTC", "2026-01-01T00:00:00Z").await;
    subscribe(&world, json!({})).await;

    world.advance(&clock, &(start + TimeDelta::days(days)).to_rfc3339()).await;

    let last = world.list("/v1/invoices?limit=1").await.remove(0);
    assert_eq!(last["number"], format!("INV-{:06}", days + 1));
    let opened = json!((start + TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true));
    assert_eq!((&last["period"]["start"], &last["total"]), (&opened, &json!("31.00")));
    books_are_right(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_months_pass_within_two_seconds_on_sqlite() {
    let Some(world) = world_with_plan(Sqlite, "month").await else { return };
    let clock = customer(&world, "UTC", "2026-01-01T00:00:00Z").await;
    subscribe(&world, json!({})).await;
    call(&world, "2026-01-01T00:00:00Z").await;

    let started = Instant::now();
    world.advance(&clock, "2027-01-01T00:00:00Z").await;

    assert!(started.elapsed() < promised(Duration::from_secs(2)), "{:?}", started.elapsed());
    assert_eq!(lines(&world, "T00:00:00Z").await.len(), 14);
}
