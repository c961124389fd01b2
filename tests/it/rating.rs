//! Metrics, prices of usage, and what they come to: to the cent.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, World, text};

/// A customer `acme` on a test clock that stands near the end of February, when it started with these prices.
async fn metered(on: Engine, metrics: &[Value], prices: Value) -> Option<(World, String, String)> {
    let world = World::new(on).await?;
    for metric in metrics {
        world.create("/v1/metrics", metric.clone()).await;
    }
    let plan = json!({"code": "api", "name": "API", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": prices});
    world.create("/v1/plans", plan).await;
    let clock = world.test_clock("2026-02-01T00:00:00Z").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock})).await;
    let body =
        json!({"customer": "acme", "plan": "api", "collection": "send_invoice", "net_terms_days": 365});
    let subscription = world.create("/v1/subscriptions", body).await;
    world.work().await;
    world.advance(&clock, "2026-02-27T00:00:00Z").await;
    Some((world, clock, text(&subscription["id"])))
}

async fn send(world: &World, id: &str, name: &str, at: &str, properties: Value) {
    let event = json!({"event_id": id, "customer_id": "acme", "event_name": name, "timestamp": at,
        "metadata": properties});
    let answer = world.post("/v1/usage_events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
}

/// Every line of every invoice, the oldest first: `kind month description quantity amount`.
async fn lines(world: &World) -> Vec<String> {
    let mut invoices = world.list("/v1/invoices?limit=100").await;
    invoices.reverse();
    let line = |line: &Value| {
        let words = [
            &line["kind"],
            &line["period"]["start"],
            &line["description"],
            &line["quantity"],
            &line["amount"],
        ];
        words.map(text).join(" ").replace("-01T00:00:00Z", "").replace("API – ", "")
    };
    invoices.iter().flat_map(|invoice| invoice["lines"].as_array().unwrap().iter().map(line)).collect()
}

fn tokens() -> Value {
    json!({"code": "tokens", "event_name": "completion", "aggregation": "sum", "property": "n",
        "conversion": {"operation": "divide", "factor": "1000", "rounding": "up"}})
}

fn tokens_by_region_and_model() -> Value {
    json!([{"code": "tokens", "name": "Tokens", "kind": "usage", "metric": "tokens",
        "model": {"type": "per_unit", "unit_price": "0.10"},
        "filters": [{"where": {"region": ["eu"]}, "model": {"type": "per_unit", "unit_price": "0.20"}}],
        "group_by": ["model"], "minimum_amount": "2.00"}])
}

async fn send_tokens(world: &World) {
    for (id, at, properties) in [
        ("a", "2026-02-10T00:00:00Z", json!({"n": 1500, "region": "eu", "model": "pro"})),
        ("b", "2026-02-11T00:00:00Z", json!({"n": 700, "region": "us", "model": "pro"})),
        ("c", "2026-02-12T00:00:00Z", json!({"n": 800, "region": "eu", "model": "pro"})),
        ("d", "2026-02-13T00:00:00Z", json!({"n": 400})),
    ] {
        send(world, id, "completion", at, properties).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_is_shown_as_it_was_made_and_every_mistake_in_one_has_its_place(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let metric = json!({"code": "gb", "name": "GB", "event_name": "stored", "aggregation": "weighted_sum",
        "property": "bytes", "recurring": true, "filters": [{"property": "tier", "values": ["hot"]}],
        "conversion": {"operation": "divide", "factor": "1000000000", "rounding": "none"},
        "rounding": {"mode": "ceil", "precision": 2}});
    let made = world.create("/v1/metrics", metric.clone()).await;
    for (field, value) in metric.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(world.get("/v1/metrics/gb").await, made);

    let wrong = json!({"code": "x", "event_name": "e", "aggregation": "max",
        "filters": [{"property": "", "values": []}], "conversion": {"operation": "multiply", "factor": "-1"},
        "rounding": {"mode": "floor", "precision": -16}});
    let refused = world.send("POST", "/v1/metrics", &wrong).await;
    assert_eq!(
        refused.errors(),
        [
            "/property required",
            "/filters/0/property required",
            "/conversion/factor not_positive",
            "/rounding/precision out_of_range",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_billed_by_filter_and_group_up_to_the_minimum_and_corrected_bucket_by_bucket(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((world, clock, _)) = metered(on, &[tokens()], tokens_by_region_and_model()).await else {
        return;
    };
    send_tokens(&world).await;
    world.advance(&clock, "2026-03-02T00:00:00Z").await;

    let billed = [
        "usage 2026-02 Tokens (model: none) 1 0.10",
        "usage 2026-02 Tokens (model: pro) 1 0.10",
        "usage 2026-02 Tokens (region: eu; model: pro) 3 0.60",
        "true_up 2026-02 Tokens (up to the minimum) 1 1.20",
    ];
    assert_eq!(lines(&world).await, billed);
    let invoice = &world.list("/v1/invoices").await[0];
    assert_eq!(invoice["total"], "2.00");
    assert_eq!(invoice["lines"][2]["filter"], json!({"region": ["eu"]}));
    assert_eq!(invoice["lines"][0]["group"], json!({"model": null}));
    let explained = world.get(&format!("/v1/invoices/{}/explain", text(&invoice["id"]))).await;
    assert_eq!(explained["lines"][2]["price"]["model"]["unit_price"], "0.2");
    assert_eq!(explained["lines"][2]["metric"]["conversion"]["factor"], "1000");
    assert_eq!(explained["lines"][3]["exact_amount"], "1.2");

    // 2,300 and 2,500 are 4,800: five thousands, not three and three. What is more now, the minimum needs less.
    send(
        &world,
        "late",
        "completion",
        "2026-02-20T00:00:00Z",
        json!({"n": 2500, "region": "eu", "model": "pro"}),
    )
    .await;
    send(&world, "new", "completion", "2026-02-21T00:00:00Z", json!({"n": 1, "model": "mini"})).await;
    world.advance(&clock, "2026-05-02T00:00:00Z").await;
    assert_eq!(
        lines(&world).await[4..],
        [
            "true_up 2026-03 Tokens (up to the minimum) 1 2.00",
            "usage_adjustment 2026-02 Tokens (model: mini) (usage told later) 1 0.10",
            "usage_adjustment 2026-02 Tokens (region: eu; model: pro) (usage told later) 2 0.40",
            "true_up 2026-02 Tokens (up to the minimum) (usage told later) 0 -0.50",
            "true_up 2026-04 Tokens (up to the minimum) 1 2.00",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn models_that_look_at_money_in_events_and_terms_of_a_price_bill_to_the_cent(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let paid = json!({"code": "paid", "event_name": "payment", "aggregation": "sum", "property": "amount"});
    let usage = |code: &str, model: Value| json!({"code": code, "name": code, "kind": "usage", "metric": "paid", "model": model});
    let mut capped = usage("capped", json!({"type": "per_unit", "unit_price": "1"}));
    capped["free_quantity"] = json!("100");
    capped["maximum_amount"] = json!("40.00");
    let prices = json!([
        usage("percentage", json!({"type": "percentage", "rate": "2.9", "fixed_fee": "0.30"})),
        usage("dynamic", json!({"type": "dynamic", "multiplier": "1.5"})),
        usage(
            "rates",
            json!({"type": "graduated_percentage", "tiers": [{"up_to": "100", "rate": "3"}, {"up_to": null, "rate": "2"}]})
        ),
        usage(
            "packages",
            json!({"type": "graduated_packages", "tiers": [
            {"package_size": "100", "packages": "1", "package_price": "1"}, {"package_size": "20", "package_price": "0.50"}]})
        ),
        capped,
    ]);
    let Some((world, clock, subscription)) = metered(on, &[paid], prices).await else { return };
    send(&world, "a", "payment", "2026-02-10T00:00:00Z", json!({"amount": "50"})).await;
    send(&world, "b", "payment", "2026-02-11T00:00:00Z", json!({"amount": 100})).await;

    let usage = world.get(&format!("/v1/subscriptions/{subscription}/usage")).await;
    let told: Vec<String> = usage["usage"].as_array().unwrap().iter().map(|of| text(&of["amount"])).collect();
    assert_eq!(told, ["4.95", "225.00", "4.00", "2.50", "40.00"]);
    // After 26 of 28 days: 150 × 28/26 is 161.54, and two events at their pace cost 5.33.
    assert_eq!(usage["usage"][0]["projected_amount"], "5.33");
    assert_eq!(usage["usage"][1]["projected_amount"], "242.31");
    assert_eq!(usage["usage"][4]["projected_amount"], "40.00");

    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    let month = [
        "usage 2026-02 percentage 150 4.95",
        "usage 2026-02 dynamic 150 225.00",
        "usage 2026-02 rates 150 4.00",
        "usage 2026-02 packages 150 2.50",
        "usage 2026-02 capped 150 40.00",
    ];
    assert_eq!(lines(&world).await, month);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_a_period_counts_in_it_and_time_weighs_what_is_there(
    #[values(Sqlite, Postgres)] on: Engine,
    #[values(false, true)] by_the_hour: bool,
) {
    let metrics = [
        json!({"code": "users", "event_name": "user", "aggregation": "unique_count", "property": "id", "recurring": true}),
        json!({"code": "disks", "event_name": "disk", "aggregation": "sum", "property": "n", "recurring": true}),
        json!({"code": "gb", "event_name": "disk", "aggregation": "weighted_sum", "property": "n", "recurring": true}),
        json!({"code": "peak", "event_name": "disk", "aggregation": "max", "property": "load",
            "filters": [{"property": "kind", "values": ["ssd"]}], "rounding": {"mode": "ceil", "precision": 0}}),
    ];
    let per_unit = |code: &str, price: &str, prorate: bool| {
        json!({"code": code, "name": code, "kind": "usage", "metric": code, "prorate": prorate,
            "model": {"type": "per_unit", "unit_price": price}})
    };
    let prices = json!([
        per_unit("users", "28", true),
        per_unit("disks", "1", false),
        per_unit("gb", "1", false),
        per_unit("peak", "2", false),
    ]);
    let Some((world, clock, _)) = metered(on, &metrics, prices).await else { return };
    send(&world, "u1", "user", "2026-02-10T12:00:00Z", json!({"id": "ann"})).await;
    send(&world, "u2", "user", "2026-02-10T13:00:00Z", json!({"id": "ann"})).await;
    send(&world, "d1", "disk", "2026-02-01T00:00:00Z", json!({"n": 10, "load": "2.1", "kind": "ssd"})).await;
    send(&world, "d2", "disk", "2026-02-15T00:00:00Z", json!({"n": -5, "load": "99", "kind": "tape"})).await;
    if by_the_hour {
        // Builds the hours up: from here on events are added to them, and usage is read from them.
        world.work().await;
    }
    world.advance(&clock, "2026-03-30T00:00:00Z").await;
    send(&world, "u3", "user", "2026-03-10T09:00:00Z", json!({"id": "ann", "operation": "remove"})).await;
    send(&world, "u4", "user", "2026-03-17T09:00:00Z", json!({"id": "bob"})).await;
    world.advance(&clock, "2026-04-02T00:00:00Z").await;

    let told: Vec<String> = lines(&world).await;
    let told: Vec<String> = told
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {} {}", words[1], words[2], words[4])
        })
        .collect();
    // Ann is there for 19 days of 28, then for 10 of 31, Bob for 15: 25/31 × 28 is 22.58.
    assert_eq!(
        told,
        [
            "2026-02 users 19.00",
            "2026-02 disks 5.00",
            "2026-02 gb 7.50",
            "2026-02 peak 6.00",
            "2026-03 users 22.58",
            "2026-03 disks 5.00",
            "2026-03 gb 5.00",
        ]
    );

    // A disk of February, told in April, was there in March as well.
    send(&world, "d3", "disk", "2026-03-01T00:00:00Z", json!({"n": 2})).await;
    send(&world, "d4", "disk", "2026-02-28T23:59:59Z", json!({"n": 1})).await;
    world.advance(&clock, "2026-05-02T00:00:00Z").await;
    let disks: Vec<String> =
        lines(&world).await.into_iter().filter(|line| line.contains("disks")).skip(2).collect();
    assert_eq!(
        disks,
        [
            "usage 2026-04 disks 8 8.00",
            "usage_adjustment 2026-02 disks (usage told later) 1 1.00",
            "usage_adjustment 2026-03 disks (usage told later) 3 3.00",
        ]
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_by_the_day_where_the_customer_lives_and_by_group(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    let customer = json!({"external_id": "acme", "name": "Acme", "timezone": "America/New_York"});
    world.create("/v1/customers", customer).await;
    for (code, aggregation, property, recurring) in
        [("n", "sum", "n", false), ("held", "sum", "n", true), ("who", "unique_count", "who", true)]
    {
        let metric = json!({"code": code, "event_name": "call", "aggregation": aggregation, "property": property,
            "recurring": recurring});
        world.create("/v1/metrics", metric).await;
    }
    for (id, at, properties) in [
        ("before", "2025-12-10T04:59:59Z", json!({"n": 100, "who": "x"})),
        ("a", "2025-12-10T05:00:00Z", json!({"n": 1, "who": "a", "model": "pro"})),
        ("b", "2025-12-11T04:59:59Z", json!({"n": 2, "who": "b"})),
        ("c", "2025-12-11T05:00:00Z", json!({"n": "4.5", "who": "a", "model": "pro"})),
        ("after", "2025-12-12T05:00:00Z", json!({"n": 100, "who": "y"})),
    ] {
        send(&world, id, "call", at, properties).await;
    }
    let told = async |query: &str| -> Vec<String> {
        let period = "start=2025-12-10T05:00:00Z&end=2025-12-12T05:00:00Z";
        let usage = world.get(&format!("/v1/customers/acme/usage?{period}&{query}")).await;
        let window = |window: &Value| {
            let model = window.get("key").map_or_else(String::new, |key| format!(" {}", key["model"]));
            format!("{} {}{model}", text(&window["start"]), text(&window["quantity"]))
        };
        let windows = usage["data"].as_array().unwrap().iter().map(window);
        [text(&usage["quantity"])].into_iter().chain(windows).collect()
    };
    for hours_are_built in [false, true] {
        if hours_are_built {
            world.work().await;
        }
        let (first, second) = ("2025-12-10T05:00:00Z", "2025-12-11T05:00:00Z");
        let days = |one: &str, two: &str| [format!("{first} {one}"), format!("{second} {two}")];
        assert_eq!(told("metric=n&granularity=day").await[1..], days("3", "4.5"));
        assert_eq!(told("metric=held&granularity=day").await[1..], days("103", "107.5"));
        assert_eq!(told("metric=who&granularity=day").await[1..], days("3", "3"));
        assert_eq!(told("metric=n").await, ["7.5"]);
        let groups = [
            "7.5".to_owned(),
            format!("{first} 2 null"),
            format!("{first} 1 \"pro\""),
            format!("{second} 4.5 \"pro\""),
        ];
        assert_eq!(told("metric=n&granularity=day&group_by=model").await, groups);
        let hours = told("metric=n&granularity=hour").await;
        assert_eq!((hours.len(), hours[1].as_str()), (49, "2025-12-10T05:00:00Z 1"));
    }
    let too_many = "/v1/customers/acme/usage?metric=n&granularity=hour&start=2025-01-01T00:00:00Z&end=2025-12-12T05:00:00Z";
    let refused = world.send("GET", too_many, &Value::Null).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["granularity too_many".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_which_line_it_landed_on_or_why_on_none(#[values(Sqlite, Postgres)] on: Engine) {
    let metrics = [
        tokens(),
        json!({"code": "hot", "event_name": "read", "aggregation": "sum", "property": "n",
            "filters": [{"property": "tier", "values": ["hot"]}]}),
    ];
    let Some((world, clock, subscription)) = metered(on, &metrics, tokens_by_region_and_model()).await else {
        return;
    };
    send_tokens(&world).await;
    for (id, name, at, properties) in [
        ("early", "completion", "2026-01-31T23:59:59Z", json!({"n": 1})),
        ("empty", "completion", "2026-02-14T00:00:00Z", json!({})),
        ("cold", "read", "2026-02-14T00:00:00Z", json!({"n": 1, "tier": "cold"})),
        ("warm", "read", "2026-02-14T00:00:00Z", json!({"n": 1, "tier": "hot"})),
        ("strange", "login", "2026-02-14T00:00:00Z", json!({})),
    ] {
        send(&world, id, name, at, properties).await;
    }
    let explain = async |id: &str| world.get(&format!("/v1/usage_events/{id}/explain")).await;
    let reason = async |id: &str| text(&explain(id).await["reason"]);
    assert_eq!(reason("a").await, "not_invoiced_yet");
    assert_eq!(reason("early").await, "no_subscription");
    assert_eq!(reason("empty").await, "property_missing");
    assert_eq!(reason("cold").await, "filtered_out");
    assert_eq!(reason("warm").await, "no_price");
    assert_eq!(reason("strange").await, "no_metric");

    world.advance(&clock, "2026-03-02T00:00:00Z").await;
    send(
        &world,
        "late",
        "completion",
        "2026-02-20T00:00:00Z",
        json!({"n": 2500, "region": "eu", "model": "pro"}),
    )
    .await;
    assert_eq!(reason("late").await, "not_invoiced_yet");
    world.advance(&clock, "2026-04-02T00:00:00Z").await;

    let mut invoices = world.list("/v1/invoices").await;
    invoices.reverse();
    for (id, invoice, line, kind) in
        [("a", 0, 2, "usage"), ("b", 0, 1, "usage"), ("late", 1, 1, "usage_adjustment")]
    {
        let told = explain(id).await;
        assert_eq!((&told["billed"], &told["reason"]), (&json!(true), &Value::Null), "{id}");
        let outcome = &told["outcomes"][0];
        assert_eq!(outcome["invoice"], invoices[invoice]["id"], "{id}");
        assert_eq!(outcome["line"], invoices[invoice]["lines"][line]["id"], "{id}");
        assert_eq!(
            (&outcome["subscription"], &outcome["line_kind"]),
            (&json!(subscription), &json!(kind)),
            "{id}"
        );
    }
    send(&world, "mistake", "completion", "2026-04-01T00:00:00Z", json!({"n": 1})).await;
    for (id, line) in [("b", &invoices[0]["lines"][1]["id"]), ("mistake", &Value::Null)] {
        world.post(&format!("/v1/usage_events/{id}/void"), json!({})).await;
        let told = explain(id).await;
        assert_eq!((&told["billed"], &told["reason"]), (&json!(false), &json!("voided")), "{id}");
        assert_eq!(&told["outcomes"][0]["line"], line, "{id}");
    }
    let told = explain("a").await;
    assert_eq!(told["outcomes"][0]["filter"], json!({"region": ["eu"]}));
    assert_eq!(told["outcomes"][0]["value"], "1500");
    let stranger = world.stranger().await;
    let theirs = world.request_as(&stranger, "GET", "/v1/usage_events/a/explain");
    assert_eq!(crate::support::Reply::of(theirs).await.status, 404);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn numbers_beyond_every_bound_are_taken_told_and_can_be_taken_back(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world
        .create(
            "/v1/metrics",
            json!({"code": "n", "event_name": "call", "aggregation": "sum", "property": "n"}),
        )
        .await;
    let metered = Metered::subscribe(world, "n", json!({"type": "per_unit", "unit_price": "1"})).await;
    metered.advance("2026-02-02T00:00:00Z").await;
    let usage = format!("/v1/subscriptions/{}/usage", metered.subscription);
    let ask = async |path: &str| {
        let reply = metered.world.send("GET", path, &Value::Null).await;
        (reply.status, text(&reply.json()["code"]))
    };
    metered.call("fine", "5", "2026-02-01T10:00:00Z").await;
    // More than is billed at once.
    metered.call("dear", "1000000000001", "2026-02-01T10:00:00Z").await;
    assert_eq!(ask(&usage).await, (422, "usage_too_large".to_owned()));
    // Each has as many digits as a number may, the hour of them has one more.
    for event in ["huge", "as huge"] {
        metered.call(event, &"9".repeat(28), "2026-02-01T10:30:00Z").await;
    }
    let quantity = "/v1/customers/acme/usage?metric=n";
    assert_eq!(ask(quantity).await, (422, "usage_too_large".to_owned()));

    for event in ["dear", "huge", "as%20huge"] {
        metered.world.post(&format!("/v1/usage_events/{event}/void"), json!({})).await;
    }

    assert_eq!(metered.world.get(quantity).await["quantity"], "5");
    metered.advance("2026-03-02T00:00:00Z").await;
    assert_eq!(metered.lines().await, ["cycle usage 2026-02 5 5.00"]);
}
