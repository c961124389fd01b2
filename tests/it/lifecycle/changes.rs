//! Other plans and other quantities.

use rstest::rstest;
use serde_json::json;

use super::{Life, fee, plan, world};
use crate::support::{
    Engine::{self, *},
    text,
};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn from_ten_to_thirty_on_day_16_of_30_gives_back_five_and_bills_fifteen(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T09:30:00Z").await;
    let done = life.act("change", json!({"plan": "business"})).await;
    assert_eq!(
        done,
        ["credit basic – base: -5.00", "business – base 2026-04-16T09:30:00Z – 2026-05-01: 15.00"]
    );
    let invoice = life.world.list("/v1/invoices").await.remove(0);
    assert_eq!(
        [&invoice["reason"], &invoice["credits_applied"], &invoice["amount_due"]].map(text),
        ["change", "5.00", "10.00"]
    );
    let subscription = life.subscription().await;
    assert_eq!(text(&subscription["plan"]["code"]), "business");
    assert_eq!(text(&subscription["current_period"]["start"]), "2026-04-01T00:00:00Z");

    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap(), &["business – base 2026-05-01 – 2026-06-01: 30.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn changing_to_what_is_so_already_changes_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"quantities": {"seats": "3"}})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    for body in [json!({}), json!({"plan": "basic"}), json!({"quantities": {"seats": "3"}})] {
        assert_eq!(life.act("change", body).await, Vec::<String>::new());
    }
    assert_eq!(life.act("change", json!({"plan": "business"})).await.len(), 4);
    assert_eq!(life.act("change", json!({"plan": "business"})).await, Vec::<String>::new());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn seats_up_and_down_in_one_day_cost_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"quantities": {"seats": "5"}})).await else { return };
    life.advance("2026-04-16T08:00:00Z").await;
    let up = life.act("change", json!({"quantities": {"seats": "8"}})).await;
    assert_eq!(
        up,
        [
            "credit basic – base: -5.00",
            "credit basic – Seats: -12.50",
            "basic – base 2026-04-16T08:00:00Z – 2026-05-01: 5.00",
            "basic – Seats 2026-04-16T08:00:00Z – 2026-05-01: 20.00",
        ]
    );
    // At the same instant, by a clock that stands still, and later on the same day.
    let down = life.act("change", json!({"quantities": {"seats": "5"}})).await;
    assert_eq!(
        down,
        [
            "credit basic – base: -5.00",
            "credit basic – Seats: -20.00",
            "basic – base 2026-04-16T08:00:00Z – 2026-05-01: 5.00",
            "basic – Seats 2026-04-16T08:00:00Z – 2026-05-01: 12.50",
        ]
    );
    life.advance("2026-04-16T20:00:00Z").await;
    let up = life.act("change", json!({"quantities": {"seats": "6"}})).await;
    assert_eq!(
        up,
        [
            "credit basic – base: -5.00",
            "credit basic – Seats: -12.50",
            "basic – base 2026-04-16T20:00:00Z – 2026-05-01: 5.00",
            "basic – Seats 2026-04-16T20:00:00Z – 2026-05-01: 15.00",
        ]
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_upgrades_in_one_period_each_give_back_what_the_one_before_billed(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.world.create("/v1/plans", plan("first", "month", &[fee("base", "90")])).await;
    life.advance("2026-04-11T00:00:00Z").await;
    let once = life.act("change", json!({"plan": "business"})).await;
    assert_eq!(once, ["credit basic – base: -6.67", "business – base 2026-04-11 – 2026-05-01: 20.00"]);
    life.advance("2026-04-21T00:00:00Z").await;
    let twice = life.act("change", json!({"plan": "first"})).await;
    assert_eq!(twice, ["credit business – base: -10.00", "first – base 2026-04-21 – 2026-05-01: 30.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_leaves_credit_that_pays_what_comes(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"plan": "business"})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "basic"})).await;
    assert_eq!(done, ["credit business – base: -15.00", "basic – base 2026-04-16 – 2026-05-01: 5.00"]);
    life.advance("2026-05-01T00:00:00Z").await;
    let next = life.world.list("/v1/invoices").await.remove(0);
    assert_eq!(
        [&next["total"], &next["credits_applied"], &next["status"]].map(text),
        ["10.00", "10.00", "paid"]
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_at_the_end_of_the_period_can_be_undone_until_then(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({"plan": "business"})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    let later = json!({"plan": "basic", "when": "period_end"});
    assert_eq!(life.act("change", later.clone()).await, Vec::<String>::new());
    let scheduled = life.subscription().await["scheduled"].clone();
    assert_eq!([&scheduled["at"], &scheduled["kind"]].map(text), ["2026-05-01T00:00:00Z", "change"]);
    life.refused("change", json!({"quantities": {"seats": "2"}}), 409).await;

    assert_eq!(life.act("undo", json!({})).await, Vec::<String>::new());
    assert!(life.subscription().await["scheduled"].is_null());
    life.refused("undo", json!({}), 409).await;
    life.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap(), &["business – base 2026-05-01 – 2026-06-01: 30.00"]);

    life.act("change", later).await;
    life.advance("2026-05-31T23:59:59Z").await;
    life.call("2026-05-31T23:59:59Z").await;
    life.advance("2026-06-01T00:00:00Z").await;
    assert_eq!(
        life.invoices().await.last().unwrap(),
        &["business – Calls 2026-05-01 – 2026-06-01: 0.10", "basic – base 2026-06-01 – 2026-07-01: 10.00",]
    );
    assert!(life.subscription().await["scheduled"].is_null());
    assert_eq!(life.notes().await, Vec::<String>::new());
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_scheduled_for_an_instant_happens_then(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    let later = json!({"plan": "business", "when": "2026-05-17T00:00:00Z"});
    assert_eq!(life.act("change", later).await, Vec::<String>::new());
    life.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(
        life.invoices().await,
        [
            vec!["basic – base 2026-04-01 – 2026-05-01: 10.00"],
            vec!["basic – base 2026-05-01 – 2026-06-01: 10.00"],
            vec!["business – base 2026-05-17 – 2026-06-01: 14.52"],
            vec!["business – base 2026-06-01 – 2026-07-01: 30.00"],
        ]
    );
    assert_eq!(life.notes().await, ["credit basic – base: -4.84"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_interval_begins_a_new_period_at_the_change(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T12:00:00Z").await;
    life.call("2026-04-10T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "yearly"})).await;
    assert_eq!(
        done,
        [
            "credit basic – base: -5.00",
            "basic – Calls 2026-04-01 – 2026-04-16T12:00:00Z: 0.25",
            "yearly – base 2026-04-16T12:00:00Z – 2027-04-16T12:00:00Z: 300.00",
        ]
    );
    // Half a year later back to months: 182 of the 365 days are unused.
    life.advance("2026-10-16T12:00:00Z").await;
    let back = json!({"plan": "basic", "quantities": {"seats": "0"}});
    let done = life.act("change", back).await;
    assert_eq!(
        done,
        ["credit yearly – base: -149.59", "basic – base 2026-10-16T12:00:00Z – 2026-11-16T12:00:00Z: 10.00",]
    );
    life.advance("2026-11-17T00:00:00Z").await;
    let last = life.invoices().await.pop().unwrap();
    assert_eq!(last, ["basic – base 2026-11-16T12:00:00Z – 2026-12-16T12:00:00Z: 10.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_before_the_change_is_billed_by_the_old_plan_and_late_usage_too(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    life.call("2026-04-05T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "business"})).await;
    assert_eq!(
        done,
        [
            "credit basic – base: -5.00",
            "basic – Calls 2026-04-01 – 2026-04-16: 0.25",
            "business – base 2026-04-16 – 2026-05-01: 15.00",
        ]
    );
    // The change's instant belongs to the new plan.
    life.advance("2026-04-17T00:00:00Z").await;
    for at in ["2026-04-15T23:59:59Z", "2026-04-16T00:00:00Z", "2026-04-16T00:00:01Z"] {
        life.call(at).await;
    }
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(
        life.invoices().await.last().unwrap(),
        &[
            "business – base 2026-05-01 – 2026-06-01: 30.00",
            "business – Calls 2026-04-16 – 2026-05-01: 0.20",
            "basic – Calls (usage told later) 2026-04-01 – 2026-04-16: 0.25",
        ]
    );
    for (at, plan) in [("2026-04-15T23:59:59Z", "0.25"), ("2026-04-16T00:00:00Z", "0.20")] {
        let told = life.world.get(&format!("/v1/usage_events/{at}/explain")).await;
        assert_eq!(told["billed"], true, "{told}");
        let invoice =
            life.world.get(&format!("/v1/invoices/{}", text(&told["outcomes"][0]["invoice"]))).await;
        let lines = invoice["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["id"] == told["outcomes"][0]["line"]).unwrap();
        assert_eq!(text(&line["amount"]), plan);
    }
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn late_usage_is_billed_by_a_change_that_bills_nothing_else(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-05-01T00:00:00Z").await;
    life.call("2026-04-20T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "business", "proration": "none"})).await;
    assert_eq!(done, ["basic – Calls (usage told later) 2026-04-01 – 2026-05-01: 0.25"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn fees_in_arrears_are_billed_up_to_the_change_by_the_old_plan(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on).await else { return };
    for (code, amount) in [("small", "30"), ("large", "60")] {
        let mut fee = fee("base", amount);
        fee["timing"] = json!("arrears");
        world.create("/v1/plans", plan(code, "month", &[fee])).await;
    }
    let body = json!({"plan": "small", "quantities": {}});
    let life = Life::begin(world, "2026-04-01T00:00:00Z", body).await;
    life.advance("2026-04-11T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "large"})).await;
    assert_eq!(done, ["small – base 2026-04-01 – 2026-04-11: 10.00"]);
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap(), &["large – base 2026-04-11 – 2026-05-01: 40.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn by_seconds_the_elapsed_time_counts_and_without_proration_nothing_is_billed_before_the_next_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T12:00:00Z").await;
    let done = life.act("change", json!({"plan": "business", "proration": "second"})).await;
    assert_eq!(
        done,
        ["credit basic – base: -4.83", "business – base 2026-04-16T12:00:00Z – 2026-05-01: 14.50",]
    );
    let done = life.act("change", json!({"plan": "basic", "proration": "none"})).await;
    assert_eq!(done, Vec::<String>::new());
    life.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap(), &["basic – base 2026-05-01 – 2026-06-01: 10.00"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_credit_has_the_tax_of_what_it_gives_back(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on).await else { return };
    world.create("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "19", "default": true})).await;
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({})).await;
    life.advance("2026-04-16T00:00:00Z").await;
    life.act("change", json!({"plan": "business"})).await;
    let note = life.world.list("/v1/credit_notes").await.remove(0);
    assert_eq!([&note["subtotal"], &note["tax_total"], &note["total"]].map(text), ["5.00", "0.95", "5.95"]);
    assert_eq!(text(&note["reason"]), "unused");
    let invoice = life.world.list("/v1/invoices").await.remove(0);
    assert_eq!([&invoice["total"], &invoice["amount_due"]].map(text), ["17.85", "11.90"]);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_its_reason(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    let mut euro = plan("euro", "month", &[fee("base", "10")]);
    euro["currency"] = json!("EUR");
    life.world.create("/v1/plans", euro).await;
    for (body, error) in [
        (json!({"plan": "euro"}), "/plan currency_mismatch"),
        (json!({"quantities": {"rooms": "1"}}), "/quantities/rooms unknown"),
        (json!({"quantities": {"seats": "-1"}}), "/quantities/seats out_of_range"),
        (json!({"plan": "business", "when": "2026-03-01T00:00:00Z"}), "/when out_of_range"),
        (json!({"plan": "business", "when": "2040-03-01T00:00:00Z"}), "/when out_of_range"),
    ] {
        assert_eq!(life.refused("change", body.clone(), 422).await, [error], "{body}");
    }
    assert_eq!(life.refused("change", json!({"plan": "nothing"}), 404).await, ["/plan unknown"]);
    let stranger = life.world.stranger().await;
    let path = format!("/v1/subscriptions/{}/change", life.id);
    for path in [path.clone(), format!("{path}/preview")] {
        let request = life.world.request_as(&stranger, "POST", &path).json(&json!({"plan": "business"}));
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
    assert_eq!(life.invoices().await.len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_interval_does_not_fit_the_alignment_is_refused_now_and_later(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({"alignment": {"day_of_month": 15}})).await else { return };
    life.world.create("/v1/plans", plan("weekly", "week", &[fee("base", "7")])).await;
    for when in ["now", "period_end", "2026-04-20T00:00:00Z"] {
        let body = json!({"plan": "weekly", "when": when});
        assert_eq!(life.refused("change", body, 422).await, ["/plan unsupported"]);
    }
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap(), &["basic – base 2026-04-15 – 2026-05-15: 10.00"]);
}
