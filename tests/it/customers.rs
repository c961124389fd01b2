//! Customers, and what holds for every object.

use accrue::auth::{KeyKind, Mode};
use rstest::rstest;
use serde_json::json;

use crate::support::{Engine, Engine::*, Reply, World, text};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_found_by_its_identifier_and_by_the_callers_own_name(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let made = world
        .create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "email": "a@acme.example"}))
        .await;

    let by_id = world.get(&format!("/v1/customers/{}", text(&made["id"]))).await;
    let by_name = world.get("/v1/customers/acme").await;

    assert_eq!(by_id, made);
    assert_eq!(by_name, made);
    assert_eq!(made["object"], "customer");
    assert_eq!(made["livemode"], false);
    assert_eq!(made["created_at"], "2026-01-01T00:00:00Z");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_customers_cannot_have_one_external_id(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let body = json!({"external_id": "acme", "name": "Acme"});
    world.create("/v1/customers", body.clone()).await;

    let second = world.send("POST", "/v1/customers", &body).await;

    assert_eq!(second.status, 409);
    assert_eq!(second.json()["code"], "conflict");
    assert_eq!(world.list("/v1/customers").await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_a_body_is_named_with_its_place(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let body = json!({
        "external_id": "a b", "name": " ", "email": "nobody", "currency": "XXX", "timezone": "Mars/Base",
        "locale": "en_US", "address": {"country": "Germany"},
    });

    let refused = world.send("POST", "/v1/customers", &body).await;

    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.errors(),
        [
            "/external_id malformed",
            "/name blank",
            "/email malformed",
            "/timezone unknown",
            "/locale malformed",
            "/address/country malformed",
            "/currency unknown",
        ]
    );
    assert!(world.list("/v1/customers").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_another_tenant_has_cannot_be_told_from_what_does_not_exist(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let made = world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let strangers = [world.stranger().await, world.new_key(Mode::Live, KeyKind::Secret, &[]).await];

    for key in &strangers {
        for reference in [text(&made["id"]), "acme".to_owned()] {
            let request = |reference: &str| {
                let request = world.request_as(key, "GET", &format!("/v1/customers/{reference}"));
                request.header("x-request-id", "same")
            };
            let theirs = Reply::of(request(&reference)).await;
            let nobodys = Reply::of(request("cus_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")).await;
            assert_eq!((theirs.status, &theirs.text), (404, &nobodys.text));
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_page_by_page_in_both_directions(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for number in 1..=5 {
        world.create("/v1/customers", json!({"name": format!("Customer {number}")})).await;
    }
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|customer| text(&customer["name"])).collect()
    };
    let last_id = |page: &serde_json::Value| text(&page["data"].as_array().unwrap().last().unwrap()["id"]);

    let first = world.get("/v1/customers?limit=2").await;
    let second = world.get(&format!("/v1/customers?limit=2&starting_after={}", last_id(&first))).await;
    let third = world.get(&format!("/v1/customers?limit=2&starting_after={}", last_id(&second))).await;
    let back =
        world.get(&format!("/v1/customers?limit=2&ending_before={}", text(&third["data"][0]["id"]))).await;

    assert_eq!(names(&first), ["Customer 5", "Customer 4"]);
    assert_eq!(names(&second), ["Customer 3", "Customer 2"]);
    assert_eq!(names(&third), ["Customer 1"]);
    assert_eq!((&first["has_more"], &third["has_more"]), (&json!(true), &json!(false)));
    assert_eq!(names(&back), names(&second));
    assert_eq!(world.send("GET", "/v1/customers?limit=0", &json!({})).await.status, 422);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_keeps_what_it_does_not_name(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let made = world
        .create("/v1/customers", json!({"name": "Acme", "email": "a@acme.example", "metadata": {"k": "v"}}))
        .await;

    let path = format!("/v1/customers/{}", text(&made["id"]));
    let changed = world.send("PATCH", &path, &json!({"name": "Acme Inc"})).await.expect(200);

    assert_eq!(changed["name"], "Acme Inc");
    assert_eq!(changed["email"], "a@acme.example");
    assert_eq!(changed["metadata"], json!({"k": "v"}));

    let cleared = world.send("PATCH", &path, &json!({"email": null})).await.expect(200);
    assert_eq!((&cleared["email"], &cleared["name"]), (&json!(null), &json!("Acme Inc")));
}
