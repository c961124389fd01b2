//! Questions as they arrive in JSON, and their answers as they leave.

mod amounts;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{credits, invoice, periods, proration, usage};
use crate::invalid::Invalid;

/// Through text, because numbers are read as they were written.
fn read<Q: DeserializeOwned>(question: &Value) -> Q {
    serde_json::from_str(&question.to_string()).unwrap()
}

fn answered<A: Serialize>(answer: Result<A, Vec<Invalid>>) -> Value {
    serde_json::to_value(answer.unwrap()).unwrap()
}

fn mistakes<A>(answer: Result<A, Vec<Invalid>>) -> Vec<String> {
    let found = answer.err().expect("a mistake");
    found.into_iter().map(|mistake| format!("{} {}", mistake.pointer, mistake.code)).collect()
}

#[test]
fn sums_do_not_depend_on_the_order_and_ordinary_numbers_can_be_weighed_by_time() {
    let ask = |aggregation: &str, values: &[&str]| {
        let event = |(id, value): (usize, &&str)| json!({"id": id.to_string(), "timestamp": "2026-01-10T03:04:05.123456Z", "properties": {"n": value}});
        let events: Vec<Value> = values.iter().enumerate().map(event).collect();
        let period = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"});
        let metric = json!({"aggregation": aggregation, "property": "n"});
        usage(&read(&json!({"metric": metric, "period": period, "events": events})))
    };
    let quantity = |aggregation, values: &[&str]| answered(ask(aggregation, values))["quantity"].clone();
    let (most, half) = ("9999999999999999999999999999", "5000000000000000000000000000");
    assert_eq!(quantity("sum", &["9e27", "9e27", "-9e27"]), "9000000000000000000000000000");
    assert_eq!(quantity("sum", &[most, "0.5", "-0.5"]), most);
    assert_eq!(quantity("average", &["9e27", "9e27"]), "9000000000000000000000000000");
    assert_eq!(mistakes(ask("sum", &[half, half])), ["/events too_large"]);
    assert_eq!(mistakes(ask("sum", &["1e99999999999"])), ["/events/0/properties/n too_large"]);
    assert_eq!(quantity("weighted_sum", &["12345678.123456789"]), "8710538.171313114503888014194");
}

#[test]
fn a_number_that_is_too_long_to_be_counted_is_refused_and_not_passed_over() {
    let ask = |aggregation: &str, value: Value| {
        let events = json!([
            {"id": "1", "timestamp": "2026-01-02T00:00:00Z", "properties": {"a/b": 1}},
            {"id": "2", "timestamp": "2026-01-02T00:00:00Z", "properties": {"a/b": value}},
        ]);
        let period = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"});
        let metric = json!({"aggregation": aggregation, "property": "a/b"});
        usage(&read(&json!({"metric": metric, "period": period, "events": events})))
    };
    let long = "12345678901234567890123456789";
    assert_eq!(mistakes(ask("sum", json!(long))), ["/events/1/properties/a~1b too_large"]);
    assert_eq!(mistakes(ask("max", json!(long))), ["/events/1/properties/a~1b too_large"]);
    assert_eq!(answered(ask("unique_count", json!(long)))["quantity"], "2");
    assert_eq!(answered(ask("sum", json!("12 apples")))["quantity"], "1");
}

#[test]
fn the_line_of_the_minimum_commitment_has_its_name_to_itself() {
    let mut question = json!({
        "currency": "USD", "lines": [{"id": "minimum_commitment", "amount": "1"}], "minimum_commitment": "5",
    });
    assert_eq!(mistakes(invoice(&read(&question))), ["/lines/0/id reserved"]);
    question["minimum_commitment"] = Value::Null;
    assert_eq!(answered(invoice(&read(&question)))["total"], "1.00");
}

#[test]
fn mistakes_stand_where_they_were_made() {
    let instant = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00.5Z"});
    let mut question = json!({
        "currency": "USD", "basis": "second", "period": instant, "change_at": "2026-01-01T00:00:00Z",
    });
    assert_eq!(mistakes(proration(&read(&question))), ["/period too_short"]);
    question["full_period"] = instant;
    assert_eq!(mistakes(proration(&read(&question))), ["/full_period too_short"]);
    let question = json!({
        "metric": {"aggregation": "count"}, "exclude": [{}], "events": [],
        "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
    });
    assert_eq!(mistakes(usage(&read(&question))), ["/exclude/0 required"]);
}

