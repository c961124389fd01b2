//! Several legal entities bill for one account: each by its own numbers, in its own zone, on its own paper.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{DOT, Engine, Engine::*, Reply, World, text};

/// Ten dollars a month in advance.
async fn selling(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    let plan = json!({
        "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [{"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance",
                    "model": {"type": "flat", "amount": "10.00"}}],
    });
    world.create("/v1/plans", plan).await;
    Some(world)
}

fn issuer(code: &str, prefix: &str) -> Value {
    json!({"code": code, "name": format!("Acme {code}"), "invoice_prefix": prefix,
           "credit_note_prefix": format!("{prefix}CN")})
}

/// A customer of an issuer on a test clock, who pays by invoice from the first instant of February (UTC) on.
async fn subscribe(world: &World, customer: &str, issuer: Option<&str>, clock: &str) -> Value {
    let body = json!({"external_id": customer, "name": customer, "email": format!("{customer}@buyer.example"),
        "test_clock": clock, "issuer": issuer});
    world.create("/v1/customers", body).await;
    let wanted = json!({"customer": customer, "plan": "team", "collection": "send_invoice"});
    let made = world.create("/v1/subscriptions", wanted).await;
    world.work().await;
    made
}

/// Of a customer's invoices, the oldest first: `number issuer`.
async fn invoices_of(world: &World, customer: &str) -> Vec<String> {
    let mut invoices = world.list(&format!("/v1/invoices?customer={customer}&limit=100")).await;
    invoices.reverse();
    invoices.iter().map(|one| format!("{} {}", text(&one["number"]), text(&one["issuer"]["name"]))).collect()
}

/// What `accrue verify` has to say of invoices, credit notes and books.
async fn findings(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    findings
}

