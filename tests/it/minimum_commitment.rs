//! What a period costs at least: topped up when it closes, in a line of its own, and put right when its usage turns out to
//! be another one.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices,
};
use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, World, text};

/// 10.00 a month in advance, 0.50 for a call, a setup fee of 5.00, at least 100.00 a month, and 20 % VAT.
async fn sell(on: Engine, late_events: &str, terms: Value) -> Option<Metered> {
    let world = World::new(on).await?;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n",
        "late_events": late_events});
    world.create("/v1/metrics", metric).await;
    let plan = json!({
        "code": "api", "name": "API", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "minimum_commitment": "100.00",
        "prices": [
            {"code": "setup", "kind": "one_time", "model": {"type": "flat", "amount": "5.00"}},
            {"code": "base", "kind": "fixed", "model": {"type": "flat", "amount": "10.00"}},
            {"code": "calls", "kind": "usage", "metric": "calls", "model": {"type": "per_unit", "unit_price": "0.5"}},
        ],
    });
    assert_eq!(world.create("/v1/plans", plan).await["minimum_commitment"], "100.00");
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let mut body =
        json!({"customer": "acme", "plan": "api", "collection": "send_invoice", "net_terms_days": 365});
    body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    let subscription = text(&world.create("/v1/subscriptions", body).await["id"]);
    world.work().await;
    Some(Metered { world, clock, subscription })
}

