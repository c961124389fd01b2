//! Several taxes on a line, inclusive ones, those of a price's own code, and where they are rounded: to the cent, and as they
//! were when the invoice was made.

use accrue::{
    auth::{Mode, service::first_tenant},
    credit_notes, invoices,
};
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, Reply, World, text};

fn fee(code: &str, amount: &str, tax_code: Option<&str>) -> Value {
    let mut price =
        json!({"code": code, "name": code, "kind": "fixed", "model": {"type": "flat", "amount": amount}});
    if let Some(tax_code) = tax_code {
        price["tax_code"] = json!(tax_code);
    }
    price
}

/// Sells a plan of these prices to `acme`, who has a year to pay, on a test clock from February on.
async fn sell(world: &World, prices: Value) -> String {
    let plan = json!({"code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": prices});
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let body =
        json!({"customer": "acme", "plan": "team", "collection": "send_invoice", "net_terms_days": 365});
    world.create("/v1/subscriptions", body).await;
    world.work().await;
    clock
}

/// Of each: `code rate base amount`.
fn taxes(of: &Value) -> Vec<String> {
    let told = |tax: &Value| ["code", "rate", "base", "amount"].map(|field| text(&tax[field])).join(" ");
    of["taxes"].as_array().unwrap().iter().map(told).collect()
}

fn sums(invoice: &Value) -> [String; 3] {
    ["subtotal", "tax_total", "total"].map(|field| text(&invoice[field]))
}

