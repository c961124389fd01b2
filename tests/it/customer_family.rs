//! A parent pays for its children, who keep everything else for themselves.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices, ledger,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// Ten dollars a month in advance and half a dollar a call, twenty calls allowed, and 20 % VAT.
async fn selling(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    world.create("/v1/features", json!({"code": "seats", "kind": "limit"})).await;
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [
            {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
             "model": {"type": "flat", "amount": "10.00"}},
            {"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
             "model": {"type": "per_unit", "unit_price": "0.5"}},
        ],
        "features": [{"feature": "seats", "value": 20}],
    });
    world.create("/v1/plans", plan).await;
    Some(world)
}

async fn customer(world: &World, name: &str, more: Value) -> Value {
    let mut body = json!({"external_id": name, "name": name, "email": format!("{name}@buyer.example")});
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    world.create("/v1/customers", body).await
}

async fn subscribe(world: &World, customer: &str, collection: &str) -> Value {
    let wanted =
        json!({"customer": customer, "plan": "team", "collection": collection, "external_id": customer});
    let made = world.create("/v1/subscriptions", wanted).await;
    world.work().await;
    made
}

async fn refused(world: &World, method: &str, path: &str, body: Value) -> Vec<String> {
    let reply = world.send(method, path, &body).await;
    assert_eq!(reply.status, 422, "{body}");
    reply.errors()
}

async fn findings(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings.extend(ledger::service::verify(db, tenant).await.unwrap().iter().map(ToString::to_string));
    findings
}

