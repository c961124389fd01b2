//! Usage that comes after its period was billed, of metrics whose invoices are issued anew: what is open is replaced,
//! what is not is put right beside it, once and to the cent.

mod beside;
mod replaced;

use accrue::{
    auth::{Mode, Tenant, service::first_tenant},
    credit_notes, invoices,
    ledger::{self, Account, Posting},
};
use accrue_core::money::Money;
use serde_json::{Value, json};

use crate::support::{Engine, Metered, World, text};

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
