//! The demo's story, to the cent: a plan is sold, usage is metered, an invoice is made, a card is declined,
//! dunning recovers it, and the seller's product is told of everything.

use accrue_platform::signature::{self, Secret, SignatureHeaders};
use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Receiver, World, text};

async fn make_catalogue(world: &World) {
    world
        .create(
            "/v1/metrics",
            json!({"code": "calls", "name": "API calls", "event_name": "api.call", "aggregation": "count"}),
        )
        .await;
    world.create("/v1/features", json!({"code": "seats", "name": "Seats", "kind": "limit"})).await;
    world.create("/v1/features", json!({"code": "sso", "name": "Single sign-on", "kind": "switch"})).await;
    world
        .create(
            "/v1/features",
            json!({"code": "calls", "name": "API calls", "kind": "metered", "metric": "calls"}),
        )
        .await;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let tiers = json!([{"up_to": "100", "unit_price": "0"}, {"up_to": null, "unit_price": "0.015"}]);
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [
            {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance", "model": {"type": "flat", "amount": "49.00"}},
            {"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance", "model": {"type": "per_unit", "unit_price": "12"}},
            {"code": "calls", "name": "API calls", "kind": "usage", "timing": "arrears", "metric": "calls", "model": {"type": "graduated", "tiers": tiers}},
        ],
        "features": [{"feature": "seats", "value": 10}, {"feature": "sso", "value": true}, {"feature": "calls", "value": 1000}],
    });
    world.create("/v1/plans", plan).await;
}

async fn sign_up(world: &World) -> (String, String) {
    let clock = world.test_clock("2026-01-31T12:00:00Z").await;
    world
        .create(
            "/v1/customers",
            json!({"external_id": "acme", "name": "Acme", "email": "pay@acme.example", "test_clock": clock}),
        )
        .await;
    world
        .create("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa", "default": true}))
        .await;
    let body = json!({"customer": "acme", "plan": "team", "quantities": {"seats": "3"}});
    let subscription = world.create("/v1/subscriptions", body).await;
    world.work().await;
    (clock, text(&subscription["id"]))
}

async fn use_250_calls(world: &World) {
    let events: Vec<Value> = (0..250)
        .map(|number| json!({"event_id": format!("e{number}"), "customer_id": "acme", "event_name": "api.call", "timestamp": "2026-02-14T08:00:00Z"}))
        .collect();
    let answer = world.post("/v1/usage_events", json!({"events": events})).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(250), &json!(0)));
    let again = world.post("/v1/usage_events", events[7].clone()).await;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(1)));
}

async fn newest(world: &World, path: &str) -> Value {
    world.list(path).await.into_iter().next().expect("there is one")
}

async fn entitlements(world: &World) -> Value {
    world.get("/v1/customers/acme/entitlements").await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_job_is_right_to_the_cent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let receiver = Receiver::start();
    let endpoint = world.create("/v1/webhook_endpoints", json!({"url": receiver.url, "events": ["*"]})).await;
    make_catalogue(&world).await;
    let (clock, subscription) = sign_up(&world).await;

    // The first invoice: the base fee and three seats in advance, paid at once.
    let first = newest(&world, "/v1/invoices").await;
    assert_eq!(
        (text(&first["status"]), text(&first["number"])),
        ("paid".to_owned(), "INV-000001".to_owned())
    );
    assert_eq!(
        (text(&first["subtotal"]), text(&first["tax_total"]), text(&first["total"])),
        ("85.00".to_owned(), "17.00".to_owned(), "102.00".to_owned())
    );
    let granted = entitlements(&world).await;
    assert_eq!(
        (&granted["features"]["seats"]["value"], &granted["features"]["sso"]["value"]),
        (&json!(10), &json!(true))
    );

    // Usage of the running period, with its amount so far.
    world.advance(&clock, "2026-02-14T09:00:00Z").await;
    use_250_calls(&world).await;
    let running = world.get(&format!("/v1/subscriptions/{subscription}/usage")).await;
    assert_eq!(
        (&running["usage"][0]["quantity"], &running["usage"][0]["amount"]),
        (&json!("250"), &json!("2.25"))
    );
    assert_eq!(text(&entitlements(&world).await["features"]["calls"]["remaining"]), "750");

    // The renewal falls on the last of February; the new card declines once.
    world
        .create(
            "/v1/payment_methods",
            json!({"customer": "acme", "token": "tok_decline_then_ok", "default": true}),
        )
        .await;
    let happened = world.advance(&clock, "2026-02-28T12:00:00Z").await;
    for expected in ["invoice.finalized", "payment.failed", "dunning.started", "subscription.past_due"] {
        assert!(happened.contains(&format!("2026-02-28T12:00:00Z {expected}")), "{expected}: {happened:#?}");
    }
    let second = newest(&world, "/v1/invoices").await;
    assert_eq!(
        (text(&second["status"]), text(&second["number"])),
        ("open".to_owned(), "INV-000002".to_owned())
    );
    // 85.00 + 150 × 0.015 = 87.25; a fifth of it is 17.45.
    assert_eq!(
        (text(&second["subtotal"]), text(&second["tax_total"]), text(&second["total"])),
        ("87.25".to_owned(), "17.45".to_owned(), "104.70".to_owned())
    );
    assert_eq!(second["period"], json!({"start": "2026-02-28T12:00:00Z", "end": "2026-03-31T12:00:00Z"}));
    assert_eq!(entitlements(&world).await["features"]["seats"]["source"], "grace");

    // A day later dunning tries again, and it works.
    let happened = world.advance(&clock, "2026-03-01T12:00:00Z").await;
    for expected in ["payment.captured", "invoice.paid", "dunning.recovered", "subscription.activated"] {
        assert!(happened.contains(&format!("2026-03-01T12:00:00Z {expected}")), "{expected}: {happened:#?}");
    }
    assert_eq!(newest(&world, "/v1/invoices").await["status"], "paid");
    let payment = newest(&world, "/v1/payments").await;
    let attempts: Vec<String> =
        payment["attempts"].as_array().unwrap().iter().map(|attempt| text(&attempt["status"])).collect();
    assert_eq!(attempts, ["declined", "succeeded"]);
    assert_eq!(entitlements(&world).await["features"]["seats"]["source"], "plan");

    check_books(&world).await;
    check_documents(&world, &second).await;
    check_webhooks(&receiver, &text(&endpoint["secret"]));
}