fn resolved(value: &Value, setting: &str) -> String {
    let setting = &value["settings"][setting];
    format!("{} {}", setting["value"].to_string().replace('"', ""), text(&setting["from"]))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_issuer_numbers_its_own_documents_without_a_gap(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    world.send("PATCH", "/v1/account", &json!({"name": "Acme Inc."})).await.expect(200);
    world.create("/v1/issuers", issuer("de", "DE")).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    subscribe(&world, "bear", Some("de"), &clock).await;
    subscribe(&world, "eagle", None, &clock).await;
    world.advance(&clock, "2026-03-15T00:00:00Z").await;

    assert_eq!(invoices_of(&world, "bear").await, ["DE-000001 Acme de", "DE-000002 Acme de"]);
    assert_eq!(invoices_of(&world, "eagle").await, ["INV-000001 Acme Inc.", "INV-000002 Acme Inc."]);
    for (number, expected) in [("DE-000002", "DECN-000001"), ("INV-000002", "CN-000001")] {
        let note = json!({"invoice": number, "kind": "offset", "reason": "other"});
        assert_eq!(world.create("/v1/credit_notes", note).await["number"], expected);
    }
    assert_eq!(findings(&world).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_where_each_setting_comes_from(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let account = json!({"net_terms_days": 14, "invoice_footer": "Thank you"});
    world.send("PATCH", "/v1/account", &account).await.expect(200);
    let wanted = json!({"code": "jp", "name": "Acme KK", "invoice_prefix": "JP", "credit_note_prefix": "JPCN",
        "timezone": "Asia/Tokyo", "currency": "JPY", "brand_color": "#aa0000",
        "tax_ids": [{"kind": "eu_vat", "value": "de 136 695 976"}]});
    let made = world.create("/v1/issuers", wanted).await;
    assert_eq!(made["tax_ids"], json!([{"kind": "eu_vat", "value": "DE136695976"}]));
    assert_eq!(world.get("/v1/issuers/jp").await, made);
    assert_eq!(world.list("/v1/issuers").await, std::slice::from_ref(&made));

    let settings =
        ["timezone", "currency", "net_terms_days", "invoice_prefix", "invoice_footer", "brand_color"];
    let told = |value: &Value| settings.map(|setting| resolved(value, setting));
    let of_issuer =
        ["Asia/Tokyo issuer", "JPY issuer", "14 account", "JP issuer", "Thank you account", "#aa0000 issuer"];
    assert_eq!(told(&made), of_issuer);

    let plain = world.create("/v1/customers", json!({"external_id": "plain", "name": "P"})).await;
    let of_account =
        ["UTC default", "null default", "14 account", "INV default", "Thank you account", "#1f4fd8 default"];
    assert_eq!(told(&plain), of_account);

    let moved = world.send("PATCH", "/v1/customers/plain", &json!({"issuer": "jp"})).await.expect(200);
    assert_eq!((told(&moved), &moved["issuer"]), (of_issuer.map(str::to_owned), &made["id"]));
    let own = json!({"timezone": "Europe/Paris", "net_terms_days": 7, "currency": "EUR"});
    let own = world.send("PATCH", "/v1/customers/plain", &own).await.expect(200);
    assert_eq!(told(&own)[..3], ["Europe/Paris customer", "EUR customer", "7 customer"]);
    assert_eq!(world.get("/v1/customers/plain").await, own);
    assert_eq!(world.list("/v1/customers?issuer=jp").await, [own]);

    let back = world.send("PATCH", "/v1/customers/plain", &json!({"issuer": null})).await.expect(200);
    assert_eq!(
        (resolved(&back, "invoice_prefix"), &back["issuer"]),
        ("INV default".to_owned(), &Value::Null)
    );
    assert!(world.list("/v1/customers?issuer=jp").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn periods_begin_and_invoices_are_due_in_the_issuers_zone(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let mut wanted = issuer("us", "US");
    wanted["timezone"] = json!("America/New_York");
    wanted["net_terms_days"] = json!(30);
    world.create("/v1/issuers", wanted).await;
    let clock = world.test_clock("2026-02-20T05:00:00Z").await;

    let made = subscribe(&world, "yankee", Some("us"), &clock).await;
    assert_eq!((&made["timezone"], &made["net_terms_days"]), (&json!("America/New_York"), &json!(30)));
    // Midnight in New York, before and after its clocks change on 8 March.
    let invoice = world.get("/v1/invoices/US-000001").await;
    assert_eq!(invoice["due_at"], "2026-03-22T04:00:00Z");
    assert_eq!(invoice["period"]["end"], "2026-03-20T04:00:00Z");
    assert_eq!(invoice["issuer"]["timezone"], "America/New_York");

    let quick = json!({"external_id": "quick", "name": "Q", "issuer": "us", "net_terms_days": 0, "test_clock": clock,
        "timezone": "UTC"});
    world.create("/v1/customers", quick).await;
    let wanted = json!({"customer": "quick", "plan": "team", "collection": "send_invoice"});
    world.create("/v1/subscriptions", wanted).await;
    world.work().await;
    let invoice = world.get("/v1/invoices/US-000002").await;
    assert_eq!(
        (&invoice["due_at"], &invoice["period"]["end"]),
        (&invoice["issued_at"], &json!("2026-03-20T05:00:00Z"))
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_stays_its_issuers_when_the_customer_goes_to_another(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = selling(on).await else { return };
    world.create("/v1/issuers", issuer("de", "DE")).await;
    world.create("/v1/issuers", issuer("fr", "FR")).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    subscribe(&world, "bear", Some("de"), &clock).await;
    let before = world.get("/v1/invoices/DE-000001").await;

    world.send("PATCH", "/v1/customers/bear", &json!({"issuer": "fr"})).await.expect(200);
    world.send("PATCH", "/v1/issuers/de", &json!({"name": "Acme SE", "address": ["Bonn"]})).await.expect(200);
    world.advance(&clock, "2026-03-15T00:00:00Z").await;

    assert_eq!(world.get("/v1/invoices/DE-000001").await, before);
    assert_eq!(invoices_of(&world, "bear").await, ["DE-000001 Acme de", "FR-000001 Acme fr"]);
    let note = json!({"invoice": "DE-000001", "kind": "offset", "reason": "other"});
    assert_eq!(world.create("/v1/credit_notes", note).await["number"], "DECN-000001");
    assert_eq!(findings(&world).await, Vec::<String>::new());
    assert_eq!(world.get("/v1/issuers/de").await["address"], json!(["Bonn"]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobodys_numbers_begin_as_anybody_elses(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let refused = |reply: Reply| (reply.status, reply.errors());
    let taken = |pointer: &str| (422, vec![format!("{pointer} taken")]);
    let account = |prefix: &str| json!({"invoice_prefix": prefix});
    world.send("PATCH", "/v1/account", &account("OLD")).await.expect(200);
    world.send("PATCH", "/v1/account", &account("NEW")).await.expect(200);

    for prefix in ["INV", "OLD", "NEW", "CN"] {
        let reply = world.send("POST", "/v1/issuers", &issuer("de", prefix)).await;
        assert_eq!(refused(reply), taken("/invoice_prefix"), "{prefix}");
    }
    let same = json!({"code": "de", "name": "D", "invoice_prefix": "DE", "credit_note_prefix": "DE"});
    assert_eq!(refused(world.send("POST", "/v1/issuers", &same).await), taken("/credit_note_prefix"));
    world.create("/v1/issuers", issuer("de", "DE")).await;
    assert_eq!(world.send("POST", "/v1/issuers", &issuer("de", "X")).await.status, 409);
    assert_eq!(
        refused(world.send("POST", "/v1/issuers", &issuer("fr", "DE")).await),
        taken("/invoice_prefix")
    );
    assert_eq!(refused(world.send("PATCH", "/v1/account", &account("DE")).await), taken("/invoice_prefix"));

    // What it has had stays its own, and it may go back to it.
    world.send("PATCH", "/v1/issuers/de", &account("DE2")).await.expect(200);
    assert_eq!(refused(world.send("PATCH", "/v1/account", &account("DE")).await), taken("/invoice_prefix"));
    world.send("PATCH", "/v1/issuers/de", &account("DE")).await.expect(200);
    world.send("PATCH", "/v1/account", &account("OLD")).await.expect(200);

    // Of several at once one gets it.
    let bodies: Vec<Value> = (0..8).map(|n| issuer(&format!("n{n}"), "ONE")).collect();
    let replies =
        futures_util::future::join_all(bodies.iter().map(|body| world.send("POST", "/v1/issuers", body)))
            .await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422, 422, 422, 422, 422, 422]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_used_issuer_is_archived_and_an_unused_one_deleted(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/issuers", issuer("de", "DE")).await;
    let gone = Reply::of(world.request("DELETE", "/v1/issuers/de")).await.expect(200);
    assert_eq!((&gone["deleted"], &gone["archived_at"]), (&json!(true), &Value::Null));
    assert_eq!(Reply::of(world.request("GET", "/v1/issuers/de")).await.status, 404);
    // Code and prefixes are free again.
    world.create("/v1/issuers", issuer("de", "DE")).await;
    subscribe(&world, "bear", Some("de"), &clock).await;

    let kept = Reply::of(world.request("DELETE", "/v1/issuers/de")).await.expect(200);
    assert_eq!((&kept["deleted"], &kept["archived_at"]), (&json!(false), &json!("2026-01-01T00:00:00Z")));
    assert!(world.list("/v1/issuers").await.is_empty());
    assert_eq!(world.list("/v1/issuers?archived=true").await.len(), 1);
    let another = world.send("POST", "/v1/customers", &json!({"name": "N", "issuer": "de"})).await;
    assert_eq!((another.status, another.errors()), (422, vec!["/issuer archived".to_owned()]));
    world.create("/v1/customers", json!({"external_id": "new", "name": "N"})).await;
    let moved = world.send("PATCH", "/v1/customers/new", &json!({"issuer": "de"})).await;
    assert_eq!((moved.status, moved.errors()), (422, vec!["/issuer archived".to_owned()]));

    // It bills whom it has, and may be named as what it is.
    world.send("PATCH", "/v1/customers/bear", &json!({"issuer": "de", "name": "Bear"})).await.expect(200);
    world.advance(&clock, "2026-03-15T00:00:00Z").await;
    assert_eq!(invoices_of(&world, "bear").await, ["DE-000001 Acme de", "DE-000002 Acme de"]);
    let back = world.post("/v1/issuers/de/unarchive", json!({})).await;
    assert_eq!(back["archived_at"], Value::Null);
    world.send("PATCH", "/v1/customers/new", &json!({"issuer": "de"})).await.expect(200);
    // A customer that has gone leaves its invoices behind.
    world.send("PATCH", "/v1/customers/bear", &json!({"issuer": null})).await.expect(200);
    world.send("PATCH", "/v1/customers/new", &json!({"issuer": null})).await.expect(200);
    assert_eq!(Reply::of(world.request("DELETE", "/v1/issuers/de")).await.expect(200)["deleted"], false);
    let archived = world.post("/v1/issuers/de/archive", json!({})).await;
    assert_eq!(archived["archived_at"], "2026-01-01T00:00:00Z");
}

async fn upload(world: &World, path: &str, kind: &str, file: &[u8]) -> Reply {
    Reply::of(world.request("PUT", path).header("content-type", kind).body(file.to_vec())).await
}

async fn pdf(world: &World, number: &str) -> Vec<u8> {
    let answer = world.request("GET", &format!("/v1/invoices/{number}.pdf")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

fn has_picture(pdf: &[u8]) -> bool {
    [&b"/Subtype/Image"[..], b"/Subtype /Image"]
        .iter()
        .any(|mark| pdf.windows(mark.len()).any(|part| part == *mark))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_logo_stands_on_the_invoices_from_then_on(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    world.create("/v1/issuers", issuer("de", "DE")).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    subscribe(&world, "bear", Some("de"), &clock).await;

    assert_eq!(Reply::of(world.request("GET", "/v1/issuers/de/logo")).await.status, 404);
    let put = upload(&world, "/v1/issuers/de/logo", "image/png", DOT).await.expect(200);
    assert_eq!(world.get("/v1/issuers/de").await["logo"], put["id"]);
    let shown = world.request("GET", "/v1/issuers/de/logo").send().await.unwrap();
    assert_eq!(shown.headers()["content-type"], "image/png");
    assert_eq!(shown.bytes().await.unwrap(), DOT);
    world.advance(&clock, "2026-03-15T00:00:00Z").await;
    // The account's own is not on the documents of another company.
    upload(&world, "/v1/account/logo", "image/png", DOT).await.expect(200);
    Reply::of(world.request("DELETE", "/v1/issuers/de/logo")).await.expect(200);
    world.advance(&clock, "2026-04-15T00:00:00Z").await;
    subscribe(&world, "eagle", None, &clock).await;

    // Printed only now, but as they were issued (RULES 36).
    assert!(!has_picture(&pdf(&world, "DE-000001").await));
    assert!(has_picture(&pdf(&world, "DE-000002").await));
    assert!(!has_picture(&pdf(&world, "DE-000003").await));
    assert!(has_picture(&pdf(&world, "INV-000001").await));
    assert_eq!(world.get("/v1/issuers/de").await["logo"], Value::Null);
    Reply::of(world.request("DELETE", "/v1/account/logo")).await.expect(200);
    assert_eq!(Reply::of(world.request("GET", "/v1/account/logo")).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_png_of_a_bearable_size_is_taken(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/issuers", issuer("de", "DE")).await;
    for path in ["/v1/issuers/de/logo", "/v1/account/logo"] {
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        assert_eq!(upload(&world, path, "image/svg+xml", svg).await.status, 415);
        assert_eq!(upload(&world, path, "image/png", svg).await.status, 400);
        assert_eq!(upload(&world, path, "image/png", &DOT[..40]).await.status, 400);
        assert_eq!(upload(&world, path, "image/png", b"").await.status, 400);
        assert_eq!(upload(&world, path, "image/png", &vec![0; 300 * 1024]).await.status, 413);
        assert_eq!(Reply::of(world.request("GET", path)).await.status, 404);
    }
    assert_eq!(upload(&world, "/v1/issuers/no/logo", "image/png", DOT).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_customers_are_billed_in_its_currency_unless_they_name_another(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = selling(on).await else { return };
    let mut wanted = issuer("de", "DE");
    wanted["currency"] = json!("EUR");
    world.create("/v1/issuers", wanted).await;
    world.create("/v1/customers", json!({"external_id": "bear", "name": "Bear", "issuer": "de"})).await;
    let subscription = json!({"customer": "bear", "plan": "team"});

    let refused = world.send("POST", "/v1/subscriptions", &subscription).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["/plan currency_mismatch".to_owned()]));
    world.send("PATCH", "/v1/customers/bear", &json!({"currency": "USD"})).await.expect(200);
    world.create("/v1/subscriptions", subscription).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn mails_about_an_invoice_are_in_the_name_of_who_issued_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = selling(on).await else { return };
    let mut wanted = issuer("de", "DE");
    wanted["email"] = json!("hallo@acme.example");
    world.create("/v1/issuers", wanted).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    subscribe(&world, "bear", Some("de"), &clock).await;

    let mails = world.mails();
    let mail = std::fs::read_to_string(world.folder.path().join("outbox").join(&mails[0])).unwrap();
    assert!(mail.contains("From: \"Acme de\""), "{mail}");
    assert!(mail.contains("Reply-To: \"Acme de\" <hallo@acme.example>"), "{mail}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_issuer_does_not_exist(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let made = world.create("/v1/issuers", issuer("de", "DE")).await;
    let stranger = world.stranger().await;
    let id = text(&made["id"]);
    for (method, path) in [
        ("GET", format!("/v1/issuers/{id}")),
        ("PATCH", format!("/v1/issuers/{id}")),
        ("DELETE", "/v1/issuers/de".to_owned()),
        ("POST", format!("/v1/issuers/{id}/archive")),
        ("POST", format!("/v1/issuers/{id}/unarchive")),
        ("GET", format!("/v1/issuers/{id}/logo")),
        ("DELETE", format!("/v1/issuers/{id}/logo")),
        ("GET", format!("/v1/customers?issuer={id}")),
    ] {
        let reply = Reply::of(world.request_as(&stranger, method, &path).json(&json!({}))).await;
        assert_eq!(
            (reply.status, reply.json()["detail"].clone()),
            (404, json!("there is no such issuer")),
            "{path}"
        );
    }
    let body = json!({"name": "N", "issuer": id});
    let refused = Reply::of(world.request_as(&stranger, "POST", "/v1/customers").json(&body)).await;
    assert_eq!((refused.status, refused.errors()), (404, vec!["/issuer unknown".to_owned()]));
    // The same prefix and code of another account are another series.
    let own = Reply::of(world.request_as(&stranger, "POST", "/v1/issuers").json(&issuer("de", "DE"))).await;
    assert_eq!(own.status, 201);
    assert_eq!(world.get("/v1/issuers/de").await, made);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_an_issuer_is_named_with_its_place(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let body = json!({"code": "a b", "name": " ", "address": ["\n"], "tax_ids": [{"kind": "eu_vat", "value": "X"}],
        "email": "nobody", "timezone": "Mars/Base", "currency": "XXX", "invoice_prefix": "a-b",
        "credit_note_prefix": "", "net_terms_days": 366, "invoice_footer": " ", "brand_color": "blue"});
    let refused = world.send("POST", "/v1/issuers", &body).await;
    assert_eq!(
        refused.errors(),
        [
            "/code malformed",
            "/name blank",
            "/address/0 blank",
            "/tax_ids/0/value malformed",
            "/email malformed",
            "/timezone unknown",
            "/invoice_prefix malformed",
            "/credit_note_prefix malformed",
            "/net_terms_days out_of_range",
            "/invoice_footer blank",
            "/brand_color malformed",
            "/currency unknown",
        ]
    );
    assert!(world.list("/v1/issuers").await.is_empty());
}
