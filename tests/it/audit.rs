//! The audit log has an entry for every operation that writes.

use std::collections::BTreeSet;

use accrue::api;
use chrono::{SecondsFormat, TimeDelta};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{DOT, Engine, Engine::*, Receiver, Shop, World, text};

/// These read, whatever their method says; previews do, too.
const READS: &[&str] = &["POST /v1/customers/{id}/entitlements/{feature}/check"];

/// Every operation that changes something, as the OpenAPI document lists them.
fn writes() -> BTreeSet<String> {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "patch", "put", "delete"] {
            let operation = format!("{} {path}", method.to_uppercase());
            let is_write = path.starts_with("/v1/")
                && !path.starts_with("/v1/calculate/")
                && !path.ends_with("/preview");
            if item.get(method).is_some() && is_write && !READS.contains(&operation.as_str()) {
                found.insert(operation);
            }
        }
    }
    found
}

struct Walk {
    world: World,
    done: BTreeSet<String>,
    requests: u32,
}

impl Walk {
    /// Does an operation and looks for its entry.
    async fn does(&mut self, operation: &str, ids: &[&str], body: Value) -> Value {
        self.sends(operation, ids, |request| request.json(&body)).await
    }

    /// The same with any body.
    async fn sends(
        &mut self,
        operation: &str,
        ids: &[&str],
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Value {
        let (method, template) = operation.split_once(' ').unwrap();
        let mut ids = ids.iter();
        let parts =
            template.split('/').map(|part| if part.starts_with('{') { *ids.next().unwrap() } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        self.requests += 1;
        let request = format!("walk-{}", self.requests);
        let sent = with(self.world.request(method, &path).header("x-request-id", &request));
        let reply = crate::support::Reply::of(sent).await;
        assert!(reply.status < 300, "{operation}: {} {}", reply.status, reply.text);
        let log = self.world.list("/v1/audit_log?limit=100").await;
        let entries: Vec<_> = log.iter().filter(|entry| entry["request_id"] == request.as_str()).collect();
        assert_eq!(entries.len(), 1, "{operation}: {entries:?}");
        assert_eq!(entries[0]["action"], operation);
        assert!(text(&entries[0]["actor"]).starts_with("key_"));
        self.done.insert(operation.to_owned());
        reply.json()
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_writes_leaves_one_audit_entry(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_then_ok")).await;
    let (clock, subscription, invoice) =
        (shop.clock.clone(), shop.subscription.clone(), shop.invoice.clone());
    let receiver = Receiver::start();
    let mut walk = Walk { world: shop.world, done: BTreeSet::new(), requests: 0 };

    account(&mut walk).await;
    issuers(&mut walk).await;
    catalogue(&mut walk).await;
    usage(&mut walk).await;
    webhooks(&mut walk, &receiver).await;
    let customer =
        walk.does("POST /v1/customers", &[], json!({"name": "Other", "external_id": "other"})).await;
    walk.does("PATCH /v1/customers/{id}", &[&text(&customer["id"])], json!({"name": "Else"})).await;
    let change = json!({"amount": "1.00", "currency": "USD"});
    walk.does("POST /v1/customers/{id}/balance_entries", &["other"], change).await;
    let event = json!({"event_id": "e1", "customer_id": "acme", "event_name": "call", "timestamp": "2026-02-01T09:30:00Z"});
    walk.does("POST /v1/usage_events", &[], event).await;
    let method = json!({"customer": "acme", "token": "tok_mastercard"});
    let method = walk.does("POST /v1/payment_methods", &[], method).await;
    let payment = walk.does("POST /v1/invoices/{id}/pay", &[&invoice], json!({})).await;
    walk.does("POST /v1/refunds", &[], json!({"payment": payment["id"], "amount": "1"})).await;
    let note = json!({"invoice": invoice, "kind": "credit", "amount": "1"});
    walk.does("POST /v1/credit_notes", &[], note).await;
    walk.does("DELETE /v1/payment_methods/{id}", &[&text(&method["id"])], Value::Null).await;
    walk.does("POST /v1/test_clocks", &[], json!({"now": "2026-01-01T00:00:00Z"})).await;
    walk.does("POST /v1/test_clocks/{id}/advance", &[&clock], json!({"to": "2026-02-02T00:00:00Z"})).await;
    walk.does("POST /v1/subscriptions", &[], json!({"customer": "other", "plan": "pro"})).await;
    walk.does(
        "POST /v1/subscriptions",
        &[],
        json!({"customer": "other", "plan": "pro", "external_id": "second"}),
    )
    .await;
    lifecycle(&mut walk).await;
    walk.does("POST /v1/subscriptions/{id}/cancel", &[&subscription], json!({"when": "now"})).await;
    walk.world.work().await;
    let open = walk.world.list("/v1/invoices?customer=other").await;
    let open: Vec<String> = open.iter().map(|invoice| text(&invoice["id"])).collect();
    walk.does("POST /v1/invoices/{id}/void", &[&open[0]], json!({})).await;
    walk.does("POST /v1/invoices/{id}/mark_uncollectible", &[&open[1]], json!({})).await;
    jobs(&mut walk).await;

    let forgotten: Vec<_> = writes().difference(&walk.done).cloned().collect();
    assert!(forgotten.is_empty(), "do these in this test: {forgotten:?}");
}

async fn lifecycle(walk: &mut Walk) {
    let far = (walk.world.app.now() + TimeDelta::days(30)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let later = (walk.world.app.now() + TimeDelta::days(60)).to_rfc3339_opts(SecondsFormat::Secs, true);
    walk.world.create("/v1/customers", json!({"name": "Third", "external_id": "third"})).await;
    let trial = json!({"customer": "third", "plan": "pro", "external_id": "third", "trial_end": far});
    walk.does("POST /v1/subscriptions", &[], trial).await;
    walk.world.work().await;
    walk.does("POST /v1/subscriptions/{id}/extend_trial", &["third"], json!({"trial_end": later})).await;
    for (verb, body) in [
        ("end_trial", json!({})),
        ("change", json!({"anchor": "reset", "when": "period_end"})),
        ("undo", json!({})),
        ("pause", json!({})),
        ("resume", json!({})),
    ] {
        walk.does(&format!("POST /v1/subscriptions/{{id}}/{verb}"), &["third"], body).await;
    }
}

async fn account(walk: &mut Walk) {
    walk.does("PATCH /v1/account", &[], json!({"name": "Shop"})).await;
    let key = walk.does("POST /v1/api_keys", &[], json!({"kind": "ingest"})).await;
    walk.does("POST /v1/api_keys/{id}/revoke", &[&text(&key["id"])], json!({})).await;
}

async fn issuers(walk: &mut Walk) {
    let issuer = json!({"code": "de", "name": "D", "invoice_prefix": "DE", "credit_note_prefix": "DECN"});
    walk.does("POST /v1/issuers", &[], issuer).await;
    walk.does("PATCH /v1/issuers/{id}", &["de"], json!({"name": "E"})).await;
    for (logo, ids) in [("/v1/issuers/{id}/logo", &["de"][..]), ("/v1/account/logo", &[])] {
        let picture =
            |request: reqwest::RequestBuilder| request.header("content-type", "image/png").body(DOT);
        walk.sends(&format!("PUT {logo}"), ids, picture).await;
        walk.does(&format!("DELETE {logo}"), ids, Value::Null).await;
    }
    walk.does("POST /v1/issuers/{id}/archive", &["de"], json!({})).await;
    walk.does("POST /v1/issuers/{id}/unarchive", &["de"], json!({})).await;
    walk.does("DELETE /v1/issuers/{id}", &["de"], Value::Null).await;
}

async fn catalogue(walk: &mut Walk) {
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    walk.does("POST /v1/metrics", &[], metric).await;
    walk.does("PATCH /v1/metrics/{id}", &["calls"], json!({"name": "All calls"})).await;
    walk.does("POST /v1/features", &[], json!({"code": "sso", "name": "SSO", "kind": "switch"})).await;
    walk.does("POST /v1/taxes", &[], json!({"code": "vat", "name": "VAT", "rate": "20"})).await;
    walk.does("PATCH /v1/taxes/{id}", &["vat"], json!({"name": "Tax"})).await;
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "5"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "small", "name": "Small", "currency": "USD", "interval": interval, "prices": [price]});
    walk.does("POST /v1/plans", &[], plan).await;
    walk.does("PATCH /v1/plans/{id}", &["small"], json!({"name": "Smaller"})).await;
    let version = json!({"prices": [price]});
    walk.does("POST /v1/plans/{id}/versions", &["small"], version).await;
    walk.does("PATCH /v1/features/{id}", &["sso"], json!({"name": "Single sign-on"})).await;
    for (list, code) in [("metrics", "calls"), ("features", "sso"), ("taxes", "vat"), ("plans", "small")] {
        for verb in ["archive", "unarchive"] {
            walk.does(&format!("POST /v1/{list}/{{id}}/{verb}"), &[code], json!({})).await;
        }
    }
    let twin = json!({"code": "none", "name": "None", "event_name": "none", "aggregation": "count"});
    walk.does("POST /v1/metrics", &[], twin).await;
    for (list, code) in [("metrics", "none"), ("features", "sso"), ("taxes", "vat"), ("plans", "small")] {
        walk.does(&format!("DELETE /v1/{list}/{{id}}"), &[code], Value::Null).await;
    }
}

async fn usage(walk: &mut Walk) {
    let event = json!({"event_id": "e", "customer_id": "acme", "event_name": "call"});
    walk.world.post("/v1/usage_events", event).await;
    walk.does("POST /v1/usage_events/{event_id}/amend", &["e"], json!({"metadata": {"n": 1}})).await;
    walk.does("POST /v1/usage_events/{event_id}/void", &["e"], json!({})).await;
    let alert = json!({"customer": "acme", "metric": "calls", "kind": "quantity", "threshold": "1"});
    let alert = text(&walk.does("POST /v1/usage_alerts", &[], alert).await["id"]);
    walk.does("PATCH /v1/usage_alerts/{id}", &[&alert], json!({"threshold": "2"})).await;
    walk.does("DELETE /v1/usage_alerts/{id}", &[&alert], Value::Null).await;
}

async fn webhooks(walk: &mut Walk, receiver: &Receiver) {
    let endpoint = json!({"url": receiver.url, "events": ["*"]});
    let endpoint = walk.does("POST /v1/webhook_endpoints", &[], endpoint).await;
    let id = text(&endpoint["id"]);
    walk.does("PATCH /v1/webhook_endpoints/{id}", &[&id], json!({"metadata": {"a": "b"}})).await;
    walk.does("POST /v1/webhook_endpoints/{id}/rotate_secret", &[&id], json!({})).await;
    walk.does("POST /v1/webhook_endpoints/{id}/test", &[&id], json!({})).await;
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    walk.does("POST /v1/webhook_endpoints/{id}/replay", &[&id], since).await;
    walk.world.work().await;
    let delivery = text(&walk.world.list("/v1/webhook_deliveries").await[0]["id"]);
    walk.does("POST /v1/webhook_deliveries/{id}/retry", &[&delivery], json!({})).await;
    walk.does("DELETE /v1/webhook_endpoints/{id}", &[&id], Value::Null).await;
}

/// Two jobs die of being unknown; one is retried, one forgotten.
async fn jobs(walk: &mut Walk) {
    use accrue_platform::queue::{self, NewJob};
    let tenant = accrue::auth::service::first_tenant(walk.world.app.db.reader(), accrue::auth::Mode::Test);
    let tenant = tenant.await.unwrap().unwrap().id;
    let now = walk.world.app.now();
    let tx = walk.world.app.db.begin().await.unwrap();
    for key in ["one", "two"] {
        let job = NewJob {
            tenant,
            name: "nobody.knows",
            key: key.to_owned(),
            payload: "{}".to_owned(),
            run_at: now,
            test_clock: None,
        };
        queue::enqueue(&tx, now, job).await.unwrap();
    }
    tx.commit().await.unwrap();
    walk.world.work().await;
    let dead = walk.world.list("/v1/jobs").await;
    walk.does("POST /v1/sweeps/{name}/run", &["invoices.cycle"], json!({})).await;
    walk.does("POST /v1/jobs/{id}/retry", &[&text(&dead[0]["id"])], json!({})).await;
    walk.does("DELETE /v1/jobs/{id}", &[&text(&dead[1]["id"])], Value::Null).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_gateway_did_not_take_up_is_in_the_log(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, None).await;
    shop.attach("tok_unavailable").await;
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    let reply = shop.world.send("POST", &path, &json!({})).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    let log = shop.world.list("/v1/audit_log").await;
    assert_eq!(
        (&log[0]["action"], &log[0]["object_id"]),
        (&json!("POST /v1/invoices/{id}/pay"), &json!(shop.invoice))
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn requests_whose_events_are_taken_together_are_counted_in_one_audit_entry(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let send = async |number: usize| {
        let event = json!({"event_id": number.to_string(), "customer_id": "acme", "event_name": "call"});
        let reply = world.send("POST", "/v1/usage_events", &event).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.header("x-request-id").to_owned()
    };

    let sent = futures_util::future::join_all((0..30).map(send)).await;

    let log = world.list("/v1/audit_log?limit=100").await;
    let of_usage = log.iter().filter(|entry| entry["action"] == "POST /v1/usage_events");
    let noted: Vec<_> =
        of_usage.map(|entry| (text(&entry["object_id"]), text(&entry["request_id"]))).collect();
    let count = |(said, _): &(String, String)| said.split(' ').next().unwrap().parse::<usize>().unwrap();
    assert_eq!(noted.iter().map(count).sum::<usize>(), 30, "{noted:?}");
    assert!(noted.iter().all(|(_, first)| sent.contains(first)), "{noted:?}");
    for (said, _) in noted.iter().filter(|(said, _)| said.contains(" of ")) {
        let numbers: Vec<_> = said.split(' ').filter_map(|word| word.parse::<usize>().ok()).collect();
        assert!(numbers[0] == numbers[1] && numbers[1] > 1, "an event each: {said}");
    }
}