#[test]
fn usage_is_grouped_filtered_and_free_of_repetitions() {
    let question = json!({
        "metric": {"code": "tokens", "aggregation": "sum", "property": "tokens",
            "filters": [{"property": "kind", "values": ["chat"]}]},
        "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
        "group_by": ["region"],
        "exclude": [{"city": ["x", "y"], "country": ["uk"]}],
        "events": [
            {"id": "1", "timestamp": "2026-01-02T00:00:00Z",
                "properties": {"kind": "chat", "tokens": 10, "region": "eu"}},
            {"id": "1", "timestamp": "2026-01-02T00:00:00Z", "properties": {"kind": "chat", "tokens": 99}},
            {"id": "2", "timestamp": "2026-01-03T00:00:00Z", "properties": {"kind": "chat", "tokens": "-2.5"}},
            {"id": "3", "timestamp": "2026-01-03T00:00:00Z", "properties": {"kind": "batch", "tokens": 7}},
            {"id": "4", "timestamp": "2026-01-03T00:00:00Z", "properties": {"kind": "chat", "tokens": "many"}},
            {"id": "5", "timestamp": "2026-01-03T00:00:00Z",
                "properties": {"kind": "chat", "tokens": 100, "city": "x", "country": "uk"}},
            {"id": "6", "timestamp": "2026-01-04T00:00:00Z",
                "properties": {"kind": "chat", "tokens": 1, "city": "x", "country": "fr", "region": "eu"}},
            {"id": "7", "timestamp": "2026-02-01T00:00:00Z", "properties": {"kind": "chat", "tokens": 1}},
        ],
    });
    assert_eq!(
        answered(usage(&read(&question))),
        json!({
            "quantity": "8.5",
            "groups": [
                {"key": {"region": null}, "quantity": "-2.5"},
                {"key": {"region": "eu"}, "quantity": "11"},
            ],
        })
    );
}

#[test]
fn usage_is_rounded_once_and_added_to_what_was_there() {
    let question = json!({
        "metric": {"aggregation": "weighted_sum", "property": "n", "recurring": true,
            "rounding": {"mode": "ceil", "precision": 0}},
        "period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "initial_value": "1",
        "events": [
            {"id": "1", "timestamp": "2026-03-01T00:00:00Z", "properties": {"n": 10}},
            {"id": "2", "timestamp": "2026-04-16T00:00:00Z", "properties": {"n": -5}},
        ],
    });
    assert_eq!(answered(usage(&read(&question)))["quantity"], "9"); // 8.5 exactly
}

#[test]
fn null_is_the_same_as_missing() {
    let period = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"});
    let question = json!({
        "metric": {"aggregation": "count", "property": null, "recurring": null, "filters": null, "rounding": null},
        "period": period, "full_period": null, "timezone": null, "initial_value": null, "group_by": null,
        "exclude": null, "prorated": null,
        "events": [{"id": "1", "timestamp": "2026-01-02T00:00:00Z", "properties": null}],
    });
    assert_eq!(answered(usage(&read(&question)))["quantity"], "1");
    let question = json!({
        "interval": {"unit": "month", "count": 1}, "alignment": null, "anchor": "2026-01-10T00:00:00Z",
        "timezone": null, "start": null, "ends_at": null, "count": 1, "containing": null,
    });
    assert_eq!(answered(periods(&read(&question)))["anchor_day"], 10);
    let question = json!({
        "currency": "USD", "tax_rounding": null, "lines": [{"id": "a", "amount": 1, "tax_rates": null}],
        "coupons": null, "credit_notes": null, "wallets": null, "customer_balance": null,
    });
    assert_eq!(answered(invoice(&read(&question)))["amount_due"], "1.00");
}

#[test]
fn mistakes_in_a_metric_point_into_it() {
    let question = json!({
        "metric": {"aggregation": "max"}, "prorated": true, "events": [],
        "period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
    });
    assert_eq!(mistakes(usage(&read(&question))), ["/metric/property required", "/prorated not_proratable"]);
}

