//! Pauses.

use rstest::rstest;
use serde_json::json;

use super::Life;
use crate::support::{
    Engine::{self, *},
    text,
};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_within_a_period_costs_nothing_and_the_rest_is_billed_again(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-11T00:00:00Z").await;
    assert_eq!(life.act("pause", json!({})).await, ["credit basic – base: -6.67"]);
    assert_eq!(text(&life.subscription().await["status"]), "paused");
    assert_eq!(life.act("pause", json!({})).await, Vec::<String>::new());
    life.refused("change", json!({"plan": "business"}), 409).await;

    life.advance("2026-04-21T00:00:00Z").await;
    assert_eq!(life.act("resume", json!({})).await, ["basic – base 2026-04-21 – 2026-05-01: 3.33"]);
    assert_eq!(text(&life.subscription().await["status"]), "active");
    assert_eq!(life.act("resume", json!({})).await, Vec::<String>::new());
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_over_a_renewal_keeps_the_periods_and_bills_the_rest_of_the_one_it_ends_in(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    life.call("2026-04-05T00:00:00Z").await;
    let until = json!({"resume_at": "2026-06-16T00:00:00Z"});
    assert_eq!(
        life.act("pause", until).await,
        ["credit basic – base: -5.00", "basic – Calls 2026-04-01 – 2026-04-16: 0.25",]
    );
    // What is used in the pause is nobody's bill.
    life.advance("2026-05-15T00:00:00Z").await;
    life.call("2026-04-20T00:00:00Z").await;
    life.call("2026-05-10T00:00:00Z").await;
    life.advance("2026-06-20T00:00:00Z").await;
    life.call("2026-06-17T00:00:00Z").await;
    life.advance("2026-07-02T00:00:00Z").await;
    assert_eq!(
        life.invoices().await,
        [
            vec!["basic – base 2026-04-01 – 2026-05-01: 10.00"],
            vec!["basic – Calls 2026-04-01 – 2026-04-16: 0.25"],
            vec!["basic – base 2026-06-16 – 2026-07-01: 5.00"],
            vec![
                "basic – base 2026-07-01 – 2026-08-01: 10.00",
                "basic – Calls 2026-06-16 – 2026-07-01: 0.25"
            ],
        ]
    );
    let told = life.world.get("/v1/usage_events/2026-05-10T00:00:00Z/explain").await;
    assert_eq!(
        (told["billed"].as_bool(), text(&told["reason"])),
        (Some(false), "no_subscription".to_owned())
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_in_a_pause_is_billed_if_that_is_wanted(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(life.act("pause", json!({"usage": "bill"})).await, ["credit basic – base: -5.00"]);
    life.advance("2026-04-21T00:00:00Z").await;
    life.call("2026-04-20T00:00:00Z").await;
    life.call("2026-04-10T00:00:00Z").await;
    life.advance("2026-05-16T00:00:00Z").await;
    life.call("2026-05-10T00:00:00Z").await;
    assert_eq!(life.act("resume", json!({})).await, ["basic – base 2026-05-16 – 2026-06-01: 5.16"]);
    life.advance("2026-06-02T00:00:00Z").await;
    assert_eq!(
        life.invoices().await[1..],
        [
            vec!["basic – Calls 2026-04-01 – 2026-05-01: 0.50"],
            vec!["basic – base 2026-05-16 – 2026-06-01: 5.16"],
            vec![
                "basic – base 2026-06-01 – 2026-07-01: 10.00",
                "basic – Calls 2026-05-01 – 2026-06-01: 0.25"
            ],
        ]
    );
    life.books_are_right().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_can_be_canceled_and_grants_nothing(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(life) = Life::new(on, json!({})).await else { return };
    life.advance("2026-04-16T00:00:00Z").await;
    life.refused("pause", json!({"resume_at": "2026-04-15T00:00:00Z"}), 422).await;
    life.act("pause", json!({"resume_at": "2026-05-16T00:00:00Z"})).await;
    assert_eq!(life.act("cancel", json!({"when": "now", "unused": "credit"})).await, Vec::<String>::new());
    assert_eq!(text(&life.subscription().await["status"]), "canceled");
    life.advance("2026-08-01T00:00:00Z").await;
    assert_eq!(life.invoices().await.len(), 1);
    life.refused("resume", json!({}), 409).await;
    life.refused("pause", json!({}), 409).await;
}
