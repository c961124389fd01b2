//! Open invoices are replaced.

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::support::Engine::*;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_open_invoice_is_replaced_by_one_with_all_that_came_within_a_quarter_of_an_hour(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-02T00:10:00Z").await;
    shop.call("c", "2", "2026-02-28T00:00:00Z").await;
    assert_eq!(told(&shop).await.len(), 2);

    shop.advance("2026-03-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await,
        [
            "INV-000001 open create 12.00",
            "INV-000002 void cycle 20.40, replaced by INV-000003",
            "INV-000003 open cycle 24.00, replaces INV-000002",
        ]
    );
    assert_eq!(
        lines(&shop, "INV-000003").await,
        ["fixed 2026-03 1 10.00", "usage 2026-02 16 8.00", "usage 2026-02 20 2.00"]
    );
    let [old, new] = [&invoices(&shop).await[1], &invoices(&shop).await[2]].map(Clone::clone);
    assert_eq!((&old["voided_at"], &old["amount_due"]), (&json!("2026-03-02T00:15:00Z"), &json!("0.00")));
    assert_eq!(new["period"], old["period"]);
    assert_eq!(new["issued_at"], "2026-03-02T00:15:00Z");

    let voided = shop.world.list("/v1/events?type=invoice.voided").await;
    assert_eq!((voided.len(), &voided[0]["data"]["object"]["replaced_by"]), (1, &new["id"]));
    let finalized = shop.world.list("/v1/events?type=invoice.finalized").await;
    assert_eq!((finalized.len(), &finalized[0]["data"]["object"]["replaces"]), (3, &old["id"]));
    let mails = shop.world.list("/v1/emails").await;
    assert_eq!((mails.len(), &mails[0]["kind"]), (3, &json!("invoice_issued")));

    let explained = shop.world.get("/v1/invoices/INV-000003/explain").await;
    let line = &explained["lines"][1];
    assert_eq!((&line["already_billed"], &line["rated_amount"]), (&json!("0.00"), &json!("8")));
    for event in ["a", "b", "c"] {
        let explained = shop.world.get(&format!("/v1/usage_events/{event}/explain")).await;
        assert_eq!(explained["outcomes"][0]["invoice"], new["id"], "{event}");
    }
    assert_eq!(findings(&shop).await, Vec::<String>::new());

    shop.world.sql("update invoices set replaced_by = null where number = 'INV-000002'").await;
    assert_eq!(findings(&shop).await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_again_or_at_once_or_dies_in_between_issues_one_invoice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    Box::pin(look(&shop, "2026-03-02T00:14:59Z", true)).await;
    Box::pin(look(&shop, "2026-03-02T00:15:00Z", false)).await;
    assert_eq!(told(&shop).await.len(), 2);

    join_all((0..4).map(|_| look(&shop, "2026-03-02T00:15:00Z", true))).await;

    // As if what was looked at had not been noted.
    shop.world.sql("update usage_closings set check_at = start_at").await;
    shop.advance("2026-03-03T00:00:00Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;
    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 void cycle 20.40, replaced by INV-000003",
            "INV-000003 open cycle 22.80, replaces INV-000002",
        ]
    );
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_replaced_an_invoice_is_replaced_itself(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = february(on).await else { return };
    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    shop.call("c", "1", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;
    let amended = json!({"metadata": {"n": "3"}});
    shop.world.post("/v1/usage_events/a/amend", amended).await;
    shop.advance("2026-03-05T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 void cycle 20.40, replaced by INV-000003",
            "INV-000003 void cycle 22.80, replaces INV-000002, replaced by INV-000004",
            "INV-000004 void cycle 23.40, replaces INV-000003, replaced by INV-000005",
            "INV-000005 open cycle 19.20, replaces INV-000004",
        ]
    );
    assert_eq!(lines(&shop, "INV-000005").await[1], "usage 2026-02 8 4.00");
    // The next turn bills March alone.
    shop.call("d", "1", "2026-03-05T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000006").await, ["fixed 2026-04 1 10.00", "usage 2026-03 1 0.50"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_of_nothing_but_usage_that_was_taken_back_is_void_and_has_no_successor(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = sell(on, &[calls()]).await else { return };
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;

    void_event(&shop, "a").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    assert_eq!(told(&shop).await, ["INV-000001 void cycle 6.00"]);
    let explained = shop.world.get("/v1/usage_events/a/explain").await;
    assert_eq!((&explained["reason"], &explained["outcomes"][0]["line"]), (&json!("voided"), &Value::Null));
    assert_eq!(notes(&shop).await, Vec::<String>::new());

    shop.call("b", "2", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;
    assert_eq!(told(&shop).await[1..], ["INV-000002 open adjustment 1.20"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_period_that_had_none_is_put_on_its_open_invoice(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = sell(on, &[base(), calls()]).await else { return };
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000002").await, ["fixed 2026-03 1 10.00"]);

    shop.call("a", "2", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 void cycle 12.00, replaced by INV-000003",
            "INV-000003 open cycle 13.20, replaces INV-000002",
        ]
    );
    assert_eq!(lines(&shop, "INV-000003").await, ["fixed 2026-03 1 10.00", "usage 2026-02 2 1.00"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_other_metrics_bill_stays_and_is_billed_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = february(on).await else { return };
    // Late bytes wait for the next invoice, late calls do not.
    shop.call("b", "4", "2026-02-28T00:00:00Z").await;
    send_bytes(&shop, "y", "5", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;
    assert_eq!(
        lines(&shop, "INV-000003").await,
        ["fixed 2026-03 1 10.00", "usage 2026-02 14 7.00", "usage 2026-02 20 2.00"]
    );
    shop.call("c", "2", "2026-03-03T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    let of_april = ["fixed 2026-04 1 10.00", "usage 2026-03 2 1.00", "usage_adjustment 2026-02 5 0.50"];
    assert_eq!(lines(&shop, "INV-000004").await, of_april);

    // That invoice is issued anew for calls of March: the bytes of February stay on it.
    shop.call("d", "1", "2026-03-31T00:00:00Z").await;
    send_bytes(&shop, "z", "1", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-04-03T00:00:00Z").await;
    let of_april = ["fixed 2026-04 1 10.00", "usage 2026-03 3 1.50", "usage_adjustment 2026-02 5 0.50"];
    assert_eq!(lines(&shop, "INV-000005").await, of_april);

    shop.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(
        lines(&shop, "INV-000006").await,
        ["fixed 2026-05 1 10.00", "usage_adjustment 2026-02 1 0.10"]
    );
    assert_eq!(lines(&shop, "INV-000007").await, ["fixed 2026-06 1 10.00"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn after_the_policy_changed_the_last_invoice_of_a_period_is_issued_anew(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    let world = &shop.world;
    world.send("PATCH", "/v1/metrics/calls", &json!({"late_events": "next_invoice"})).await.expect(200);
    shop.call("b", "4", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    let of_april = ["fixed 2026-04 1 10.00", "usage_adjustment 2026-02 4 2.00"];
    assert_eq!(lines(&shop, "INV-000003").await, of_april);

    world.send("PATCH", "/v1/metrics/calls", &json!({"late_events": "reissue"})).await.expect(200);
    shop.call("c", "1", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-04-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 open cycle 20.40",
            "INV-000003 void cycle 14.40, replaced by INV-000004",
            "INV-000004 open cycle 15.00, replaces INV-000003",
        ]
    );
    let of_april = ["fixed 2026-04 1 10.00", "usage_adjustment 2026-02 5 2.50"];
    assert_eq!(lines(&shop, "INV-000004").await, of_april);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn credit_that_paid_a_part_of_a_replaced_invoice_pays_its_successor(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = sell(on, &[base(), calls()]).await else { return };
    shop.world
        .create("/v1/credit_notes", json!({"invoice": "INV-000001", "kind": "credit", "total": "6.00"}))
        .await;
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(invoices(&shop).await[1]["credits_applied"], "6.00");

    shop.call("a", "2", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    let new = &invoices(&shop).await[2];
    assert_eq!(
        ["status", "total", "credits_applied", "amount_due"].map(|field| text(&new[field])),
        ["open", "13.20", "6.00", "7.20"]
    );
    assert_eq!(shop.world.list("/v1/credit_notes").await[0]["credit_left"], "0.00");
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_invoice_of_an_ended_subscription_is_issued_anew(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = sell(on, &[calls(), bytes()]).await else { return };
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.call("a", "10", "2026-02-09T00:00:00Z").await;
    send_bytes(&shop, "x", "20", "2026-02-09T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;
    assert_eq!(told(&shop).await, ["INV-000001 open cancel 8.40"]);

    shop.call("b", "2", "2026-02-09T00:00:00Z").await;
    send_bytes(&shop, "y", "10", "2026-02-09T00:00:00Z").await;
    shop.advance("2026-02-12T00:00:00Z").await;

    assert_eq!(
        told(&shop).await,
        [
            "INV-000001 void cancel 8.40, replaced by INV-000003",
            "INV-000002 open adjustment 1.20",
            "INV-000003 open cancel 9.60, replaces INV-000001",
        ]
    );
    assert_eq!(lines(&shop, "INV-000003").await, ["usage 2026-02 12 6.00", "usage 2026-02 20 2.00"]);
    pay(&shop, "INV-000003", "9.60").await;
    void_event(&shop, "a").await;
    shop.advance("2026-02-13T00:00:00Z").await;
    assert_eq!(notes(&shop).await, ["CN-000001 INV-000003 credit usage_correction 6.00"]);
    assert_eq!(told(&shop).await.len(), 3);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_to_a_minimum_is_less_on_the_new_invoice(#[values(Sqlite, Postgres)] on: Engine) {
    let mut calls = calls();
    calls["minimum_amount"] = json!("6.00");
    let Some(shop) = sell(on, &[calls]).await else { return };
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000001").await, ["usage 2026-02 10 5.00", "true_up 2026-02 1 1.00"]);

    shop.call("b", "1", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000002").await, ["usage 2026-02 11 5.50", "true_up 2026-02 1 0.50"]);

    shop.call("c", "2", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000003").await, ["usage 2026-02 13 6.50"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_period_that_was_billed_in_part_is_issued_anew(#[values(Sqlite, Postgres)] on: Engine) {
    let terms = json!({"collection": "send_invoice", "net_terms_days": 365,
        "progressive_billing_threshold": "5.00"});
    let Some(shop) = sell_with(on, &[base(), calls()], terms, None).await else { return };
    shop.advance("2026-02-03T00:00:00Z").await;
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-02-04T00:00:00Z").await;
    shop.call("b", "4", "2026-02-04T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(told(&shop).await[1..], ["INV-000002 open threshold 6.00", "INV-000003 open cycle 14.40"]);

    shop.call("c", "1", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 open threshold 6.00",
            "INV-000003 void cycle 14.40, replaced by INV-000004",
            "INV-000004 open cycle 15.00, replaces INV-000003",
        ]
    );
    assert_eq!(lines(&shop, "INV-000004").await, ["fixed 2026-03 1 10.00", "usage 2026-02 5 2.50"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn one_look_replaces_every_invoice_of_which_something_is_missing(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    let credit = json!({"invoice": "INV-000001", "kind": "credit", "total": "12.00"});
    shop.world.create("/v1/credit_notes", credit).await;
    shop.call("b", "6", "2026-03-02T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    assert_eq!(invoices(&shop).await[2]["credits_applied"], "12.00");

    shop.call("c", "4", "2026-02-28T00:00:00Z").await;
    shop.call("d", "2", "2026-03-31T00:00:00Z").await;
    shop.advance("2026-04-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 void cycle 20.40, replaced by INV-000004",
            "INV-000003 void cycle 15.60, replaced by INV-000005",
            "INV-000004 open cycle 22.80, replaces INV-000002",
            "INV-000005 open cycle 16.80, replaces INV-000003",
        ]
    );
    assert_eq!(lines(&shop, "INV-000004").await[1], "usage 2026-02 14 7.00");
    assert_eq!(lines(&shop, "INV-000005").await[1], "usage 2026-03 8 4.00");
    assert_eq!(shop.world.get("/v1/invoices/INV-000005").await["credits_applied"], "12.00");
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}
