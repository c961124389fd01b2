//! Who is exempt pays no tax, and invoices say why: to the cent, as they were when they were made.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Ten dollars a month in advance and half a dollar for each call, and 20 % VAT.
async fn selling(on: Engine) -> Option<World> {
    selling_with(on, "reissue").await
}

/// The same; what comes late is put right in this way.
async fn selling_with(on: Engine, late_events: &str) -> Option<World> {
    let world = World::new(on).await?;
    let issuer = json!({"name": "Seller Ltd", "tax_ids": [{"kind": "eu_vat", "value": "IE 1234567T"}]});
    world.send("PATCH", "/v1/account", &json!({"issuer": issuer})).await.expect(200);
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum",
        "property": "n", "late_events": late_events});
    world.create("/v1/metrics", metric).await;
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [
            {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
             "model": {"type": "flat", "amount": "10.00"}},
            {"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
             "model": {"type": "per_unit", "unit_price": "0.5"}},
        ],
    });
    world.create("/v1/plans", plan).await;
    Some(world)
}

/// A customer in Germany on a test clock, from February on, with a year to pay.
async fn subscribe(world: &World, exemption: &str) -> String {
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    let customer = json!({
        "external_id": "acme", "name": "Acme", "email": "pay@acme.example", "locale": "de-AT", "test_clock": clock,
        "exemption": exemption, "tax_ids": [{"kind": "eu_vat", "value": "de 136 695 976"}],
    });
    world.create("/v1/customers", customer).await;
    let wanted =
        json!({"customer": "acme", "plan": "team", "collection": "send_invoice", "net_terms_days": 365});
    world.create("/v1/subscriptions", wanted).await;
    world.work().await;
    clock
}

async fn call(world: &World, event_id: &str, n: &str, at: &str) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
        "metadata": {"n": n}});
    assert_eq!(world.post("/v1/usage_events", event).await["accepted"], 1);
}

/// Of each invoice, the oldest first: `number status exemption subtotal + tax = total`.
async fn told(world: &World) -> Vec<String> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.sort_by_key(|invoice| text(&invoice["number"]));
    let line = |invoice: &Value| {
        let [number, status, exemption, subtotal, tax, total] =
            ["number", "status", "exemption", "subtotal", "tax_total", "total"]
                .map(|field| text(&invoice[field]));
        format!("{number} {status} {exemption} {subtotal} + {tax} = {total}")
    };
    invoices.iter().map(line).collect()
}

/// What `accrue verify` has to say of invoices, credit notes and books.
async fn findings(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings
}

async fn tax_payable(world: &World) -> Option<String> {
    let accounts = world.list("/v1/ledger/accounts?limit=100").await;
    let of = accounts.iter().find(|account| account["code"] == "tax_payable");
    of.map(|account| text(&account["balance"]))
}

