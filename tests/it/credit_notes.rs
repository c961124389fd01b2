//! What was charged is taken back line by line with its tax: never more than it, never twice, and every cent is in the
//! books.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices,
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, Shop, World, text};

/// Ten dollars a month and two for each of three seats in advance, and 20 % VAT: 19.20, due in a year.
async fn billed(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [
            {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
             "model": {"type": "flat", "amount": "10.00"}},
            {"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance",
             "model": {"type": "per_unit", "unit_price": "2"}},
        ],
    });
    world.create("/v1/plans", plan).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    subscribe(&world).await;
    Some(world)
}

async fn subscribe(world: &World) {
    let body = json!({
        "customer": "acme", "plan": "team", "quantities": {"seats": "3"}, "collection": "send_invoice",
        "net_terms_days": 365,
    });
    world.create("/v1/subscriptions", body).await;
    world.work().await;
}

async fn credit(world: &World, body: &Value) -> Reply {
    world.send("POST", "/v1/credit_notes", body).await
}

/// What the fields of an object say.
fn told<const N: usize>(object: &Value, fields: [&str; N]) -> [String; N] {
    fields.map(|field| text(&object[field]))
}

/// Of each account but those of zero: `code balance`.
async fn balances(world: &World) -> Vec<String> {
    let accounts = world.list("/v1/ledger/accounts?limit=100").await;
    let told = accounts.iter().map(|account| told(account, ["code", "balance"]).join(" "));
    let mut balances: Vec<_> = told.filter(|told| !told.ends_with(" 0.00")).collect();
    balances.sort();
    balances
}

