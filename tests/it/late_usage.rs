//! Usage that comes after its period was billed.

use rstest::rstest;
use serde_json::json;

use crate::support::{Engine, Engine::*, Metered, World};

/// Of the customer's calls the first hundred are free, and each after them is 0.50.
async fn metered(on: Engine) -> Option<Metered> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    let tiers = json!([{"up_to": "100", "unit_price": "0"}, {"up_to": null, "unit_price": "0.5"}]);
    Some(Metered::subscribe(world, "calls", json!({"type": "graduated", "tiers": tiers})).await)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_its_period_was_billed_is_on_the_next_invoice_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    shop.call("a", "90", "2026-02-01T00:00:00Z").await;
    shop.advance("2026-03-02T00:00:00Z").await;
    shop.call("b", "20", "2026-02-28T23:59:59Z").await;
    shop.call("c", "300", "2026-03-01T00:00:00Z").await;
    shop.advance("2026-04-02T00:00:00Z").await;
    shop.call("d", "1", "2026-02-28T23:59:59Z").await;
    shop.call("e", "1", "2026-03-28T23:59:59Z").await;

    shop.advance("2026-07-02T00:00:00Z").await;

    // 110 calls in February: ten of them cost, and the tiers are crossed once.
    assert_eq!(
        shop.lines().await,
        [
            "cycle usage 2026-02 90 0.00",
            "cycle usage 2026-03 300 100.00",
            "cycle usage_adjustment 2026-02 20 5.00",
            "cycle usage_adjustment 2026-02 1 0.50",
            "cycle usage_adjustment 2026-03 1 0.50",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_subscription_has_ended_has_an_invoice_of_its_own(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(shop) = metered(on).await else { return };
    shop.advance("2026-02-10T00:00:00Z").await;
    shop.call("a", "102", "2026-02-09T00:00:00Z").await;
    shop.world.post(&format!("/v1/subscriptions/{}/cancel", shop.subscription), json!({"when": "now"})).await;
    shop.advance("2026-02-11T00:00:00Z").await;

    for (id, n, at) in [
        ("b", "2", "2026-02-09T00:00:00Z"),
        ("c", "4", "2026-02-08T00:00:00Z"),
        ("after", "1", "2026-02-10T12:00:00Z"),
    ] {
        shop.call(id, n, at).await;
        shop.advance(if id == "b" { "2026-02-12T00:00:00Z" } else { "2026-02-13T00:00:00Z" }).await;
    }

    assert_eq!(
        shop.lines().await,
        [
            "cancel usage 2026-02 102 1.00",
            "adjustment usage_adjustment 2026-02 2 1.00",
            "adjustment usage_adjustment 2026-02 4 2.00",
        ]
    );
}
