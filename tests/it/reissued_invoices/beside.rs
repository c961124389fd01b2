//! What stands on invoices that are not replaced is put right beside them.

use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::*;
use crate::support::Engine::*;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_on_a_paid_invoice_has_one_of_its_own_at_once(
    #[values("20.40", "0.01")] paid: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    pay(&shop, "INV-000002", paid).await;

    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    let status = if paid == "20.40" { "paid" } else { "open" };
    let of_february = format!("INV-000002 {status} cycle 20.40");
    assert_eq!(told(&shop).await[1..], [of_february.as_str(), "INV-000003 open adjustment 2.40"]);
    assert_eq!(lines(&shop, "INV-000003").await, ["usage_adjustment 2026-02 4 2.00"]);

    // That one is open, so it is issued anew for what comes then.
    shop.call("c", "2", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[2..],
        [
            "INV-000003 void adjustment 2.40, replaced by INV-000004",
            "INV-000004 open adjustment 3.60, replaces INV-000003",
        ]
    );
    assert_eq!(lines(&shop, "INV-000004").await, ["usage_adjustment 2026-02 6 3.00"]);
    let line = &shop.world.get("/v1/invoices/INV-000004/explain").await["lines"][0];
    let fields = ["description", "already_billed", "rated_amount", "exact_amount", "amount"];
    assert_eq!(
        fields.map(|field| text(&line[field])),
        ["API – calls (usage told later)", "5.00", "8", "3", "3.00"]
    );
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_much_on_a_paid_invoice_is_one_credit_note(
    #[values("20.40", "0.01")] paid: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    shop.call("b", "4", "2026-03-01T00:00:00Z").await;
    pay(&shop, "INV-000002", paid).await;

    shop.world.post("/v1/usage_events/a/amend", json!({"metadata": {"n": "7"}})).await;
    shop.advance("2026-03-03T00:00:00Z").await;
    shop.advance("2026-03-04T00:00:00Z").await;

    assert_eq!(told(&shop).await.len(), 2);
    assert_eq!(notes(&shop).await, ["CN-000001 INV-000002 credit usage_correction 1.80"]);

    // What comes then is billed on top of what was left, and paid by what was given back.
    shop.call("c", "1", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-05T00:00:00Z").await;
    assert_eq!(told(&shop).await[2..], ["INV-000003 paid adjustment 0.60"]);
    let line = &shop.world.get("/v1/invoices/INV-000003/explain").await["lines"][0];
    assert_eq!((&line["already_billed"], &line["quantity"]), (&json!("3.50"), &json!("1")));

    // The next turn has March alone, with nothing of February.
    shop.advance("2026-04-02T00:00:00Z").await;
    assert_eq!(lines(&shop, "INV-000004").await, ["fixed 2026-04 1 10.00", "usage 2026-03 4 2.00"]);
    assert_eq!(invoices(&shop).await[3]["credits_applied"], "1.20");
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn more_than_an_open_invoice_holds_is_given_back_from_the_paid_one_before_it(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    pay(&shop, "INV-000002", "20.40").await;
    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;
    assert_eq!(told(&shop).await[2], "INV-000003 open adjustment 2.40");

    void_event(&shop, "a").await;
    shop.advance("2026-03-04T00:00:00Z").await;
    shop.advance("2026-03-05T00:00:00Z").await;

    // Four calls are 2.00, and 5.00 were billed for ten: the later invoice has nothing to say any more.
    assert_eq!(told(&shop).await[1..], ["INV-000002 paid cycle 20.40", "INV-000003 void adjustment 2.40"]);
    assert_eq!(notes(&shop).await, ["CN-000001 INV-000002 credit usage_correction 3.60"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_another_metrics_correction_is_given_back(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = sell(on, &[calls(), bytes()]).await else { return };
    send_bytes(&shop, "x", "30", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    pay(&shop, "INV-000001", "3.60").await;
    void_event(&shop, "x").await;
    shop.call("a", "10", "2026-03-02T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    assert_eq!(
        lines(&shop, "INV-000002").await,
        ["usage 2026-03 10 5.00", "usage_adjustment 2026-02 -30 -3.00"]
    );

    // Of the 3.00 in the customer's favour only one can stay: a void invoice gives nothing back.
    shop.world.post("/v1/usage_events/a/amend", json!({"metadata": {"n": "2"}})).await;
    shop.advance("2026-04-03T00:00:00Z").await;

    assert_eq!(
        told(&shop).await[1..],
        [
            "INV-000002 void cycle 2.40, replaced by INV-000003",
            "INV-000003 paid cycle 0.00, replaces INV-000002",
        ]
    );
    assert_eq!(
        lines(&shop, "INV-000003").await,
        ["usage 2026-03 2 1.00", "usage_adjustment 2026-02 -30 -1.00"]
    );
    assert_eq!(notes(&shop).await, ["CN-000001 INV-000001 credit usage_correction 2.40"]);
    shop.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(told(&shop).await.len(), 3);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_somebody_is_paying_stays(#[values(Sqlite, Postgres)] on: Engine) {
    let terms = json!({"collection": "automatic"});
    let Some(shop) = sell_with(on, &[calls()], terms, Some("tok_pending")).await else { return };
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-01T01:00:00Z").await;
    assert_eq!(shop.world.list("/v1/payments").await[0]["status"], "pending");

    shop.call("b", "4", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-01T02:00:00Z").await;

    assert_eq!(told(&shop).await, ["INV-000001 open cycle 6.00", "INV-000002 open adjustment 2.40"]);
    void_event(&shop, "a").await;
    shop.advance("2026-03-01T03:00:00Z").await;
    assert_eq!(told(&shop).await.len(), 2);
    assert_eq!(
        notes(&shop).await,
        [
            "CN-000001 INV-000001 credit usage_correction 3.60",
            "CN-000002 INV-000002 credit usage_correction 2.40"
        ]
    );
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_chased_is_chased_on(#[values(Sqlite, Postgres)] on: Engine) {
    let terms = json!({"collection": "automatic"});
    let token = Some("tok_decline_insufficient_funds");
    let Some(shop) = sell_with(on, &[calls()], terms, token).await else { return };
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-01T01:00:00Z").await;
    let before = shop.world.list("/v1/dunnings").await;
    assert_eq!(before[0]["status"], "running");

    shop.call("b", "4", "2026-02-28T00:00:00Z").await;
    shop.advance("2026-03-01T02:00:00Z").await;

    assert_eq!(told(&shop).await, ["INV-000001 open cycle 6.00", "INV-000002 open adjustment 2.40"]);
    let after = shop.world.list("/v1/dunnings").await;
    assert_eq!((after.len(), &after[1]), (2, &before[0]));
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_voided_is_not_billed_again(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = february(on).await else { return };
    shop.world.post("/v1/invoices/INV-000002/void", json!({})).await;

    shop.call("b", "4", "2026-02-28T23:59:59Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    assert_eq!(told(&shop).await[1..], ["INV-000002 void cycle 20.40", "INV-000003 open adjustment 2.40"]);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_is_voided_and_is_paid_all_invoices_and_credit_notes_come_to_what_was_used(
    #[values(3, 17, 2026)] seed: u64,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = february(on).await else { return };
    let mut random = seed;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut there = vec![("a".to_owned(), 10)];
    for step in 0..12_u64 {
        match next(3) {
            0 => {
                let (id, n) = (format!("late-{step}"), next(9) + 1);
                shop.call(&id, &n.to_string(), "2026-02-20T00:00:00Z").await;
                there.push((id, n));
            }
            1 if !there.is_empty() => {
                let (id, _) = there.swap_remove(usize::try_from(next(there.len() as u64)).unwrap());
                void_event(&shop, &id).await;
            }
            _ => {
                let invoices = invoices(&shop).await;
                let open: Vec<_> = invoices.iter().filter(|invoice| invoice["status"] == "open").collect();
                if let Some(invoice) = open.last() {
                    pay(&shop, &text(&invoice["number"]), &text(&invoice["amount_due"])).await;
                }
            }
        }
        if next(3) > 0 {
            shop.advance(&format!("2026-03-{:02}T00:00:00Z", step + 3)).await;
        }
    }
    shop.advance("2026-03-20T00:00:00Z").await;

    let decimal = |value: &Value| text(value).parse::<Decimal>().unwrap();
    let invoices = invoices(&shop).await;
    let live = invoices.iter().filter(|invoice| invoice["status"] != "void");
    let billed: Decimal = live.map(|invoice| decimal(&invoice["total"])).sum();
    let notes = shop.world.list("/v1/credit_notes?limit=100").await;
    let credited: Decimal = notes.iter().map(|note| decimal(&note["total"])).sum();
    let used: u64 = there.iter().map(|(_, n)| n).sum();
    // Two fees, twenty bytes and the calls, with their tax.
    let right = Decimal::new(12 * 200 + 240, 2) + Decimal::new(60, 2) * Decimal::from(used);
    assert_eq!(billed - credited, right, "{:#?} {notes:#?}", told(&shop).await);
    assert_eq!(findings(&shop).await, Vec::<String>::new());
}
