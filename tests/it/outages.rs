//! What breaks comes back: gateways out of reach, faults of our own, jobs that died, were discarded or lost.

use accrue_core::clock::Clock;
use accrue_sandbox_gateway::RefundRequest;
use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Shop, World, text};

async fn shop(on: Engine, token: &str) -> Option<Shop> {
    Some(Shop::open(World::new(on).await?, Some(token)).await)
}

/// The stored methods can no longer be opened: whatever they are charged for fails by our own fault.
const BREAK: &str = "update payment_methods set reference_sealed = 'x' || reference_sealed";
const MEND: &str = "update payment_methods set reference_sealed = substr(reference_sealed, 2)";

async fn dunning(shop: &Shop) -> Value {
    shop.world.list(&format!("/v1/dunnings?invoice={}", shop.invoice)).await[0].clone()
}

/// The only dead job: its address.
async fn dead_collect(shop: &Shop) -> String {
    let dead = shop.world.dead_jobs().await;
    let [job] = dead.as_slice() else { panic!("{dead:#?}") };
    assert_eq!(job["name"], "payments.collect", "{job}");
    format!("/v1/jobs/{}", text(&job["id"]))
}

async fn method(shop: &Shop) -> String {
    text(&shop.world.list("/v1/payment_methods?customer=acme").await[0]["id"])
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_decline_by_our_own_fault_waits_for_a_person_and_is_collected_when_they_say_so(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_decline_merchant_blocked").await else { return };
    let payment = shop.payment().await;
    assert_eq!((&payment["status"], &payment["decline_class"]), (&json!("failed"), &json!("our_fault")));
    assert!(shop.world.list("/v1/dunnings").await.is_empty(), "the customer has done nothing wrong");
    let job = dead_collect(&shop).await;

    shop.world.gateway_sql("update methods set token = 'tok_visa'").await;
    shop.world.post(&format!("{job}/retry"), json!({})).await;
    shop.world.work().await;

    assert_eq!(shop.attempts().await, ["finalized declined merchant_blocked", "finalized succeeded"]);
    assert_eq!(shop.invoice().await["status"], "paid");
    assert!(shop.world.dead_jobs().await.is_empty());
}

#[rstest]
#[case::a_person_has_it_tried_again(true)]
#[case::a_person_discards_it(false)]
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_by_our_own_fault_is_never_the_end_of_a_dunning(
    #[case] retried: bool,
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_decline_then_ok").await else { return };
    shop.world.sql(BREAK).await;
    shop.advance("2026-02-03T00:00:00Z").await;
    let job = dead_collect(&shop).await;
    let waiting = dunning(&shop).await;
    assert_eq!((&waiting["status"], &waiting["step"]), (&json!("running"), &json!(1)));
    assert_eq!(waiting["next_step_at"], Value::Null, "our own fault uses no step");

    shop.world.sql(MEND).await;
    if retried {
        shop.world.post(&format!("{job}/retry"), json!({})).await;
        shop.world.work().await;
    } else {
        shop.world.send("DELETE", &job, &json!({})).await.expect(200);
        shop.advance("2026-02-03T07:00:00Z").await;
    }

    let attempts = shop.attempts().await;
    assert_eq!(attempts.last().unwrap(), "dunning:1 succeeded", "{attempts:#?}");
    assert_eq!(dunning(&shop).await["status"], "recovered");
    assert_eq!(shop.taken().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_nobody_mends_our_own_fault_the_dunning_waits_and_the_clock_goes_on(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_decline_insufficient_funds").await else { return };
    shop.world.sql(BREAK).await;

    shop.advance("2026-02-20T00:00:00Z").await;

    let waiting = dunning(&shop).await;
    assert_eq!((&waiting["status"], &waiting["step"]), (&json!("running"), &json!(1)));
    assert_eq!(shop.subscription().await["access"], "grace");
    assert_eq!(shop.attempts().await.len(), 2, "it was tried once");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_nobody_told_is_found(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, "tok_decline_insufficient_funds").await else { return };
    shop.advance("2026-02-02T09:30:00Z").await;
    assert_eq!(dunning(&shop).await["step"], 1);
    // As if the job that told of the step's failure had been discarded.
    shop.world
        .sql("update dunnings set next_step_at = null, look_again_at = '2026-02-02T15:30:00+00:00'")
        .await;

    shop.advance("2026-02-02T16:00:00Z").await;

    let found = dunning(&shop).await;
    assert_eq!((&found["step"], &found["next_step_at"]), (&json!(1), &json!("2026-02-04T09:30:00Z")));
    assert_eq!(shop.attempts().await.len(), 2, "nothing was tried again");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_found_refused_later_waits_for_a_person_too(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_timeout_before_accept").await else { return };
    shop.world.sql(BREAK).await;
    shop.advance("2026-02-01T09:31:10Z").await;
    assert_eq!(shop.attempts().await, ["finalized unknown"], "the first call may still be on its way");

    shop.advance("2026-02-01T09:40:00Z").await;
    assert_eq!(shop.attempts().await, ["finalized error invalid_request"]);
    let job = dead_collect(&shop).await;
    shop.world.sql(MEND).await;
    shop.world.gateway_sql("update methods set token = 'tok_visa'").await;
    shop.world.post(&format!("{job}/retry"), json!({})).await;
    shop.world.work().await;

    assert_eq!(shop.attempts().await, ["finalized error invalid_request", "finalized succeeded"]);
    assert_eq!(shop.taken().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_without_a_method_is_given_up_only_after_the_gateway_was_asked_for_minutes(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_timeout_before_accept").await else { return };
    let gone = method(&shop).await;
    shop.attach("tok_visa").await;
    shop.world.send("DELETE", &format!("/v1/payment_methods/{gone}"), &json!({})).await.expect(200);

    shop.advance("2026-02-01T09:31:10Z").await;
    assert_eq!(shop.attempts().await, ["finalized unknown"]);
    shop.advance("2026-02-01T09:40:00Z").await;

    assert_eq!(shop.attempts().await, ["finalized error", "finalized succeeded"]);
    assert_eq!(shop.taken().await.len(), 1);
}

/// Makes the database refuse to store jobs of this name.
async fn refuse(world: &World, on: Engine, job: &str) {
    let statement = match on {
        Sqlite => format!(
            "create trigger refuse before insert on jobs when new.name = '{job}'
             begin select raise(abort, 'refused'); end"
        ),
        Postgres => format!(
            "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'refused'; end $$;
             create trigger refuse before insert on jobs for each row
             when (new.name = '{job}') execute function refuse()"
        ),
    };
    world.sql(&statement).await;
}

async fn accept_again(world: &World, on: Engine) {
    let drop = if on == Sqlite { "drop trigger refuse" } else { "drop trigger refuse on jobs" };
    world.sql(drop).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn that_an_attempt_came_to_nothing_and_what_follows_are_stored_together(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_timeout_before_accept").await else { return };
    let gone = method(&shop).await;
    shop.attach("tok_visa").await;
    shop.world.send("DELETE", &format!("/v1/payment_methods/{gone}"), &json!({})).await.expect(200);
    refuse(&shop.world, on, "payments.collect").await;

    shop.advance("2026-02-01T09:37:00Z").await;
    assert_eq!(shop.attempts().await, ["finalized unknown"], "neither is stored without the other");
    accept_again(&shop.world, on).await;
    shop.advance("2026-02-01T12:00:00Z").await;

    assert_eq!(shop.attempts().await, ["finalized error", "finalized succeeded"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_days_leaves_one_attempt_and_kills_no_job(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, "tok_unavailable").await else { return };
    let key = text(&shop.payment().await["attempts"][0]["idempotency_key"]);

    shop.advance("2026-02-04T00:00:00Z").await;
    assert_eq!(shop.attempts().await, ["finalized error"]);
    assert!(shop.world.dead_jobs().await.is_empty());
    shop.world.gateway_sql("update methods set token = 'tok_visa'").await;
    shop.advance("2026-02-04T01:30:00Z").await;

    assert_eq!(shop.attempts().await, ["finalized succeeded"]);
    let taken = shop.taken().await;
    assert_eq!((taken.len(), &taken[0].idempotency_key), (1, &key));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_outlives_an_outage_of_days_and_is_made_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(shop) = shop(on, "tok_visa").await else { return };
    let payment = text(&shop.payment().await["id"]);
    shop.world.gateway_sql("alter table refunds rename to refunds_away").await;
    let refund = shop.world.create("/v1/refunds", json!({"payment": payment, "amount": "10"})).await;
    assert_eq!(refund["status"], "unknown");

    shop.advance("2026-02-04T00:00:00Z").await;
    assert!(shop.world.dead_jobs().await.is_empty(), "an outage is no failure");
    shop.world.gateway_sql("alter table refunds_away rename to refunds").await;
    shop.advance("2026-02-04T01:30:00Z").await;

    assert_eq!(shop.world.get(&format!("/v1/refunds/{}", text(&refund["id"]))).await["status"], "succeeded");
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 2000);
    assert_eq!(shop.balances("gateway_cash").await, ["20.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_was_lost_is_found_although_the_gateway_has_forgotten_its_key(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_visa").await else { return };
    let payment = text(&shop.payment().await["id"]);
    shop.world.gateway_sql("alter table refunds rename to refunds_away").await;
    let refund = shop.world.create("/v1/refunds", json!({"payment": payment})).await;
    assert_eq!(refund["status"], "unknown");
    shop.world.gateway_sql("alter table refunds_away rename to refunds").await;
    // The call had arrived, and its answer was lost; the gateway keeps keys for a day only.
    let gateway = shop.gateway().await;
    let arrived = RefundRequest {
        idempotency_key: text(&refund["id"]),
        charge: shop.taken().await[0].reference.clone(),
        amount_minor: 3000,
        metadata: [("refund".to_owned(), text(&refund["id"]))].into(),
    };
    gateway.refund(&arrived, shop.world.clock.now()).await.unwrap();
    shop.world.gateway_sql("pragma foreign_keys = off; delete from answers").await;

    shop.advance("2026-02-02T00:00:00Z").await;

    assert_eq!(shop.world.list("/v1/refunds").await[0]["status"], "succeeded");
    assert_eq!(shop.payment().await["status"], "refunded");
    assert_eq!(shop.gateway().await.balances().await.unwrap()["USD"], 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_clock_that_stands_still_keeps_no_outage_alive_and_makes_nothing_due(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_unavailable").await else { return };
    shop.world.gateway_sql("update methods set token = 'tok_decline_then_ok'").await;
    shop.world.work().await;
    assert_eq!(shop.attempts().await, ["finalized error"], "not at once");

    shop.world.clock.set(shop.world.clock.now() + TimeDelta::seconds(6));
    shop.world.work().await;
    assert_eq!(shop.attempts().await, ["finalized declined insufficient_funds"], "by the wall clock");

    shop.world.clock.set(shop.world.clock.now() + TimeDelta::days(30));
    shop.world.sweep().await;
    assert_eq!(dunning(&shop).await["step"], 0, "the next step is due by the customer's clock");
    assert_eq!(shop.invoice().await["status"], "open");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_debt_without_a_card_is_chased_although_somebody_tried_by_hand_before_it_was_noted(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    refuse(&world, on, "dunning.failed").await;
    let shop = Shop::open(world, None).await;
    assert_eq!(shop.payment().await["decline_code"], "no_payment_method");
    let card = shop.attach("tok_decline_insufficient_funds").await;
    shop.world.post(&format!("/v1/invoices/{}/pay", shop.invoice), json!({})).await;

    accept_again(&shop.world, on).await;
    shop.world.work().await;

    assert_eq!(dunning(&shop).await["status"], "running");
    let tried = format!("method:{} declined insufficient_funds", text(&card["id"]));
    assert_eq!(shop.attempts().await, ["request declined insufficient_funds".to_owned(), tried]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_cannot_go_on_names_the_job_that_stands_in_the_way(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = shop(on, "tok_visa").await else { return };
    let world = &shop.world;
    let refuse = match on {
        Sqlite => "create trigger refuse before insert on invoices begin select raise(abort, 'refused'); end",
        Postgres => {
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
             create trigger refuse before insert on invoices for each row execute function refuse()"
        }
    };
    world.sql(refuse).await;

    let path = format!("/v1/test_clocks/{}/advance", shop.clock);
    let stuck = world.send("POST", &path, &json!({"to": "2026-03-15T00:00:00Z"})).await;

    assert_eq!(stuck.status, 409, "{}", stuck.text);
    let detail = text(&stuck.json()["detail"]);
    let named = ["dead", "queued"].into_iter().find(|state| detail.contains(&format!("is {state},")));
    let state = named.unwrap_or_else(|| panic!("{detail}"));
    let jobs = world.list(&format!("/v1/jobs?state={state}")).await;
    let job = jobs.iter().find(|job| detail.contains(&text(&job["id"]))).expect("it is listed there");
    assert_eq!(job["name"], "invoices.cycle");
    assert!(job["last_error"].as_str().is_some_and(|error| error.contains("refused")), "{job}");
}
