//! What a customer has with us pays the next invoice, and what is owed is asked for with it: to the cent, and in the books.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices, ledger,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Ten dollars a month in advance, for customers on a clock that stands at the first of February.
async fn selling(on: Engine) -> Option<(World, String)> {
    let world = World::new(on).await?;
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [{"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
                    "model": {"type": "flat", "amount": "10.00"}}],
    });
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    Some((world, clock))
}

async fn customer(world: &World, clock: &str, name: &str) -> Value {
    let body = json!({"external_id": name, "name": name, "currency": "USD", "test_clock": clock});
    world.create("/v1/customers", body).await
}

async fn subscribe(world: &World, customer: &str, collection: &str) {
    let wanted = json!({"customer": customer, "plan": "team", "collection": collection});
    world.create("/v1/subscriptions", wanted).await;
    world.work().await;
}

async fn change(world: &World, customer: &str, amount: &str) -> Value {
    world.create(&format!("/v1/customers/{customer}/balance_entries"), json!({"amount": amount})).await
}

async fn balance(world: &World, customer: &str) -> Value {
    world.get(&format!("/v1/customers/{customer}")).await["balance"].clone()
}

/// Of each entry, the oldest first: `kind amount after`.
async fn entries(world: &World, customer: &str) -> Vec<String> {
    let mut entries = world.list(&format!("/v1/customers/{customer}/balance_entries?limit=100")).await;
    entries.reverse();
    let [kind, amount, after] = ["kind", "amount", "balance_after"];
    entries
        .iter()
        .map(|one| format!("{} {} {}", text(&one[kind]), text(&one[amount]), text(&one[after])))
        .collect()
}

/// `status total credits balance due paid` of an invoice.
async fn told(world: &World, number: &str) -> String {
    let invoice = world.get(&format!("/v1/invoices/{number}")).await;
    let fields = ["status", "total", "credits_applied", "balance_applied", "amount_due", "amount_paid"];
    fields.map(|field| text(&invoice[field])).join(" ")
}

async fn findings(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings.extend(ledger::service::verify(db, tenant).await.unwrap().iter().map(ToString::to_string));
    findings
}

/// The accounts of the books that have something, in one line.
async fn books(world: &World) -> String {
    let mut accounts: Vec<String> = world
        .list("/v1/ledger/accounts?limit=100")
        .await
        .iter()
        .filter(|account| account["balance"] != "0.00")
        .map(|account| format!("{} {}", text(&account["code"]), text(&account["balance"])))
        .collect();
    accounts.sort();
    accounts.join(", ")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_has_pays_one_invoice_after_the_other(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "acme").await;
    assert_eq!(balance(&world, "acme").await, "0.00");
    let made = change(&world, "acme", "15.00").await;
    assert_eq!((&made["object"], &made["currency"]), (&json!("balance_entry"), &json!("USD")));
    subscribe(&world, "acme", "automatic").await;
    world.advance(&clock, "2026-03-01T00:00:00Z").await;

    assert_eq!(told(&world, "INV-000001").await, "paid 10.00 0.00 10.00 0.00 0.00");
    assert_eq!(told(&world, "INV-000002").await, "open 10.00 0.00 5.00 5.00 0.00");
    let expected = ["adjustment 15.00 15.00", "invoice_applied -10.00 5.00", "invoice_applied -5.00 0.00"];
    assert_eq!(entries(&world, "acme").await, expected);
    assert_eq!(balance(&world, "acme").await, "0.00");
    assert_eq!(books(&world).await, "balance_adjustments 15.00, receivable 5.00, revenue -20.00");
    assert_eq!(findings(&world).await, Vec::<String>::new());
    let told = world.list("/v1/events?type=customer.balance_changed").await;
    assert_eq!(told.len(), 3);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_debt_is_asked_for_and_paid_with_the_next_invoice(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "acme").await;
    change(&world, "acme", "-4.50").await;
    assert_eq!(balance(&world, "acme").await, "-4.50");
    assert_eq!(findings(&world).await, Vec::<String>::new());
    let card = json!({"customer": "acme", "token": "tok_visa", "default": true});
    world.create("/v1/payment_methods", card).await;
    subscribe(&world, "acme", "automatic").await;

    assert_eq!(told(&world, "INV-000001").await, "paid 10.00 0.00 -4.50 0.00 14.50");
    assert_eq!(world.list("/v1/payments").await[0]["amount"], "14.50");
    assert_eq!(entries(&world, "acme").await, ["adjustment -4.50 -4.50", "invoice_applied 4.50 0.00"]);
    assert_eq!(books(&world).await, "balance_adjustments -4.50, gateway_cash 14.50, revenue -10.00");
    assert_eq!(findings(&world).await, Vec::<String>::new());
    let pdf = world.request("GET", "/v1/invoices/INV-000001.pdf").send().await.unwrap();
    assert_eq!(pdf.status(), 200);
}

