//! Mails to customers: which, when, what they say, and that each is sent once.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Shop, World, text};

/// Of each mail, the oldest first: `invoice_issued sent`.
async fn mails(world: &World) -> Vec<String> {
    let mut emails = world.list("/v1/emails?customer=acme&limit=100").await;
    emails.reverse();
    emails.iter().map(|email| format!("{} {}", text(&email["kind"]), text(&email["status"]))).collect()
}

async fn newest(world: &World) -> Value {
    world.list("/v1/emails").await[0].clone()
}

/// The newest file whose name holds `kind`.
fn file(world: &World, kind: &str) -> String {
    let name = world.mails().into_iter().rfind(|name| name.contains(kind)).expect("it was written");
    let mail = std::fs::read_to_string(world.folder.path().join("outbox").join(name)).unwrap();
    // Long lines are broken by quoted-printable.
    mail.replace("=\r\n", "")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_and_its_receipt_are_mailed_with_the_document(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let issuer =
        json!({"issuer": {"name": "Seller Ltd", "address": ["Berlin"], "email": "help@seller.example"}});
    world.send("PATCH", "/v1/account", &issuer).await.expect(200);

    let shop = Shop::open(world, Some("tok_visa")).await;

    assert_eq!(mails(&shop.world).await, ["invoice_issued sent", "payment_receipt sent"]);
    let receipt = newest(&shop.world).await;
    assert!(text(&receipt["subject"]).starts_with("[Test] Receipt for your payment of $30.00"), "{receipt}");
    assert_eq!(shop.world.get(&format!("/v1/emails/{}", text(&receipt["id"]))).await, receipt);
    for kind in ["invoice_issued", "payment_receipt"] {
        let mail = file(&shop.world, kind);
        for part in ["To: Acme <pay@acme.example>", "help@seller.example", "application/pdf", "INV-000001"] {
            assert!(mail.contains(part), "{kind}: {part} in {mail}");
        }
    }
    assert!(file(&shop.world, "receipt").contains("Visa ending in 4242"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_chase_is_told_from_the_failure_to_the_end(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_insufficient_funds")).await;
    let mut told = vec!["invoice_issued sent", "payment_failed sent"];
    assert_eq!(mails(&shop.world).await, told);
    let first = file(&shop.world, "payment_failed");
    assert!(first.contains("there were not enough funds") && first.contains("2 February 2026"), "{first}");

    shop.advance("2026-02-04T12:00:00Z").await;
    told.extend(["payment_failed sent", "payment_failed sent", "access_restricted sent"]);
    let mut so_far = mails(&shop.world).await;
    so_far.sort_unstable();
    told.sort_unstable();
    assert_eq!(so_far, told);

    shop.attach("tok_visa").await;
    shop.world.work().await;
    assert_eq!(text(&shop.invoice().await["status"]), "paid");
    let last = newest(&shop.world).await;
    assert_eq!((&last["kind"], &last["status"]), (&json!("payment_recovered"), &json!("sent")));
    let mail = file(&shop.world, "payment_recovered");
    assert!(mail.contains("You have full access again") && mail.contains("application/pdf"), "{mail}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_debt_that_is_forgiven_was_not_paid(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_insufficient_funds")).await;
    shop.world.post(&format!("/v1/invoices/{}/void", shop.invoice), json!({})).await;
    shop.world.work().await;

    assert!(!mails(&shop.world).await.iter().any(|mail| mail.starts_with("payment_recovered")));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_payment_method_is_asked_for_one_and_not_told_of_a_card(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, None).await;

    assert_eq!(mails(&shop.world).await, ["invoice_issued sent", "payment_failed sent"]);
    assert!(!file(&shop.world, "invoice_issued").contains("We will charge"));
    assert!(file(&shop.world, "payment_failed").contains("Please add a payment method"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_when_it_is_decided_and_not_again(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_visa")).await;
    let cancel = format!("/v1/subscriptions/{}/cancel", shop.subscription);
    shop.world.post(&cancel, json!({"when": "period_end"})).await;
    shop.world.work().await;
    assert_eq!(text(&newest(&shop.world).await["kind"]), "subscription_canceled");
    assert!(file(&shop.world, "subscription_canceled").contains("until 1 March 2026"));

    shop.advance("2026-03-02T00:00:00Z").await;

    assert_eq!(text(&shop.subscription().await["status"]), "canceled");
    let mails = mails(&shop.world).await;
    assert_eq!(mails.iter().filter(|mail| mail.starts_with("subscription_canceled")).count(), 1, "{mails:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_address_gets_no_mail(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let world = Shop::open(world, Some("tok_visa")).await.world;
    world.create("/v1/customers", json!({"external_id": "quiet", "name": "Quiet"})).await;
    world
        .create("/v1/payment_methods", json!({"customer": "quiet", "token": "tok_visa", "default": true}))
        .await;
    world.create("/v1/subscriptions", json!({"customer": "quiet", "plan": "pro"})).await;
    world.work().await;

    assert_eq!(text(&world.list("/v1/invoices?customer=quiet").await[0]["status"]), "paid");
    assert!(world.list("/v1/emails?customer=quiet").await.is_empty());
    assert!(world.list("/v1/jobs?state=queued").await.is_empty());
}

/// Of each mail, the oldest first: `invoice_issued pay@acme.example Acme`.
async fn sent_to(world: &World) -> Vec<String> {
    let mut emails = world.list("/v1/emails?customer=acme&limit=100").await;
    emails.reverse();
    let told = |email: &Value| {
        assert_eq!(email["status"], "sent", "{email}");
        ["kind", "recipient", "recipient_name"].map(|field| text(&email[field])).join(" ")
    };
    emails.iter().map(told).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn contacts_get_the_mails_about_invoices_beside_the_customer_and_nobody_gets_one_twice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_visa")).await;
    let contacts = json!([
        {"email": "PAY@acme.example", "name": "Twice"}, {"email": "ap@acme.example", "name": "Zoë Accounts"},
    ]);
    let change = json!({"invoice_contacts": contacts});
    shop.world.send("PATCH", "/v1/customers/acme", &change).await.expect(200);
    let before = sent_to(&shop.world).await.len();

    shop.advance("2026-03-02T00:00:00Z").await;

    let mut told = sent_to(&shop.world).await.split_off(before);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "invoice_issued ap@acme.example Zoë Accounts",
            "invoice_issued pay@acme.example Acme",
            "payment_receipt ap@acme.example Zoë Accounts",
            "payment_receipt pay@acme.example Acme",
        ]
    );
    let outbox = shop.world.folder.path().join("outbox");
    let mails: Vec<_> = shop
        .world
        .mails()
        .into_iter()
        .map(|name| std::fs::read_to_string(outbox.join(name)).unwrap().replace("=\r\n", ""))
        .filter(|mail| mail.contains("<ap@acme.example>"))
        .collect();
    assert_eq!(mails.len(), 2);
    for mail in mails {
        assert!(mail.contains("application/pdf") && mail.contains("Hello Zo=C3=AB Accounts"), "{mail}");
    }

    let cancel = format!("/v1/subscriptions/{}/cancel", shop.subscription);
    shop.world.post(&cancel, json!({"when": "period_end"})).await;
    shop.world.work().await;
    let last = sent_to(&shop.world).await.split_off(before + 4);
    assert_eq!(last, ["subscription_canceled pay@acme.example Acme"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_an_address_is_told_of_invoices_by_the_contacts_alone(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_visa")).await;
    let change = json!({"email": null, "invoice_contacts": [{"email": "ap@acme.example"}]});
    shop.world.send("PATCH", "/v1/customers/acme", &change).await.expect(200);
    let before = sent_to(&shop.world).await.len();

    shop.advance("2026-03-02T00:00:00Z").await;

    let told = sent_to(&shop.world).await.split_off(before);
    assert_eq!(told, ["invoice_issued ap@acme.example Acme", "payment_receipt ap@acme.example Acme"]);
}