/// What `accrue verify` has to say of invoices, credit notes and books.
async fn findings(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_credited_comes_back_with_its_tax_and_pays_the_next_invoice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = billed(on).await else { return };
    let seats = text(&world.get("/v1/invoices/INV-000001").await["lines"][1]["id"]);
    let seat = json!({"invoice": "INV-000001", "kind": "credit", "reason": "order_changed", "memo": "One less.",
        "lines": [{"line": seats, "quantity": 1}]});

    let first = credit(&world, &seat).await.expect(201);
    let rest = json!({"invoice": "INV-000001", "kind": "credit", "amount": "5.00"});
    let second = credit(&world, &rest).await.expect(201);

    let sums = ["number", "subtotal", "tax_total", "total", "credit_left"];
    assert_eq!(told(&first, sums), ["CN-000001", "2.00", "0.40", "2.40", "2.40"]);
    assert_eq!(
        told(&first["lines"][0], ["line", "quantity", "amount", "tax"]),
        [&*seats, "1", "2.00", "0.40"]
    );
    assert_eq!((&first["reason"], &first["memo"]), (&json!("order_changed"), &json!("One less.")));
    // Over the 10.00 and the 4.00 that were left; VAT 20 % of it.
    assert_eq!(told(&second, sums), ["CN-000002", "5.00", "1.00", "6.00", "6.00"]);
    assert_eq!(told(&second["lines"][0], ["amount", "tax"]), ["3.57", "0.71"]);
    assert_eq!(told(&second["lines"][1], ["amount", "tax"]), ["1.43", "0.29"]);
    assert_eq!(told(&second["taxes"][0], ["name", "rate", "base", "amount"]), ["VAT", "20", "5.00", "1.00"]);
    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(told(&invoice, ["status", "credited_total", "amount_due"]), ["open", "8.40", "19.20"]);
    assert_eq!(
        balances(&world).await,
        ["customer_credit -8.40", "receivable 19.20", "revenue -9.00", "tax_payable -1.80"]
    );
    assert!(findings(&world).await.is_empty());

    world.clock.advance(TimeDelta::days(31));
    world.sweep().await;

    let next = world.get("/v1/invoices/INV-000002").await;
    let due = ["total", "credits_applied", "amount_due", "status"];
    assert_eq!(told(&next, due), ["19.20", "8.40", "10.80", "open"]);
    let explained = world.get("/v1/invoices/INV-000002/explain").await;
    let paid: Vec<_> =
        explained["credits"].as_array().unwrap().iter().map(|by| told(by, ["number", "amount"])).collect();
    assert_eq!(paid, [["CN-000001", "2.40"], ["CN-000002", "6.00"]]);
    let left: Vec<_> =
        world.list("/v1/credit_notes").await.iter().map(|note| text(&note["credit_left"])).collect();
    assert_eq!(left, ["0.00", "0.00"]);
    assert_eq!(balances(&world).await, ["receivable 30.00", "revenue -25.00", "tax_payable -5.00"]);
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_credit_notes_of_an_invoice_come_to_it_and_not_to_more(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let five = json!({"invoice": "INV-000001", "kind": "credit", "total": "5.00"});

    let answers = join_all((0..8).map(|_| credit(&world, &five))).await;

    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).map(Reply::errors).collect();
    assert_eq!((made, refused), (3, vec![vec!["/total out_of_range".to_owned()]; 5]));
    let everything = json!({"invoice": "INV-000001", "kind": "credit"});
    let rest = credit(&world, &everything).await.expect(201);
    assert_eq!(told(&rest, ["number", "total"]), ["CN-000004", "4.20"]);
    assert_eq!(text(&credit(&world, &everything).await.json()["code"]), "illegal_transition");
    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(told(&invoice, ["total", "credited_total"]), ["19.20", "19.20"]);
    // Nothing was ever earned, and no tax is owed.
    assert_eq!(balances(&world).await, ["customer_credit -19.20", "receivable 19.20"]);
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_offset_lowers_what_is_left_to_pay_until_nothing_is(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let offset = |total: &str| json!({"invoice": "INV-000001", "kind": "offset", "total": total});

    let first = credit(&world, &offset("7.20")).await.expect(201);
    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(told(&invoice, ["status", "offset_total", "amount_due"]), ["open", "7.20", "12.00"]);
    assert_eq!(text(&first["credit_left"]), "0.00");
    assert!(findings(&world).await.is_empty());

    assert_eq!(credit(&world, &offset("12.01")).await.errors(), ["/total out_of_range"]);
    let voided = world.send("POST", "/v1/invoices/INV-000001/void", &json!({})).await;
    assert_eq!((voided.status, text(&voided.json()["code"])), (409, "illegal_transition".to_owned()));
    credit(&world, &json!({"invoice": "INV-000001", "kind": "offset"})).await.expect(201);

    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(told(&invoice, ["status", "amount_due", "amount_paid"]), ["paid", "0.00", "0.00"]);
    assert!(balances(&world).await.is_empty());
    assert!(findings(&world).await.is_empty());
    let told = world.list("/v1/events?limit=100").await;
    let kinds: Vec<_> = told.iter().rev().map(|event| text(&event["type"])).collect();
    assert_eq!(kinds[kinds.len() - 3..], ["credit_note.created", "credit_note.created", "invoice.paid"]);
    let paper = Reply::of(world.request("GET", "/v1/invoices/INV-000001.pdf")).await;
    assert_eq!((paper.status, &paper.bytes[..5]), (200, b"%PDF-".as_slice()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn credit_is_spent_once_the_oldest_first_and_is_back_when_its_invoice_is_voided(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = billed(on).await else { return };
    for total in ["12.00", "7.20"] {
        credit(&world, &json!({"invoice": "INV-000001", "kind": "credit", "total": total})).await.expect(201);
    }
    let left = async || {
        let notes = world.list("/v1/credit_notes").await;
        notes.iter().rev().map(|note| text(&note["credit_left"])).collect::<Vec<_>>()
    };

    subscribe(&world).await;

    let second = world.get("/v1/invoices/INV-000002").await;
    assert_eq!(told(&second, ["credits_applied", "amount_due", "status"]), ["19.20", "0.00", "paid"]);
    assert_eq!(left().await, ["0.00", "0.00"]);

    credit(&world, &json!({"invoice": "INV-000002", "kind": "credit", "total": "15.00"})).await.expect(201);
    credit(&world, &json!({"invoice": "INV-000002", "kind": "credit", "total": "4.20"})).await.expect(201);
    world.clock.advance(TimeDelta::days(31));
    world.sweep().await;
    let third = world.get("/v1/invoices/INV-000003").await;
    let fourth = world.get("/v1/invoices/INV-000004").await;
    assert_eq!(told(&third, ["credits_applied", "status"]), ["19.20", "paid"]);
    assert_eq!(told(&fourth, ["credits_applied", "amount_due"]), ["0.00", "19.20"]);

    credit(&world, &json!({"invoice": "INV-000003", "kind": "credit", "total": "6.00"})).await.expect(201);
    subscribe(&world).await;
    let fifth = world.get("/v1/invoices/INV-000005").await;
    assert_eq!(told(&fifth, ["credits_applied", "amount_due", "status"]), ["6.00", "13.20", "open"]);
    assert!(findings(&world).await.is_empty());
    let voided = world.post("/v1/invoices/INV-000005/void", json!({})).await;
    assert_eq!(told(&voided, ["status", "amount_due"]), ["void", "0.00"]);
    assert_eq!(left().await, ["0.00", "0.00", "0.00", "0.00", "6.00"]);
    assert!(findings(&world).await.is_empty());
    world.clock.advance(TimeDelta::days(31));
    world.sweep().await;
    let mut applied = Vec::new();
    for number in ["INV-000006", "INV-000007", "INV-000008"] {
        applied.push(text(&world.get(&format!("/v1/invoices/{number}")).await["credits_applied"]));
    }
    assert_eq!(applied, ["6.00", "0.00", "0.00"]);
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn invoices_that_are_finalized_at_once_do_not_spend_credit_twice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = billed(on).await else { return };
    credit(&world, &json!({"invoice": "INV-000001", "kind": "credit"})).await.expect(201);
    for _ in 0..8 {
        let body =
            json!({"customer": "acme", "plan": "team", "collection": "send_invoice", "net_terms_days": 365});
        world.create("/v1/subscriptions", body).await;
    }

    join_all((0..8).map(|_| world.work())).await;

    // Each of them is 14.40 with its one seat.
    let invoices = world.list("/v1/invoices").await;
    let mut applied: Vec<_> = invoices.iter().map(|invoice| text(&invoice["credits_applied"])).collect();
    applied.sort();
    assert_eq!((applied.len(), applied[7..].to_vec()), (9, vec!["14.40".to_owned(), "4.80".to_owned()]));
    assert!(applied[..7].iter().all(|none| none == "0.00"), "{applied:?}");
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_goes_back_the_way_the_money_came(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_visa")).await;
    let refund = |total: &str| json!({"invoice": shop.invoice, "kind": "refund", "total": total});
    let offset = json!({"invoice": shop.invoice, "kind": "offset"});
    assert_eq!(text(&credit(&shop.world, &offset).await.json()["code"]), "illegal_transition");

    let note = credit(&shop.world, &refund("10.00")).await.expect(201);
    assert_eq!(told(&note, ["refund_status", "credit_left"]), ["pending", "0.00"]);
    assert_eq!(shop.balances("customer_credit").await, ["-10.00"]);
    assert!(findings(&shop.world).await.is_empty());
    shop.advance("2026-02-01T09:31:00Z").await;

    let note = shop.world.get("/v1/credit_notes/CN-000001").await;
    assert_eq!(text(&note["refund_status"]), "succeeded");
    let given = shop.world.list("/v1/refunds").await;
    assert_eq!(
        told(&given[0], ["status", "amount", "credit_note"]),
        ["succeeded", "10.00", &text(&note["id"])]
    );
    assert_eq!(text(&shop.payment().await["status"]), "partially_refunded");
    assert_eq!(shop.balances("customer_credit").await, ["0.00"]);
    assert_eq!(shop.balances("gateway_cash").await, ["20.00"]);
    assert!(shop.balances("refunds").await.is_empty());
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 2000);
    assert_eq!(credit(&shop.world, &refund("20.01")).await.errors(), ["/total out_of_range"]);
    assert!(findings(&shop.world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_does_not_give_back_is_credit(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_dispute")).await;
    let refund = json!({"invoice": shop.invoice, "kind": "refund", "total": "10.00"});
    credit(&shop.world, &refund).await.expect(201);

    shop.advance("2026-02-01T09:31:00Z").await;

    let note = shop.world.get("/v1/credit_notes/CN-000001").await;
    assert_eq!(told(&note, ["refund_status", "credit_left"]), ["failed", "10.00"]);
    let events = shop.events("credit_note.updated").await;
    assert_eq!(events[0]["previous"], json!({"credit_left": "0.00", "refund_status": "pending"}));
    assert_eq!(shop.balances("customer_credit").await, ["-10.00"]);
    assert!(findings(&shop.world).await.is_empty());
    shop.advance("2026-03-01T09:31:00Z").await;
    let next = shop.world.get("/v1/invoices/INV-000002").await;
    assert_eq!(told(&next, ["total", "credits_applied", "status"]), ["30.00", "10.00", "paid"]);
    let payments = shop.world.list("/v1/payments").await;
    assert_eq!(text(&payments[0]["amount"]), "20.00");
    assert!(findings(&shop.world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_offset_is_made_while_a_payment_is_under_way(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_timeout_after_accept")).await;

    let refused =
        credit(&shop.world, &json!({"invoice": shop.invoice, "kind": "offset", "total": "1.00"})).await;

    assert_eq!((refused.status, text(&refused.json()["code"])), (409, "payment_in_flight".to_owned()));
    assert!(shop.world.list("/v1/credit_notes").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_an_offset_settles_is_chased_no_more(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_insufficient_funds")).await;
    assert_eq!(text(&shop.payment().await["status"]), "failed");
    assert_eq!(text(&shop.subscription().await["status"]), "past_due");

    credit(&shop.world, &json!({"invoice": shop.invoice, "kind": "offset"})).await.expect(201);
    shop.advance("2026-02-09T00:00:00Z").await;

    assert_eq!(told(&shop.invoice().await, ["status", "amount_due"]), ["paid", "0.00"]);
    assert_eq!(text(&shop.payment().await["status"]), "canceled");
    assert_eq!(shop.attempts().await.len(), 1);
    assert_eq!(text(&shop.world.list("/v1/dunnings").await[0]["status"]), "recovered");
    assert_eq!(text(&shop.subscription().await["status"]), "active");
    assert!(findings(&shop.world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_chased_is_what_an_offset_left(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_insufficient_funds")).await;
    credit(&shop.world, &json!({"invoice": shop.invoice, "kind": "offset", "total": "12.00"}))
        .await
        .expect(201);

    shop.advance("2026-02-02T10:00:00Z").await;

    let attempts = shop.payment().await["attempts"].clone();
    let amounts: Vec<_> =
        attempts.as_array().unwrap().iter().map(|attempt| text(&attempt["amount"])).collect();
    assert_eq!(amounts, ["30.00", "18.00"]);
    assert_eq!(text(&shop.world.list("/v1/dunnings").await[0]["amount_due"]), "18.00");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_a_credit_note_would_be_and_makes_none(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let body = json!({"invoice": "INV-000001", "kind": "credit", "amount": "5.00"});

    let preview = world.post("/v1/credit_notes/preview", body.clone()).await;

    assert_eq!(
        told(&preview, ["subtotal", "tax_total", "total", "left_to_credit"]),
        ["5.00", "1.00", "6.00", "13.20"]
    );
    assert!(world.list("/v1/credit_notes").await.is_empty());
    let made = credit(&world, &body).await.expect(201);
    assert_eq!(made["lines"], preview["lines"]);
    assert_eq!(text(&made["number"]), "CN-000001");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_credit_note(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let body = json!({"invoice": "INV-000001", "kind": "credit", "amount": "5.00"});
    let send = async || {
        let request = world.request("POST", "/v1/credit_notes").header("idempotency-key", "once").json(&body);
        Reply::of(request).await
    };

    let (first, again) = (send().await, send().await);

    assert_eq!((first.text.as_str(), again.header("idempotent-replayed")), (again.text.as_str(), "true"));
    assert_eq!(world.list("/v1/credit_notes").await, [first.expect(201)]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn credit_notes_are_found_by_their_own_account_only(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let body = json!({"invoice": "INV-000001", "kind": "credit", "amount": "5.00"});
    let note = credit(&world, &body).await.expect(201);
    let id = text(&note["id"]);
    for path in ["/v1/credit_notes/CN-000001", &format!("/v1/credit_notes/{id}")] {
        assert_eq!(world.get(path).await, note);
    }
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    for (filter, found) in [("customer=acme", 1), ("customer=other", 0), ("invoice=INV-000001", 1)] {
        assert_eq!(world.list(&format!("/v1/credit_notes?{filter}")).await.len(), found, "{filter}");
    }

    let stranger = world.stranger().await;
    for path in
        ["/v1/credit_notes/CN-000001", &format!("/v1/credit_notes/{id}"), "/v1/credit_notes/CN-000009"]
    {
        assert_eq!(Reply::of(world.request_as(&stranger, "GET", path)).await.status, 404, "{path}");
    }
    for path in ["/v1/credit_notes", "/v1/credit_notes/preview"] {
        assert_eq!(Reply::of(world.request_as(&stranger, "POST", path).json(&body)).await.status, 404);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_named(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = billed(on).await else { return };
    let lines = world.get("/v1/invoices/INV-000001").await["lines"].clone();
    let (base, seats) = (text(&lines[0]["id"]), text(&lines[1]["id"]));
    let long = "x".repeat(501);
    let wrong = [
        (json!({"amount": "0"}), vec!["/amount out_of_range"]),
        (json!({"amount": "1.234"}), vec!["/amount malformed"]),
        (json!({"amount": "1", "total": "1"}), vec!["/total conflict"]),
        (json!({"amount": "16.01"}), vec!["/amount out_of_range"]),
        (json!({"lines": []}), vec!["/lines out_of_range"]),
        (json!({"lines": [{"line": "x"}]}), vec!["/lines/0/line malformed"]),
        (json!({"lines": [{"line": "lin_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f"}]}), vec!["/lines/0/line unknown"]),
        (json!({"lines": [{"line": base}, {"line": base}]}), vec!["/lines/1/line repeated"]),
        (
            json!({"lines": [{"line": base}, {"line": seats, "amount": "6.01"}]}),
            vec!["/lines/1/amount out_of_range"],
        ),
        (json!({"lines": [{"line": seats, "quantity": "3.5"}]}), vec!["/lines/0/quantity out_of_range"]),
        (json!({"lines": [{"line": seats, "quantity": 0}]}), vec!["/lines/0/quantity out_of_range"]),
        (
            json!({"lines": [{"line": seats, "quantity": 1, "amount": "1"}]}),
            vec!["/lines/0/quantity conflict"],
        ),
        (json!({"reason": "usage_correction", "memo": long}), vec!["/reason reserved", "/memo too_long"]),
    ];
    for (fields, errors) in wrong {
        let mut body = json!({"invoice": "INV-000001", "kind": "credit"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(credit(&world, &body).await.errors(), errors, "{body}");
    }
    assert_eq!(credit(&world, &json!({"invoice": "INV-000009", "kind": "credit"})).await.status, 404);
    assert!(world.list("/v1/credit_notes").await.is_empty());
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[case::an_invoice("update invoices set credited_minor = 1", "something else of credit notes")]
#[case::a_note("update credit_notes set subtotal_minor = 499, tax_minor = 101", "the sums of cn_")]
#[case::its_credit("update credit_notes set credit_left_minor = 1", "with us by credit notes")]
#[case::no_note_at_all(
    "delete from credit_note_lines; delete from credit_notes",
    "has 0.00 USD with us by credit notes"
)]
#[case::its_number("update credit_notes set number = 'CN-000002'", "the numbers CN-")]
#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_somebody_changed(
    #[case] change: &str,
    #[case] finding: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = billed(on).await else { return };
    credit(&world, &json!({"invoice": "INV-000001", "kind": "credit", "amount": "5.00"})).await.expect(201);
    assert!(findings(&world).await.is_empty());

    world.sql(change).await;

    let findings = findings(&world).await;
    assert!(findings.iter().any(|found| found.contains(finding)), "{findings:#?}");
}
