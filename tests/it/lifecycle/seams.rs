//! Where one rule of a life meets another.

use rstest::rstest;
use serde_json::json;

use super::{Life, calls, fee, plan, world};
use crate::support::{
    Engine::{self, *},
    Shop, World, text,
};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_with_the_plan_before_and_entitlements_follow(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world(on).await else { return };
    world.create("/v1/features", json!({"code": "sso", "name": "SSO", "kind": "switch"})).await;
    let mut large = plan("large", "month", &[fee("base", "30")]);
    large["features"] = json!([{"feature": "sso", "value": true}]);
    world.create("/v1/plans", large).await;
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({})).await;
    life.advance("2026-04-16T00:00:00Z").await;
    life.act("change", json!({"plan": "large"})).await;
    let told = life.world.list("/v1/events?type=subscription.changed").await;
    let changes: Vec<_> = told.iter().filter(|event| event["data"]["previous"]["plan"].is_object()).collect();
    assert_eq!(changes.len(), 1, "{told:?}");
    assert_eq!(text(&changes[0]["data"]["previous"]["plan"]["code"]), "basic");
    let granted = life.world.get("/v1/customers/acme/entitlements").await;
    assert_eq!(granted["features"]["sso"]["value"], true, "{granted}");

    life.act("pause", json!({})).await;
    let granted = life.world.get("/v1/customers/acme/entitlements").await;
    assert!(granted["features"]["sso"].is_null(), "{granted}");
    for kind in ["subscription.paused", "customer.created"] {
        assert_eq!(life.world.list(&format!("/v1/events?type={kind}")).await.len(), 1, "{kind}");
    }
    let timeline = life.world.list("/v1/customers/acme/timeline?limit=100").await;
    let words: Vec<String> = timeline.iter().map(|entry| text(&entry["text"])).collect();
    assert!(words.contains(&"The subscription was changed to “large”.".to_owned()), "{words:?}");
    assert!(words.contains(&"The subscription to “large” was paused.".to_owned()), "{words:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_ends_with_what_was_scheduled_kept_for_an_undo(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    life.act("pause", json!({"resume_at": "2026-06-16T00:00:00Z"})).await;
    life.act("cancel", json!({})).await;
    life.act("undo", json!({})).await;
    assert_eq!(text(&life.subscription().await["scheduled"]["at"]), "2026-06-16T00:00:00Z");
    // On the first instant of a period nothing is left to bill.
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(life.act("cancel", json!({"when": "now"})).await, Vec::<String>::new());
    assert!(life.subscription().await["usage_in_pause"].is_null());
    life.advance("2026-07-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_while_a_payment_fails_is_ended_by_dunning(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let shop = Shop::open(world, Some("tok_decline_insufficient_funds")).await;
    assert_eq!(text(&shop.subscription().await["status"]), "past_due");
    let path = format!("/v1/subscriptions/{}/pause", shop.subscription);
    let paused = shop.world.send("POST", &path, &json!({})).await.expect(200);
    assert_eq!(text(&paused["status"]), "paused");
    shop.advance("2026-12-01T00:00:00Z").await;
    assert_eq!(shop.world.dead_jobs().await, Vec::<serde_json::Value>::new());
    let ended = shop.subscription().await;
    assert_eq!([&ended["status"], &ended["cancel_reason"]].map(text), ["canceled", "unpaid"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_metric_is_billed_twice_whatever_is_scheduled_was_or_is_undone(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world(on).await else { return };
    world.create("/v1/plans", plan("flat", "month", &[fee("base", "1")])).await;
    world.create("/v1/plans", plan("metered", "month", &[calls("1")])).await;
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"plan": "flat", "quantities": {}})).await;
    life.act("change", json!({"plan": "metered", "when": "period_end"})).await;
    let second = |start: &str| json!({"customer": "acme", "plan": "metered", "start_at": start});
    let now = second("2026-04-01T00:00:00Z");
    let refused = life.world.send("POST", "/v1/subscriptions", &now).await;
    assert_eq!(refused.errors(), ["/plan metric_taken"]);

    life.advance("2026-05-02T00:00:00Z").await;
    life.act("change", json!({"plan": "flat"})).await;
    let before = second("2026-05-01T00:00:00Z");
    let refused = life.world.send("POST", "/v1/subscriptions", &before).await;
    assert_eq!(refused.errors(), ["/plan metric_taken"]);

    life.act("change", json!({"plan": "metered"})).await;
    life.act("cancel", json!({})).await;
    life.world.create("/v1/subscriptions", second("2026-06-01T00:00:00Z")).await;
    assert_eq!(life.refused("undo", json!({}), 422).await, ["/plan metric_taken"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_metric_carries_its_value_over_and_is_billed_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on).await else { return };
    let metric = json!({"code": "disks", "name": "Disks", "event_name": "disk", "aggregation": "sum",
        "property": "n", "recurring": true});
    world.create("/v1/metrics", metric).await;
    let disks = |unit_price: &str| {
        json!({"code": "disks", "name": "Disks", "kind": "usage", "metric": "disks", "prorate": false,
            "model": {"type": "per_unit", "unit_price": unit_price}})
    };
    for (code, price) in [("small", "1"), ("large", "3")] {
        world.create("/v1/plans", plan(code, "month", &[disks(price)])).await;
    }
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"plan": "small", "quantities": {}})).await;
    life.advance("2026-04-10T00:00:00Z").await;
    let event = json!({"event_id": "e", "customer_id": "acme", "event_name": "disk",
        "timestamp": "2026-04-05T00:00:00Z", "metadata": {"n": 10}});
    assert_eq!(life.world.post("/v1/usage_events?backfill=true", event).await["accepted"], 1);
    assert_eq!(life.act("change", json!({"plan": "large"})).await, Vec::<String>::new());
    life.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(
        life.invoices().await,
        [
            vec!["large – Disks 2026-04-10 – 2026-05-01: 30.00"],
            vec!["large – Disks 2026-05-01 – 2026-06-01: 30.00"],
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_is_owed_once_in_a_period_however_often_it_is_paused_or_changed(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world(on).await else { return };
    let mut price = calls("1");
    price["minimum_amount"] = json!("50");
    world.create("/v1/plans", plan("least", "month", &[price])).await;
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"plan": "least", "quantities": {}})).await;
    life.advance("2026-04-10T00:00:00Z").await;
    assert_eq!(life.act("pause", json!({})).await, Vec::<String>::new());
    life.advance("2026-04-12T00:00:00Z").await;
    assert_eq!(life.act("resume", json!({})).await, Vec::<String>::new());
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(
        life.invoices().await,
        [vec!["least – Calls (up to the minimum) 2026-04-12 – 2026-05-01: 50.00"]]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_fee_that_is_not_prorated_costs_its_whole_price_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on).await else { return };
    for (code, amount) in [("ten", "10"), ("thirty", "30")] {
        let mut fee = fee("base", amount);
        fee["prorate"] = json!(false);
        world.create("/v1/plans", plan(code, "month", &[fee])).await;
    }
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"plan": "ten", "quantities": {}})).await;
    life.advance("2026-04-10T00:00:00Z").await;
    assert_eq!(life.act("pause", json!({})).await, Vec::<String>::new());
    life.advance("2026-04-15T00:00:00Z").await;
    assert_eq!(life.act("resume", json!({})).await, Vec::<String>::new());
    life.advance("2026-04-20T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "thirty"})).await;
    assert_eq!(done, ["credit ten – base: -10.00", "thirty – base 2026-04-20 – 2026-05-01: 30.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn fees_in_arrears_add_up_to_the_whole_however_each_change_is_measured(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world(on).await else { return };
    for code in ["one", "two", "three"] {
        let mut fee = fee("base", "30");
        fee["timing"] = json!("arrears");
        world.create("/v1/plans", plan(code, "month", &[fee])).await;
    }
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"plan": "one", "quantities": {}})).await;
    life.advance("2026-04-10T12:00:00Z").await;
    let done = life.act("change", json!({"plan": "two", "proration": "second"})).await;
    assert_eq!(done, ["one – base 2026-04-01 – 2026-04-10T12:00:00Z: 9.50"]);
    life.advance("2026-04-20T18:00:00Z").await;
    let done = life.act("change", json!({"plan": "three"})).await;
    assert_eq!(done, ["two – base 2026-04-10T12:00:00Z – 2026-04-20T18:00:00Z: 9.50"]);
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(
        life.invoices().await.pop().unwrap(),
        ["three – base 2026-04-20T18:00:00Z – 2026-05-01: 11.00"]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_tried_a_plan_tries_it_once_whatever_came_after(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"trial_end": "2026-04-15T00:00:00Z"})).await else { return };
    life.advance("2026-04-08T00:00:00Z").await;
    life.act("change", json!({"plan": "business"})).await;
    life.act("cancel", json!({"when": "now"})).await;
    for plan in ["basic", "business"] {
        let again = json!({"customer": "acme", "plan": plan, "trial_end": "2026-05-15T00:00:00Z"});
        let refused = life.world.send("POST", "/v1/subscriptions", &again).await;
        assert_eq!(refused.errors(), ["/trial_end already_used"], "{plan}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_for_the_end_of_a_trial_moves_with_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"trial_end": "2026-04-15T00:00:00Z"})).await else { return };
    life.act("change", json!({"plan": "business", "when": "period_end"})).await;
    life.act("extend_trial", json!({"trial_end": "2026-04-20T00:00:00Z"})).await;
    life.advance("2026-04-21T00:00:00Z").await;
    assert_eq!(life.invoices().await, [vec!["business – base 2026-04-20 – 2026-05-20: 30.00"]]);
    assert_eq!(
        life.refused("cancel", json!({"when": "period_end", "unused": "credit"}), 422).await,
        ["/unused conflict"]
    );
}