#[test]
fn periods_are_listed_from_a_short_first_one_to_the_end() {
    let question = json!({
        "interval": {"unit": "month", "count": 1}, "alignment": {"day_of_month": 17},
        "anchor": "2026-01-10T12:00:00+01:00", "timezone": "Europe/Berlin", "count": 9,
        "ends_at": "2026-03-01T00:00:00Z",
    });
    assert_eq!(
        answered(periods(&read(&question))),
        json!({"anchor_day": 17, "periods": [
            {"start": "2026-01-10T11:00:00Z", "end": "2026-01-16T23:00:00Z"},
            {"start": "2026-01-16T23:00:00Z", "end": "2026-02-16T23:00:00Z"},
            {"start": "2026-02-16T23:00:00Z", "end": "2026-03-01T00:00:00Z"},
        ]})
    );
}

#[test]
fn the_grid_runs_both_ways_from_its_anchor() {
    let ask = |extra: Value| {
        let mut question = json!({
            "interval": {"unit": "month", "count": 1}, "anchor": "2026-01-31T00:00:00Z", "timezone": "UTC",
        });
        question.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        periods(&read(&question))
    };
    assert_eq!(
        answered(ask(json!({"start": "2025-11-15T00:00:00Z", "count": 2})))["periods"],
        json!([
            {"start": "2025-11-15T00:00:00Z", "end": "2025-11-30T00:00:00Z"},
            {"start": "2025-11-30T00:00:00Z", "end": "2025-12-31T00:00:00Z"},
        ])
    );
    assert_eq!(
        answered(ask(json!({"containing": "2026-02-28T00:00:00Z"}))),
        json!({"anchor_day": 31, "periods": [{"start": "2026-02-28T00:00:00Z", "end": "2026-03-31T00:00:00Z"}]})
    );
    assert_eq!(
        answered(ask(json!({"containing": "2025-12-15T00:00:00Z"})))["periods"],
        json!([{"start": "2025-11-30T00:00:00Z", "end": "2025-12-31T00:00:00Z"}])
    );
    let early = json!({"start": "2026-01-31T00:00:00Z", "containing": "2026-01-30T00:00:00Z"});
    assert_eq!(mistakes(ask(early)), ["/containing before_start"]);
    assert_eq!(mistakes(ask(json!({"count": 1, "start": "2016-12-31T23:59:60Z"}))), ["/start out_of_range"]);
    assert_eq!(mistakes(ask(json!({"count": 0}))), ["/count out_of_range"]);
    assert_eq!(mistakes(ask(json!({}))), ["/count required"]);
    assert_eq!(
        mistakes(ask(json!({"count": 1, "ends_at": "2026-01-31T00:00:00Z"}))),
        ["/ends_at before_start"]
    );
    let last = json!({"start": "9999-12-31T23:59:59Z", "count": 1});
    assert_eq!(mistakes(ask(last)), ["/count out_of_range"]);
}

#[test]
fn a_change_credits_the_old_price_and_charges_the_new_one() {
    let question = json!({
        "currency": "USD", "basis": "day", "timezone": "UTC",
        "period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "change_at": "2026-04-16T00:00:00Z",
        "old": {"amount": "20", "quantity": "5"}, "new": {"amount": "20", "quantity": "10"},
    });
    assert_eq!(
        answered(proration(&read(&question))),
        json!({"credit": "-50.00", "charge": "100.00", "net": "50.00",
            "fraction": {"numerator": 15, "denominator": 30}})
    );
}

