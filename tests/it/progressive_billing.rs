//! Usage that is billed as soon as it comes to an amount: all invoices of a period together are what one bill would
//! have been, to the cent.

use rstest::rstest;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, World, process::Chance, text};

/// A world that sells the `n` of the events `call` by some prices, with 1000.00 a month in advance; its customers live
/// on one test clock, from February on.
struct Sales {
    world: World,
    clock: String,
}

/// The first 100 for 0.333, the next 150 for 0.1267 and 1 once, the others for 0.0411 each.
fn graduated() -> Value {
    let tiers = json!([{"up_to": "100", "unit_price": "0.333"},
        {"up_to": "250", "unit_price": "0.1267", "flat_fee": "1"}, {"up_to": null, "unit_price": "0.0411"}]);
    json!({"model": {"type": "graduated", "tiers": tiers}})
}

impl Sales {
    async fn new(on: Engine, prices: &[Value]) -> Option<Self> {
        let world = World::new(on).await?;
        let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum",
            "property": "n"});
        world.create("/v1/metrics", metric).await;
        let base = json!({"code": "base", "name": "Base", "kind": "fixed", "timing": "advance",
            "model": {"type": "flat", "amount": "1000"}});
        let of = |(number, price): (usize, &Value)| {
            let mut whole = price.clone();
            for (field, value) in [("kind", "usage"), ("metric", "calls"), ("name", "Calls")] {
                whole[field] = json!(value);
            }
            whole["code"] = json!(format!("calls-{number}"));
            whole
        };
        let prices: Vec<Value> = std::iter::once(base).chain(prices.iter().enumerate().map(of)).collect();
        let plan = json!({"code": "api", "name": "API", "currency": "USD",
            "interval": {"unit": "month", "count": 1}, "prices": prices});
        world.create("/v1/plans", plan).await;
        let clock = world.test_clock("2026-02-01T00:00:00Z").await;
        Some(Self { world, clock })
    }

    /// A customer whose usage is billed as soon as it comes to `threshold`, if there is one.
    async fn customer(&self, name: &str, threshold: Option<&str>) -> String {
        let customer = json!({"external_id": name, "name": name, "test_clock": self.clock});
        self.world.create("/v1/customers", customer).await;
        let subscription = json!({"customer": name, "plan": "api", "collection": "send_invoice",
            "net_terms_days": 365, "progressive_billing_threshold": threshold});
        let made = self.world.create("/v1/subscriptions", subscription).await;
        self.world.work().await;
        text(&made["id"])
    }

    async fn call(&self, customer: &str, event_id: &str, n: &str, region: &str) {
        let event = json!({"event_id": format!("{customer}-{event_id}"), "customer_id": customer,
            "event_name": "call", "timestamp": "2026-02-01T00:00:00Z", "metadata": {"n": n, "region": region}});
        let answer = self.world.post("/v1/usage_events", event).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
        self.world.work().await;
    }

    async fn void(&self, customer: &str, event_id: &str) {
        self.world.post(&format!("/v1/usage_events/{customer}-{event_id}/void"), json!({})).await;
        self.world.work().await;
    }

    async fn advance(&self, to: &str) {
        self.world.advance(&self.clock, to).await;
    }

    /// A customer's invoices, the oldest first.
    async fn invoices(&self, customer: &str) -> Vec<Value> {
        let mut invoices = self.world.list(&format!("/v1/invoices?customer={customer}&limit=100")).await;
        invoices.reverse();
        invoices
    }

    /// Their lines of usage: `reason kind quantity amount`.
    async fn lines(&self, customer: &str) -> Vec<String> {
        let invoices = self.invoices(customer).await;
        let of = |invoice: &Value| -> Vec<String> {
            let lines = invoice["lines"].as_array().unwrap().iter().filter(|line| line["kind"] != "fixed");
            let words = |line: &Value| {
                [&invoice["reason"], &line["kind"], &line["quantity"], &line["amount"]].map(text)
            };
            lines.map(|line| words(line).join(" ")).collect()
        };
        invoices.iter().flat_map(of).collect()
    }

    /// What all lines of usage come to.
    async fn total(&self, customer: &str) -> Decimal {
        let lines = self.lines(customer).await;
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<Decimal>().unwrap()).sum()
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn tiers_that_are_crossed_over_three_invoices_come_to_what_one_bill_does(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    sales.customer("one", None).await;
    let subscription = sales.customer("soon", Some("20")).await;
    let calls = [("a", "60"), ("b", "0.06"), ("c", "80"), ("d", "0.7"), ("e", "500"), ("f", "40")];
    for (event_id, n) in calls {
        sales.call("one", event_id, n, "eu").await;
        sales.call("soon", event_id, n, "eu").await;
    }
    // 60 are 19.98; 60.06 are 19.99998, which is 20.00. 140.76 are 33.3 + 1 + 40.76 × 0.1267 = 39.464292; 640.76 are
    // 33.3 + 20.005 + 390.76 × 0.0411 = 69.365236.
    let soon = ["threshold usage 60.06 20.00", "threshold usage 580.7 49.37"];
    assert_eq!(sales.lines("soon").await, soon, "and 0.04 less than the threshold is not billed between");
    let usage = sales.world.get(&format!("/v1/subscriptions/{subscription}/usage")).await;
    assert_eq!((&usage["amount"], &usage["invoiced_amount"]), (&json!("71.01"), &json!("69.37")));
    sales.call("soon", "g", "500", "eu").await;
    sales.call("one", "g", "500", "eu").await;

    sales.advance("2026-03-01T00:00:00Z").await;

    // 1180.76 are 33.3 + 20.005 + 930.76 × 0.0411 = 91.559236.
    assert_eq!(sales.lines("one").await, ["cycle usage 1180.76 91.56"]);
    let rest = ["threshold usage 540 22.19"];
    assert_eq!(sales.lines("soon").await, [&soon[..], &rest].concat());
    sales.call("soon", "late", "1", "eu").await;
    sales.call("one", "late", "1", "eu").await;
    sales.advance("2026-04-01T00:00:00Z").await;
    assert_eq!(sales.total("soon").await, sales.total("one").await);
    assert_eq!(sales.lines("soon").await.last().unwrap(), "cycle usage_adjustment 1 0.04");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_period_bills_the_rest_the_minimum_and_the_maximum_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let mut most = json!({"model": {"type": "per_unit", "unit_price": "1"}});
    most["minimum_amount"] = json!("30.00");
    most["maximum_amount"] = json!("40.00");
    let Some(sales) = Sales::new(on, &[most]).await else { return };
    for name in ["little", "much"] {
        sales.customer(name, Some("10.00")).await;
        sales.call(name, "a", "9.99", "eu").await;
        assert!(sales.lines(name).await.is_empty(), "a cent below the threshold");
        sales.call(name, "b", "0.01", "eu").await;
        assert_eq!(sales.lines(name).await, ["threshold usage 10 10.00"], "exactly at it");
        sales.call(name, "c", "5", "eu").await;
    }
    sales.call("much", "d", "20", "eu").await;
    sales.call("much", "e", "20", "eu").await;

    sales.advance("2026-03-01T00:00:00Z").await;

    let little = ["threshold usage 10 10.00", "cycle usage 5 5.00", "cycle true_up 1 15.00"];
    assert_eq!(sales.lines("little").await, little);
    // 20 more would be 55.00, of which 40.00 is the most: 5.00 are left to bill, and the period's end bills them.
    let much = ["threshold usage 10 10.00", "threshold usage 25 25.00", "cycle usage 20 5.00"];
    assert_eq!(sales.lines("much").await, much);
    sales.advance("2026-04-01T00:00:00Z").await;
    assert_eq!(
        (sales.total("little").await, sales.total("much").await),
        (60.into(), 70.into()),
        "30 for March"
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_voided_after_it_was_billed_is_taken_off_at_the_end_of_the_period(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    sales.customer("soon", Some("20")).await;
    sales.call("soon", "a", "100", "eu").await;
    sales.call("soon", "b", "100", "eu").await;
    sales.void("soon", "a").await;
    let before = ["threshold usage 100 33.30"];
    assert_eq!(sales.lines("soon").await[..1], before);
    sales.call("soon", "c", "20", "eu").await;

    sales.advance("2026-03-01T00:00:00Z").await;

    // 120 are 33.30 + 1 + 2.534.
    assert_eq!(sales.lines("soon").await, ["threshold usage 100 33.30", "cycle usage 20 3.53"]);
    sales.void("soon", "c").await;
    sales.advance("2026-04-01T00:00:00Z").await;
    assert_eq!(sales.lines("soon").await.last().unwrap(), "cycle usage_adjustment -20 -3.53");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_canceled_subscription_was_billed_too_early_is_given_back(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    let subscription = sales.customer("soon", Some("20")).await;
    sales.call("soon", "a", "100", "eu").await;
    sales.void("soon", "a").await;
    sales.advance("2026-02-10T00:00:00Z").await;
    sales.world.post(&format!("/v1/subscriptions/{subscription}/cancel"), json!({"when": "now"})).await;
    sales.world.work().await;
    assert_eq!(sales.lines("soon").await, ["threshold usage 100 33.30", "cancel usage -100 0.00"]);

    sales.advance("2026-02-11T00:00:00Z").await;
    sales.advance("2026-02-12T00:00:00Z").await;

    let notes = sales.world.list("/v1/credit_notes").await;
    let told: Vec<_> =
        notes.iter().map(|note| ["total", "credit_left"].map(|field| text(&note[field]))).collect();
    assert_eq!(told, [["33.30", "33.30"]]);
    assert_eq!(sales.lines("soon").await.len(), 2);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_canceled_is_billed_what_is_left_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    let subscription = sales.customer("soon", Some("20")).await;
    sales.call("soon", "a", "100", "eu").await;
    sales.call("soon", "b", "50", "eu").await;
    sales.advance("2026-02-10T00:00:00Z").await;
    sales.world.post(&format!("/v1/subscriptions/{subscription}/cancel"), json!({"when": "now"})).await;
    sales.world.work().await;
    assert_eq!(sales.lines("soon").await, ["threshold usage 100 33.30", "cancel usage 50 7.34"]);

    // 160 are 33.3 + 1 + 7.602. The period was cut short: what comes for it now still knows what was billed of it.
    sales.call("soon", "c", "10", "eu").await;
    sales.world.sweep().await;
    sales.advance("2026-02-11T00:00:00Z").await;
    assert_eq!(sales.lines("soon").await.last().unwrap(), "adjustment usage_adjustment 10 1.26");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_what_was_billed_before(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    sales.customer("soon", Some("20")).await;
    sales.call("soon", "a", "100", "eu").await;
    sales.advance("2026-02-02T00:00:00Z").await;
    sales.call("soon", "b", "300", "eu").await;
    let invoices = sales.invoices("soon").await;
    let [_, first, second] = invoices.as_slice() else { panic!("{invoices:#?}") };
    let explained = async |invoice: &Value| {
        let explained = sales.world.get(&format!("/v1/invoices/{}/explain", text(&invoice["id"]))).await;
        let line = &explained["lines"][0];
        ["rated_amount", "already_billed", "exact_amount", "amount"].map(|field| text(&line[field]))
    };
    assert_eq!(explained(first).await, ["33.3", "0.00", "33.3", "33.30"]);
    // 400 are 33.3 + 20.005 + 150 × 0.0411.
    assert_eq!(explained(second).await, ["59.47", "33.30", "26.17", "26.17"]);
    let event = sales.world.get("/v1/usage_events/soon-b/explain").await;
    assert!(event.to_string().contains(&text(&second["id"])), "{event:#}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_used_and_voided_both_ways_of_billing_come_to_the_same(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let mut free = json!({"model": {"type": "per_unit", "unit_price": "0.0173"}, "free_quantity": "30"});
    free["filters"] =
        json!([{"where": {"region": ["eu"]}, "model": {"type": "per_unit", "unit_price": "0.3"}}]);
    let volume = json!([{"up_to": "100", "unit_price": "0.5"}, {"up_to": null, "unit_price": "0.1"}]);
    let prices = [
        graduated(),
        free,
        json!({"model": {"type": "volume", "tiers": volume}, "group_by": ["region"]}),
        json!({"model": {"type": "package", "package_size": "7", "package_price": "1.37"}, "maximum_amount": "60.00",
            "minimum_amount": "25.00"}),
        json!({"model": {"type": "percentage", "rate": "2.9", "fixed_fee": "0.30"}}),
    ];
    let Some(sales) = Sales::new(on, &prices).await else { return };
    let mut chance = Chance::new();
    sales.customer("one", None).await;
    sales.customer("soon", Some("7.77")).await;
    for number in 0..40 {
        let (cents, region) =
            (chance.below(4000), ["eu", "us", "in"][usize::try_from(chance.below(3)).unwrap()]);
        let voided = (number > 5 && chance.below(6) == 0).then(|| chance.below(number));
        for customer in ["one", "soon"] {
            let n = format!("{}.{:02}", cents / 100, cents % 100);
            sales.call(customer, &number.to_string(), &n, region).await;
            if let Some(voided) = voided {
                sales.void(customer, &voided.to_string()).await;
            }
        }
    }
    let thresholds = sales.lines("soon").await;
    assert!(thresholds.len() > 10, "{thresholds:#?}");
    for until in ["2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"] {
        sales.advance(until).await;
        let (one, soon) = (sales.total("one").await, sales.total("soon").await);
        assert_eq!(one, soon, "{until}: {:#?} {:#?}", sales.lines("one").await, sales.lines("soon").await);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_an_amount_of_the_plans_currency_that_there_can_be_an_invoice_of(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(sales) = Sales::new(on, &[graduated()]).await else { return };
    let base =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "1"}});
    let plan = json!({"code": "flat", "name": "Flat", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [base]});
    sales.world.create("/v1/plans", plan).await;
    sales.world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    for (plan, threshold, code) in [
        ("api", "0", "out_of_range"),
        ("api", "-1", "out_of_range"),
        ("api", "0.001", "malformed"),
        ("api", "99999999999999999999", "out_of_range"),
        ("flat", "10", "no_usage"),
    ] {
        let body = json!({"customer": "acme", "plan": plan, "progressive_billing_threshold": threshold});
        let refused = sales.world.send("POST", "/v1/subscriptions", &body).await;
        let error = format!("/progressive_billing_threshold {code}");
        assert_eq!((refused.status, refused.errors()), (422, vec![error]), "{threshold}");
    }
    let body = json!({"customer": "acme", "plan": "api", "progressive_billing_threshold": 12.5});
    let made = sales.world.create("/v1/subscriptions", body).await;
    assert_eq!(made["progressive_billing_threshold"], "12.50");
}
