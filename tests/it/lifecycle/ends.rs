//! Ends, and what becomes of what was paid for.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Life, world};
use crate::support::{
    Engine::{self, *},
    text,
};

#[rstest]
#[case::none("none", &[])]
#[case::credit("credit", &["offset basic – base: -5.00"])]
#[case::refund("refund", &["offset basic – base: -5.00"])]
#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_still_to_be_paid_the_unused_part_is_taken_off(
    #[case] unused: &str,
    #[case] expected: &[&str],
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(life.act("cancel", json!({"when": "now", "unused": unused})).await, expected);
    assert_eq!(life.act("cancel", json!({"when": "now", "unused": "credit"})).await, Vec::<String>::new());
    let invoice = life.world.list("/v1/invoices").await.remove(0);
    let due = if unused == "none" { "10.00" } else { "5.00" };
    assert_eq!(text(&invoice["amount_due"]), due);
    life.books_are_right().await;
}

/// A life whose invoices are paid by a card.
async fn paid(on: Engine) -> Option<Life> {
    let world = world(on).await?;
    let clock = world.test_clock("2026-04-01T00:00:00Z").await;
    let acme = json!({"external_id": "acme", "name": "Acme", "timezone": "UTC", "test_clock": clock});
    world.create("/v1/customers", acme).await;
    let card = json!({"customer": "acme", "token": "tok_visa", "default": true});
    world.create("/v1/payment_methods", card).await;
    let body = json!({"customer": "acme", "plan": "basic", "quantities": {"seats": "0"}});
    let made = world.create("/v1/subscriptions", body).await;
    world.work().await;
    let life = Life { world, clock, id: text(&made["id"]) };
    let invoice: Value = life.world.list("/v1/invoices").await.remove(0);
    assert_eq!(text(&invoice["status"]), "paid");
    Some(life)
}

#[rstest]
#[case::credit("credit", "credit basic – base: -5.00")]
#[case::refund("refund", "refund basic – base: -5.00")]
#[tokio::test(flavor = "multi_thread")]
async fn of_what_was_paid_the_unused_part_is_credit_or_goes_back(
    #[case] unused: &str,
    #[case] expected: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = paid(on).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(life.act("cancel", json!({"when": "now", "unused": unused})).await, [expected]);
    let refunds = life.world.list("/v1/refunds").await;
    let refunded: Vec<[String; 2]> =
        refunds.iter().map(|refund| [&refund["amount"], &refund["status"]].map(text)).collect();
    let wanted: &[[&str; 2]] = if unused == "refund" { &[["5.00", "succeeded"]] } else { &[] };
    assert_eq!(refunded, wanted);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_paid_is_refunded_and_the_rest_is_credit_again(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = paid(on).await else { return };
    let first = life.world.list("/v1/invoices").await.remove(0);
    let goodwill = json!({"invoice": first["id"], "kind": "credit", "amount": "7.00"});
    life.world.create("/v1/credit_notes", goodwill).await;
    // The second month costs 10.00, of which credit pays 7.00.
    life.advance("2026-05-01T12:00:00Z").await;
    let done = life.act("cancel", json!({"when": "now", "unused": "refund"})).await;
    assert_eq!(done, ["refund basic – base: -3.00", "credit basic – base: -7.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn on_the_boundary_the_period_that_ends_is_used_up_and_the_one_that_begins_is_not(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-30T23:59:59.999999Z").await;
    life.call("2026-04-30T00:00:00Z").await;
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(
        life.invoices().await[1..],
        [vec!["basic – base 2026-05-01 – 2026-06-01: 10.00", "basic – Calls 2026-04-01 – 2026-05-01: 0.25",]]
    );
    let done = life.act("cancel", json!({"when": "now", "unused": "credit"})).await;
    assert_eq!(done, ["offset basic – base: -10.00"]);
    life.advance("2026-07-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.len(), 2);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_an_instant_bills_usage_until_then_and_can_be_undone_before(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    let at = json!({"when": "2026-05-11T00:00:00Z"});
    life.act("cancel", at.clone()).await;
    assert_eq!(text(&life.subscription().await["cancel_at"]), "2026-05-11T00:00:00Z");
    life.advance("2026-04-20T00:00:00Z").await;
    life.act("undo", json!({})).await;
    let undone = life.subscription().await;
    assert!(undone["cancel_at"].is_null() && undone["canceled_at"].is_null());

    life.act("cancel", at).await;
    life.advance("2026-05-02T00:00:00Z").await;
    // A period that is known to end early is billed as far as it goes: 10 of 31 days.
    assert_eq!(life.invoices().await[1..], [vec!["basic – base 2026-05-01 – 2026-05-11: 3.23"]]);
    life.call("2026-05-02T00:00:00Z").await;
    life.advance("2026-05-12T00:00:00Z").await;
    assert_eq!(life.invoices().await[2..], [vec!["basic – Calls 2026-05-01 – 2026-05-11: 0.25"]]);
    assert_eq!(text(&life.subscription().await["status"]), "canceled");
    life.refused("undo", json!({}), 409).await;
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_given_at_the_beginning_stays_when_an_earlier_one_is_undone(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({"ends_at": "2026-06-15T00:00:00Z"})).await else { return };
    life.act("cancel", json!({})).await;
    assert_eq!(text(&life.subscription().await["cancel_at"]), "2026-05-01T00:00:00Z");
    life.act("undo", json!({})).await;
    assert_eq!(text(&life.subscription().await["cancel_at"]), "2026-06-15T00:00:00Z");
    life.refused("change", json!({"plan": "business", "when": "2026-07-01T00:00:00Z"}), 422).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_fees_were_billed_up_to_is_undone_and_the_rest_of_the_period_is_billed(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.act("change", json!({"plan": "business", "when": "2026-05-09T00:00:00Z"})).await;
    life.act("cancel", json!({"when": "2026-05-11T00:00:00Z"})).await;
    life.advance("2026-05-05T00:00:00Z").await;
    assert_eq!(life.invoices().await[1..], [vec!["basic – base 2026-05-01 – 2026-05-11: 3.23"]]);

    assert_eq!(
        life.act("undo", json!({})).await,
        ["credit basic – base: -1.94", "basic – base 2026-05-05 – 2026-06-01: 8.71"]
    );
    assert_eq!(text(&life.subscription().await["scheduled"]["at"]), "2026-05-09T00:00:00Z");
    life.advance("2026-05-10T00:00:00Z").await;
    assert_eq!(life.invoices().await[3..], [vec!["business – base 2026-05-09 – 2026-06-01: 22.26"]]);
    assert_eq!(life.notes().await[1..], ["credit basic – base: -7.42"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_is_left_of_the_credit_once_the_new_invoice_is_paid_by_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    let path = format!("/v1/subscriptions/{}/change/preview", life.id);
    let promised = life.world.post(&path, json!({"plan": "business"})).await;
    life.act("change", json!({"plan": "business"})).await;
    let note = life.world.list("/v1/credit_notes").await.remove(0);
    assert_eq!(text(&promised["credit_notes"][0]["credit_left"]), "0.00");
    assert_eq!(promised["credit_notes"][0]["credit_left"], note["credit_left"]);
}
