//! Money is taken once, whatever the network does. The gateway's own books are the witness.

use rstest::rstest;
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use serde_json::json;

use crate::support::{Engine, Engine::*, Reply, Shop, World, text};

async fn shop(on: Engine, token: Option<&str>) -> Option<Shop> {
    Some(Shop::open(World::new(on).await?, token).await)
}

async fn pay(shop: &Shop) -> Reply {
    shop.world.send("POST", &format!("/v1/invoices/{}/pay", shop.invoice), &json!({})).await
}

async fn refund(shop: &Shop, amount: &str) -> Reply {
    let payment = text(&shop.payment().await["id"]);
    shop.world.send("POST", "/v1/refunds", &json!({"payment": payment, "amount": amount})).await
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_collected_once_when_it_is_finalized(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_visa")).await else { return };

    let (payment, taken) = (shop.payment().await, shop.taken().await);

    assert_eq!((&payment["status"], &payment["amount"]), (&json!("captured"), &json!("30.00")));
    assert_eq!(shop.attempts().await, ["finalized succeeded"]);
    assert_eq!(shop.invoice().await["status"], "paid");
    assert_eq!((taken.len(), taken[0].captured_minor), (1, 3000));
    assert_eq!(taken[0].idempotency_key, text(&payment["attempts"][0]["id"]));
    assert_eq!(taken[0].metadata["attempt"], text(&payment["attempts"][0]["id"]));
    assert_eq!(shop.balances("gateway_cash").await, ["30.00"]);
    assert_eq!(shop.balances("receivable").await, ["0.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_card_number_is_never_taken_for_a_token(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let attach = async |token: &str| {
        world.send("POST", "/v1/payment_methods", &json!({"customer": "acme", "token": token})).await
    };

    assert_eq!(attach("4242 4242 4242 4242").await.errors(), ["/token card_number"]);
    assert_eq!(attach("tok_nobody").await.errors(), ["/token refused"]);
    assert_eq!(attach(" ").await.errors(), ["/token blank"]);
    assert!(world.list("/v1/payment_methods").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_method_is_the_default_and_a_detached_one_is_not_charged(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, None).await else { return };
    let body = json!({"customer": "acme", "token": "tok_decline_do_not_honor"});
    let first = shop.world.create("/v1/payment_methods", body).await;
    let second = json!({"customer": "acme", "token": "tok_visa"});
    let second = shop.world.create("/v1/payment_methods", second).await;
    assert_eq!((&first["default"], &second["default"]), (&json!(true), &json!(false)));

    let path = format!("/v1/payment_methods/{}", text(&first["id"]));
    let detached = shop.world.send("DELETE", &path, &json!({})).await.expect(200);
    let again = shop.world.send("DELETE", &path, &json!({})).await.expect(200);

    assert_eq!((&detached["default"], &detached), (&json!(false), &again));
    assert_eq!(shop.world.list("/v1/payment_methods?customer=acme").await, std::slice::from_ref(&second));
    assert_eq!(pay(&shop).await.errors(), ["/payment_method required"]);
    let named = json!({"payment_method": first["id"]});
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    assert_eq!(shop.world.send("POST", &path, &named).await.status, 404);
    let paid = shop.world.post(&path, json!({"payment_method": second["id"]})).await;
    assert_eq!(paid["status"], "captured");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_several_first_methods_one_is_the_default(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let body = json!({"customer": "acme", "token": "tok_visa"});

    let answers =
        futures_util::future::join_all((0..8).map(|_| world.send("POST", "/v1/payment_methods", &body)))
            .await;

    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:#?}");
    let methods = world.list("/v1/payment_methods").await;
    let defaults = methods.iter().filter(|method| method["default"] == true).count();
    assert_eq!((methods.len(), defaults), (8, 1));
}

#[rstest]
#[case::the_answer_is_lost("tok_timeout_after_accept", "20000")]
#[case::the_question_is_lost("tok_timeout_before_accept", "20000")]
#[case::the_answer_is_late("tok_slow", "1500")]
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_answer_is_asked_and_never_charged_twice(
    #[case] token: &str,
    #[case] timeout_ms: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::with(on, &[("gateway_timeout_ms", timeout_ms)]).await else { return };
    let shop = Shop::open(world, Some(token)).await;
    assert_eq!(shop.attempts().await, ["finalized unknown"]);
    assert_eq!(shop.invoice().await["status"], "open");
    let refused = pay(&shop).await;
    assert_eq!((refused.status, text(&refused.json()["code"])), (409, "payment_in_flight".to_owned()));

    let happened = shop.advance("2026-02-01T09:30:05Z").await;

    assert_eq!(happened, ["2026-02-01T09:30:05Z payment.captured", "2026-02-01T09:30:05Z invoice.paid"]);
    assert_eq!(shop.attempts().await, ["finalized succeeded"]);
    assert_eq!(shop.taken().await.len(), 1);
    assert_eq!(shop.balances("gateway_cash").await, ["30.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_for_a_voided_invoice_goes_back(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_timeout_after_accept")).await else { return };
    shop.world.post(&format!("/v1/invoices/{}/void", shop.invoice), json!({})).await;

    shop.advance("2026-02-01T09:30:05Z").await;

    assert_eq!(shop.payment().await["status"], "refunded");
    assert_eq!(shop.world.list("/v1/refunds").await[0]["status"], "succeeded");
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 0);
    for account in ["gateway_cash", "customer_credit", "receivable"] {
        assert_eq!(shop.balances(account).await, ["0.00"], "{account}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_out_of_reach_is_tried_again_without_a_step_of_dunning(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_unavailable")).await else { return };
    assert_eq!(shop.attempts().await, ["finalized error"]);
    assert_eq!(pay(&shop).await.status, 503);

    shop.attach("tok_visa").await;
    shop.advance("2026-02-01T09:30:05Z").await;

    assert_eq!(shop.attempts().await, ["finalized error", "request error", "finalized succeeded"]);
    assert!(shop.world.list("/v1/dunnings").await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_gateway_refuses_alerts_us_and_not_the_customer(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_invalid_request")).await else { return };

    let payment = shop.payment().await;
    let dead = shop.world.list("/v1/jobs").await;

    assert_eq!((&payment["status"], &payment["decline_class"]), (&json!("failed"), &json!("our_fault")));
    assert_eq!((dead.len(), text(&dead[0]["name"])), (1, "payments.collect".to_owned()));
    assert!(shop.world.list("/v1/dunnings").await.is_empty());
}

#[rstest]
#[case(true, "captured", "paid")]
#[case(false, "failed", "open")]
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_payment_is_asked_about_until_the_bank_has_decided(
    #[case] pays: bool,
    #[case] payment: &str,
    #[case] invoice: &str,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, Some("tok_pending")).await else { return };
    assert_eq!(shop.payment().await["status"], "pending");
    shop.advance("2026-02-01T12:00:00Z").await;
    assert_eq!(shop.payment().await["status"], "pending");
    assert_eq!(pay(&shop).await.status, 409);

    let (gateway, now) = (shop.gateway().await, shop.world.app.now());
    let key = text(&shop.payment().await["attempts"][0]["idempotency_key"]);
    let charge = gateway.find_by_idempotency_key(&key).await.unwrap().unwrap();
    gateway.settle(&charge.reference, pays, now).await.unwrap();
    shop.advance("2026-02-01T13:10:00Z").await;

    assert_eq!(
        (&shop.payment().await["status"], &shop.invoice().await["status"]),
        (&json!(payment), &json!(invoice))
    );
    assert_eq!(shop.payment().await["attempts"].as_array().unwrap().len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn paying_twice_takes_money_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, None).await else { return };
    shop.world
        .create("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa", "default": false}))
        .await;
    let path = format!("/v1/invoices/{}/pay", shop.invoice);
    let request = || shop.world.request("POST", &path).header("idempotency-key", "k1").json(&json!({}));

    let first = Reply::of(request()).await;
    let again = Reply::of(request()).await;
    let other = pay(&shop).await;

    assert_eq!((first.status, &first.text), (200, &again.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(other.expect(200), first.json());
    assert_eq!(shop.taken().await.len(), 1);
    assert_eq!(shop.attempts().await, ["request succeeded"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_who_pay_at_once_take_money_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, None).await else { return };
    shop.world
        .create("/v1/payment_methods", json!({"customer": "acme", "token": "tok_visa", "default": false}))
        .await;

    let answers = futures_util::future::join_all((0..12).map(|_| pay(&shop))).await;

    assert!(answers.iter().all(|answer| [200, 409].contains(&answer.status)), "{answers:#?}");
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(shop.taken().await.len(), 1);
    assert_eq!(shop.balances("gateway_cash").await, ["30.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_can_still_be_paid_by_hand(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, None).await else { return };
    shop.world.post(&format!("/v1/invoices/{}/mark_uncollectible", shop.invoice), json!({})).await;
    shop.attach("tok_visa").await;

    shop.world.work().await;
    assert!(shop.taken().await.is_empty(), "but not by our own doing");
    pay(&shop).await.expect(200);

    assert_eq!(shop.invoice().await["status"], "paid");
    assert_eq!(shop.balances("bad_debt").await, ["0.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refunds_add_up_to_at_most_what_was_captured(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_visa")).await else { return };

    let part = refund(&shop, "10").await.expect(201);
    assert_eq!((&part["status"], &part["amount"]), (&json!("succeeded"), &json!("10.00")));
    assert_eq!(shop.payment().await["status"], "partially_refunded");
    assert_eq!(refund(&shop, "20.01").await.errors(), ["/amount out_of_range"]);
    assert_eq!(refund(&shop, "0").await.errors(), ["/amount out_of_range"]);
    assert_eq!(refund(&shop, "1.005").await.errors(), ["/amount malformed"]);
    let payment = text(&shop.payment().await["id"]);
    shop.world.create("/v1/refunds", json!({"payment": payment, "reason": "goodwill"})).await;

    assert_eq!(shop.payment().await["status"], "refunded");
    assert_eq!(refund(&shop, "0.01").await.errors(), ["/amount out_of_range"]);
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 0);
    assert_eq!(shop.balances("gateway_cash").await, ["0.00"]);
    assert_eq!(shop.balances("refunds").await, ["30.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn many_refunds_at_once_never_give_back_more_than_was_taken(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_visa")).await else { return };

    let answers = futures_util::future::join_all((0..10).map(|_| refund(&shop, "9"))).await;

    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 3, "3 × 9.00 of 30.00: {answers:#?}");
    assert_eq!(shop.payment().await["amount_refunded"], "27.00");
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 300);
    assert_eq!(shop.balances("gateway_cash").await, ["3.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_sent_again_with_its_key_is_one_refund(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_visa")).await else { return };
    let payment = text(&shop.payment().await["id"]);
    let request = || {
        let request = shop.world.request("POST", "/v1/refunds").header("idempotency-key", "r1");
        request.json(&json!({"payment": payment, "amount": "10"}))
    };

    let (first, again) = (Reply::of(request()).await, Reply::of(request()).await);

    assert_eq!((first.status, &first.text), (201, &again.text));
    assert_eq!(shop.world.list(&format!("/v1/refunds?payment={payment}")).await.len(), 1);
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 2000);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_cannot_be_refunded(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_decline_stolen")).await else { return };
    let refused = refund(&shop, "10").await;
    assert_eq!((refused.status, text(&refused.json()["code"])), (409, "illegal_transition".to_owned()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_disputed_payment_is_not_refunded_and_says_so(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_dispute")).await else { return };

    let refused = refund(&shop, "10").await.expect(201);

    assert_eq!(refused["status"], "failed");
    assert!(text(&refused["failure"]).contains("disputed"), "{refused}");
    assert_eq!(shop.events("refund.failed").await[0]["object"], refused);
    assert_eq!(shop.payment().await["status"], "captured");
    assert_eq!(shop.balances("gateway_cash").await, ["30.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_left_behind_is_found_by_the_sweep(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_timeout_after_accept")).await else { return };
    // Whoever was to ask has died: the job that would have asked is gone.
    shop.world.sql("delete from jobs where name = 'payments.resolve'").await;

    let happened = shop.advance("2026-02-01T09:40:00Z").await;

    assert!(happened.contains(&"2026-02-01T09:31:05Z payment.captured".to_owned()), "{happened:#?}");
    assert_eq!(shop.taken().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_event_says_what_changed(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, Some("tok_visa")).await else { return };
    let events = shop.events("payment.captured").await;
    let [event] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!(event["object"], shop.payment().await);
    assert_eq!(event["previous"]["status"], "initialized");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn only_a_customers_own_method_can_be_the_default(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for name in ["acme", "other"] {
        world.create("/v1/customers", json!({"external_id": name, "name": name})).await;
    }
    let attach = async |customer: &str| {
        let body = json!({"customer": customer, "token": "tok_visa"});
        text(&world.create("/v1/payment_methods", body).await["id"])
    };
    let (first, second, others) = (attach("acme").await, attach("acme").await, attach("other").await);
    let choose = async |method: serde_json::Value| {
        world.send("PATCH", "/v1/customers/acme", &json!({"default_payment_method": method})).await
    };

    assert_eq!(choose(json!(others)).await.status, 404);
    assert_eq!(choose(json!("pm_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")).await.status, 404);
    assert_eq!(choose(json!("visa")).await.errors(), ["/default_payment_method malformed"]);
    assert_eq!(world.get("/v1/customers/acme").await["default_payment_method"], json!(first));

    assert_eq!(choose(json!(second)).await.expect(200)["default_payment_method"], json!(second));
    assert_eq!(world.get(&format!("/v1/payment_methods/{second}")).await["default"], true);
    assert_eq!(choose(json!(null)).await.expect(200)["default_payment_method"], json!(null));
    world.send("DELETE", &format!("/v1/payment_methods/{second}"), &json!({})).await.expect(200);
    assert_eq!(choose(json!(second)).await.status, 404, "it is never charged again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_locked_after_its_customer_here_and_everywhere() {
    let Some(shop) = shop(Postgres, Some("tok_visa")).await else { return };
    let method = text(&shop.world.list("/v1/payment_methods").await[0]["id"]);
    let db = &shop.world.app.db;
    let holder = db.begin().await.unwrap();
    holder.execute_unprepared("select 1 from customers for update").await.unwrap();

    let path = format!("/v1/payment_methods/{method}");
    let nothing = json!({});
    let detaching = shop.world.send("DELETE", &path, &nothing);
    let looking = async {
        let waits =
            "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while db.reader().query_one_raw(statement(waits)).await.unwrap().is_none() {}
        // Whoever holds the customer, as collecting does, gets the method.
        holder.execute_unprepared("select 1 from payment_methods for update nowait").await.unwrap();
        holder.commit().await.unwrap();
    };
    let (detached, ()) = tokio::join!(detaching, looking);

    detached.expect(200);
}

fn statement(sql: &str) -> Statement {
    Statement::from_string(DatabaseBackend::Postgres, sql)
}