#[test]
fn a_short_period_credits_no_more_than_it_charged() {
    let question = json!({
        "currency": "USD",
        "period": {"start": "2026-04-21T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "full_period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "change_at": "2026-04-26T00:00:00Z",
        "old": {"amount": "30", "already_credited": "7.00"},
    });
    // Ten days of thirty were charged, five of them are left, and three dollars.
    let answer = answered(proration(&read(&question)));
    assert_eq!((&answer["credit"], &answer["charge"]), (&json!("-3.00"), &json!("0.00")));
}

#[test]
fn without_proration_everything_is_zero_and_outside_of_the_period_nothing_is() {
    let mut question = json!({
        "currency": "JPY", "basis": "none", "change_at": "2026-04-16T00:00:00Z",
        "period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "old": {"amount": "3000"}, "new": {"amount": "9000"},
    });
    let answer = answered(proration(&read(&question)));
    assert_eq!(answer["net"], "0");
    assert_eq!((&answer["credit"], &answer["fraction"]["numerator"]), (&json!("0"), &json!(0)));
    question["change_at"] = json!("2026-05-01T00:00:01Z");
    assert_eq!(mistakes(proration(&read(&question))), ["/change_at outside_of_period"]);
}

#[test]
fn an_invoice_runs_from_its_lines_to_what_is_due() {
    let question = json!({
        "currency": "EUR", "tax_rounding": "rate",
        "lines": [{"id": "a", "amount": "60.004", "tax_rates": ["20"]}, {"id": "b", "amount": 20}],
        "coupons": [
            {"type": "percent", "percent": "10", "lines": ["a"]},
            {"type": "amount", "amount": "5", "currency": "USD"},
        ],
        "credit_notes": [{"available": "3.00"}, {"available": "100", "currency": "USD"}],
        "customer_balance": "-10", "minimum_commitment": "100",
        "wallets": [{"balance": "1", "priority": 2}, {"balance": "4.50", "priority": 1}],
    });
    assert_eq!(
        answered(invoice(&read(&question))),
        json!({
            "subtotal": "100.00", "discount_total": "6.00", "taxable": "94.00",
            "tax_total": "10.80", "total": "104.80", "credit_notes_applied": "3.00", "balance_applied": "-10.00",
            "wallets_applied": "5.50", "amount_due": "106.30",
            "lines": [
                {"id": "a", "amount": "60.00", "discount": "6.00", "taxable": "54.00", "tax": "10.80"},
                {"id": "b", "amount": "20.00", "discount": "0.00", "taxable": "20.00", "tax": "0.00"},
                {"id": "minimum_commitment", "amount": "20.00", "discount": "0.00", "taxable": "20.00",
                    "tax": "0.00"},
            ],
        })
    );
}

#[test]
fn mistakes_in_an_invoice_point_to_their_line() {
    let question = json!({
        "currency": "EUR",
        "lines": [{"id": "a", "amount": "1", "tax_rates": ["20", "-1"]}, {"id": "a", "amount": "1"}],
        "coupons": [{"type": "percent", "amount": "10"}],
        "wallets": [{"balance": "1.234"}],
    });
    assert_eq!(
        mistakes(invoice(&read(&question))),
        [
            "/lines/0/tax_rates/1 negative",
            "/lines/1/id duplicate",
            "/coupons/0/amount exclusive",
            "/wallets/0/balance invalid_amount",
        ]
    );
}

#[test]
fn credits_are_answered_with_what_is_left() {
    let question = json!({
        "start": "2026-01-01T00:00:00Z", "at": "2026-01-31T00:00:00Z",
        "grants": [
            {"id": "g1", "amount": "100", "priority": 1, "effective_at": "2026-01-01T00:00:00Z",
                "rollover": {"min": "0", "max": "50"}},
            {"id": "g2", "amount": "10", "priority": 1, "effective_at": "2026-01-01T00:00:00Z",
                "recurrence": {"interval": {"unit": "week", "count": 1}, "anchor": "2026-01-01T00:00:00Z"}},
        ],
        "usage": [
            {"timestamp": "2026-01-02T00:00:00Z", "amount": "30"}, {"timestamp": "2026-01-20T00:00:00Z", "amount": 60},
        ],
        "resets": ["2026-01-16T00:00:00Z"],
    });
    // 70 and 10 are left at the reset; 50 and 0 are kept. The refill of the 22nd makes g2 whole.
    assert_eq!(
        answered(credits(&read(&question))),
        json!({"balances": {"g1": "0", "g2": "10"}, "overage": "0", "has_access": true, "usage_in_period": "60"})
    );
}

#[test]
fn mistakes_in_grants_point_to_them() {
    let question = json!({
        "start": "2026-01-02T00:00:00Z", "at": "2026-01-01T00:00:00Z",
        "grants": [
            {"id": "g1", "amount": "-1", "effective_at": "2026-01-01T00:00:00Z", "rollover": {"min": 2, "max": 1}},
            {"id": "g1", "amount": "1", "effective_at": "2026-01-01T00:00:00Z"},
        ],
        "usage": [{"timestamp": "2026-01-02T00:00:00Z", "amount": "-30"}],
    });
    assert_eq!(
        mistakes(credits(&read(&question))),
        [
            "/at before_start",
            "/grants/0/rollover/max below_minimum",
            "/grants/0/amount negative",
            "/grants/1/id duplicate",
            "/usage/0/amount negative",
        ]
    );
}
