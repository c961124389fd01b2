//! Invoices: one for each turn, numbered, booked, explained, printed, and moved by the rules.

use accrue::{
    auth::{Mode, Tenant, service::first_tenant},
    invoices::{Invoice, service},
};
use accrue_core::money::Money;
use chrono::TimeDelta;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Ten dollars and two per seat in advance; calls in arrears; 20 % VAT.
async fn sell(world: &World) {
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "api.call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let tiers = json!([{"up_to": "2", "unit_price": "0.5"}, {"up_to": null, "unit_price": "0.125"}]);
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [
            {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
             "model": {"type": "flat", "amount": "10.00"}},
            {"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance",
             "model": {"type": "per_unit", "unit_price": "2"}},
            {"code": "calls", "name": "API calls", "kind": "usage", "timing": "arrears", "metric": "calls",
             "model": {"type": "graduated", "tiers": tiers}},
        ],
    });
    world.create("/v1/plans", plan).await;
}

/// A customer who pays by invoice, and lives by the world's clock; with a year to pay, so that nobody ends the
/// subscription for a debt.
async fn subscribe(world: &World, customer: &str) -> String {
    subscribe_for(world, customer, Some(365)).await
}

/// The same with other terms; with `None` for the account's.
async fn subscribe_for(world: &World, customer: &str, net_terms_days: Option<u16>) -> String {
    world.create("/v1/customers", json!({"external_id": customer, "name": customer})).await;
    let body = json!({
        "customer": customer, "plan": "team", "quantities": {"seats": "3"}, "collection": "send_invoice",
        "net_terms_days": net_terms_days,
    });
    let made = world.create("/v1/subscriptions", body).await;
    world.work().await;
    text(&made["id"])
}

async fn invoices(world: &World) -> Vec<Value> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    invoices
}

fn texts(values: &[Value], field: &str) -> Vec<String> {
    values.iter().map(|value| text(&value[field])).collect()
}

async fn tenant(world: &World) -> Tenant {
    first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap()
}

async fn findings(world: &World) -> Vec<String> {
    service::verify(world.app.db.reader(), tenant(world).await.id).await.unwrap()
}

/// What payments do when money came.
async fn pay(world: &World, number: &str, amount: &str) -> Invoice {
    let tenant = tenant(world).await;
    let tx = world.app.db.begin().await.unwrap();
    let mut invoice = service::resolve_for_update(&tx, tenant.id, number).await.unwrap();
    let amount = Money::parse(amount, invoice.currency).unwrap();
    service::record_payment(&tx, world.app.now(), &mut invoice, amount).await.unwrap();
    tx.commit().await.unwrap();
    invoice
}

/// The balance of every account, by its code.
async fn balances(world: &World) -> Vec<(String, String)> {
    let accounts = world.list("/v1/ledger/accounts?limit=100").await;
    let mut balances: Vec<_> =
        accounts.iter().map(|account| (text(&account["code"]), text(&account["balance"]))).collect();
    balances.sort();
    balances
}

