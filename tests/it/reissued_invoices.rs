//! Usage that comes after its period was billed, of metrics whose invoices are issued anew: what is open is replaced,
//! what is not is put right beside it, once and to the cent.

use accrue::{
    auth::{Mode, Tenant, service::first_tenant},
    credit_notes, invoices,
    ledger::{self, Account, Posting},
};
use accrue_core::money::Money;
use futures_util::future::join_all;
use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, World, text};

/// A call is 0.50, and its invoices are issued anew.
fn calls() -> Value {
    usage("calls", "0.5")
}

/// A byte is 0.10, and what comes late is on the next invoice.
fn bytes() -> Value {
    usage("bytes", "0.1")
}

fn usage(metric: &str, unit_price: &str) -> Value {
    json!({"code": metric, "name": metric, "kind": "usage", "metric": metric,
        "model": {"type": "per_unit", "unit_price": unit_price}})
}

fn base() -> Value {
    json!({"code": "base", "name": "base", "kind": "fixed", "timing": "advance",
        "model": {"type": "flat", "amount": "10"}})
}

/// Sells these prices with 20 % VAT to `acme`, who has a year to pay.
async fn sell(on: Engine, prices: &[Value]) -> Option<Metered> {
    sell_with(on, prices, json!({"collection": "send_invoice", "net_terms_days": 365}), None).await
}

async fn sell_with(on: Engine, prices: &[Value], terms: Value, token: Option<&str>) -> Option<Metered> {
    let world = World::new(on).await?;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    for (code, event, late_events) in [("calls", "call", "reissue"), ("bytes", "byte", "next_invoice")] {
        let metric = json!({"code": code, "name": code, "event_name": event, "aggregation": "sum",
            "property": "n", "late_events": late_events});
        assert_eq!(world.create("/v1/metrics", metric).await["late_events"], late_events);
    }
    let plan = json!({"code": "api", "name": "API", "currency": "USD",
        "interval": {"unit": "month", "count": 1}, "prices": prices});
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    let customer = json!({"external_id": "acme", "name": "Acme", "email": "pay@acme.example",
        "test_clock": clock});
    world.create("/v1/customers", customer).await;
    if let Some(token) = token {
        let method = json!({"customer": "acme", "token": token, "default": true});
        world.create("/v1/payment_methods", method).await;
    }
    let mut wanted = terms;
    (wanted["customer"], wanted["plan"]) = (json!("acme"), json!("api"));
    let subscription = text(&world.create("/v1/subscriptions", wanted).await["id"]);
    world.work().await;
    Some(Metered { world, clock, subscription })
}

async fn send_bytes(shop: &Metered, event_id: &str, n: &str, at: &str) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "byte", "timestamp": at,
        "metadata": {"n": n}});
    assert_eq!(shop.world.post("/v1/usage_events", event).await["accepted"], 1);
}

async fn void_event(shop: &Metered, event_id: &str) {
    shop.world.post(&format!("/v1/usage_events/{event_id}/void"), json!({})).await;
}

async fn invoices(shop: &Metered) -> Vec<Value> {
    let mut invoices = shop.world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    invoices
}

/// Of each invoice, the oldest first: `number status reason total`, and what it replaces.
async fn told(shop: &Metered) -> Vec<String> {
    let invoices = invoices(shop).await;
    let number = |id: &Value| {
        let of = invoices.iter().find(|invoice| invoice["id"] == *id);
        of.map(|invoice| text(&invoice["number"]))
    };
    let mut told: Vec<_> = invoices
        .iter()
        .map(|invoice| {
            let words = ["number", "status", "reason", "total"].map(|field| text(&invoice[field]));
            let ends = [("replaces", "replaces"), ("replaced_by", "replaced by")];
            let ends = ends.map(|(field, words)| {
                number(&invoice[field]).map(|number| format!(", {words} {number}")).unwrap_or_default()
            });
            format!("{}{}", words.join(" "), ends.concat())
        })
        .collect();
    told.sort();
    told
}

/// Of each line of an invoice: `kind month quantity amount`.
async fn lines(shop: &Metered, number: &str) -> Vec<String> {
    let invoice = shop.world.get(&format!("/v1/invoices/{number}")).await;
    let line = |line: &Value| {
        let words = [&line["kind"], &line["period"]["start"], &line["quantity"], &line["amount"]];
        words.map(text).join(" ").replace("-01T00:00:00Z", "")
    };
    invoice["lines"].as_array().unwrap().iter().map(line).collect()
}

/// Of each credit note, the oldest first: `number invoice kind reason total`.
async fn notes(shop: &Metered) -> Vec<String> {
    let mut notes = shop.world.list("/v1/credit_notes?limit=100").await;
    notes.reverse();
    let mut told = Vec::new();
    for note in notes {
        let invoice = shop.world.get(&format!("/v1/invoices/{}", text(&note["invoice"]))).await;
        let words = [&note["number"], &invoice["number"], &note["kind"], &note["reason"], &note["total"]];
        told.push(words.map(text).join(" "));
    }
    told
}

async fn tenant(world: &World) -> Tenant {
    first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap()
}

/// What `accrue verify` has to say.
async fn findings(shop: &Metered) -> Vec<String> {
    let db = shop.world.app.db.reader();
    let tenant = tenant(&shop.world).await.id;
    let mut findings: Vec<_> =
        ledger::service::verify(db, tenant).await.unwrap().iter().map(ToString::to_string).collect();
    findings.extend(invoices::service::verify(db, tenant).await.unwrap());
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings.extend(shop.world.dead_jobs().await.iter().map(ToString::to_string));
    findings
}

/// What payments do when money came.
async fn pay(shop: &Metered, number: &str, amount: &str) {
    let tenant = tenant(&shop.world).await.id;
    let now = shop.world.app.now();
    let tx = shop.world.app.db.begin().await.unwrap();
    let mut invoice = invoices::service::resolve_for_update(&tx, tenant, number).await.unwrap();
    let amount = Money::parse(amount, invoice.currency).unwrap();
    let taken = Posting {
        fact: "payment.captured",
        object_id: format!("{number} {amount}"),
        description: String::new(),
        entries: vec![
            (Account::GatewayCash("sandbox".to_owned()), amount),
            (Account::Receivable(invoice.customer_id), amount.checked_neg().unwrap()),
        ],
    };
    ledger::service::post(&tx, now, tenant, taken).await.unwrap();
    invoices::service::record_payment(&tx, now, &mut invoice, amount).await.unwrap();
    tx.commit().await.unwrap();
}

/// One look at the subscription's usage, which is lost if it is not to be kept.
async fn look(shop: &Metered, at: &str, keep: bool) {
    let (tenant, now) = (tenant(&shop.world).await, at.parse().unwrap());
    let id = shop.subscription.parse().unwrap();
    let tx = shop.world.app.db.begin().await.unwrap();
    let locked = invoices::service::lock_billed(&tx, tenant.id, id).await.unwrap();
    invoices::service::check_usage(&tx, now, &tenant, id, &locked).await.unwrap();
    if keep { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
}

/// February: ten calls and twenty bytes, on `INV-000002`, which is 20.40 with the fee of March.
async fn february(on: Engine) -> Option<Metered> {
    let shop = sell(on, &[base(), calls(), bytes()]).await?;
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    send_bytes(&shop, "x", "20", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(told(&shop).await, ["INV-000001 open create 12.00", "INV-000002 open cycle 20.40"]);
    Some(shop)
}

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
    look(&shop, "2026-03-02T00:14:59Z", true).await;
    look(&shop, "2026-03-02T00:15:00Z", false).await;
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
