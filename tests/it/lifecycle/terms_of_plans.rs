//! What a plan has beside its prices for each period, over changes: its minimum, what is paid once, and inclusive taxes.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Life, calls, fee, plan, world};
use crate::support::{
    Engine::{self, *},
    text,
};

const TRIAL: &str = "2026-04-15T00:00:00Z";

/// `least` and `more`: 10.00 and 30.00 a month, 0.25 and 0.10 for each call, a setup fee of 7.00 and 9.00, at least 100.00
/// and 130.00 a month.
async fn least(on: Engine, more: Value) -> Option<Life> {
    let world = world(on).await?;
    for (code, base, call, setup, minimum) in
        [("least", "10", "0.25", "7", "100"), ("more", "30", "0.10", "9", "130")]
    {
        let once = json!({"code": "setup", "name": "Setup", "kind": "one_time",
            "model": {"type": "flat", "amount": setup}});
        let mut plan = plan(code, "month", &[fee("base", base), calls(call), once]);
        plan["minimum_commitment"] = json!(minimum);
        world.create("/v1/plans", plan).await;
    }
    let mut terms = json!({"plan": "least", "quantities": {}});
    terms.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Some(Life::begin(world, "2026-04-01T00:00:00Z", terms).await)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_tops_nothing_up_and_the_periods_end_does_for_both_parts_by_the_plan_it_has_then(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = least(on, json!({})).await else { return };
    assert_eq!(
        life.invoices().await,
        [["least – base 2026-04-01 – 2026-05-01: 10.00", "least – Setup 2026-04-01 – 2026-05-01: 7.00"]]
    );
    life.advance("2026-04-16T00:00:00Z").await;
    life.call("2026-04-05T00:00:00Z").await;
    // The setup fee of the new plan is not owed.
    assert_eq!(
        life.act("change", json!({"plan": "more"})).await,
        [
            "credit least – base: -5.00",
            "least – Calls 2026-04-01 – 2026-04-16: 0.25",
            "more – base 2026-04-16 – 2026-05-01: 15.00",
        ]
    );
    life.advance("2026-04-20T00:00:00Z").await;
    life.call("2026-04-17T00:00:00Z").await;
    life.advance("2026-05-02T00:00:00Z").await;
    // 130 less 10, less the 5 that were given back, 15, 0.25 and 0.10.
    assert_eq!(
        *life.invoices().await.last().unwrap(),
        [
            "more – base 2026-05-01 – 2026-06-01: 30.00",
            "more – Calls 2026-04-16 – 2026-05-01: 0.10",
            "more – Minimum commitment 2026-04-01 – 2026-05-01: 109.65",
        ]
    );

    // Told later of either part, it comes off what the whole was topped up by.
    life.call("2026-04-06T00:00:00Z").await;
    life.call("2026-04-18T00:00:00Z").await;
    life.advance("2026-06-02T00:00:00Z").await;
    let june = life.invoices().await.pop().unwrap();
    let april: Vec<&String> =
        june.iter().filter(|line| line.contains("– 2026-05-01: ") || line.contains("04-16:")).collect();
    assert_eq!(
        april,
        [
            "least – Calls (usage told later) 2026-04-01 – 2026-04-16: 0.25",
            "more – Calls (usage told later) 2026-04-16 – 2026-05-01: 0.10",
            "more – Minimum commitment (usage told later) 2026-04-01 – 2026-05-01: -0.35",
        ]
    );
    assert_eq!(june.last().unwrap(), "more – Minimum commitment 2026-05-01 – 2026-06-01: 100.00");
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_told_after_a_change_within_its_period_counts_when_that_is_topped_up(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = least(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    life.act("change", json!({"plan": "more"})).await;
    life.call("2026-04-05T00:00:00Z").await;
    life.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(
        *life.invoices().await.last().unwrap(),
        [
            "more – base 2026-05-01 – 2026-06-01: 30.00",
            "least – Calls (usage told later) 2026-04-01 – 2026-04-16: 0.25",
            "more – Minimum commitment 2026-04-01 – 2026-05-01: 109.75",
        ]
    );
    life.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(life.invoices().await.last().unwrap().len(), 2, "nothing was missing");
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_ends_the_period_tops_up_its_days_and_a_period_that_ends_in_a_pause_is_not_topped_up(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = least(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    // 15 of 30 days of 100.00, less the half of 10.00 that was used.
    assert_eq!(
        life.act("change", json!({"plan": "more", "anchor": "reset"})).await,
        [
            "credit least – base: -5.00",
            "more – base 2026-04-16 – 2026-05-16: 30.00",
            "least – Minimum commitment 2026-04-01 – 2026-04-16: 45.00",
        ]
    );
    life.advance("2026-05-01T00:00:00Z").await;
    life.call("2026-04-20T00:00:00Z").await;
    life.act("pause", json!({})).await;
    life.advance("2026-05-20T00:00:00Z").await;
    life.call("2026-04-21T00:00:00Z").await;
    assert_eq!(
        life.act("resume", json!({})).await,
        [
            "more – base 2026-05-20 – 2026-06-16: 26.13",
            "more – Calls (usage told later) 2026-04-16 – 2026-05-01: 0.10",
        ]
    );
    life.advance("2026-06-17T00:00:00Z").await;
    let invoices = life.invoices().await;
    let topped_up: Vec<&String> = invoices.iter().flatten().filter(|line| line.contains("Minimum")).collect();
    assert_eq!(
        topped_up,
        [
            "least – Minimum commitment 2026-04-01 – 2026-04-16: 45.00",
            "more – Minimum commitment 2026-05-16 – 2026-06-16: 103.87",
        ]
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_once_is_paid_when_a_trial_is_ended_by_the_plan_that_it_has_then(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = least(on, json!({"trial_end": TRIAL})).await else { return };
    life.advance("2026-04-08T00:00:00Z").await;
    assert_eq!(life.act("change", json!({"plan": "more"})).await, Vec::<String>::new());
    life.advance("2026-04-09T00:00:00Z").await;
    assert_eq!(
        life.act("end_trial", json!({})).await,
        ["more – base 2026-04-09 – 2026-05-09: 30.00", "more – Setup 2026-04-09 – 2026-05-09: 9.00"]
    );
    assert_eq!(life.act("end_trial", json!({})).await, Vec::<String>::new());
    life.advance("2026-04-24T00:00:00Z").await;
    life.act("pause", json!({})).await;
    life.advance("2026-04-25T00:00:00Z").await;
    life.act("resume", json!({})).await;
    life.advance("2026-06-10T00:00:00Z").await;
    let setups = life.invoices().await.concat().into_iter().filter(|line| line.contains("Setup"));
    assert_eq!(setups.count(), 1);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_fee_that_contains_its_tax_a_change_gives_back_the_half_with_its_tax(
    #[values(Sqlite, Postgres)] on: Engine,
    #[values("change", "cancel")] verb: &str,
) {
    let Some(world) = world(on).await else { return };
    let vat = json!({"code": "vat", "name": "VAT", "rate": "20", "inclusive": true, "default": true});
    world.create("/v1/taxes", vat).await;
    world.create("/v1/plans", plan("gross", "month", &[fee("base", "12")])).await;
    world.create("/v1/plans", plan("double", "month", &[fee("base", "24")])).await;
    let gross = json!({"plan": "gross", "quantities": {}});
    let life = Life::begin(world, "2026-04-01T00:00:00Z", gross).await;
    life.advance("2026-04-16T00:00:00Z").await;
    if verb == "change" {
        let done = life.act("change", json!({"plan": "double"})).await;
        assert_eq!(done, ["credit gross – base: -5.00", "double – base 2026-04-16 – 2026-05-01: 12.00"]);
    } else {
        let done = life.act("cancel", json!({"when": "now", "unused": "credit"})).await;
        assert_eq!(done, ["offset gross – base: -5.00"]);
    }
    let note = life.world.list("/v1/credit_notes").await.remove(0);
    assert_eq!(["subtotal", "tax_total", "total"].map(|field| text(&note[field])), ["5.00", "1.00", "6.00"]);
    life.books_are_right().await;
}