/// Of each invoice of a list, the oldest first: `number bill_to total for`.
async fn told(world: &World, which: &str) -> Vec<String> {
    let mut invoices = world.list(&format!("/v1/invoices?{which}&limit=100")).await;
    invoices.reverse();
    let told = |one: &Value| {
        let made_for = one["made_for"]["name"].as_str().unwrap_or("itself");
        format!(
            "{} {} {} {made_for}",
            text(&one["number"]),
            text(&one["bill_to"]["name"]),
            text(&one["total"])
        )
    };
    invoices.iter().map(told).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_parent_pays_and_usage_and_entitlements_stay_the_childs(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    let address = json!({"line1": "1 Main Street", "city": "Dublin", "country": "IE"});
    let head = customer(&world, "head", json!({"test_clock": clock, "address": address})).await;
    let branch =
        customer(&world, "branch", json!({"test_clock": clock, "parent": "head", "timezone": "Asia/Tokyo"}))
            .await;
    assert_eq!(branch["parent"], head["id"]);
    assert_eq!(world.list("/v1/customers?parent=head").await, std::slice::from_ref(&branch));
    let card = json!({"customer": "head", "token": "tok_visa", "default": true});
    world.create("/v1/payment_methods", card).await;
    let made = subscribe(&world, "branch", "automatic").await;
    assert_eq!((&made["customer"], &made["timezone"]), (&branch["id"], &json!("Asia/Tokyo")));
    world.advance(&clock, "2026-02-04T00:00:00Z").await;
    let call = |id: &str| json!({"event_id": id, "customer_id": "branch", "event_name": "call", "timestamp": "2026-02-03T00:00:00Z"});
    let taken = world.post("/v1/usage_events", json!([call("a"), call("b"), call("c")])).await;
    assert_eq!(taken["accepted"], 3);
    world.advance(&clock, "2026-03-02T00:00:00Z").await;

    // 10.00 and VAT; then 10.00 and three calls.
    assert_eq!(
        told(&world, "customer=head").await,
        ["INV-000001 head 12.00 branch", "INV-000002 head 13.80 branch"]
    );
    assert!(told(&world, "customer=branch").await.is_empty());
    assert_eq!(told(&world, "made_for=branch").await.len(), 2);
    assert!(told(&world, "made_for=head").await.is_empty());
    let invoice = world.get("/v1/invoices/INV-000002").await;
    assert_eq!(invoice["status"], "paid");
    assert_eq!((&invoice["customer"], &invoice["made_for"]["customer"]), (&head["id"], &branch["id"]));
    assert_eq!(invoice["bill_to"]["address"], json!(["1 Main Street", "Dublin", "IE"]));
    assert_eq!(invoice["bill_to"]["timezone"], "Asia/Tokyo");
    let payments = world.list("/v1/payments").await;
    assert!(payments.iter().all(|payment| payment["customer"] == head["id"]));
    let used = world
        .get("/v1/customers/branch/usage?metric=calls&start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z")
        .await;
    assert_eq!(used["quantity"], "3");
    assert_eq!(world.get("/v1/customers/branch/entitlements").await["features"]["seats"]["value"], 20);
    assert!(world.get("/v1/customers/head/entitlements").await["features"].as_object().unwrap().is_empty());
    let mails = world.list("/v1/emails").await;
    assert!(mails.iter().all(|mail| mail["recipient"] == "head@buyer.example"), "{mails:?}");
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_paid_for_is_restricted_and_no_other(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    customer(&world, "head", json!({"test_clock": clock})).await;
    customer(&world, "north", json!({"test_clock": clock, "parent": "head"})).await;
    customer(&world, "south", json!({"test_clock": clock, "parent": "head"})).await;
    let good = json!({"customer": "head", "token": "tok_visa", "default": true});
    world.create("/v1/payment_methods", good).await;
    subscribe(&world, "north", "automatic").await;
    let bad = json!({"customer": "head", "token": "tok_decline_insufficient_funds", "default": true});
    world.create("/v1/payment_methods", bad).await;
    subscribe(&world, "south", "automatic").await;
    world.advance(&clock, "2026-02-05T00:00:00Z").await;

    assert_eq!(world.get("/v1/subscriptions/north").await["status"], "active");
    assert_eq!(world.get("/v1/subscriptions/south").await["status"], "past_due");
    let dunnings = world.list("/v1/dunnings").await;
    let head = world.get("/v1/customers/head").await;
    assert_eq!((dunnings.len(), &dunnings[0]["customer"]), (1, &head["id"]));
    assert!(world.dead_jobs().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_above_all_others_pays_with_its_issuer_and_its_exemption(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = selling(on).await else { return };
    let issuer = json!({"code": "de", "name": "Acme GmbH", "invoice_prefix": "DE", "credit_note_prefix": "DECN",
        "timezone": "Europe/Berlin", "net_terms_days": 10});
    world.create("/v1/issuers", issuer).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    let top =
        json!({"test_clock": clock, "issuer": "de", "exemption": "reverse_charge", "net_terms_days": 5});
    customer(&world, "top", top).await;
    customer(&world, "middle", json!({"test_clock": clock, "parent": "top"})).await;
    let low = customer(&world, "low", json!({"test_clock": clock, "parent": "middle"})).await;
    assert_eq!(low["settings"]["timezone"], json!({"value": "Europe/Berlin", "from": "issuer"}));
    assert_eq!(low["settings"]["net_terms_days"], json!({"value": 5, "from": "parent"}));
    assert_eq!(low["settings"]["invoice_prefix"], json!({"value": "DE", "from": "issuer"}));
    subscribe(&world, "low", "send_invoice").await;

    let invoice = world.get("/v1/invoices/DE-000001").await;
    assert_eq!(told(&world, "customer=top").await, ["DE-000001 top 10.00 low"]);
    assert_eq!(
        (&invoice["exemption"], &invoice["due_at"]),
        (&json!("reverse_charge"), &json!("2026-02-06T00:00:00Z"))
    );
    // Everybody above has the currency now.
    for name in ["low", "middle", "top"] {
        assert_eq!(world.get(&format!("/v1/customers/{name}")).await["currency"], "USD", "{name}");
    }

    // Parted, it pays for itself; what was issued stays the payer's, and what is credited of it too.
    world.send("PATCH", "/v1/customers/low", &json!({"parent": null})).await.expect(200);
    let credit = json!({"invoice": "DE-000001", "kind": "offset", "reason": "other"});
    let note = world.create("/v1/credit_notes", credit).await;
    assert_eq!((&note["customer"], &note["number"]), (&invoice["customer"], &json!("DECN-000001")));
    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    assert_eq!(told(&world, "customer=low").await, ["INV-000001 low 12.00 itself"]);
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_cannot_be_is_refused_with_its_reason(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    world
        .create(
            "/v1/issuers",
            json!({"code": "de", "name": "D", "invoice_prefix": "DE", "credit_note_prefix": "DECN"}),
        )
        .await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    customer(&world, "a", json!({})).await;
    for (name, parent) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d")] {
        customer(&world, name, json!({"parent": parent})).await;
    }
    let below = |parent: &str| json!({"parent": parent});
    assert_eq!(refused(&world, "PATCH", "/v1/customers/a", below("a")).await, ["/parent circle"]);
    assert_eq!(refused(&world, "PATCH", "/v1/customers/a", below("e")).await, ["/parent circle"]);
    assert_eq!(
        refused(&world, "POST", "/v1/customers", json!({"name": "F", "parent": "e"})).await,
        ["/parent too_deep"]
    );
    customer(&world, "top", json!({})).await;
    assert_eq!(refused(&world, "PATCH", "/v1/customers/a", below("top")).await, ["/parent too_deep"]);
    let other = json!({"name": "F", "parent": "a", "test_clock": clock});
    assert_eq!(refused(&world, "POST", "/v1/customers", other).await, ["/parent other_clock"]);
    let own = json!({"name": "F", "parent": "a", "issuer": "de"});
    assert_eq!(refused(&world, "POST", "/v1/customers", own).await, ["/issuer of_parent"]);
    assert_eq!(
        refused(&world, "PATCH", "/v1/customers/b", json!({"issuer": "de"})).await,
        ["/issuer of_parent"]
    );
    let unknown = world.send("POST", "/v1/customers", &json!({"name": "F", "parent": "nobody"})).await;
    assert_eq!((unknown.status, unknown.errors()), (404, vec!["/parent unknown".to_owned()]));
    let stranger = world.stranger().await;
    let theirs = json!({"name": "F", "parent": world.get("/v1/customers/a").await["id"]});
    let theirs = Reply::of(world.request_as(&stranger, "POST", "/v1/customers").json(&theirs)).await;
    assert_eq!((theirs.status, theirs.errors()), (404, vec!["/parent unknown".to_owned()]));

    // One currency for all who pay for each other.
    customer(&world, "euro", json!({"currency": "EUR"})).await;
    customer(&world, "dollar", json!({"currency": "USD"})).await;
    customer(&world, "none", json!({"parent": "euro"})).await;
    assert_eq!(
        refused(&world, "PATCH", "/v1/customers/dollar", below("euro")).await,
        ["/parent currency_mismatch"]
    );
    assert_eq!(
        refused(&world, "PATCH", "/v1/customers/none", json!({"currency": "USD"})).await,
        ["/parent currency_mismatch"]
    );
    let plan = json!({"customer": "none", "plan": "team"});
    assert_eq!(refused(&world, "POST", "/v1/subscriptions", plan).await, ["/plan currency_mismatch"]);
    assert_eq!(world.get("/v1/customers/none").await["currency"], Value::Null);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_become_each_others_parents_at_once_one_is_refused(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    for round in 0..5 {
        let (left, right) = (format!("left{round}"), format!("right{round}"));
        customer(&world, &left, json!({})).await;
        customer(&world, &right, json!({})).await;
        let (to_left, to_right) = (format!("/v1/customers/{left}"), format!("/v1/customers/{right}"));
        let (under_right, under_left) = (json!({"parent": right}), json!({"parent": left}));
        let (one, other) = tokio::join!(
            world.send("PATCH", &to_left, &under_right),
            world.send("PATCH", &to_right, &under_left)
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422]);
    }
}
