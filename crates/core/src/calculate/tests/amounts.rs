//! What a quantity costs, asked as over HTTP.

use serde_json::{Value, json};

use super::{answered, mistakes, read};
use crate::calculate::amount;

#[test]
fn an_amount_is_answered_with_its_tiers() {
    let question = json!({
        "currency": "USD",
        "model": {"type": "graduated", "tiers": [
            {"up_to": "10", "unit_price": "1", "flat_fee": "0"}, {"up_to": null, "unit_price": "0.1"},
        ]},
        "quantity": "15",
        "minimum_amount": "20",
    });
    assert_eq!(
        answered(amount(&read(&question))),
        json!({
            "exact_amount": "10.5", "amount": "10.50", "true_up": "9.50", "currency": "USD",
            "tiers": [
                {"up_to": "10", "quantity": "10", "unit_price": "1", "flat_fee": "0", "amount": "10"},
                {"up_to": null, "quantity": "5", "unit_price": "0.1", "flat_fee": "0", "amount": "0.5"},
            ],
        })
    );
}

#[test]
fn a_conversion_comes_before_pricing_and_rounds_what_the_period_holds_together() {
    let ask = |already: &str, quantity: &str| {
        let question = json!({
            "currency": "USD", "model": {"type": "per_unit", "unit_price": "2"}, "quantity": quantity,
            "conversion": {"operation": "divide", "factor": "1000", "rounding": "up"},
            "already_rated_quantity": already,
        });
        answered(amount(&read(&question)))["amount"].clone()
    };
    assert_eq!(ask("0", "1500"), "4.00");
    assert_eq!(ask("1500", "400"), "0.00"); // still within the second thousand
    assert_eq!(ask("1500", "501"), "2.00");
}

#[test]
fn percentages_price_each_event_and_other_models_their_sum() {
    let ask = |model: Value| {
        let question = json!({"currency": "USD", "model": model, "events": ["50", 100]});
        answered(amount(&read(&question)))["amount"].clone()
    };
    assert_eq!(ask(json!({"type": "percentage", "rate": "1", "fixed_fee": "0.5"})), "2.50");
    assert_eq!(ask(json!({"type": "per_unit", "unit_price": "0.1"})), "15.00");
}

#[test]
fn a_tier_may_be_decided_by_full_units() {
    let question = json!({
        "currency": "USD", "quantity": "3.5", "tier_quantity": "12",
        "model": {"type": "volume", "tiers": [{"up_to": "10", "unit_price": "4"}, {"up_to": null, "unit_price": "2"}]},
    });
    assert_eq!(answered(amount(&read(&question)))["amount"], "7.00");
    let parts = json!({
        "currency": "USD", "prorated_events": [{"quantity": "12", "prorated": "3.5"}], "model": question["model"],
    });
    assert_eq!(answered(amount(&read(&parts)))["amount"], "7.00");
}

#[test]
fn a_flat_fee_that_was_billed_for_units_that_round_to_nothing_is_not_billed_again() {
    let ask = |model: Value, already: &str| {
        let question = json!({
            "currency": "USD", "model": model, "quantity": "2000", "already_rated_quantity": already,
            "conversion": {"operation": "divide", "factor": "1000", "rounding": "down"},
        });
        answered(amount(&read(&question)))["amount"].clone()
    };
    let flat = json!({"type": "flat", "amount": "10"});
    assert_eq!((ask(flat.clone(), "500"), ask(flat, "0")), (json!("0.00"), json!("10.00")));
    let tiers = json!([{"up_to": null, "unit_price": "1", "flat_fee": "5"}]);
    let graduated = json!({"type": "graduated", "tiers": tiers});
    assert_eq!((ask(graduated.clone(), "500"), ask(graduated, "0")), (json!("2.00"), json!("7.00")));
}

/// The exact amount, the amount, and the quantity of each tier.
fn priced(question: &Value) -> String {
    let answer = answered(amount(&read(question)));
    let tiers: Vec<&str> =
        answer["tiers"].as_array().unwrap().iter().map(|tier| tier["quantity"].as_str().unwrap()).collect();
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    format!("{} {} [{}]", text("exact_amount"), text("amount"), tiers.join(" "))
}

