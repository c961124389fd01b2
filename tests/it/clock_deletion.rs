//! A test clock is deleted with its customers and everything of theirs.

use std::collections::BTreeMap;

use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{
    Engine::{self, *},
    Reply, Shop, World,
    process::Installation,
    text,
};

/// How many rows there are in each table that says whose they are, but for the log of requests.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    let db = world.app.db.reader();
    let sql = if world.app.db.is_sqlite() {
        "select distinct m.name from sqlite_master m join pragma_table_info(m.name) c where m.type = 'table' and c.name = 'tenant_id'"
    } else {
        "select distinct table_name as name from information_schema.columns
         where table_schema = 'public' and column_name = 'tenant_id' and table_name not like 'usage_event_packs_%'"
    };
    let statement = |sql: String| Statement::from_string(db.get_database_backend(), sql);
    let tables = db.query_all_raw(statement(sql.to_owned())).await.unwrap();
    let mut counted = BTreeMap::new();
    for table in tables {
        let table: String = table.try_get("", "name").unwrap();
        let sql = format!("select count(*) as n from {table}");
        let row = db.query_one_raw(statement(sql)).await.unwrap().unwrap();
        counted.insert(table, row.try_get::<i64>("", "n").unwrap());
    }
    for kept in [
        "audit_entries",
        "counters",
        "gates",
        "leases",
        "removed_numbers",
        "idempotency_keys",
        "usage_event_runs",
    ] {
        counted.remove(kept);
    }
    counted
}

/// A customer on a clock of their own, with a card, usage, an alert, a subscription and half a year of invoices.
async fn live_through(world: &World, name: &str, token: &str) -> String {
    let clock = world.test_clock("2026-01-01T00:00:00Z").await;
    let customer = json!({"external_id": name, "name": name, "email": "a@b.example", "test_clock": clock});
    world.create("/v1/customers", customer).await;
    let method = json!({"customer": name, "token": token, "default": true});
    world.create("/v1/payment_methods", method).await;
    world.create("/v1/subscriptions", json!({"customer": name, "plan": "pro"})).await;
    let alert = json!({"customer": name, "metric": "calls", "kind": "quantity", "threshold": "1"});
    world.create("/v1/usage_alerts", alert).await;
    world.advance(&clock, "2026-01-10T00:00:00Z").await;
    let event = |id: &str| json!({"event_id": id, "customer_id": name, "event_name": "call", "timestamp": "2026-01-05T00:00:00Z"});
    for id in ["e1", "e2"] {
        world.post("/v1/usage_events?backfill=true", event(&format!("{name}-{id}"))).await;
    }
    world.work().await;
    // Somebody for whom they pay, another plan in between, and something on their balance.
    let child = format!("{name}-child");
    let customer = json!({"external_id": child, "name": child, "parent": name, "test_clock": clock});
    world.create("/v1/customers", customer).await;
    let made = world.create("/v1/subscriptions", json!({"customer": child, "plan": "pro"})).await;
    world.work().await;
    let reset = json!({"anchor": "reset"});
    let path = format!("/v1/subscriptions/{}/change", text(&made["id"]));
    world.send("POST", &path, &reset).await.expect(200);
    world.advance(&clock, "2026-01-20T00:00:00Z").await;
    world.send("POST", &path, &reset).await.expect(200);
    let entry = json!({"amount": "5.00", "currency": "USD"});
    world.create(&format!("/v1/customers/{name}/balance_entries"), entry).await;
    world.advance(&clock, "2026-06-15T00:00:00Z").await;
    world.work().await;
    clock
}

