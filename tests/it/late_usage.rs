//! Usage that comes after its period was billed.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, World, text};

/// Of the customer's calls the first hundred are free, and each after them is 0.50.
async fn metered(on: Engine) -> Option<Metered> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let tiers = json!([{"up_to": "100", "unit_price": "0"}, {"up_to": null, "unit_price": "0.5"}]);
    Some(Metered::subscribe(world, "calls", json!({"type": "graduated", "tiers": tiers})).await)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_its_period_was_billed_is_on_the_next_invoice_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    shop.call("a", "90", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("b", "20", "2026-02-28T23:59:59Z").await;
    shop.call("c", "300", "2026-03-01T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    shop.call("d", "1", "2026-02-28T23:59:59Z").await;
    shop.call("e", "1", "2026-03-28T23:59:59Z").await;

    shop.advance("2026-07-02T00:00:00Z").await;

    // 110 calls in February: ten of them cost, and the tiers are crossed once.
    assert_eq!(
        shop.lines().await,
        [
            "cycle usage 2026-02 90 0.00",
            "cycle usage 2026-03 300 100.00",
            "cycle usage_adjustment 2026-02 20 5.00",
            "cycle usage_adjustment 2026-02 1 0.50",
            "cycle usage_adjustment 2026-03 1 0.50",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_subscription_has_ended_has_an_invoice_of_its_own(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.call("a", "102", "2026-02-09T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;

    for (id, n, at) in [
        ("b", "2", "2026-02-09T00:00:00Z"),
        ("c", "4", "2026-02-08T00:00:00Z"),
        ("after", "1", "2026-02-10T12:00:00Z"),
    ] {
        shop.call(id, n, at).await;
        shop.advance(if id == "b" { "2026-02-12T00:00:00Z" } else { "2026-02-13T00:00:00Z" }).await;
    }

    assert_eq!(
        shop.lines().await,
        [
            "cancel usage 2026-02 102 1.00",
            "adjustment usage_adjustment 2026-02 2 1.00",
            "adjustment usage_adjustment 2026-02 4 2.00",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_takes_nothing_late_refuses_what_comes_for_a_billed_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    let world = &shop.world;
    world.send("PATCH", "/v1/metrics/calls", &json!({"late_events": "reject"})).await.expect(200);
    let long = json!({"code": "long", "name": "Long", "event_name": "call", "aggregation": "sum", "property": "seconds"});
    assert_eq!(world.create("/v1/metrics", long).await["late_events"], "next_invoice");
    for (event_id, n) in [("a", "102"), ("b", "2")] {
        shop.call(event_id, n, "2026-02-01T00:00:00Z").await;
    }
    shop.advance("2026-03-02T00:00:00Z").await;

    let event = |event_id: &str, metadata: Value, at: &str| {
        json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
            "metadata": metadata})
    };
    let events = json!([
        event("late", json!({"n": 1}), "2026-02-28T23:59:59.999999Z"),
        event("in-time", json!({"n": 300}), "2026-03-01T00:00:00Z"),
        // The metric that takes nothing late does not count it.
        event("other", json!({"seconds": 5}), "2026-02-28T23:59:59Z"),
        // It was taken in time.
        event("a", json!({"n": "102"}), "2026-02-01T00:00:00Z"),
    ]);
    let answer = world.post("/v1/usage_events?backfill=true", events).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(2), &json!(1)));
    let [rejected] = answer["rejected"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&rejected["index"], &rejected["code"]), (&json!(0), &json!("period_closed")));

    for (path, body) in [
        ("a/void", json!({})),
        ("a/amend", json!({"metadata": {"n": "7"}})),
        ("in-time/amend", json!({"timestamp": "2026-02-28T00:00:00Z"})),
    ] {
        let refused = world.send("POST", &format!("/v1/usage_events/{path}"), &body).await;
        assert_eq!(
            (refused.status, refused.errors()),
            (422, vec!["/timestamp period_closed".to_owned()]),
            "{path}"
        );
    }
    world.post("/v1/usage_events/in-time/amend", json!({"metadata": {"n": "200"}})).await;
    shop.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(shop.lines().await, ["cycle usage 2026-02 104 2.00", "cycle usage 2026-03 200 50.00"]);
}

/// Of each credit note, the oldest first: `invoice total quantity reason credit_left`.
async fn notes(shop: &Metered) -> Vec<String> {
    let mut notes = shop.world.list("/v1/credit_notes").await;
    notes.reverse();
    let mut told = Vec::new();
    for note in notes {
        let invoice = shop.world.get(&format!("/v1/invoices/{}", text(&note["invoice"]))).await;
        let quantity = note["lines"][0]["quantity"].as_str().unwrap_or("-").to_owned();
        let words = [&invoice["number"], &note["total"], &note["reason"], &note["credit_left"]].map(text);
        told.push(format!("{} {quantity}", words.join(" ")));
    }
    told
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_an_ended_subscription_was_billed_too_much_is_a_credit_note_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.call("a", "102", "2026-02-09T00:00:00Z").await;
    shop.call("b", "10", "2026-02-09T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;
    assert_eq!(shop.lines().await, ["cancel usage 2026-02 112 6.00"]);
    let void = async |event: &str| {
        shop.world.post(&format!("/v1/usage_events/{event}/void"), json!({})).await;
    };

    void("b").await;
    shop.advance("2026-02-12T00:00:00Z").await;
    shop.advance("2026-02-13T00:00:00Z").await;

    assert_eq!(notes(&shop).await, ["INV-000001 5.00 usage_correction 5.00 10"]);
    assert_eq!(shop.lines().await.len(), 1);
    let explained = shop.world.get("/v1/invoices/INV-000001/explain").await;
    assert_eq!(explained["credit_notes"][0]["reason"], "usage_correction");

    // What comes later is billed on top of what was left, and paid by what was given back.
    shop.call("c", "4", "2026-02-08T00:00:00Z").await;
    shop.advance("2026-02-14T00:00:00Z").await;
    assert_eq!(shop.lines().await[1..], ["adjustment usage_adjustment 2026-02 4 2.00"]);
    let explained = shop.world.get("/v1/invoices/INV-000002/explain").await;
    assert_eq!(explained["lines"][0]["already_billed"], "1.00");
    assert_eq!(explained["credits"][0]["amount"], "2.00");
    assert_eq!(shop.world.get("/v1/invoices/INV-000002").await["status"], "paid");

    void("a").await;
    void("c").await;
    shop.advance("2026-02-15T00:00:00Z").await;
    assert_eq!(
        notes(&shop).await,
        [
            "INV-000001 5.00 usage_correction 3.00 10",
            "INV-000001 1.00 usage_correction 1.00 -",
            "INV-000002 2.00 usage_correction 2.00 106",
        ]
    );
    assert_eq!(shop.lines().await.len(), 2);
    let db = shop.world.app.db.reader();
    let tenant = accrue::auth::service::first_tenant(db, accrue::auth::Mode::Test).await.unwrap().unwrap().id;
    assert_eq!(accrue::invoices::service::verify(db, tenant).await.unwrap(), Vec::<String>::new());
    assert_eq!(accrue::credit_notes::verify(db, tenant).await.unwrap(), Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_credited_by_hand_is_not_given_back_again(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = metered(on).await else { return };
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.call("a", "112", "2026-02-09T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;
    let by_hand = json!({"invoice": "INV-000001", "kind": "credit", "total": "4.00"});
    shop.world.create("/v1/credit_notes", by_hand).await;

    shop.world.post("/v1/usage_events/a/void", json!({})).await;
    shop.advance("2026-02-12T00:00:00Z").await;
    shop.advance("2026-02-13T00:00:00Z").await;

    assert_eq!(
        notes(&shop).await,
        ["INV-000001 4.00 other 4.00 -", "INV-000001 2.00 usage_correction 2.00 112"]
    );
    assert_eq!(shop.lines().await, ["cancel usage 2026-02 112 6.00"]);
}