/// Cash in: 102.00 + 104.70. Nobody owes anything, and everything adds up to nothing.
async fn check_books(world: &World) {
    let accounts = world.list("/v1/ledger/accounts?limit=100").await;
    let balance = |code: &str| -> Vec<String> {
        accounts
            .iter()
            .filter(|account| account["code"] == code)
            .map(|account| text(&account["balance"]))
            .collect()
    };
    assert_eq!(balance("gateway_cash"), ["206.70"]);
    assert_eq!(balance("receivable"), ["0.00"]);
    assert_eq!(balance("revenue"), ["-172.25"]);
    assert_eq!(balance("tax_payable"), ["-34.45"]);
}

async fn check_documents(world: &World, invoice: &Value) {
    let pdf = crate::support::Reply::of(
        world.request("GET", &format!("/v1/invoices/{}.pdf", text(&invoice["id"]))),
    )
    .await;
    assert_eq!((pdf.status, pdf.header("content-type")), (200, "application/pdf"));
    assert!(pdf.bytes.starts_with(b"%PDF-"));

    let mails = world.mails();
    let count = |kind: &str| mails.iter().filter(|name| name.contains(kind)).count();
    assert_eq!((count("invoice_issued"), count("payment_failed")), (2, 1), "{mails:#?}");
    assert!(count("payment_receipt") + count("payment_recovered") >= 2, "{mails:#?}");
}

fn check_webhooks(receiver: &Receiver, secret: &str) {
    let secret: Secret = secret.parse().unwrap();
    let webhooks = receiver.received();
    for webhook in &webhooks {
        let headers = SignatureHeaders {
            id: Some(&webhook.id),
            timestamp: Some(&webhook.timestamp),
            signature: Some(&webhook.signature),
        };
        let sent_at = chrono::DateTime::from_timestamp(webhook.timestamp.parse().unwrap(), 0).unwrap();
        signature::verify(
            std::slice::from_ref(&secret),
            &headers,
            &webhook.body,
            sent_at,
            TimeDelta::minutes(5),
        )
        .unwrap();
        assert_eq!(text(&webhook.json()["id"]), webhook.id);
    }
    let mut sequences: Vec<i64> =
        webhooks.iter().map(|webhook| webhook.json()["sequence"].as_i64().unwrap()).collect();
    sequences.sort_unstable();
    let until = sequences.last().copied().unwrap_or_default();
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "each event once, without holes up to {until}: {sequences:?}"
    );
    let kinds = receiver.kinds();
    for kind in [
        "subscription.created",
        "invoice.finalized",
        "invoice.paid",
        "payment.captured",
        "payment.failed",
        "entitlements.updated",
        "dunning.recovered",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
}