async fn sell(world: &World) {
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    let prices = json!([
        {"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "30"}},
        {"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
         "model": {"type": "per_unit", "unit_price": "1"}},
    ]);
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": prices});
    world.create("/v1/plans", plan).await;
}

async fn delete(world: &World, clock: &str) -> Reply {
    Reply::of(world.request("DELETE", &format!("/v1/test_clocks/{clock}"))).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_clock_takes_everything_of_its_customers_along_and_nothing_else(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    live_through(&world, "stays", "tok_visa").await;
    let before = rows(&world).await;
    let books = world.get("/v1/ledger/trial_balance").await;
    let clock = live_through(&world, "goes", "tok_visa").await;

    let deleted = delete(&world, &clock).await.expect(200);
    assert_eq!(deleted, json!({"id": clock, "object": "test_clock", "deleted": true}));
    assert_eq!(world.send("GET", &format!("/v1/test_clocks/{clock}"), &Value::Null).await.status, 404);
    assert_eq!(world.list("/v1/test_clocks").await.len(), 1);
    let customer = json!({"external_id": "late", "name": "Late", "test_clock": clock});
    assert_eq!(world.send("POST", "/v1/customers", &customer).await.status, 404);
    world.work().await;

    let mut after = rows(&world).await;
    *after.get_mut("test_clocks").unwrap() -= 1;
    assert_eq!(after, before);
    assert_eq!(world.get("/v1/ledger/trial_balance").await, books);
    assert_eq!(delete(&world, &clock).await.expect(200), deleted);
    // Names and identities are free again, and the life that stayed goes on.
    live_through(&world, "goes", "tok_visa").await;
    let usage = "/v1/customers/goes/usage?metric=calls&start=2026-01-01T00:00:00Z&end=2026-02-01T00:00:00Z";
    assert_eq!(world.get(usage).await["quantity"], "2");
    let numbers = world.list("/v1/invoices?customer=goes").await;
    assert!(numbers.iter().all(|invoice| text(&invoice["number"]).as_str() > "INV-000012"), "{numbers:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refunded_credited_and_declined_goes_as_well(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let before = rows(&world).await;
    let shop = Shop::open(world, Some("tok_visa")).await;
    let payment = text(&shop.payment().await["id"]);
    shop.world.create("/v1/refunds", json!({"payment": payment, "amount": "5"})).await;
    let note = json!({"invoice": shop.invoice, "kind": "credit", "reason": "order_changed",
        "lines": [{"line": shop.invoice().await["lines"][0]["id"], "amount": "3"}]});
    shop.world.create("/v1/credit_notes", note).await;
    shop.attach("tok_decline_insufficient_funds").await;
    shop.advance("2026-04-10T00:00:00Z").await;
    shop.world.work().await;

    delete(&shop.world, &shop.clock).await.expect(200);
    shop.world.work().await;

    let after = rows(&shop.world).await;
    let left: Vec<_> = after.iter().filter(|(table, count)| before[*table] != **count).collect();
    let catalog = ["plan_versions", "plans", "prices", "test_clocks"];
    let unlike: Vec<_> = left.iter().filter(|(table, _)| !catalog.contains(&table.as_str())).collect();
    assert!(unlike.iter().all(|(table, _)| *table == "ledger_accounts" || *table == "events"), "{left:?}");
    let books = shop.world.get("/v1/ledger/trial_balance").await;
    assert!(!books.to_string().contains("\"30.00\""), "{books}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_moves_is_not_deleted_and_nobody_deletes_anothers(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let clock = world.test_clock("2026-01-01T00:00:00Z").await;
    let address = format!("/v1/test_clocks/{clock}");
    let stranger = world.stranger().await;
    let theirs = Reply::of(world.request_as(&stranger, "DELETE", &address)).await;
    let nobodys =
        Reply::of(world.request("DELETE", "/v1/test_clocks/clk_0197c0de00007fff8000000000000000")).await;
    assert_eq!((theirs.status, nobodys.status), (404, 404));

    world.sql("update test_clocks set advancing_to = '2026-02-01T00:00:00Z', advancing_since = 1").await;
    let refused = delete(&world, &clock).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (409, json!("illegal_transition")));
    world.sql("update test_clocks set advancing_to = null, advancing_since = null").await;
    delete(&world, &clock).await.expect(200);
    let moved =
        world.send("POST", &format!("{address}/advance"), &json!({"to": "2026-03-01T00:00:00Z"})).await;
    assert_eq!(moved.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_cut_short_goes_on_and_the_books_verify(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(installed) = Installation::new(on).await else { return };
    let server = installed.serve().await;
    let interval = json!({"unit": "month", "count": 1});
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "30"}});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    installed.send(&server, "POST", "/v1/plans", &plan).await;
    let mut clocks = Vec::new();
    for name in ["a", "b"] {
        let at = json!({"now": "2026-01-01T00:00:00Z"});
        let clock = text(&installed.send(&server, "POST", "/v1/test_clocks", &at).await["id"]);
        for number in 0..5 {
            let name = format!("{name}{number}");
            let customer = json!({"external_id": name, "name": "A", "test_clock": clock});
            installed.send(&server, "POST", "/v1/customers", &customer).await;
            let wanted = json!({"customer": name, "plan": "pro", "collection": "send_invoice"});
            installed.send(&server, "POST", "/v1/subscriptions", &wanted).await;
        }
        let to = json!({"to": "2026-06-01T00:00:00Z"});
        installed.send(&server, "POST", &format!("/v1/test_clocks/{clock}/advance"), &to).await;
        clocks.push(clock);
    }
    let path = format!("/v1/test_clocks/{}", clocks[0]);
    installed.send(&server, "DELETE", &path, &Value::Null).await;
    server.kill();

    let server = installed.serve().await;
    wait_until_done(&installed, &server).await;
    assert_eq!(installed.all(&server, "/v1/customers").await.len(), 5);
    assert_eq!(installed.all(&server, "/v1/invoices").await.len(), 30);
    drop(server);
    let verified: Value = serde_json::from_str(&installed.run(&["verify", "--json"])).unwrap();
    assert_eq!(verified["ok"], true, "{verified}");
}

/// Until the clock's customers are gone, or for long enough.
async fn wait_until_done(installed: &Installation, server: &crate::support::process::Process) {
    for _ in 0..5_000 {
        let waits = async |state: &str| {
            let path = format!("/v1/jobs?state={state}&limit=100");
            let jobs = installed.send(server, "GET", &path, &Value::Null).await;
            jobs["data"].as_array().unwrap().iter().any(|job| job["name"] == "clocks.delete_customers")
        };
        if !waits("queued").await && !waits("running").await {
            return;
        }
    }
    panic!("the customers are still there");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_books_refuse_to_forget_unless_a_clock_is_being_deleted(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    sell(&world).await;
    let clock = live_through(&world, "goes", "tok_visa").await;
    delete(&world, &clock).await.expect(200);
    world.work().await;
    live_through(&world, "stays", "tok_visa").await;
    for table in ["ledger_entries", "ledger_transactions", "ledger_accounts"] {
        let tx = world.app.db.begin().await.unwrap();
        let refused = tx.execute_unprepared(&format!("delete from {table}")).await.unwrap_err().to_string();
        assert!(refused.contains("append-only") || refused.contains("FOREIGN KEY"), "{table}: {refused}");
    }
}