async fn nothing_is_wrong(world: &World) {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    assert_eq!(findings, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_topped_up_when_it_closes_and_only_if_it_came_to_less(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = sell(on, "next_invoice", json!({})).await else { return };
    shop.call("a", "60", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("b", "180", "2026-03-02T00:00:00Z").await;
    shop.advance("2026-05-02T00:00:00Z").await;

    // February: 10 + 30; March: exactly 10 + 90; April: 10.
    assert_eq!(
        shop.lines().await,
        [
            "create one_time 2026-02 1 5.00",
            "create fixed 2026-02 1 10.00",
            "cycle fixed 2026-03 1 10.00",
            "cycle usage 2026-02 60 30.00",
            "cycle minimum_commitment 2026-02 1 60.00",
            "cycle fixed 2026-04 1 10.00",
            "cycle usage 2026-03 180 90.00",
            "cycle fixed 2026-05 1 10.00",
            "cycle minimum_commitment 2026-04 1 90.00",
        ]
    );
    let invoice = shop.world.get("/v1/invoices/INV-000002").await;
    assert_eq!(
        ["subtotal", "tax_total", "total"].map(|field| text(&invoice[field])),
        ["100.00", "20.00", "120.00"]
    );
    let explained = shop.world.get("/v1/invoices/INV-000002/explain").await;
    let line = &explained["lines"][2];
    assert_eq!((&line["price"], &line["rated_amount"]), (&Value::Null, &json!("100")));
    assert_eq!((&line["already_billed"], &line["amount"]), (&json!("40.00"), &json!("60.00")));
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_short_period_is_topped_up_to_its_part_and_a_trial_not_at_all(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let trial = json!({"trial_end": "2026-02-15T00:00:00Z", "alignment": "calendar", "external_id": "s"});
    let Some(shop) = sell(on, "next_invoice", trial).await else { return };
    shop.advance("2026-03-11T00:00:00Z").await;
    shop.world.post("/v1/subscriptions/s/cancel", json!({"when": "now"})).await;
    shop.advance("2026-03-12T00:00:00Z").await;

    // 14 of the 28 days of February, then 10 of the 31 of March: the day of the end is not paid.
    assert_eq!(
        shop.lines().await.iter().map(|line| line.replace("T00:00:00Z", "")).collect::<Vec<_>>(),
        [
            "cycle one_time 2026-02-15 1 5.00",
            "cycle fixed 2026-02-15 1 5.00",
            "cycle fixed 2026-03 1 10.00",
            "cycle minimum_commitment 2026-02-15 1 45.00",
            "cancel minimum_commitment 2026-03 1 22.26",
        ]
    );
    let explained = shop.world.get("/v1/invoices/INV-000003/explain").await;
    assert_eq!(explained["lines"][0]["already_billed"], "10.00");
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_told_later_is_taken_off_what_was_topped_up(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = sell(on, "next_invoice", json!({})).await else { return };
    shop.call("a", "60", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("late", "20", "2026-02-11T00:00:00Z").await;
    shop.call("b", "200", "2026-03-02T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    shop.call("later", "200", "2026-02-28T00:00:00Z").await;
    shop.call("c", "200", "2026-04-02T00:00:00Z").await;
    shop.advance("2026-05-02T00:00:00Z").await;
    shop.world.post("/v1/usage_events/later/void", json!({})).await;
    shop.call("d", "200", "2026-05-02T00:00:00Z").await;
    shop.advance("2026-06-02T00:00:00Z").await;

    let lines = shop.lines().await;
    let february: Vec<_> = lines.iter().filter(|line| line.contains("2026-02")).map(String::as_str).collect();
    assert_eq!(
        february,
        [
            "create one_time 2026-02 1 5.00",
            "create fixed 2026-02 1 10.00",
            "cycle usage 2026-02 60 30.00",
            "cycle minimum_commitment 2026-02 1 60.00",
            "cycle usage_adjustment 2026-02 20 10.00",
            "cycle minimum_commitment 2026-02 0 -10.00",
            // It comes to 150 by itself.
            "cycle usage_adjustment 2026-02 200 100.00",
            "cycle minimum_commitment 2026-02 -1 -50.00",
            "cycle usage_adjustment 2026-02 -200 -100.00",
            "cycle minimum_commitment 2026-02 1 50.00",
        ]
    );
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[case::issued_anew("reissue")]
#[case::beside("next_invoice")]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_topped_up_too_much_goes_back_where_no_invoice_comes_any_more(
    #[values(Sqlite, Postgres)] on: Engine,
    #[case] late_events: &str,
) {
    let Some(shop) = sell(on, late_events, json!({"external_id": "s"})).await else { return };
    shop.call("a", "60", "2026-02-01T00:00:00Z").await;
    shop.world.post("/v1/subscriptions/s/cancel", json!({})).await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("late", "20", "2026-02-11T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    // Whichever way: the period comes to 100 and its tax, and 10 of it is no top-up any more.
    let invoices = shop.world.list("/v1/invoices?limit=100").await;
    let sum = |of: &[Value]| -> Decimal {
        of.iter().map(|one| text(&one["total"]).parse::<Decimal>().unwrap()).sum()
    };
    let owed: Vec<_> = invoices.into_iter().filter(|invoice| invoice["status"] != "void").collect();
    let notes = shop.world.list("/v1/credit_notes?limit=100").await;
    assert_eq!(sum(&owed) - sum(&notes), Decimal::from(126), "{owed:#?} {notes:#?}");
    let told: Vec<_> = notes.iter().map(|note| text(&note["total"])).collect();
    assert_eq!(told, if late_events == "reissue" { vec!["12.00"] } else { vec![] });
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_billed_in_between_counts_and_a_new_version_may_have_another_minimum(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = sell(on, "next_invoice", json!({"progressive_billing_threshold": "20"})).await else {
        return;
    };
    shop.call("a", "50", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-02-11T00:00:00Z").await;
    shop.call("b", "10", "2026-02-11T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(
        shop.lines().await[2..],
        [
            "threshold usage 2026-02 50 25.00",
            "cycle fixed 2026-03 1 10.00",
            "cycle usage 2026-02 10 5.00",
            "cycle minimum_commitment 2026-02 1 60.00",
        ]
    );
    let next = |body: Value| shop.world.create("/v1/plans/api/versions", body);
    assert_eq!(next(json!({"trial_days": 3})).await["minimum_commitment"], "100.00");
    assert_eq!(next(json!({"minimum_commitment": "7"})).await["minimum_commitment"], "7.00");
    let none = next(json!({"minimum_commitment": null})).await;
    assert_eq!((&none["minimum_commitment"], none["prices"].as_array().unwrap().len()), (&Value::Null, 3));
    nothing_is_wrong(&shop.world).await;
}