#[test]
fn what_is_divided_is_not_rounded_before_it_is_priced() {
    let ask = |price: &str, quantity: &str| {
        priced(&json!({
            "currency": "USD", "model": {"type": "per_unit", "unit_price": price}, "quantity": quantity,
            "conversion": {"operation": "divide", "factor": "3"},
        }))
    };
    assert_eq!(ask("0.015", "10003"), "50.015 50.02 [3334.333333333333333333333333]");
    assert_eq!(ask("30.015", "1"), "10.005 10.01 [0.3333333333333333333333333333]");
    assert_eq!(ask("3", "1"), "1 1.00 [0.3333333333333333333333333333]");
    assert_eq!(ask("0.1", "1"), "0.03333333333333333333333333333 0.03 [0.3333333333333333333333333333]");
}

#[test]
fn what_proration_leaves_is_spread_over_tiers_without_rounding() {
    let tiers = json!([{"up_to": "1", "unit_price": "0.015"}, {"up_to": null, "unit_price": "0.015"}]);
    let question = json!({
        "currency": "USD", "quantity": "10003", "tier_quantity": "3",
        "model": {"type": "graduated", "tiers": tiers},
    });
    assert_eq!(
        priced(&question),
        "150.045 150.05 [3334.333333333333333333333333 6668.666666666666666666666667]"
    );
    let question = json!({
        "currency": "USD", "quantity": "3.5", "tier_quantity": "15",
        "model": {"type": "graduated", "tiers": [{"up_to": "10", "unit_price": "1"}, {"up_to": null, "unit_price": "0.1"}]},
    });
    assert_eq!(priced(&question), "2.45 2.45 [2.333333333333333333333333333 1.166666666666666666666666667]");
}

#[test]
fn products_of_many_digits_are_told_and_not_lost() {
    let ask = |price: &str, quantity: &str| {
        priced(&json!({
            "currency": "USD", "model": {"type": "per_unit", "unit_price": price}, "quantity": quantity,
        }))
    };
    let tiny = "0.0000000000000000000000000001";
    assert_eq!(ask(tiny, "0.1"), "0.00000000000000000000000000001 0.00 [0.1]");
    assert_eq!(
        ask("1.000000000000000000000000001", "1.000000000000000000000000001"),
        "1.000000000000000000000000002 1.00 [1.000000000000000000000000001]"
    );
}

#[test]
fn more_money_that_flowed_back_than_flowed_costs_nothing_in_every_tier() {
    let ask = |question: Value| {
        let model = json!({"type": "percentage", "rate": "1", "fixed_fee": "0.3"});
        let mut asked = json!({"currency": "USD", "model": model});
        asked.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
        let answer = answered(amount(&read(&asked)));
        (
            answer["amount"].clone(),
            answer["tiers"][0]["quantity"].clone(),
            answer["tiers"][0]["amount"].clone(),
        )
    };
    let nothing = (json!("0.00"), json!("0"), json!("0"));
    assert_eq!(ask(json!({"quantity": "-100"})), nothing);
    assert_eq!(ask(json!({"events": ["10", "-100"]})), nothing);
    assert_eq!(ask(json!({"events": ["100", "-10"]})), (json!("1.20"), json!("90"), json!("1.2")));
}

#[test]
fn mistakes_in_an_amount_are_reported_together_and_with_their_place() {
    let question = json!({
        "currency": "JPY", "model": {"type": "per_unit"}, "already_rated_quantity": "-1",
        "minimum_amount": "1.5", "discount_percent": "120", "conversion": {"operation": "multiply", "factor": "0"},
    });
    assert_eq!(
        mistakes(amount(&read(&question))),
        [
            "/minimum_amount invalid_amount",
            "/discount_percent out_of_range",
            "/already_rated_quantity negative",
            "/quantity required",
            "/conversion/factor not_positive",
            "/model/unit_price required",
        ]
    );
    let package = json!({
        "currency": "USD", "model": {"type": "package", "package_size": "1", "package_price": "1"},
        "prorated_events": [],
    });
    assert_eq!(mistakes(amount(&read(&package))), ["/model/type not_proratable"]);
    let huge = json!({
        "currency": "USD", "model": {"type": "per_unit", "unit_price": "9999999999999999999999999999"},
        "quantity": "9999999999999999999999999999",
    });
    assert_eq!(mistakes(amount(&read(&huge))), ["/quantity too_large"]);
}
