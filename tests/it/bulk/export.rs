//! Lists as files: over HTTP, by `accrue export`, and read back by `accrue import`.

use std::{fs, io::Read as _};

use flate2::read::GzDecoder;
use rstest::rstest;
use serde_json::{Value, json};

use super::{errors, import, installed, path, sell, stop};
use crate::support::{Engine, Engine::*, Reply, World, process::Installation, text};

async fn file(world: &World, address: &str, accept: &str) -> Reply {
    Reply::of(world.request("GET", address).header("accept", accept)).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_a_file_of_all_of_it_for_whoever_accepts_one(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let clock = world.test_clock("2026-01-01T00:00:00Z").await;
    for number in 0..205 {
        let name = if number == 7 { "=cmd|' /C calc'!A0".to_owned() } else { format!("Name, {number}") };
        let mut customer = json!({"external_id": format!("c{number}"), "name": name});
        if number < 3 {
            customer["test_clock"] = json!(clock);
        }
        world.create("/v1/customers", customer).await;
    }

    let csv = file(&world, "/v1/customers", "text/csv").await;
    assert_eq!((csv.status, csv.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"customers.csv\"");
    let rows: Vec<&str> = csv.text.lines().collect();
    assert_eq!(rows.len(), 206);
    assert!(rows[0].starts_with("id,address.city,address.country,"), "{}", rows[0]);
    assert!(csv.text.contains(",'=cmd|' /C calc'!A0,"), "{}", csv.text);

    let lines = file(&world, "/v1/customers", "application/x-ndjson").await;
    let objects: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 205);
    assert_eq!(objects[0], world.get(&format!("/v1/customers/{}", text(&objects[0]["id"]))).await);
    let ids = |objects: &[Value]| objects.iter().map(|object| text(&object["id"])).collect::<Vec<_>>();
    assert_eq!(ids(&objects)[..20], ids(&world.list("/v1/customers").await));

    // From where somebody is, and only what is asked for.
    let rest = format!("/v1/customers?starting_after={}", ids(&objects)[199]);
    assert_eq!(file(&world, &rest, "application/x-ndjson").await.text.lines().count(), 5);
    let filtered = file(&world, &format!("/v1/customers?test_clock={clock}"), "text/csv").await;
    assert_eq!(filtered.text.lines().count(), 4);
    // Nobody sees what is another's.
    let stranger = world.stranger().await;
    let theirs = world.request_as(&stranger, "GET", "/v1/customers").header("accept", "text/csv");
    assert_eq!(Reply::of(theirs).await.text, format!("{}\r\n", rows[0]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_question_is_a_problem_and_no_file(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for (address, status, errors) in [
        ("/v1/customers?limit=10", 422, vec!["limit not_allowed"]),
        ("/v1/customers?ending_before=cus_x", 422, vec!["ending_before not_allowed"]),
        ("/v1/customers?starting_after=x", 422, vec!["starting_after malformed"]),
        ("/v1/subscriptions?customer=nobody", 404, vec![]),
        ("/v1/subscriptions?color=red", 422, vec!["color unknown_parameter"]),
    ] {
        let refused = file(&world, address, "text/csv").await;
        assert_eq!(refused.status, status, "{address}: {}", refused.text);
        if !refused.errors().iter().any(|error| error.starts_with("color")) {
            assert_eq!(refused.errors(), errors, "{address}");
        }
    }
    let refused = world.request_as("sk_test_x", "GET", "/v1/customers").header("accept", "text/csv");
    assert_eq!(Reply::of(refused).await.status, 401);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_there_as_a_file(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    world.create("/v1/plans", super::plan("pro")).await;
    world
        .create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "email": "a@b.example"}))
        .await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "pro"})).await;
    let event = r#"{"event_id":"e","customer_id":"acme","event_name":"call","metadata":{"n":12345678901234567890.50,"text":"a,b"}}"#;
    let sent =
        world.request("POST", "/v1/usage_events").header("content-type", "application/json").body(event);
    Reply::of(sent).await.expect(200);
    world.sweep().await;
    let document: Value = Reply::of(world.request("GET", "/openapi.json")).await.json();
    let paths = document["paths"].as_object().unwrap().iter();
    let lists = paths.filter(|(_, item)| {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["name"] == "starting_after").count() == 1
    });
    let addresses: Vec<_> = lists.map(|(path, _)| path.clone()).collect();
    assert!(addresses.len() > 20, "{addresses:?}");
    for address in addresses {
        let id = if address.starts_with("/v1/plans") { "pro" } else { "acme" };
        let address = address.replace("{id}", id);
        let page = world.list(&format!("{address}?limit=100")).await;
        let csv = file(&world, &address, "text/csv").await;
        assert_eq!(csv.status, 200, "{address}: {}", csv.text);
        let mut rows = csv::Reader::from_reader(csv.text.as_bytes());
        let header = rows.headers().unwrap().clone();
        assert_eq!(&header[0], "id", "{address}");
        let ids: Vec<_> = rows.records().map(|row| row.unwrap()[0].to_owned()).collect();
        let of_page: Vec<_> = page.iter().map(|object| text(&object["id"])).collect();
        assert_eq!(ids, of_page, "{address}");
        let lines = file(&world, &address, "application/x-ndjson").await.text;
        assert_eq!(lines.lines().count(), page.len(), "{address}");
    }
    let events = file(&world, "/v1/usage_events", "text/csv").await.text;
    assert!(events.contains(r#""{""n"":12345678901234567890.50,""text"":""a,b""}""#), "{events}");
}

/// What is the same in every account.
fn essence(line: &str) -> Value {
    let mut object: Value = serde_json::from_str(line).unwrap();
    let fields = object.as_object_mut().unwrap();
    for name in
        ["id", "customer", "livemode", "created_at", "status", "current_period", "test_clock", "settings"]
    {
        fields.remove(name);
    }
    if let Some(plan) = fields.get_mut("plan").and_then(Value::as_object_mut) {
        plan.remove("id");
    }
    object
}

fn exported(installed: &Installation, list: &str, mode: &str) -> Vec<Value> {
    let printed = installed.run(&["export", list, "--mode", mode, "--format=ndjson"]);
    let mut objects: Vec<_> = printed.lines().map(essence).collect();
    objects.sort_by_key(|object| text(&object["external_id"]));
    objects
}

/// Makes customers with everything that one may have, and subscriptions of theirs.
async fn fill(installed: &mut Installation, server: &crate::support::process::Process) {
    for number in 0..3 {
        let customer = json!({
            "external_id": format!("c{number}"), "name": "-1+1", "email": "a@b.example", "currency": "EUR",
            "timezone": "Europe/Berlin", "locale": "de-AT", "exemption": "reverse_charge",
            "invoice_contacts": [{"email": "ap@b.example", "name": "A, P"}],
            "address": {"line1": "=1", "city": "Wien", "country": "AT"},
            "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}], "metadata": {"a.b": "'=x", "é": "\"q\""},
        });
        installed.send(server, "POST", "/v1/customers", &customer).await;
        let subscription = json!({
            "external_id": format!("s{number}"), "customer": format!("c{number}"), "plan": "pro",
            "start_at": "2026-01-31T10:00:00Z", "ends_at": "2035-01-01T00:00:00Z", "quantities": {"seats": "2.5"},
            "alignment": {"day_of_month": 31}, "collection": "send_invoice", "net_terms_days": 9,
            "progressive_billing_threshold": "100.00", "metadata": {"k": "v"},
        });
        installed.send(server, "POST", "/v1/subscriptions", &subscription).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_read_back_as_the_same(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((mut installed, server)) = installed(on).await else { return };
    fill(&mut installed, &server).await;
    stop(server);
    let created = installed.run(&["keys", "create", "--mode", "live", "--json"]);
    let key: Value = serde_json::from_str(&created).unwrap();
    let test_key = std::mem::replace(&mut installed.key, text(&key["key"]));
    let server = installed.serve_with(&["--set", "role=api"]).await;
    sell(&installed, &server).await;
    stop(server);
    installed.key = test_key;

    for list in ["customers", "subscriptions"] {
        for file in [format!("{list}.csv.gz"), format!("{list}.ndjson")] {
            let output = path(&installed, &file).display().to_string();
            let format = if file.contains("csv") { "--format=csv" } else { "--format=ndjson" };
            installed.run(&["export", list, "--mode=test", format, "--output", &output]);
            // Here they are known; there they are made by the first file, and known by the second.
            assert_eq!(
                import(&installed, list, &["--mode=test", &output]),
                (0, "3 0 3 0".to_owned()),
                "{file}"
            );
            let mut there = vec!["--mode=live", output.as_str()];
            if list == "subscriptions" {
                there.push("--bill-past");
            }
            let expected = if format == "--format=csv" { "3 3 0 0" } else { "3 0 3 0" };
            let done = import(&installed, list, &there);
            assert_eq!(done, (0, expected.to_owned()), "{file}: {:?}", errors(&installed, &file));
        }
        assert_eq!(exported(&installed, list, "live"), exported(&installed, list, "test"));
    }
    let mut text = String::new();
    let packed = fs::File::open(path(&installed, "customers.csv.gz")).unwrap();
    GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    assert!(text.contains(",'-1+1,") && text.contains(",'=1,"), "{text}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_not_begun_again_elsewhere(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((installed, server)) = installed(on).await else { return };
    let customer = json!({"external_id": "acme", "name": "Acme"});
    installed.send(&server, "POST", "/v1/customers", &customer).await;
    let wanted = json!({"external_id": "old", "customer": "acme", "plan": "pro"});
    installed.send(&server, "POST", "/v1/subscriptions", &wanted).await;
    installed.send(&server, "POST", "/v1/subscriptions/old/cancel", &json!({"when": "now"})).await;
    stop(server);
    let output = path(&installed, "subscriptions.csv").display().to_string();
    installed.run(&[
        "export",
        "subscriptions",
        "--mode=test",
        "--filter=status=canceled",
        "--output",
        &output,
    ]);

    assert_eq!(import(&installed, "subscriptions", &["--mode=test", &output]), (0, "1 0 1 0".to_owned()));
    let there = import(&installed, "subscriptions", &["--mode=live", &output, "--bill-past"]);

    assert_eq!(there, (1, "1 0 0 1".to_owned()));
    assert_eq!(errors(&installed, "subscriptions.csv"), ["2 old /ended_at ended"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_not_exported(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((installed, server)) = installed(on).await else { return };
    stop(server);
    let output = path(&installed, "out.csv").display().to_string();
    for (list, told) in [
        ("account", "is no list"),
        ("nothing", "not_found"),
        ("subscriptions --filter=customer=nobody", "there is no such customer"),
        ("a b", "is no address"),
    ] {
        let (list, filter) = list.split_once(" --").unwrap_or((list, ""));
        let filter = format!("--{filter}");
        let mut command = vec!["export", list, "--mode=test", "--output", output.as_str()];
        if filter != "--" {
            command.push(&filter);
        }
        let (code, printed) = installed.try_run(&command);
        assert!(code == 1 && printed.contains(told), "{list}: {printed}");
    }
    assert!(!path(&installed, "out.csv").exists() && !path(&installed, "out.csv.tmp").exists());
}
