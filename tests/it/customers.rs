//! Customers, and what holds for every object.

use accrue::auth::{KeyKind, Mode};
use rstest::rstest;
use serde_json::{Value, json};

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
        "locale": "en_US", "address": {"country": "Germany"}, "exemption": "none",
        "invoice_contacts": [
            {"email": "ap@acme.example"}, {"email": "nobody", "name": " "}, {"email": "AP@acme.example"},
        ],
        "tax_ids": [
            {"kind": "eu_vat", "value": "de 136 695 976"}, {"kind": "eu_vat", "value": "DE136695977"},
            {"kind": "eu_vat", "value": "DE136695976"}, {"kind": "us_ein", "value": "12-345"},
        ],
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
            "/invoice_contacts/1/email malformed",
            "/invoice_contacts/1/name blank",
            "/invoice_contacts/2/email duplicate",
            "/address/country malformed",
            "/tax_ids/1/value malformed",
            "/tax_ids/2 duplicate",
            "/tax_ids/3/value malformed",
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

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_tax_number_is_refused_with_the_way_it_is_written(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let refused = async |tax_ids: Value| {
        let reply = world.send("POST", "/v1/customers", &json!({"name": "Acme", "tax_ids": tax_ids})).await;
        assert_eq!(reply.status, 422);
        let error = reply.json()["errors"][0].clone();
        format!("{} {}", text(&error["pointer"]), text(&error["detail"]))
    };
    let mut told = Vec::new();
    for (kind, value) in
        [("eu_vat", "DE12"), ("eu_vat", "GR094259217"), ("eu_vat", "CHE107787577"), ("vat", "1")]
    {
        told.push(refused(json!([{"kind": "other", "value": "1"}, {"kind": kind, "value": value}])).await);
    }
    told.push(refused(json!(vec![json!({"kind": "other", "value": "1"}); 11])).await);
    let states = "AT, BE, BG, CY, CZ, DE, DK, EE, EL, ES, FI, FR, HR, HU, IE, IT, LT, LU, LV, MT, NL, PL, PT, RO, SE, SI, SK, XI";
    let kinds = "eu_vat, gb_vat, ch_vat, no_vat, us_ein, ca_bn, ca_gst_hst, au_abn, nz_gst, in_gst, jp_trn, br_cnpj, kr_brn, other";
    assert_eq!(
        told,
        [
            "/tax_ids/1/value is not a VAT number of Germany: it is written DE999999999 (9 is a digit), for example DE136695976".to_owned(),
            "/tax_ids/1/value is not a VAT number of Greece: its check digits do not fit, so it was mistyped; it is written EL999999999 (9 is a digit), for example EL094259216".to_owned(),
            format!("/tax_ids/1/value does not begin with the code of a member state of the EU: {states}"),
            format!("/tax_ids/1/kind is not one of {kinds}"),
            "/tax_ids has at most 10 numbers".to_owned(),
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tax_numbers_exemption_contacts_and_address_are_replaced_kept_and_cleared(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let plain = world.create("/v1/customers", json!({"external_id": "plain", "name": "Plain"})).await;
    let fields = ["tax_ids", "exemption", "invoice_contacts"];
    assert_eq!(fields.map(|field| plain[field].clone()), [json!([]), json!("none"), json!([])]);

    let body = json!({
        "external_id": "acme", "name": "Acme", "address": {"city": "Bern", "country": "CH"}, "exemption": "exempt",
        "tax_ids": [{"kind": "ch_vat", "value": "CHE-107.787.577 mwst"}, {"kind": "other", "value": " 27/123 "}],
        "invoice_contacts": [{"email": "ap@acme.example", "name": "AP"}],
    });
    let made = world.create("/v1/customers", body).await;
    assert_eq!(
        made["tax_ids"],
        json!([{"kind": "ch_vat", "value": "CHE107787577MWST"}, {"kind": "other", "value": "27/123"}])
    );
    let patch = async |change: Value| world.send("PATCH", "/v1/customers/acme", &change).await.expect(200);

    assert_eq!(patch(json!({"name": "Acme"})).await, made, "what is not named stays");
    let changed = patch(json!({
        "tax_ids": [{"kind": "us_ein", "value": "91-1144442"}], "exemption": "reverse_charge",
        "invoice_contacts": [{"email": "x@acme.example"}], "address": {"country": "US"},
    }))
    .await;
    assert_eq!(changed["tax_ids"], json!([{"kind": "us_ein", "value": "911144442"}]));
    assert_eq!(changed["exemption"], "reverse_charge");
    assert_eq!(changed["invoice_contacts"], json!([{"email": "x@acme.example", "name": null}]));
    assert_eq!((&changed["address"]["city"], &changed["address"]["country"]), (&json!(null), &json!("US")));
    assert_eq!(world.get("/v1/customers/acme").await, changed);

    let cleared =
        patch(json!({"tax_ids": null, "exemption": null, "invoice_contacts": null, "address": null})).await;
    let fields = ["tax_ids", "exemption", "invoice_contacts", "address"];
    assert_eq!(fields.map(|field| &cleared[field]), fields.map(|field| &plain[field]));
    let many: Vec<_> = (0..21).map(|n| json!({"email": format!("{n}@acme.example")})).collect();
    let refused = world.send("PATCH", "/v1/customers/acme", &json!({"invoice_contacts": many})).await;
    assert_eq!(refused.errors(), ["/invoice_contacts too_many"]);
}