#[rstest]
#[case::credit("6.00", "open 10.00 0.00 6.00 4.00 0.00", "-6.00 0.00", "6.00 6.00")]
#[case::debt("-6.00", "open 10.00 0.00 -6.00 16.00 0.00", "6.00 0.00", "-6.00 -6.00")]
#[tokio::test(flavor = "multi_thread")]
async fn a_voided_invoice_undoes_what_it_did_to_the_balance(
    #[values(Sqlite, Postgres)] on: Engine,
    #[case] amount: &str,
    #[case] expected: &str,
    #[case] applied: &str,
    #[case] undone: &str,
) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "acme").await;
    change(&world, "acme", amount).await;
    subscribe(&world, "acme", "send_invoice").await;
    assert_eq!(told(&world, "INV-000001").await, expected);

    world.post("/v1/invoices/INV-000001/void", json!({})).await;
    let changes = entries(&world, "acme").await;
    assert_eq!(changes[1..], [format!("invoice_applied {applied}"), format!("invoice_voided {undone}")]);
    assert_eq!(balance(&world, "acme").await, amount);
    assert_eq!(findings(&world).await, Vec::<String>::new());
    // The next one takes it again.
    world.advance(&clock, "2026-03-01T00:00:00Z").await;
    assert_eq!(told(&world, "INV-000002").await, expected);
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn credit_notes_pay_before_the_balance_and_the_payers_balance_for_its_children(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "head").await;
    let branch = json!({"external_id": "branch", "name": "branch", "parent": "head", "test_clock": clock});
    world.create("/v1/customers", branch).await;
    let card = json!({"customer": "head", "token": "tok_visa", "default": true});
    world.create("/v1/payment_methods", card).await;
    subscribe(&world, "branch", "automatic").await;
    let credit = json!({"invoice": "INV-000001", "kind": "credit", "total": "7.00"});
    world.create("/v1/credit_notes", credit).await;
    change(&world, "head", "2.00").await;
    change(&world, "branch", "100.00").await;
    world.advance(&clock, "2026-03-01T00:00:00Z").await;

    assert_eq!(told(&world, "INV-000002").await, "paid 10.00 7.00 2.00 0.00 1.00");
    assert_eq!(
        (balance(&world, "head").await, balance(&world, "branch").await),
        (json!("0.00"), json!("100.00"))
    );
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_none_is_lost_and_a_repeated_one_counts_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "acme").await;
    let path = "/v1/customers/acme/balance_entries";
    let (one, twice) = (json!({"amount": "1.00"}), json!({"amount": "5.00"}));
    let many = (0..12).map(|_| world.send("POST", path, &one));
    assert!(futures_util::future::join_all(many).await.iter().all(|reply| reply.status == 201));
    for _ in 0..2 {
        let again = world.request("POST", path).header("idempotency-key", "same").json(&twice);
        assert_eq!(Reply::of(again).await.status, 201);
    }
    let after = entries(&world, "acme").await;
    assert_eq!((after.len(), balance(&world, "acme").await), (13, json!("17.00")));
    let mut balances: Vec<&str> = after[..12].iter().map(|one| one.rsplit(' ').next().unwrap()).collect();
    balances.sort_unstable();
    balances.dedup();
    assert_eq!(balances.len(), 12);
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_is_refused_with_its_place(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = selling(on).await else { return };
    customer(&world, &clock, "acme").await;
    world.create("/v1/customers", json!({"external_id": "new", "name": "N"})).await;
    let acme = "/v1/customers/acme/balance_entries";
    for (path, body, expected) in [
        (acme, json!({"amount": "0"}), "/amount out_of_range"),
        (acme, json!({"amount": "10000000000.01"}), "/amount out_of_range"),
        (acme, json!({"amount": "1.001"}), "/amount malformed"),
        (acme, json!({"amount": "1.00", "currency": "EUR"}), "/currency fixed"),
        (acme, json!({"amount": "1.00", "description": " "}), "/description blank"),
        ("/v1/customers/new/balance_entries", json!({"amount": "1.00"}), "/currency required"),
    ] {
        let reply = world.send("POST", path, &body).await;
        assert_eq!((reply.status, reply.errors()), (422, vec![expected.to_owned()]), "{body}");
    }
    world
        .create(
            "/v1/customers",
            json!({"external_id": "child", "name": "C", "parent": "acme", "test_clock": clock}),
        )
        .await;
    let euros = json!({"amount": "1.00", "currency": "EUR"});
    let reply = world.send("POST", "/v1/customers/child/balance_entries", &euros).await;
    assert_eq!((reply.status, reply.errors()), (422, vec!["/currency fixed".to_owned()]));
    assert_eq!(world.get("/v1/customers/child").await["currency"], Value::Null);
    // The first one says in which currency the customer is billed.
    let first = json!({"amount": "1", "currency": "JPY"});
    assert_eq!(world.create("/v1/customers/new/balance_entries", first).await["balance_after"], "1");
    assert_eq!(world.get("/v1/customers/new").await["currency"], "JPY");
    let stranger = world.stranger().await;
    let theirs = Reply::of(world.request_as(&stranger, "POST", acme).json(&json!({"amount": "1"}))).await;
    assert_eq!(theirs.status, 404);
    assert_eq!(Reply::of(world.request_as(&stranger, "GET", acme)).await.status, 404);
    assert!(entries(&world, "acme").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_its_entries_do_not_explain_is_found(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, clock)) = selling(on).await else { return };
    let acme = customer(&world, &clock, "acme").await;
    change(&world, "acme", "3.00").await;
    world.sql("update customers set balance_minor = 400 where external_id = 'acme'").await;
    let found = findings(&world).await;
    assert_eq!(found, [format!("the balance of {} is not what its entries come to", text(&acme["id"]))]);
}