async fn execute(world: &World, sql: &str) {
    let tx = world.app.db.begin().await.unwrap();
    let statement = Statement::from_string(tx.get_database_backend(), sql);
    assert_eq!(tx.execute_raw(statement).await.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_is_billed_at_once_in_advance(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    world
        .send("PATCH", "/v1/account", &json!({"name": "Acme Cloud", "net_terms_days": 14}))
        .await
        .expect(200);
    let subscription = subscribe_for(&world, "globex", None).await;
    world.sweep().await;

    let [invoice] = invoices(&world).await.try_into().expect("one invoice");
    assert_eq!(invoice["object"], "invoice");
    assert_eq!(invoice["livemode"], false);
    assert_eq!(invoice["number"], "INV-000001");
    assert_eq!((&invoice["status"], &invoice["reason"]), (&json!("open"), &json!("create")));
    assert_eq!(invoice["subscription"], subscription.as_str());
    assert_eq!(invoice["period"], json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}));
    let amounts = ["subtotal", "discount_total", "tax_total", "total", "amount_due", "amount_paid"];
    assert_eq!(
        amounts.map(|field| text(&invoice[field])),
        ["16.00", "0.00", "3.20", "19.20", "19.20", "0.00"]
    );
    let lines = invoice["lines"].as_array().unwrap();
    assert_eq!(texts(lines, "description"), ["Team – Base fee", "Team – Seats"]);
    assert_eq!(texts(lines, "amount"), ["10.00", "6.00"]);
    assert_eq!(texts(lines, "tax"), ["2.00", "1.20"]);
    assert_eq!((&lines[1]["quantity"], &lines[1]["unit_price"]), (&json!("3"), &json!("2")));
    assert_eq!(invoice["issuer"]["name"], "Acme Cloud");
    assert_eq!(invoice["bill_to"]["name"], "globex");
    assert_eq!(invoice["issued_at"], "2026-01-01T00:00:00Z");
    assert_eq!(invoice["due_at"], "2026-01-15T00:00:00Z");

    assert_eq!(world.get("/v1/invoices/INV-000001").await, invoice);
    assert_eq!(world.get(&format!("/v1/invoices/{}", text(&invoice["id"]))).await, invoice);
    assert_eq!(
        balances(&world).await,
        [("receivable", "19.20"), ("revenue", "-16.00"), ("tax_payable", "-3.20")]
            .map(|(code, balance)| (code.to_owned(), balance.to_owned()))
    );
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_clock_bills_each_period_at_its_end_with_its_own_usage(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    let clock = world.test_clock("2026-01-31T12:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let body = json!({
        "customer": "acme", "plan": "team", "collection": "send_invoice", "net_terms_days": 365,
    });
    world.create("/v1/subscriptions", body).await;
    world.work().await;
    world.advance(&clock, "2026-02-10T00:00:00Z").await;
    for (id, at) in
        [("a", "2026-02-01T00:00:00Z"), ("b", "2026-02-02T00:00:00Z"), ("c", "2026-02-03T00:00:00Z")]
    {
        let event = json!({"event_id": id, "customer_id": "acme", "event_name": "api.call", "timestamp": at});
        world.post("/v1/usage_events", event).await;
    }

    let happened = world.advance(&clock, "2026-04-01T00:00:00Z").await;

    let invoices = invoices(&world).await;
    let starts: Vec<String> = invoices.iter().map(|invoice| text(&invoice["period"]["start"])).collect();
    assert_eq!(starts, ["2026-01-31T12:00:00Z", "2026-02-28T12:00:00Z", "2026-03-31T12:00:00Z"]);
    assert_eq!(texts(&invoices, "reason"), ["create", "cycle", "cycle"]);
    assert_eq!(texts(&invoices, "number"), ["INV-000001", "INV-000002", "INV-000003"]);
    // One seat, unless told; three calls: 2 × 0.5 + 0.125 = 1.125, which is 1.13.
    assert_eq!(texts(&invoices, "subtotal"), ["12.00", "13.13", "12.00"]);
    let usage = &invoices[1]["lines"][2];
    assert_eq!((&usage["exact_amount"], &usage["amount"]), (&json!("1.125"), &json!("1.13")));
    assert_eq!(usage["period"], json!({"start": "2026-01-31T12:00:00Z", "end": "2026-02-28T12:00:00Z"}));
    assert!(happened.contains(&"2026-02-28T12:00:00Z invoice.created".to_owned()), "{happened:#?}");
    assert!(happened.contains(&"2026-03-31T12:00:00Z invoice.finalized".to_owned()), "{happened:#?}");
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn after_downtime_every_missed_period_is_billed_in_order_and_none_twice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    world.clock.advance(TimeDelta::days(100));

    for _ in 0..3 {
        world.sweep().await;
    }

    let invoices = invoices(&world).await;
    let starts: Vec<String> = invoices.iter().map(|invoice| text(&invoice["period"]["start"])).collect();
    assert_eq!(
        starts,
        ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"]
    );
    assert_eq!(texts(&invoices, "number"), ["INV-000001", "INV-000002", "INV-000003", "INV-000004"]);
    assert_eq!(invoices[1]["issued_at"], "2026-04-11T00:00:00Z");
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_billed_cannot_be_billed_again_and_the_try_takes_no_number(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    // As if the subscription had forgotten that its first turn is done.
    execute(&world, "update subscriptions set next_due_at = period_start_at").await;

    world.sweep().await;
    let [refused] = world.list("/v1/jobs?state=queued").await.try_into().expect("it waits to try again");
    subscribe(&world, "initech").await;

    assert_eq!(refused["name"], "invoices.cycle");
    assert!(text(&refused["last_error"]).to_lowercase().contains("unique"), "{refused}");
    let invoices = invoices(&world).await;
    assert_eq!(texts(&invoices, "number"), ["INV-000001", "INV-000002"]);
    let names: Vec<String> = invoices.iter().map(|invoice| text(&invoice["bill_to"]["name"])).collect();
    assert_eq!(names, ["globex", "initech"]);
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_at_once_get_numbers_without_gaps(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    for number in 0..12 {
        subscribe(&world, &format!("customer-{number}")).await;
    }
    world.clock.advance(TimeDelta::days(40));
    world.sweep().await;

    let invoices = invoices(&world).await;
    let mut numbers = texts(&invoices, "number");
    numbers.sort();
    let expected: Vec<String> = (1..=24).map(|number| format!("INV-{number:06}")).collect();
    assert_eq!(numbers, expected);
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_total_of_zero_is_paid_at_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let price = json!({
        "code": "seats", "name": "Free seats", "kind": "seat", "timing": "advance",
        "model": {"type": "per_unit", "unit_price": "0"},
    });
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [price],
    });
    world.create("/v1/plans", plan).await;
    subscribe(&world, "globex").await;

    let [invoice] = invoices(&world).await.try_into().expect("one invoice");
    assert_eq!((&invoice["status"], &invoice["total"]), (&json!("paid"), &json!("0.00")));
    assert_eq!(invoice["paid_at"], invoice["issued_at"]);
    assert!(balances(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_voided_invoice_keeps_its_number_and_leaves_the_books(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;

    let voided = world.post("/v1/invoices/INV-000001/void", json!({})).await;
    let again = world.send("POST", "/v1/invoices/INV-000001/void", &json!({})).await;

    assert_eq!((&voided["status"], &voided["number"]), (&json!("void"), &json!("INV-000001")));
    assert_eq!((&voided["total"], &voided["amount_due"]), (&json!("19.20"), &json!("0.00")));
    assert_eq!((again.status, text(&again.json()["code"])), (409, "illegal_transition".to_owned()));
    assert!(balances(&world).await.iter().all(|(_, balance)| balance == "0.00"));
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_in_part_cannot_be_voided(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    let invoice = pay(&world, "INV-000001", "0.01").await;
    assert_eq!(invoice.amount_due().to_string(), "19.19");

    let refused = world.send("POST", "/v1/invoices/INV-000001/void", &json!({})).await;

    assert_eq!(refused.status, 409);
    assert_eq!(world.get("/v1/invoices/INV-000001").await["amount_due"], "19.19");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_uncollectible_invoice_is_a_loss_until_it_is_paid_after_all(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;

    let given_up = world.post("/v1/invoices/INV-000001/mark_uncollectible", json!({})).await;
    assert_eq!((&given_up["status"], &given_up["amount_due"]), (&json!("uncollectible"), &json!("19.20")));
    let balance = balances(&world).await;
    assert_eq!(balance[0], ("bad_debt".to_owned(), "19.20".to_owned()));
    assert!(findings(&world).await.is_empty());

    pay(&world, "INV-000001", "9.20").await;
    pay(&world, "INV-000001", "10.00").await;
    let paid = world.get("/v1/invoices/INV-000001").await;
    assert_eq!((&paid["status"], &paid["amount_due"]), (&json!("paid"), &json!("0.00")));
    // The claim stands again, for the entry of the money, which is the payment's.
    let balance = balances(&world).await;
    assert_eq!(balance[0], ("bad_debt".to_owned(), "0.00".to_owned()));
    assert_eq!(balance[1], ("receivable".to_owned(), "19.20".to_owned()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn books_that_disagree_with_invoices_are_found(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    // Paid without an entry of the money.
    pay(&world, "INV-000001", "19.20").await;
    execute(&world, "update invoices set number = 'INV-000007'").await;
    execute(&world, "update invoice_lines set amount_minor = amount_minor + 1 where kind = 'seat'").await;

    let findings = findings(&world).await;

    assert_eq!(findings.len(), 4, "{findings:#?}");
    assert!(findings[0].ends_with("owes 0.00 USD by open invoices, but 19.20 by the books"), "{findings:#?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_printed_once_for_each_state(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    let pdf = || Reply::of(world.request("GET", "/v1/invoices/INV-000001.pdf"));

    let open = pdf().await;
    world.send("PATCH", "/v1/account", &json!({"invoice_footer": "A new footer"})).await.expect(200);
    let again = pdf().await;
    pay(&world, "INV-000001", "19.20").await;
    let paid = pdf().await;

    assert_eq!((open.status, open.header("content-type")), (200, "application/pdf"));
    assert_eq!(open.header("content-disposition"), "inline; filename=\"INV-000001.pdf\"");
    assert!(open.bytes.starts_with(b"%PDF-"));
    assert_eq!(open.bytes, again.bytes);
    assert_ne!(open.bytes, paid.bytes);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_and_the_running_period_say_how_they_come_about(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    let subscription = subscribe(&world, "globex").await;
    world.clock.advance(TimeDelta::hours(31 * 12));
    for id in ["a", "b", "c"] {
        let event = json!({"event_id": id, "customer_id": "globex", "event_name": "api.call"});
        world.post("/v1/usage_events", event).await;
    }

    let running = world.get(&format!("/v1/subscriptions/{subscription}/usage")).await;
    world.clock.advance(TimeDelta::days(20));
    world.sweep().await;
    let explained = world.get("/v1/invoices/INV-000002/explain").await;

    let usage = &running["usage"][0];
    assert_eq!((&usage["code"], &usage["metric"]), (&json!("calls"), &json!("calls")));
    assert_eq!((&usage["quantity"], &usage["amount"]), (&json!("3"), &json!("1.13")));
    // Half of the period is over.
    assert_eq!((&usage["projected_quantity"], &usage["projected_amount"]), (&json!("6"), &json!("1.50")));
    assert_eq!((&running["amount"], &running["projected_amount"]), (&json!("1.13"), &json!("1.50")));

    let line = &explained["lines"][2];
    assert_eq!((&line["price"]["code"], &line["metric"]["aggregation"]), (&json!("calls"), &json!("count")));
    assert_eq!(line["price"]["model"]["type"], "graduated");
    assert_eq!(texts(line["tiers"].as_array().unwrap(), "amount"), ["1", "0.125"]);
    assert_eq!((&line["quantity"], &line["rated_amount"]), (&json!("3"), &json!("1.125")));
    assert_eq!((&line["exact_amount"], &line["amount"]), (&json!("1.125"), &json!("1.13")));
    assert_eq!(line["rounding"], json!({"rule": "half_away_from_zero", "digits": 2, "difference": "0.005"}));
    assert_eq!(
        explained["taxes"],
        json!([{"code": "vat", "name": "VAT", "rate": "20", "inclusive": false, "jurisdiction": null,
        "base": "17.13", "amount": "3.43"}])
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_is_billed_for_its_last_usage(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    let subscription = subscribe(&world, "globex").await;
    world.clock.advance(TimeDelta::days(5));
    let event = json!({"event_id": "a", "customer_id": "globex", "event_name": "api.call"});
    world.post("/v1/usage_events", event).await;
    world.clock.advance(TimeDelta::days(1));

    world.post(&format!("/v1/subscriptions/{subscription}/cancel"), json!({"when": "now"})).await;
    world.work().await;
    world.clock.advance(TimeDelta::days(60));
    world.sweep().await;

    let invoices = invoices(&world).await;
    assert_eq!(texts(&invoices, "reason"), ["create", "cancel"]);
    assert_eq!(texts(&invoices, "subtotal"), ["16.00", "0.50"]);
    assert_eq!(
        invoices[1]["lines"][0]["period"],
        json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-07T00:00:00Z"})
    );
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_by_customer_subscription_and_status(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    let first = subscribe(&world, "globex").await;
    subscribe(&world, "initech").await;
    world.post("/v1/invoices/INV-000002/void", json!({})).await;

    for (filter, expected) in [
        ("customer=globex".to_owned(), vec!["INV-000001"]),
        (format!("subscription={first}"), vec!["INV-000001"]),
        ("status=void".to_owned(), vec!["INV-000002"]),
        ("status=void&customer=globex".to_owned(), vec![]),
        ("limit=1".to_owned(), vec!["INV-000002"]),
    ] {
        let found = world.list(&format!("/v1/invoices?{filter}")).await;
        assert_eq!(texts(&found, "number"), expected, "{filter}");
    }
    let unknown = Reply::of(world.request("GET", "/v1/invoices?customer=nobody")).await;
    assert_eq!(unknown.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_invoice_cannot_be_told_from_one_that_does_not_exist(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    subscribe(&world, "globex").await;
    let id = text(&invoices(&world).await[0]["id"]);
    let stranger = world.stranger().await;

    for (method, path) in [
        ("GET", ""),
        ("GET", ".pdf"),
        ("GET", "/explain"),
        ("POST", "/void"),
        ("POST", "/mark_uncollectible"),
    ] {
        for reference in [id.as_str(), "INV-000001", "INV-999999"] {
            let path = format!("/v1/invoices/{reference}{path}");
            let reply = Reply::of(world.request_as(&stranger, method, &path).json(&json!({}))).await;
            assert_eq!(
                (reply.status, &reply.json()["detail"]),
                (404, &json!("there is no such invoice")),
                "{path}"
            );
        }
    }
    assert_eq!(invoices(&world).await[0]["status"], "open");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_of_a_customer_cannot_bill_the_same_usage(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world
        .create("/v1/metrics", json!({"code": "m", "name": "M", "event_name": "m", "aggregation": "count"}))
        .await;
    for code in ["one", "other"] {
        let prices = json!([{"code": "m", "name": "M", "kind": "usage", "metric": "m",
            "model": {"type": "per_unit", "unit_price": "1"}}]);
        let interval = json!({"unit": "month", "count": 1});
        let plan =
            json!({"code": code, "name": code, "currency": "USD", "interval": interval, "prices": prices});
        world.create("/v1/plans", plan).await;
    }
    world.create("/v1/customers", json!({"external_id": "metered", "name": "Metered"})).await;
    let first = world.create("/v1/subscriptions", json!({"customer": "metered", "plan": "one"})).await;

    let second =
        world.send("POST", "/v1/subscriptions", &json!({"customer": "metered", "plan": "other"})).await;
    assert_eq!((second.status, second.errors()), (422, vec!["/plan metric_taken".to_owned()]));

    let cancel = format!("/v1/subscriptions/{}/cancel", text(&first["id"]));
    world.post(&cancel, json!({"when": "now"})).await;
    world.create("/v1/subscriptions", json!({"customer": "metered", "plan": "other"})).await;
}