#[rstest]
#[case::exempt("exempt", "Steuerfreie Leistung.")]
#[case::reverse_charge("reverse_charge", "Steuerschuldnerschaft des Leistungsempfängers (Reverse charge).")]
#[tokio::test(flavor = "multi_thread")]
async fn an_exempt_customers_invoice_has_no_tax_and_says_why(
    #[values(Sqlite, Postgres)] on: Engine,
    #[case] exemption: &str,
    #[case] words: &str,
) {
    let Some(world) = selling(on).await else { return };
    subscribe(&world, exemption).await;

    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(told(&world).await, [format!("INV-000001 open {exemption} 10.00 + 0.00 = 10.00")]);
    assert_eq!((&invoice["taxes"], &invoice["lines"][0]["tax"]), (&json!([]), &json!("0.00")));
    assert_eq!(invoice["exemption_note"], words);
    assert_eq!(invoice["bill_to"]["tax_ids"], json!([{"kind": "eu_vat", "value": "DE136695976"}]));
    assert_eq!(invoice["issuer"]["tax_ids"], json!([{"kind": "eu_vat", "value": "IE1234567T"}]));
    let explained = world.get("/v1/invoices/INV-000001/explain").await;
    assert_eq!((&explained["exemption"], &explained["tax_total"]), (&json!(exemption), &json!("0.00")));
    assert!(tax_payable(&world).await.is_none_or(|balance| balance == "0.00"));

    let pdf = Reply::of(world.request("GET", "/v1/invoices/INV-000001.pdf")).await;
    assert_eq!((pdf.status, &pdf.bytes[..5]), (200, b"%PDF-".as_slice()));
    let name =
        world.mails().into_iter().find(|name| name.contains("invoice_issued")).expect("it was written");
    let mail = std::fs::read_to_string(world.folder.path().join("outbox").join(name)).unwrap();
    let mail = mail.replace("=\r\n", "").replace("=C3=A4", "ä");
    // What follows is the document in base64, in which any letters may stand.
    let (mail, _) = mail.split_once("application/pdf").expect("the document is attached");
    assert!(mail.contains(words) && !mail.contains("VAT"), "{mail}");
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_exempt_pays_tax_and_reads_no_reason(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    subscribe(&world, "none").await;

    assert_eq!(told(&world).await, ["INV-000001 open none 10.00 + 2.00 = 12.00"]);
    assert_eq!(world.get("/v1/invoices/INV-000001").await["exemption_note"], json!(null));
    assert_eq!(tax_payable(&world).await.as_deref(), Some("-2.00"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_exemption_counts_from_the_next_invoice_on_and_leaves_those_before_as_they_were(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = selling(on).await else { return };
    let clock = subscribe(&world, "none").await;
    let first = world.get("/v1/invoices/INV-000001").await;
    let change = json!({"exemption": "reverse_charge", "tax_ids": null});
    world.send("PATCH", "/v1/customers/acme", &change).await.expect(200);
    world.advance(&clock, "2026-03-01T00:00:00Z").await;
    let second = world.get("/v1/invoices/INV-000002").await;
    world.send("PATCH", "/v1/customers/acme", &json!({"exemption": null})).await.expect(200);
    world.advance(&clock, "2026-04-01T00:00:00Z").await;

    assert_eq!(
        told(&world).await,
        [
            "INV-000001 open none 10.00 + 2.00 = 12.00",
            "INV-000002 open reverse_charge 10.00 + 0.00 = 10.00",
            "INV-000003 open none 10.00 + 2.00 = 12.00",
        ]
    );
    assert_eq!(world.get("/v1/invoices/INV-000001").await, first);
    assert_eq!(world.get("/v1/invoices/INV-000002").await, second);
    assert_eq!(second["bill_to"]["tax_ids"], json!([]));
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_credit_note_follows_its_invoice_whatever_the_customer_is_by_then(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = selling(on).await else { return };
    let clock = subscribe(&world, "reverse_charge").await;
    world.send("PATCH", "/v1/customers/acme", &json!({"exemption": "none"})).await.expect(200);
    world.advance(&clock, "2026-03-01T00:00:00Z").await;
    world.send("PATCH", "/v1/customers/acme", &json!({"exemption": "exempt"})).await.expect(200);

    let mut told = Vec::new();
    for (number, amount) in [("INV-000001", "3.33"), ("INV-000001", "6.67"), ("INV-000002", "3.33")] {
        let body = json!({"invoice": number, "kind": "credit", "amount": amount});
        let preview = world.post("/v1/credit_notes/preview", body.clone()).await;
        let note = world.create("/v1/credit_notes", body).await;
        let fields = ["exemption", "subtotal", "tax_total", "total"];
        assert_eq!(fields.map(|field| &preview[field]), fields.map(|field| &note[field]));
        assert_eq!(world.get(&format!("/v1/credit_notes/{}", text(&note["id"]))).await, note);
        told.push(fields.map(|field| text(&note[field])).join(" "));
    }
    assert_eq!(
        told,
        ["reverse_charge 3.33 0.00 3.33", "reverse_charge 6.67 0.00 6.67", "none 3.33 0.67 4.00"]
    );
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_is_issued_anew_keeps_its_exemption(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let clock = subscribe(&world, "reverse_charge").await;
    call(&world, "a", "10", "2026-02-01T00:00:00Z").await;
    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    world.send("PATCH", "/v1/customers/acme", &json!({"exemption": null})).await.expect(200);

    call(&world, "late", "3", "2026-02-20T00:00:00Z").await;
    world.advance(&clock, "2026-03-03T00:00:00Z").await;

    assert_eq!(
        told(&world).await,
        [
            "INV-000001 open reverse_charge 10.00 + 0.00 = 10.00",
            "INV-000002 void reverse_charge 15.00 + 0.00 = 15.00",
            "INV-000003 open reverse_charge 16.50 + 0.00 = 16.50",
        ]
    );
    assert!(findings(&world).await.is_empty());
}

#[rstest]
#[case::never_charged(
    "reverse_charge",
    "none",
    "18.00 + 0.00 = 18.00",
    "none 10.00 + 2.00 = 12.00",
    "3.00 0.00 3.00"
)]
#[case::charged(
    "none",
    "reverse_charge",
    "18.00 + 3.60 = 21.60",
    "reverse_charge 10.00 + 0.00 = 10.00",
    "3.00 0.60 3.60"
)]
#[tokio::test(flavor = "multi_thread")]
async fn usage_billed_too_much_goes_back_with_the_tax_it_was_billed_with(
    #[values(Sqlite, Postgres)] on: Engine,
    #[values(true, false)] is_void_first: bool,
    #[case] before: &str,
    #[case] after: &str,
    #[case] second: &str,
    #[case] third: &str,
    #[case] given_back: &str,
) {
    let Some(world) = selling_with(on, "next_invoice").await else { return };
    let clock = subscribe(&world, before).await;
    call(&world, "a", "10", "2026-02-01T00:00:00Z").await;
    call(&world, "b", "6", "2026-02-01T00:00:00Z").await;
    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    // Whether the next invoice was already to have it, or not yet.
    for is_void in [is_void_first, !is_void_first] {
        if is_void {
            world.post("/v1/usage_events/b/void", json!({})).await;
        } else {
            world.send("PATCH", "/v1/customers/acme", &json!({"exemption": after})).await.expect(200);
        }
        let day = if is_void == is_void_first { "2026-03-05T00:00:00Z" } else { "2026-03-06T00:00:00Z" };
        world.advance(&clock, day).await;
    }
    world.advance(&clock, "2026-04-02T00:00:00Z").await;

    let told = told(&world).await;
    assert_eq!(told[1..], [format!("INV-000002 open {before} {second}"), format!("INV-000003 open {third}")]);
    let notes = world.list("/v1/credit_notes?limit=100").await;
    let fields = ["exemption", "reason", "subtotal", "tax_total", "total"];
    let notes: Vec<_> = notes.iter().map(|note| fields.map(|field| text(&note[field])).join(" ")).collect();
    assert_eq!(notes, [format!("{before} usage_correction {given_back}")]);
    assert_eq!(tax_payable(&world).await.as_deref(), Some(if after == "none" { "-2.00" } else { "-5.00" }));
    assert!(findings(&world).await.is_empty());
}
