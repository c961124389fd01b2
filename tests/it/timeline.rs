//! What happened to a customer, in words and links.

use accrue::{
    auth::{KeyKind, Mode, service as auth},
    webhooks::TYPES,
};
use accrue_platform::outbox::{self, Fact};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, Shop, World, text};

const TIMELINE: &str = "/v1/customers/acme/timeline";

async fn lines(world: &World, path: &str) -> Vec<String> {
    let line = |entry: &Value| format!("{} {}", text(&entry["kind"]), text(&entry["text"]));
    world.list(path).await.iter().map(line).collect()
}

fn links(entry: &Value) -> Vec<(String, String)> {
    let links = entry["links"].as_array().expect("links");
    links.iter().map(|link| (text(&link["rel"]), text(&link["href"]))).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_tells_what_happened_and_which_emails_were_sent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_then_ok")).await;
    let world = &shop.world;
    world.post(&format!("/v1/invoices/{}/pay", shop.invoice), json!({})).await;
    world.send("PATCH", "/v1/customers/acme", &json!({"name": "<b>Acme</b>"})).await.expect(200);
    world.work().await;

    let mut told = lines(world, &format!("{TIMELINE}?limit=100")).await;
    told.reverse();

    let at = |start: &str| {
        let found = told.iter().position(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {told:#?}"))
    };
    let order = [
        "customer.created The customer “Acme” was made.",
        "customer.payment_method_attached A payment method was kept: ",
        "subscription.created A subscription to “Pro” was made; it starts on 2026-02-01.",
        "invoice.created An invoice of 30.00 USD was made.",
        "invoice.finalized Invoice INV-000001 of 30.00 USD was issued",
        "payment.failed 30.00 USD could not be collected by ",
        "dunning.started The chase of invoice INV-000001 began: 30.00 USD are due; the next try is on 2026-02-0",
        "payment.captured 30.00 USD were paid by ",
        "invoice.paid Invoice INV-000001 of 30.00 USD is paid.",
        "customer.updated The customer was changed: name.",
    ];
    let places: Vec<_> = order.iter().map(|start| at(start)).collect();
    assert!(places.is_sorted(), "{told:#?}");
    assert!(at("email.sent The email “") > at("invoice.finalized"), "{told:#?}");
    let entries = world.list(&format!("{TIMELINE}?limit=100")).await;
    let times: Vec<_> = entries.iter().map(|entry| text(&entry["at"])).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    let paid = entries.iter().find(|entry| entry["kind"] == "invoice.paid").unwrap();
    assert_eq!(
        links(paid)[1..],
        [
            ("invoice".to_owned(), format!("/v1/invoices/{}", shop.invoice)),
            ("subscription".to_owned(), format!("/v1/subscriptions/{}", shop.subscription)),
        ]
    );
    let renamed = entries.iter().find(|entry| entry["kind"] == "customer.updated").unwrap();
    assert!(text(&renamed["cause"]).starts_with("request req_"), "{renamed}");
}

/// What events are about, as the API shows it: one object of each kind.
async fn objects(shop: &Shop) -> Vec<Value> {
    let world = &shop.world;
    let payment = world.post(&format!("/v1/invoices/{}/pay", shop.invoice), json!({})).await;
    let refund = json!({"payment": payment["id"], "amount": "1"});
    let refund = world.create("/v1/refunds", refund).await;
    let note = json!({"invoice": shop.invoice, "kind": "credit", "amount": "1"});
    let note = world.create("/v1/credit_notes", note).await;
    let metric = json!({"code": "calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    let alert = json!({"customer": "acme", "metric": "calls", "kind": "quantity", "threshold": "1"});
    let alert = world.create("/v1/usage_alerts", alert).await;
    let event = json!({"event_id": "a/b c", "customer_id": "acme", "event_name": "call",
        "timestamp": "2026-02-01T09:30:00Z"});
    world.post("/v1/usage_events", event).await;
    let event = world.list("/v1/usage_events").await[0].clone();
    let endpoint = json!({"url": "https://example.com/webhooks", "events": ["*"]});
    let endpoint = world.create("/v1/webhook_endpoints", endpoint).await;
    world.work().await;
    let alert = world.get(&format!("/v1/usage_alerts/{}", text(&alert["id"]))).await;
    let change = json!({"amount": "1.00", "currency": "USD"});
    let change = world.create("/v1/customers/acme/balance_entries", change).await;
    vec![
        change,
        world.get("/v1/customers/acme").await,
        world.list("/v1/payment_methods").await[0].clone(),
        world.get("/v1/plans/pro").await,
        world.get(&format!("/v1/subscriptions/{}", shop.subscription)).await,
        world.get(&format!("/v1/invoices/{}", shop.invoice)).await,
        note,
        world.get(&format!("/v1/payments/{}", text(&payment["id"]))).await,
        refund,
        world.list("/v1/dunnings").await[0].clone(),
        world.get("/v1/customers/acme/entitlements").await,
        alert,
        event,
        json!({"object": "unmatched_usage_report", "count": 3}),
        endpoint,
    ]
}

/// Of which kind of object a type of event tells.
fn object_of(kind: &str) -> &str {
    match kind {
        "customer.payment_method_attached" | "customer.payment_method_detached" => "payment_method",
        "customer.balance_changed" => "balance_entry",
        "usage.unmatched" => "unmatched_usage_report",
        "webhook.test" => "webhook_endpoint",
        kind => kind.split('.').next().expect("a type"),
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_event_has_words_and_links_that_lead_somewhere(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_then_ok")).await;
    let world = &shop.world;
    let objects = objects(&shop).await;
    let customer = text(&objects[1]["id"]).parse().unwrap();
    let tenant = auth::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap().id;
    let known: Vec<_> = world.list(&format!("{TIMELINE}?limit=100")).await;

    let tx = world.app.db.begin().await.unwrap();
    // After everything that happened until now.
    let now = "2026-03-01T00:00:00Z".parse().unwrap();
    for kind in TYPES {
        let object = objects.iter().find(|object| object["object"] == object_of(kind));
        let object = object.unwrap_or_else(|| panic!("no object of {kind}"));
        let fact = Fact::new(kind, "x", object).of_customer(customer, None);
        outbox::append(&tx, now, tenant, fact).await.unwrap();
    }
    tx.commit().await.unwrap();

    let told = world.list(&format!("{TIMELINE}?limit=100")).await;
    let kinds: Vec<_> = told.iter().take(TYPES.len()).rev().map(|entry| text(&entry["kind"])).collect();
    assert_eq!(kinds, TYPES);
    for entry in told.iter().take(TYPES.len()).chain(&known) {
        let (kind, said) = (text(&entry["kind"]), text(&entry["text"]));
        assert!(said.contains(' ') && !said.contains("“”") && !said.contains("  "), "{kind}: {said}");
        let links = links(entry);
        let enough = if ["plan.deleted", "email.sent"].contains(&kind.as_str()) { 1 } else { 2 };
        assert!(links.len() >= enough, "{entry}");
        for (rel, href) in links {
            assert_eq!(Reply::of(world.request("GET", &href)).await.status, 200, "{kind} {rel} {href}");
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_is_read_page_by_page_both_ways(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_visa")).await;
    let world = &shop.world;
    world.advance(&shop.clock, "2026-04-02T00:00:00Z").await;
    let all = world.list(&format!("{TIMELINE}?limit=100")).await;
    let emails = all.iter().filter(|entry| text(&entry["kind"]).starts_with("email.")).count();
    assert!(all.len() > 20 && emails > 3, "{} {emails}", all.len());

    let walk = async |cursor: &str, length: usize| {
        let (mut pages, mut from) = (Vec::new(), None::<String>);
        loop {
            let start = from.map_or_else(String::new, |id| format!("&{cursor}={id}"));
            let page = world.get(&format!("{TIMELINE}?limit={length}{start}")).await;
            let data = page["data"].as_array().unwrap().clone();
            let next = if cursor == "starting_after" { data.last() } else { data.first() };
            from = next.map(|entry| text(&entry["id"]));
            pages.push(data);
            if page["has_more"] == false {
                return pages;
            }
        }
    };
    for length in [1, 4, 7] {
        assert_eq!(walk("starting_after", length).await.concat(), all, "{length}");
    }
    let oldest = text(&all.last().unwrap()["id"]);
    let page = world.get(&format!("{TIMELINE}?limit=4&ending_before={oldest}")).await;
    let at = all.len() - 5;
    assert_eq!((&page["data"], &page["has_more"]), (&json!(all[at..at + 4]), &json!(true)));
    let page = world.get(&format!("{TIMELINE}?limit=4&ending_before={}", text(&all[2]["id"]))).await;
    assert_eq!((&page["data"], &page["has_more"]), (&json!(all[..2]), &json!(false)));

    let cursor = Reply::of(world.request("GET", &format!("{TIMELINE}?starting_after=cus_1"))).await;
    assert_eq!((cursor.status, cursor.errors()), (422, vec!["starting_after malformed".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_is_for_those_who_may_read_the_log_of_events(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let customer = world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    world.create("/v1/customers", json!({"external_id": "other", "name": "Other"})).await;
    let by_id = format!("/v1/customers/{}/timeline", text(&customer["id"]));
    let stranger = world.stranger().await;
    for path in [TIMELINE, &by_id, "/v1/customers/none/timeline"] {
        assert_eq!(Reply::of(world.request_as(&stranger, "GET", path)).await.status, 404, "{path}");
    }
    let restricted = async |scopes: &[&str]| {
        let key = world.new_key(Mode::Test, KeyKind::Restricted, scopes).await;
        Reply::of(world.request_as(&key, "GET", TIMELINE)).await
    };
    for scope in ["customers:read", "webhooks:read"] {
        assert_eq!(restricted(&[scope]).await.status, 403, "{scope}");
    }
    let page = restricted(&["customers:read", "webhooks:read"]).await.expect(200);
    assert_eq!((page["data"].as_array().unwrap().len(), &page["url"]), (1, &json!(by_id)));
    assert_eq!(page["data"][0]["text"], "The customer “Acme” was made.");
}
