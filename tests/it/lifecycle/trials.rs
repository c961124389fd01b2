//! Trials.

use rstest::rstest;
use serde_json::json;

use super::{Life, world};
use crate::support::{
    Engine::{self, *},
    text,
};

const TRIAL: &str = "2026-04-15T00:00:00Z";

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_in_a_trial_goes_on_trying_and_costs_nothing_but_usage(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({"trial_end": TRIAL})).await else { return };
    life.advance("2026-04-08T00:00:00Z").await;
    life.call("2026-04-02T00:00:00Z").await;
    let done = life.act("change", json!({"plan": "business"})).await;
    assert_eq!(done, ["basic – Calls 2026-04-01 – 2026-04-08: 0.25"]);
    assert_eq!(text(&life.subscription().await["status"]), "trialing");
    life.advance("2026-04-10T00:00:00Z").await;
    life.call("2026-04-09T00:00:00Z").await;
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(
        life.invoices().await.last().unwrap(),
        &["business – base 2026-04-15 – 2026-05-15: 30.00", "business – Calls 2026-04-08 – 2026-04-15: 0.10",]
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_interval_in_a_trial_counts_from_its_end(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"trial_end": TRIAL})).await else { return };
    life.advance("2026-04-08T00:00:00Z").await;
    assert_eq!(life.act("change", json!({"plan": "yearly"})).await, Vec::<String>::new());
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(life.invoices().await, [vec!["yearly – base 2026-04-15 – 2027-04-15: 300.00"]]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_extended_shortened_and_announced_anew_without_an_invoice(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({"trial_end": TRIAL})).await else { return };
    life.advance("2026-04-13T00:00:00Z").await;
    for end in ["2026-04-30T00:00:00Z", "2026-05-20T00:00:00Z"] {
        assert_eq!(life.act("extend_trial", json!({"trial_end": end})).await, Vec::<String>::new());
        assert_eq!(text(&life.subscription().await["trial_end"]), end);
    }
    assert_eq!(
        life.refused("extend_trial", json!({"trial_end": "2026-04-12T00:00:00Z"}), 422).await,
        ["/trial_end out_of_range"]
    );
    life.advance("2026-05-19T00:00:00Z").await;
    assert_eq!(life.invoices().await, Vec::<Vec<String>>::new());
    let told = life.world.list("/v1/events?type=subscription.trial_will_end").await;
    assert_eq!(told.len(), 2, "once for each end that came near");
    life.advance("2026-05-21T00:00:00Z").await;
    assert_eq!(life.invoices().await, [vec!["basic – base 2026-05-20 – 2026-06-20: 10.00"]]);
    life.refused("extend_trial", json!({"trial_end": "2026-07-01T00:00:00Z"}), 409).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_ended_now_begins_the_first_paid_period(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({"trial_end": TRIAL})).await else { return };
    life.advance("2026-04-08T06:00:00Z").await;
    life.call("2026-04-02T00:00:00Z").await;
    let done = life.act("end_trial", json!({})).await;
    assert_eq!(
        done,
        [
            "basic – base 2026-04-08T06:00:00Z – 2026-05-08T06:00:00Z: 10.00",
            "basic – Calls 2026-04-01 – 2026-04-08T06:00:00Z: 0.25",
        ]
    );
    assert_eq!(text(&life.subscription().await["status"]), "active");
    assert_eq!(life.act("end_trial", json!({})).await, Vec::<String>::new());
    life.advance("2026-05-09T00:00:00Z").await;
    assert_eq!(life.invoices().await.len(), 2);
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_ended_the_instant_it_began_never_was(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world(on).await else { return };
    let life = Life::begin(world, "2026-04-01T00:00:00Z", json!({"trial_end": TRIAL})).await;
    let done = life.act("end_trial", json!({})).await;
    assert_eq!(done, ["basic – base 2026-04-01 – 2026-05-01: 10.00"]);
    assert_eq!(text(&life.subscription().await["status"]), "active");
    life.refused("extend_trial", json!({"trial_end": TRIAL}), 409).await;
}