async fn nothing_is_wrong(world: &World) {
    let db = world.app.db.reader();
    let tenant = first_tenant(db, Mode::Test).await.unwrap().unwrap().id;
    let mut findings = invoices::service::verify(db, tenant).await.unwrap();
    findings.extend(credit_notes::verify(db, tenant).await.unwrap());
    assert_eq!(findings, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_all_default_taxes_and_its_credit_gives_back_each(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let gst = json!({"code": "gst", "name": "GST", "rate": "5", "jurisdiction": "CA", "default": true});
    world.create("/v1/taxes", gst).await;
    world.create("/v1/taxes", json!({"code": "qst", "name": "QST", "rate": "9.975", "default": true})).await;
    sell(&world, json!([fee("base", "10.01", None), fee("seats", "3.33", None)])).await;

    let invoice = world.get("/v1/invoices/INV-000001").await;
    // 5 % and 9.975 % of 13.34 are 0.667 and 1.33066…
    assert_eq!(sums(&invoice), ["13.34", "2.00", "15.34"]);
    assert_eq!(taxes(&invoice), ["gst 5 13.34 0.67", "qst 9.975 13.34 1.33"]);
    assert_eq!(invoice["taxes"][0]["jurisdiction"], "CA");
    assert_eq!(taxes(&invoice["lines"][0]), ["gst 5 10.01 0.50", "qst 9.975 10.01 1.00"]);
    assert_eq!(taxes(&invoice["lines"][1]), ["gst 5 3.33 0.17", "qst 9.975 3.33 0.33"]);
    assert_eq!(invoice["lines"][1]["taxable"], "3.33");

    let mut given_back = Vec::new();
    for wanted in [json!({"amount": "5.00"}), json!({"total": "5.00"}), json!({})] {
        let mut body = json!({"invoice": "INV-000001", "kind": "credit"});
        body.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        let note = world.create("/v1/credit_notes", body).await;
        given_back.push((sums(&note), taxes(&note)));
    }
    let told: Vec<_> =
        given_back.iter().map(|(sums, taxes)| format!("{} | {}", sums.join(" "), taxes.join(", "))).collect();
    assert_eq!(
        told,
        [
            "5.00 0.74 5.74 | gst 5 5.00 0.25, qst 9.975 5.00 0.49",
            "4.34 0.66 5.00 | gst 5 4.34 0.22, qst 9.975 4.34 0.44",
            "4.00 0.60 4.60 | gst 5 4.00 0.20, qst 9.975 4.00 0.40",
        ]
    );
    nothing_is_wrong(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_price_with_a_code_has_the_taxes_that_name_it_and_else_the_defaults(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "20", "default": true})).await;
    let reduced = json!({"code": "reduced", "rate": "7", "tax_codes": ["books", "papers"]});
    world.create("/v1/taxes", reduced).await;
    world.create("/v1/taxes", json!({"code": "levy", "rate": "1", "tax_codes": ["papers"]})).await;
    world.create("/v1/taxes", json!({"code": "zero", "rate": "0", "tax_codes": ["training"]})).await;
    let prices = json!([
        fee("base", "10", None),
        fee("books", "10", Some("books")),
        fee("papers", "10", Some("papers")),
        fee("training", "10", Some("training"))
    ]);
    let clock = sell(&world, prices).await;

    let invoice = world.get("/v1/invoices/INV-000001").await;
    let lines: Vec<_> =
        invoice["lines"].as_array().unwrap().iter().map(|line| taxes(line).join(", ")).collect();
    let (vat, books) = ("vat 20 10.00 2.00", "reduced 7 10.00 0.70");
    assert_eq!(lines, [vat, books, "reduced 7 10.00 0.70, levy 1 10.00 0.10", "zero 0 10.00 0.00"]);
    assert_eq!(
        taxes(&invoice),
        ["vat 20 10.00 2.00", "reduced 7 20.00 1.40", "levy 1 10.00 0.10", "zero 0 10.00 0.00"]
    );
    assert_eq!(sums(&invoice), ["40.00", "3.50", "43.50"]);
    assert_eq!(world.get("/v1/plans/team").await["prices"][1]["tax_code"], "books");

    // What no tax names any more has the defaults; a new rate is one of the invoices from now on.
    world.post("/v1/taxes/zero/archive", json!({})).await;
    world.send("PATCH", "/v1/taxes/vat", &json!({"rate": "19", "name": "MwSt"})).await.expect(200);
    world.advance(&clock, "2026-03-01T00:00:00Z").await;
    let next = world.get("/v1/invoices/INV-000002").await;
    assert_eq!(taxes(&next)[0], "vat 19 20.00 3.80");
    assert_eq!(next["taxes"][0]["name"], "MwSt");
    assert_eq!(world.get("/v1/invoices/INV-000001").await, invoice);
    nothing_is_wrong(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_contain_their_tax_stay_and_their_credit_does_too(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let vat = json!({"code": "vat", "name": "VAT", "rate": "19", "inclusive": true, "default": true});
    world.create("/v1/taxes", vat).await;
    world.create("/v1/taxes", json!({"code": "levy", "rate": "10", "tax_codes": ["on_top"]})).await;
    sell(
        &world,
        json!([fee("base", "119.00", None), fee("small", "9.99", None), fee("extra", "5", Some("on_top"))]),
    )
    .await;

    let invoice = world.get("/v1/invoices/INV-000001").await;
    // 128.99 ÷ 1.19 = 108.394…: 108.39 of net, 20.60 of tax, and half a dollar on top.
    assert_eq!(sums(&invoice), ["133.99", "21.10", "134.49"]);
    assert_eq!(taxes(&invoice), ["vat 19 108.39 20.60", "levy 10 5.00 0.50"]);
    let line = |at: usize, field: &str| text(&invoice["lines"][at][field]);
    assert_eq!([line(0, "amount"), line(0, "taxable"), line(0, "tax")], ["119.00", "100.00", "19.00"]);
    assert_eq!([line(1, "amount"), line(1, "taxable"), line(1, "tax")], ["9.99", "8.39", "1.60"]);
    let pdf = Reply::of(world.request("GET", "/v1/invoices/INV-000001.pdf")).await;
    assert_eq!((pdf.status, &pdf.bytes[..5]), (200, b"%PDF-".as_slice()));
    let accounts = world.list("/v1/ledger/accounts?limit=100").await;
    let mut balances: Vec<_> = accounts
        .iter()
        .map(|account| ["code", "balance"].map(|field| text(&account[field])).join(" "))
        .collect();
    balances.sort();
    assert_eq!(balances, ["receivable 134.49", "revenue -113.39", "tax_payable -21.10"]);

    let line = &invoice["lines"][0]["id"];
    let half =
        json!({"invoice": "INV-000001", "kind": "credit", "lines": [{"line": line, "amount": "50.00"}]});
    assert_eq!(sums(&world.create("/v1/credit_notes", half).await), ["50.00", "9.50", "59.50"]);
    let rest = world.create("/v1/credit_notes", json!({"invoice": "INV-000001", "kind": "credit"})).await;
    assert_eq!(sums(&rest), ["63.39", "11.60", "74.99"]);
    nothing_is_wrong(&world).await;
}

#[rstest]
#[case::once_per_tax("rate", ["1.44", "0.26", "1.70"])]
#[case::once_per_invoice("invoice", ["1.44", "0.27", "1.71"])]
#[case::once_per_line("line", ["1.44", "0.28", "1.72"])]
#[tokio::test(flavor = "multi_thread")]
async fn taxes_are_rounded_where_the_tenant_says(
    #[values(Sqlite, Postgres)] on: Engine,
    #[case] rounding: &str,
    #[case] expected: [&str; 3],
) {
    let Some(world) = World::new(on).await else { return };
    world.send("PATCH", "/v1/account", &json!({"tax_rounding": rounding})).await.expect(200);
    assert_eq!(world.get("/v1/account").await["tax_rounding"], rounding);
    world.create("/v1/taxes", json!({"code": "a", "rate": "20", "default": true})).await;
    world.create("/v1/taxes", json!({"code": "b", "rate": "3.5", "tax_codes": ["b"]})).await;
    // Exactly 4 × 0.066 + 0.0042 = 0.2682. By tax 0.26 and 0.00, by line 4 × 0.07 and 0.00.
    let mut prices: Vec<Value> = (0..4).map(|at| fee(&at.to_string(), "0.33", None)).collect();
    prices.push(fee("b", "0.12", Some("b")));
    sell(&world, json!(prices)).await;

    let invoice = world.get("/v1/invoices/INV-000001").await;
    assert_eq!(sums(&invoice), expected);
    assert_eq!(world.get("/v1/invoices/INV-000001/explain").await["tax_rounding"], rounding);
    nothing_is_wrong(&world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_issued_anew_has_the_taxes_and_the_rounding_that_it_had(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/taxes", json!({"code": "vat", "rate": "20", "default": true})).await;
    world.create("/v1/taxes", json!({"code": "calls", "rate": "7", "tax_codes": ["calls"]})).await;
    let metric = json!({"code": "calls", "event_name": "call", "aggregation": "sum", "property": "n",
        "late_events": "reissue"});
    world.create("/v1/metrics", metric).await;
    let calls = json!({"code": "calls", "kind": "usage", "metric": "calls", "tax_code": "calls",
        "model": {"type": "per_unit", "unit_price": "1"}});
    let clock = sell(&world, json!([fee("base", "10", None), calls])).await;
    let shop = Metered { world, clock, subscription: String::new() };
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.world.send("PATCH", "/v1/taxes/vat", &json!({"rate": "50"})).await.expect(200);
    shop.world.send("PATCH", "/v1/taxes/calls", &json!({"tax_codes": []})).await.expect(200);
    shop.world.send("PATCH", "/v1/account", &json!({"tax_rounding": "line"})).await.expect(200);

    shop.call("late", "5", "2026-02-03T00:00:00Z").await;
    shop.advance("2026-03-03T00:00:00Z").await;

    let anew = shop.world.get("/v1/invoices/INV-000003").await;
    assert_eq!(taxes(&anew), ["vat 20 10.00 2.00", "calls 7 15.00 1.05"]);
    assert_eq!(shop.world.get("/v1/invoices/INV-000003/explain").await["tax_rounding"], "rate");
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_that_contained_its_tax_goes_back_with_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/taxes", json!({"code": "vat", "rate": "19", "inclusive": true, "default": true})).await;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let shop = Metered::subscribe(world, "calls", json!({"type": "per_unit", "unit_price": "1.19"})).await;
    shop.call("a", "10", "2026-02-01T00:00:00Z").await;
    shop.call("b", "5", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;
    for event in ["b", "a"] {
        shop.world.post(&format!("/v1/usage_events/{event}/void"), json!({})).await;
        shop.advance(if event == "b" { "2026-02-12T00:00:00Z" } else { "2026-02-13T00:00:00Z" }).await;
    }

    let mut notes: Vec<_> = shop.world.list("/v1/credit_notes").await.iter().map(sums).collect();
    notes.reverse();
    assert_eq!(notes, [["5.00", "0.95", "5.95"], ["10.00", "1.90", "11.90"]]);
    nothing_is_wrong(&shop.world).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_taxes_of_a_price_are_of_one_kind_and_no_more_than_ten(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let tax = |code: &str, inclusive: bool, codes: Value| json!({"code": code, "rate": "5", "inclusive": inclusive, "tax_codes": codes});
    world.create("/v1/taxes", tax("on_top", false, json!(["x"]))).await;
    world.create("/v1/taxes", tax("inside", true, json!(["y"]))).await;
    let mixed = world.send("POST", "/v1/taxes", &tax("other", true, json!(["a", "x"]))).await;
    assert_eq!((mixed.status, mixed.text.contains("on_top")), (409, true), "{}", mixed.text);
    let change = json!({"tax_codes": ["x", "y"]});
    assert_eq!(world.send("PATCH", "/v1/taxes/inside", &change).await.status, 409);
    world.send("PATCH", "/v1/taxes/on_top", &json!({"default": true})).await.expect(200);
    let default = json!({"default": true});
    assert_eq!(world.send("PATCH", "/v1/taxes/inside", &default).await.status, 409);
    // In the archive it is in nobody's way, until it is taken back.
    world.post("/v1/taxes/inside/archive", json!({})).await;
    world.create("/v1/taxes", tax("beside", false, json!(["y"]))).await;
    assert_eq!(world.send("POST", "/v1/taxes/inside/unarchive", &json!({})).await.status, 409);

    // Of several at once only as many are made as there is room for, of one kind.
    let makes = (0..14).map(|at| {
        let world = &world;
        async move {
            world.send("POST", "/v1/taxes", &tax(&format!("t{at}"), at % 2 == 0, json!(["z"]))).await.status
        }
    });
    let made = join_all(makes).await;
    assert!((1..=7).contains(&made.iter().filter(|status| **status == 201).count()), "{made:?}");
    for at in 0..10 {
        world.create("/v1/taxes", tax(&format!("w{at}"), false, json!(["w"]))).await;
    }
    let one_more = world.send("POST", "/v1/taxes", &tax("w10", false, json!(["w"]))).await;
    assert_eq!((one_more.status, one_more.text.contains("more than 10")), (409, true));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_no_tax_names_is_refused(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let plan = json!({"code": "p", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [fee("base", "1", Some("software"))]});
    assert_eq!(world.send("POST", "/v1/plans", &plan).await.errors(), ["/prices/0/tax_code unknown"]);
    let stranger = world.stranger().await;
    let tax = json!({"code": "t", "rate": "5", "tax_codes": ["software"]});
    Reply::of(world.request_as(&stranger, "POST", "/v1/taxes").json(&tax)).await.expect(201);
    assert_eq!(world.send("POST", "/v1/plans", &plan).await.errors(), ["/prices/0/tax_code unknown"]);
    world.create("/v1/taxes", tax).await;
    world.create("/v1/plans", plan).await;
    let gone = Reply::of(world.request("DELETE", "/v1/taxes/t")).await.expect(200);
    assert_eq!(gone["deleted"], false, "invoices may hold it");
}
