//! What happens after a payment failed, and when.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Shop, World, text};

async fn shop(on: Engine, token: Option<&str>) -> Option<Shop> {
    Some(Shop::open(World::new(on).await?, token).await)
}

async fn dunning(shop: &Shop) -> Value {
    let found = shop.world.list(&format!("/v1/dunnings?invoice={}", shop.invoice)).await;
    let [dunning] = found.as_slice() else { panic!("{found:#?}") };
    dunning.clone()
}

/// The lines of the timeline that are about payments, dunning and the subscription's end.
fn told(happened: &[String]) -> Vec<&str> {
    let kinds = ["payment.", "dunning.", "subscription.canceled", "subscription.past_due", "invoice.paid"];
    let of = happened.iter().filter(|line| kinds.iter().any(|kind| line.contains(kind)));
    of.map(String::as_str).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_keeps_declining_is_tried_on_days_1_3_5_and_7_and_then_the_subscription_ends(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_decline_insufficient_funds")).await else { return };
    let started = dunning(&shop).await;
    assert_eq!((&started["status"], &started["access"]), (&json!("running"), &json!("grace")));
    assert_eq!(started["next_try_at"], "2026-02-02T09:30:00Z");
    assert_eq!(started["access_ends_at"], "2026-02-04T09:30:00Z");
    assert_eq!(shop.subscription().await["status"], "past_due");

    let happened = shop.advance("2026-02-10T00:00:00Z").await;

    assert_eq!(
        told(&happened),
        [
            "2026-02-02T09:30:00Z payment.failed",
            "2026-02-02T09:30:00Z dunning.step",
            "2026-02-04T09:30:00Z payment.failed",
            "2026-02-04T09:30:00Z dunning.step",
            "2026-02-06T09:30:00Z payment.failed",
            "2026-02-06T09:30:00Z dunning.step",
            "2026-02-08T09:30:00Z payment.failed",
            "2026-02-08T09:30:00Z dunning.exhausted",
            "2026-02-08T09:30:00Z subscription.canceled",
        ]
    );
    let ended = dunning(&shop).await;
    assert_eq!((&ended["status"], &ended["attempts"]), (&json!("exhausted"), &json!(5)));
    assert_eq!(shop.subscription().await["status"], "canceled");
    assert_eq!(shop.invoice().await["status"], "open");
    assert!(shop.taken().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_succeeds_gives_everything_back(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_twice_then_ok")).await else { return };
    shop.advance("2026-02-03T00:00:00Z").await;
    assert_eq!(dunning(&shop).await["step"], 1);

    let happened = shop.advance("2026-02-04T09:30:00Z").await;

    assert_eq!(
        told(&happened),
        [
            "2026-02-04T09:30:00Z payment.captured",
            "2026-02-04T09:30:00Z invoice.paid",
            "2026-02-04T09:30:00Z dunning.recovered",
        ]
    );
    let ended = dunning(&shop).await;
    assert_eq!((&ended["status"], &ended["access"]), (&json!("recovered"), &json!("full")));
    assert_eq!(shop.subscription().await["status"], "active");
    assert_eq!(
        shop.attempts().await,
        [
            "finalized declined insufficient_funds",
            "dunning:1 declined insufficient_funds",
            "dunning:2 succeeded"
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn access_is_restricted_after_three_days(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_insufficient_funds")).await else { return };
    let mut seen = Vec::new();
    for to in ["2026-02-01T09:30:00Z", "2026-02-04T09:29:59Z", "2026-02-04T09:30:00Z"] {
        shop.advance(to).await;
        seen.push(text(&shop.subscription().await["access"]));
    }
    assert_eq!(seen, ["grace", "grace", "restricted"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_card_is_not_tried_again_and_a_new_one_is_at_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_stolen")).await else { return };
    let happened = shop.advance("2026-02-05T00:00:00Z").await;
    assert_eq!(
        told(&happened),
        ["2026-02-02T09:30:00Z dunning.step", "2026-02-04T09:30:00Z dunning.step"],
        "reminders, no tries"
    );
    let running = dunning(&shop).await;
    assert_eq!((&running["retries_stopped"], &running["next_try_at"]), (&json!(true), &Value::Null));

    let method = shop.attach("tok_mastercard").await;
    shop.world.work().await;

    let reason = format!("method:{} succeeded", text(&method["id"]));
    assert_eq!(shop.attempts().await, ["finalized declined stolen_card".to_owned(), reason]);
    assert_eq!(dunning(&shop).await["status"], "recovered");
    assert_eq!(shop.subscription().await["status"], "active");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_a_card_is_reminded_and_charged_once_there_is_one(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, None).await else { return };
    let started = dunning(&shop).await;
    assert_eq!((&started["decline_code"], &started["attempts"]), (&json!("no_payment_method"), &json!(0)));

    shop.attach("tok_visa").await;
    shop.world.work().await;

    assert_eq!(dunning(&shop).await["status"], "recovered");
    assert_eq!(shop.taken().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_wants_consent_is_not_asked_again_without_the_customer(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_requires_action")).await else { return };
    assert_eq!(shop.payment().await["status"], "requires_action");

    let happened = shop.advance("2026-02-10T00:00:00Z").await;

    assert_eq!(
        told(&happened),
        [
            "2026-02-02T09:30:00Z dunning.step",
            "2026-02-04T09:30:00Z dunning.step",
            "2026-02-06T09:30:00Z dunning.step",
            "2026-02-08T09:30:00Z dunning.exhausted",
            "2026-02-08T09:30:00Z subscription.canceled",
        ]
    );
    assert_eq!(shop.attempts().await, ["finalized declined authentication_required"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn trying_by_hand_uses_no_step_and_paying_by_hand_ends_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_insufficient_funds")).await else { return };
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    for _ in 0..3 {
        assert_eq!(shop.world.post(&path, json!({})).await["status"], "failed");
        shop.world.work().await;
    }
    let running = dunning(&shop).await;
    assert_eq!((&running["step"], &running["next_step_at"]), (&json!(0), &json!("2026-02-02T09:30:00Z")));

    let other = json!({"customer": "acme", "token": "tok_visa"});
    let other = shop.world.create("/v1/payment_methods", other).await;
    shop.world.post(&path, json!({"payment_method": other["id"]})).await;
    shop.world.work().await;

    assert_eq!(dunning(&shop).await["status"], "recovered");
    assert!(told(&shop.advance("2026-02-10T00:00:00Z").await).is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_not_dunned(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_insufficient_funds")).await else { return };
    let pending = json!({"customer": "acme", "token": "tok_pending"});
    let pending = shop.world.create("/v1/payment_methods", pending).await;
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    shop.world.post(&path, json!({"payment_method": pending["id"]})).await;

    let happened = shop.advance("2026-02-05T00:00:00Z").await;
    assert!(told(&happened).iter().all(|line| line.ends_with("payment.pending")), "{happened:#?}");
    assert_eq!(dunning(&shop).await["access"], "grace");

    let (gateway, now) = (shop.gateway().await, shop.world.app.now());
    let key = text(&shop.payment().await["attempts"][1]["idempotency_key"]);
    let charge = gateway.find_by_idempotency_key(&key).await.unwrap().unwrap();
    gateway.settle(&charge.reference, false, now).await.unwrap();
    let happened = shop.advance("2026-02-05T03:00:00Z").await;

    assert_eq!(told(&happened).len(), 3, "the bank's no, then the step that waited: {happened:#?}");
    assert_eq!(dunning(&shop).await["step"], 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_voided_invoice_is_not_chased(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_insufficient_funds")).await else { return };

    shop.world.post(&format!("/v1/invoices/{}/void", shop.invoice), json!({})).await;
    shop.world.work().await;

    assert_eq!(dunning(&shop).await["status"], "recovered");
    assert_eq!(shop.payment().await["status"], "canceled");
    assert_eq!(shop.subscription().await["access"], "full");
    assert!(told(&shop.advance("2026-02-10T00:00:00Z").await).is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_keeps_a_day_between_two_tries(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open_by_the_wall_clock(world, "tok_decline_insufficient_funds").await;
    assert_eq!(dunning(&shop).await["next_try_at"], "2026-01-02T00:00:00Z");

    // The program was down for three weeks.
    shop.world.clock.set("2026-01-22T00:00:00Z".parse().unwrap());
    shop.world.sweep().await;
    shop.world.sweep().await;

    let late = dunning(&shop).await;
    assert_eq!((&late["step"], &late["next_try_at"]), (&json!(1), &json!("2026-01-23T00:00:00Z")));
    assert_eq!(shop.payment().await["attempts"].as_array().unwrap().len(), 2);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_tries_by_hand_does_not_let_a_stolen_card_be_tried_again(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_decline_stolen")).await else { return };
    let other = json!({"customer": "acme", "token": "tok_decline_insufficient_funds"});
    let other = shop.world.create("/v1/payment_methods", other).await;
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    shop.world.post(&path, json!({"payment_method": other["id"]})).await;
    shop.world.work().await;

    let running = dunning(&shop).await;
    assert_eq!((&running["retries_stopped"], &running["next_try_at"]), (&json!(true), &Value::Null));
    shop.advance("2026-02-10T00:00:00Z").await;

    let tries = ["finalized declined stolen_card", "request declined insufficient_funds"];
    assert_eq!(shop.attempts().await, tries);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_decline_of_another_card_by_hand_does_not_stop_the_retries(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_decline_then_ok")).await else { return };
    let stolen = json!({"customer": "acme", "token": "tok_decline_stolen"});
    let stolen = shop.world.create("/v1/payment_methods", stolen).await;
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    shop.world.post(&path, json!({"payment_method": stolen["id"]})).await;
    shop.world.work().await;

    assert_eq!(dunning(&shop).await["next_try_at"], "2026-02-02T09:30:00Z");
    shop.advance("2026-02-02T09:30:00Z").await;

    assert_eq!(dunning(&shop).await["status"], "recovered");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_chosen_as_the_default_is_tried_at_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_stolen")).await else { return };
    let good =
        shop.world.create("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa"})).await;
    shop.world.work().await;
    assert_eq!(dunning(&shop).await["status"], "running", "it is there, but nobody chose it");

    let chosen = json!({"default_payment_method": good["id"]});
    let customer = shop.world.send("PATCH", "/v1/customers/acme", &chosen).await.expect(200);
    shop.world.work().await;

    assert_eq!(customer["default_payment_method"], good["id"]);
    let reason = format!("method:{} succeeded", text(&good["id"]));
    assert_eq!(shop.attempts().await, ["finalized declined stolen_card".to_owned(), reason]);
    assert_eq!(dunning(&shop).await["status"], "recovered");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_unpaid_is_not_active_in_between(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_stolen")).await else { return };

    shop.advance("2026-02-10T00:00:00Z").await;

    assert_eq!(shop.subscription().await["status"], "canceled");
    let changes = shop.events("subscription.canceled").await;
    assert_eq!(changes[0]["previous"]["status"], "past_due", "{changes:#?}");
}
