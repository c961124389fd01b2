//! The account's settings and keys, and what a request that is not quite right is told.

use accrue::auth::{KeyKind, Mode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_the_account_at_once_both_remain(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let patch = |body: Value| Reply::of(world.request("PATCH", "/v1/account").json(&body));
    for round in 0..20 {
        let (days, name) = (json!({"net_terms_days": round}), json!({"name": format!("Name {round}")}));
        let (one, other) = tokio::join!(patch(days), patch(name));
        assert_eq!((one.status, other.status), (200, 200));
        let account = world.get("/v1/account").await;
        assert_eq!(account["net_terms_days"], round);
        assert_eq!(account["name"], format!("Name {round}"));
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_the_accounts_settings_is_named(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let before = world.get("/v1/account").await;
    let wrong = json!({
        "name": " ", "timezone": "Mars/Olympus", "invoice_prefix": "a-b", "brand_color": "blue",
        "net_terms_days": 4000, "invoice_footer": "a\u{7}",
        "issuer": {"name": "x".repeat(201), "address": ["ok", "a\r\nb"], "tax_ids": [{"kind": "eu_vat", "value": "DE123"}], "email": "nobody"},
    });
    let reply = world.send("PATCH", "/v1/account", &wrong).await;
    assert_eq!(reply.status, 422);
    assert_eq!(
        reply.errors(),
        [
            "/name blank",
            "/timezone unknown",
            "/issuer/name too_long",
            "/issuer/address/1 malformed",
            "/issuer/tax_ids/0/value malformed",
            "/issuer/email malformed",
            "/invoice_prefix malformed",
            "/net_terms_days out_of_range",
            "/invoice_footer malformed",
            "/brand_color malformed",
        ]
    );
    let misspelt = world.send("PATCH", "/v1/account", &json!({"issuer": {"vat": "x"}})).await;
    assert_eq!(misspelt.errors(), ["/issuer/vat unknown_field"]);
    assert_eq!(world.get("/v1/account").await, before, "nothing is half-written");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_revoke_itself_unless_it_is_the_last_secret_one(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let other = world.create("/v1/api_keys", json!({"kind": "secret", "name": "other"})).await;
    world.create("/v1/api_keys", json!({"kind": "ingest"})).await;
    let revoke = async |key: &Value| {
        let path = format!("/v1/api_keys/{}/revoke", text(&key["id"]));
        Reply::of(world.request_as(&text(&other["key"]), "POST", &path)).await
    };
    let keys = world.list("/v1/api_keys").await;
    let first = keys.iter().find(|key| key["name"] == "first key").unwrap();

    assert_eq!(revoke(first).await.status, 200);
    let last = revoke(&other).await;

    assert_eq!((last.status, text(&last.json()["code"])), (409, "conflict".to_owned()));
    let still = Reply::of(world.request_as(&text(&other["key"]), "GET", "/v1/account")).await;
    assert_eq!(still.status, 200);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_keys_that_revoke_each_other_leave_one(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let other = world.create("/v1/api_keys", json!({"kind": "secret", "name": "other"})).await;
    let first = world.list("/v1/api_keys").await.pop().unwrap();
    let (key, path) =
        (text(&other["key"]), |key: &Value| format!("/v1/api_keys/{}/revoke", text(&key["id"])));
    let (one, two) = tokio::join!(
        Reply::of(world.request("POST", &path(&other))),
        Reply::of(world.request_as(&key, "POST", &path(&first))),
    );
    let gone = [one.status, two.status].into_iter().filter(|status| *status == 200).count();
    assert_eq!(gone, 1, "{} {}", one.text, two.text);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_checked(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let errors = async |body: Value| world.send("POST", "/v1/api_keys", &body).await.errors();
    assert_eq!(errors(json!({"kind": "restricted"})).await, ["/scopes required"]);
    assert_eq!(
        errors(json!({"kind": "secret", "scopes": ["usage:read"], "expires_at": "2020-01-01T00:00:00Z"}))
            .await,
        ["/scopes conflict", "/expires_at out_of_range"]
    );
    let scopes = ["usage:read", "invoice:read"];
    assert_eq!(errors(json!({"kind": "restricted", "scopes": scopes})).await, ["/scopes/1 unknown"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_no_key_that_may_more_than_itself(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let clerk = world.new_key(Mode::Test, KeyKind::Restricted, &["account:write", "customers:read"]).await;
    let keys = async || world.list("/v1/api_keys").await.len();
    let (before, make) = (keys().await, async |body: Value| {
        Reply::of(world.request_as(&clerk, "POST", "/v1/api_keys").json(&body)).await
    });

    for more in [
        json!({"kind": "secret"}),
        json!({"kind": "ingest"}),
        json!({"kind": "restricted", "scopes": ["customers:read", "customers:write"]}),
        json!({"kind": "restricted", "scopes": ["customers"]}),
        json!({"kind": "restricted", "scopes": ["ledger:read"]}),
    ] {
        let refused = make(more.clone()).await;
        assert_eq!(
            (refused.status, text(&refused.json()["code"])),
            (403, "scope_missing".to_owned()),
            "{more}"
        );
    }
    assert_eq!(keys().await, before);
    let unknown = make(json!({"kind": "restricted", "scopes": ["customer:read"]})).await;
    assert_eq!(unknown.errors(), ["/scopes/0 unknown"]);
    let same = make(json!({"kind": "restricted", "scopes": ["account", "customers:read"]})).await;
    let made = text(&same.expect(201)["key"]);
    assert_eq!(Reply::of(world.request_as(&made, "GET", "/v1/customers")).await.status, 200);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_is_known_and_good_or_refused(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let told = async |path: &str| {
        let reply = Reply::of(world.request("GET", path)).await;
        assert_eq!(reply.status, 422, "{path}: {}", reply.text);
        let error = reply.json()["errors"][0].clone();
        format!("{} {}: {}", text(&error["pointer"]), text(&error["code"]), text(&error["detail"]))
    };
    assert_eq!(
        told("/v1/invoices?costumer=acme").await,
        "costumer unknown_parameter: is not known here: there are customer, made_for, subscription, status, \
         limit, starting_after, ending_before"
    );
    assert_eq!(
        told("/v1/account?verbose=1").await,
        "verbose unknown_parameter: is not known here: this address takes no query parameters"
    );
    assert_eq!(
        told("/v1/invoices?status=payed").await,
        "status malformed: is not one of draft, open, paid, void, uncollectible"
    );
    assert_eq!(told("/v1/customers?limit=x").await, "limit malformed: is not a whole number from 0 on");
    assert_eq!(told("/v1/customers?limit=0").await, "limit out_of_range: must be from 1 to 100");
    let cursor = told("/v1/customers?starting_after=inv_1").await;
    assert!(cursor.starts_with("starting_after malformed"), "{cursor}");
    let nobody = Reply::of(world.request_as("sk_test_x", "GET", "/v1/customers?x=1")).await;
    assert_eq!(nobody.status, 401, "who may not ask is not told what there is to ask");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_explained_without_a_word_of_rust(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let told = async |path: &str, body: Value| {
        let reply = world.send("POST", path, &body).await;
        assert_eq!(reply.status, 422, "{path}: {}", reply.text);
        let lines = reply.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| format!("{}: {}", text(&error["pointer"]), text(&error["detail"])))
            .collect::<Vec<_>>();
        lines.join("; ")
    };
    assert_eq!(
        told("/v1/plans", json!({"code": "p"})).await,
        "/currency: is required; /interval: is required"
    );
    assert_eq!(told("/v1/customers", json!({"name": {}})).await, "/name: is an object, but should be text");
    assert_eq!(told("/v1/customers", json!([])).await, ": is a list, but should be an object");
    assert_eq!(
        told("/v1/test_clocks", json!({"now": "tomorrow"})).await,
        "/now: is not a time like 2026-01-31T12:00:00Z"
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_shell_stand_in_the_audit_log(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(home) = crate::support::process::Installation::new(on).await else { return };
    let made: Value =
        serde_json::from_str(&home.run(&["keys", "create", "--mode", "test", "--json"])).unwrap();
    home.run(&["keys", "revoke", &text(&made["id"])]);
    let process = home.serve().await;
    let log = home.all(&process, "/v1/audit_log").await;
    let lines: Vec<_> =
        log.iter().map(|entry| format!("{} {}", text(&entry["actor"]), text(&entry["action"]))).collect();
    assert_eq!(lines, ["command line keys revoke", "command line keys create", "command line keys create"]);
    assert_eq!(log[0]["object_id"], made["id"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_read_the_account(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let ingest = world.new_key(Mode::Test, KeyKind::Ingest, &[]).await;
    assert_eq!(Reply::of(world.request_as(&ingest, "GET", "/v1/account")).await.status, 403);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_comes_with_what_would_be_right(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let told = async |path: &str, body: Value| {
        let reply = world.send("POST", path, &body).await;
        let error = reply.json()["errors"][0].clone();
        format!("{} {}: {}", reply.status, text(&error["pointer"]), text(&error["detail"]))
    };
    assert_eq!(
        told("/v1/customers", json!({"name": "A", "currency": "usd"})).await,
        "422 /currency: is not the code of a currency: did you mean USD?"
    );
    let inside = told("/v1/webhook_endpoints", json!({"url": "http://10.0.0.1/x", "events": ["*"]})).await;
    assert!(inside.starts_with("422 /url") && inside.contains("ACCRUE_WEBHOOK_ALLOW"), "{inside}");
    let deaf = json!({"url": "http://127.0.0.1:1/x", "events": ["*", "invoice.payed"]});
    let deaf = told("/v1/webhook_endpoints", deaf).await;
    assert!(deaf.starts_with("422 /events/1: is told by nobody") && deaf.contains("invoice.paid"), "{deaf}");
    let subscription = json!({"customer": "nobody", "plan": "none"});
    assert_eq!(told("/v1/subscriptions", subscription).await, "404 /customer: there is no such customer");
    world.create("/v1/customers", json!({"name": "A", "external_id": "acme"})).await;
    let subscription = json!({"customer": "acme", "plan": "none"});
    assert_eq!(told("/v1/subscriptions", subscription).await, "404 /plan: there is no such plan");
    let method = json!({"customer": "nobody", "token": "tok_visa"});
    assert_eq!(told("/v1/payment_methods", method).await, "404 /customer: there is no such customer");
    let refund = json!({"payment": "pay_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f"});
    assert_eq!(told("/v1/refunds", refund).await, "404 /payment: there is no such payment");
    let customer = json!({"name": "B", "test_clock": "clk_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f"});
    assert_eq!(told("/v1/customers", customer).await, "404 /test_clock: there is no such test clock");
}
