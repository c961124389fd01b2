//! Worked examples of pricing, and the properties that hold for all of it.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{
    Before, Bucket, Charge, Charges, Measured, Model, ProratedUnits, RatingError, RawModel, Terms, charge,
    rate, rate_measured,
};
use crate::{
    exact::Exact,
    money::{Currency, Money},
};

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn number(text: &str) -> Exact {
    decimal(text).into()
}

fn usd(text: &str) -> Money {
    Money::parse(text, Currency::USD).unwrap()
}

fn model(json: &str) -> Model {
    serde_json::from_str::<RawModel>(json).unwrap().check(Currency::USD).unwrap()
}

fn priced(model: &Model, quantity: &str) -> String {
    rate(model, number(quantity)).unwrap().exact_amount.to_string()
}

fn events(model: &Model, values: &[&str]) -> String {
    let measured = Measured::Events(values.iter().map(|value| number(value)).collect());
    rate_measured(model, &measured).unwrap().exact_amount.to_string()
}

fn prorated(model: &Model, parts: &[(&str, &str)]) -> String {
    let part = |(quantity, prorated): &(&str, &str)| ProratedUnits {
        quantity: number(quantity),
        prorated: number(prorated),
    };
    let measured = Measured::Prorated(parts.iter().map(part).collect());
    rate_measured(model, &measured).unwrap().exact_amount.to_string()
}

const GRADUATED: &str = r#"{"type":"graduated","tiers":[
    {"up_to":"10","unit_price":"1","flat_fee":"2"},{"up_to":"20","unit_price":"0.5","flat_fee":"3"},
    {"up_to":null,"unit_price":"0.1","flat_fee":"4"}]}"#;
const VOLUME: &str = r#"{"type":"volume","tiers":[
    {"up_to":"10","unit_price":"1","flat_fee":"2"},{"up_to":"20","unit_price":"0.5","flat_fee":"3"},
    {"up_to":null,"unit_price":"0.1","flat_fee":"4"}]}"#;

#[test]
fn a_flat_price_is_due_whatever_the_quantity() {
    let flat = model(r#"{"type":"flat","amount":"10.00"}"#);
    assert_eq!((priced(&flat, "0"), priced(&flat, "7")), ("10".into(), "10".into()));
}

#[test]
fn a_unit_price_is_not_rounded_on_the_way() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"0.0004"}"#);
    assert_eq!(priced(&per_unit, "12345.5"), "4.9382");
    assert_eq!(priced(&per_unit, "-5"), "0");
}

#[test]
fn graduated_tiers_include_their_bound_and_add_each_flat_fee_entered() {
    let graduated = model(GRADUATED);
    for (quantity, amount) in
        [("0", "2"), ("10", "12"), ("10.5", "15.25"), ("20", "20"), ("20.001", "24.0001"), ("100", "32")]
    {
        assert_eq!(priced(&graduated, quantity), amount, "{quantity} units");
    }
}

#[test]
fn a_graduated_price_is_explained_tier_by_tier() {
    let rated = rate(&model(GRADUATED), number("25")).unwrap();
    let json = serde_json::to_string(&rated.tiers[1..]).unwrap();
    assert_eq!(
        json,
        r#"[{"up_to":"20","quantity":"10","unit_price":"0.5","flat_fee":"3","amount":"8"},{"up_to":null,"quantity":"5","unit_price":"0.1","flat_fee":"4","amount":"4.5"}]"#
    );
}

#[test]
fn volume_prices_all_units_at_the_tier_reached_with_its_flat_fee_only() {
    let volume = model(VOLUME);
    for (quantity, amount) in [("0", "2"), ("10", "12"), ("10.5", "8.25"), ("20", "13"), ("100", "14")] {
        assert_eq!(priced(&volume, quantity), amount, "{quantity} units");
    }
}

#[test]
fn the_first_flat_fee_at_zero_usage_can_be_switched_off() {
    let off = |json: &str| model(&json.replace("\"tiers\"", "\"flat_fee_at_zero\":false,\"tiers\""));
    for model in [off(GRADUATED), off(VOLUME)] {
        assert_eq!(priced(&model, "0"), "0");
        assert_eq!(priced(&model, "1"), "3");
    }
}

#[test]
fn packages_are_paid_when_they_are_begun_or_only_when_they_are_whole() {
    let package = |rounding: &str| {
        model(&format!(
            r#"{{"type":"package","package_size":"100","package_price":"5","free_units":"50","rounding":"{rounding}"}}"#
        ))
    };
    for (units, up, down) in
        [("0", "0", "0"), ("50", "0", "0"), ("50.01", "5", "0"), ("150", "5", "5"), ("151", "10", "5")]
    {
        assert_eq!(
            (priced(&package("up"), units), priced(&package("down"), units)),
            (up.into(), down.into())
        );
    }
}

#[test]
fn package_tiers_use_their_own_packages_in_turn() {
    let tiers = r#""tiers":[{"package_size":"100","packages":"10","package_price":"10"},
        {"package_size":"1000","packages":"100","package_price":"50"}]"#;
    let graduated = model(&format!(r#"{{"type":"graduated_packages",{tiers}}}"#));
    let volume = model(&format!(r#"{{"type":"volume_packages",{tiers}}}"#));
    // 1000 units fit in the first tier's ten packages; the last tier goes on.
    for (units, in_turn, at_reached) in [
        ("0", "0", "0"),
        ("1000", "100", "100"),
        ("1001", "150", "100"),
        ("5325", "350", "300"),
        ("200000", "10050", "10000"),
    ] {
        assert_eq!(priced(&graduated, units), in_turn, "{units} units");
        assert_eq!(priced(&volume, units), at_reached, "{units} units");
    }
}

#[test]
fn events_are_free_while_both_the_free_count_and_the_free_amount_last() {
    let percentage =
        model(r#"{"type":"percentage","rate":"1","fixed_fee":"2","free_events":3,"free_amount":"250"}"#);
    assert_eq!(events(&percentage, &["50", "100", "100"]), "0"); // lands exactly on the free amount
    assert_eq!(events(&percentage, &["50", "100", "100", "100"]), "3");
    assert_eq!(events(&percentage, &["200", "100"]), "2.5"); // 50 above the free amount
    assert_eq!(events(&percentage, &["200", "100", "10"]), "4.6");
    assert_eq!(events(&percentage, &["1", "1", "1", "100"]), "3"); // the count ended first
}

#[test]
fn without_free_events_the_free_amount_alone_decides_and_the_other_way_round() {
    let by_amount = model(r#"{"type":"percentage","rate":"10","fixed_fee":"1","free_amount":"100"}"#);
    assert_eq!(events(&by_amount, &["40", "60", "10"]), "2");
    let by_count = model(r#"{"type":"percentage","rate":"10","fixed_fee":"1","free_events":2}"#);
    assert_eq!(events(&by_count, &["1000", "1000", "10"]), "2");
}

#[test]
fn minimum_and_maximum_hold_per_event_after_the_fixed_fee() {
    let bounded =
        model(r#"{"type":"percentage","rate":"10","fixed_fee":"1","min_per_event":"3","max_per_event":"5"}"#);
    assert_eq!(events(&bounded, &["10"]), "3");
    assert_eq!(events(&bounded, &["30"]), "4");
    assert_eq!(events(&bounded, &["1000"]), "5");
    assert_eq!(events(&bounded, &["1000", "10", "-20"]), "6"); // money back: no fee, no minimum
    assert_eq!(events(&bounded, &["-20"]), "0");
}

#[test]
fn graduated_percentages_take_each_part_at_its_own_rate() {
    let rates = model(
        r#"{"type":"graduated_percentage","tiers":[{"up_to":"1000","rate":"3","flat_fee":"1"},
            {"up_to":null,"rate":"2","flat_fee":"5"}]}"#,
    );
    assert_eq!(priced(&rates, "1000"), "31");
    assert_eq!(priced(&rates, "1500"), "46");
    assert_eq!(events(&rates, &["700", "800"]), "46");
}

#[test]
fn a_dynamic_price_multiplies_the_amounts_that_events_carry() {
    let dynamic = model(r#"{"type":"dynamic","multiplier":"1.2"}"#);
    assert_eq!(events(&dynamic, &["10", "2.5"]), "15");
}

#[test]
fn full_units_decide_the_tier_and_prorated_ones_the_amount() {
    // 12 full units: 10 in the first tier, 2 in the second; half of each is paid. The fees are paid in full.
    assert_eq!(prorated(&model(GRADUATED), &[("12", "6")]), "10.5");
    // The second part starts where the first ended.
    assert_eq!(prorated(&model(GRADUATED), &[("10", "10"), ("4", "1")]), "15.5");
    // What is taken away comes off the top.
    assert_eq!(prorated(&model(GRADUATED), &[("12", "12"), ("-4", "-2")]), "14.5");
    assert_eq!(prorated(&model(VOLUME), &[("12", "6")]), "6");
    let package = model(r#"{"type":"package","package_size":"1","package_price":"1"}"#);
    assert!(rate_measured(&package, &Measured::Prorated(Vec::new())).is_err());
}

fn charges(
    model: &Model,
    terms: &Terms,
    before: Before,
    quantity: impl Into<Exact>,
) -> Result<Charges, RatingError> {
    let bucket = Bucket { model, before, measured: Measured::Units(quantity.into()) };
    charge(&[bucket], terms, Currency::USD)
}

fn charged(model: &Model, terms: Terms, before: Before, quantity: &str) -> Charge {
    charges(model, &terms, before, number(quantity)).unwrap().buckets.remove(0)
}

#[test]
fn a_minimum_is_topped_up_in_its_own_line_and_a_maximum_caps() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"0.333"}"#);
    let terms = Terms { minimum: Some(usd("10.00")), maximum: Some(usd("20.00")), ..Terms::default() };
    let low = charges(&per_unit, &terms, Before::default(), number("5")).unwrap();
    let line = &low.buckets[0];
    assert_eq!((&line.exact_amount, line.amount, low.true_up), (&number("1.665"), usd("1.67"), usd("8.33")));
    let high = charges(&per_unit, &terms, Before::default(), number("500")).unwrap();
    assert_eq!((high.buckets[0].amount, high.true_up), (usd("20.00"), usd("0")));
}

#[test]
fn a_percentage_discount_comes_before_the_cap() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"1"}"#);
    let terms = Terms { discount_percent: decimal("50"), maximum: Some(usd("20.00")), ..Terms::default() };
    assert_eq!(charged(&per_unit, terms, Before::default(), "30").amount, usd("15.00"));
    assert_eq!(charged(&per_unit, terms, Before::default(), "100").amount, usd("20.00"));
}

#[test]
fn what_came_on_top_crosses_tiers_once() {
    let before = Before { quantity: Some(number("8")), billed: None };
    let on_top = charged(&model(GRADUATED), Terms::default(), before, "4");
    assert_eq!(on_top.amount, usd("6.00")); // 2 × 1, 2 × 0.5, and the second tier's fee
    let explained: Vec<_> = on_top.tiers.into_iter().map(|tier| (tier.quantity, tier.flat_fee)).collect();
    assert_eq!(explained, [(number("2"), number("0")), (number("2"), number("3"))]);
}

#[test]
fn the_increment_is_the_capped_price_less_what_was_billed() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"1"}"#);
    let terms = Terms { maximum: Some(usd("50.00")), ..Terms::default() };
    let before = Before { quantity: Some(number("40")), billed: Some(number("35")) };
    assert_eq!(charged(&per_unit, terms, before.clone(), "5").amount, usd("10.00"));
    assert_eq!(charged(&per_unit, terms, before, "500").amount, usd("15.00"));
}

#[test]
fn an_increment_is_its_exact_amount_rounded_once() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"0.005"}"#);
    let before = Before { quantity: Some(number("3")), billed: Some(number("0.02")) };
    let correction = charged(&per_unit, Terms::default(), before.clone(), "0");
    assert_eq!((correction.exact_amount, correction.amount), (number("-0.005"), usd("-0.01")));
    let more = charged(&per_unit, Terms::default(), before, "2");
    assert_eq!((more.exact_amount, more.amount), (number("0.005"), usd("0.01")));
}

#[test]
fn free_units_are_the_first_of_the_period() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"1"}"#);
    let terms = Terms { free_quantity: decimal("10"), ..Terms::default() };
    assert_eq!(charged(&per_unit, terms, Before::default(), "8").amount, usd("0"));
    let before = Before { quantity: Some(number("8")), billed: None };
    assert_eq!(charged(&per_unit, terms, before, "5").amount, usd("3.00"));
}

#[test]
fn buckets_have_their_own_models_and_share_free_units_minimum_and_maximum() {
    let (cheap, dear) =
        (model(r#"{"type":"per_unit","unit_price":"1"}"#), model(r#"{"type":"per_unit","unit_price":"3"}"#));
    let bucket = |model, quantity| Bucket {
        model,
        before: Before::default(),
        measured: Measured::Units(number(quantity)),
    };
    let amounts = |terms: Terms| {
        let buckets = [bucket(&cheap, "10"), bucket(&dear, "10")];
        let charges = charge(&buckets, &terms, Currency::USD).unwrap();
        let amounts: Vec<String> = charges.buckets.iter().map(|charge| charge.amount.to_string()).collect();
        (amounts.join(" + "), charges.true_up.to_string())
    };
    let free = Terms { free_quantity: decimal("12"), ..Terms::default() };
    assert_eq!(amounts(free), ("0.00 + 24.00".into(), "0.00".into()));
    let capped = Terms { maximum: Some(usd("25.00")), ..Terms::default() };
    assert_eq!(amounts(capped), ("10.00 + 15.00".into(), "0.00".into()));
    let minimum = Terms { minimum: Some(usd("55.00")), ..Terms::default() };
    assert_eq!(amounts(minimum), ("10.00 + 30.00".into(), "15.00".into()));
}

#[test]
fn numbers_too_large_are_an_error() {
    let per_unit = model(r#"{"type":"per_unit","unit_price":"9999999999999999999999999999"}"#);
    let huge = number("9999999999999999999999999999");
    assert!(charges(&per_unit, &Terms::default(), Before::default(), huge).is_err());
    let one_each = model(r#"{"type":"per_unit","unit_price":"1"}"#);
    let huge =
        charges(&one_each, &Terms::default(), Before::default(), number("9999999999999999999999999999"));
    assert!(huge.is_err());
}

fn quantities() -> impl Strategy<Value = Decimal> {
    (0_i64..1_000_000, 0_u32..4).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

/// Models whose price never falls when usage grows.
fn rising_models() -> impl Strategy<Value = Model> {
    let tiers = prop::collection::vec((1_i64..5000, 0_i64..10_000, 0_i64..500), 1..6).prop_map(|steps| {
        let last = steps.len() - 1;
        let mut bound = 0;
        let tier = |(index, (width, price, fee)): (usize, (i64, i64, i64))| {
            bound += width;
            let up_to = if index == last { "null".to_owned() } else { format!("\"{bound}\"") };
            format!(r#"{{"up_to":{up_to},"unit_price":"{}","flat_fee":"{fee}"}}"#, Decimal::new(price, 4))
        };
        let tiers: Vec<String> = steps.into_iter().enumerate().map(tier).collect();
        model(&format!(r#"{{"type":"graduated","tiers":[{}]}}"#, tiers.join(",")))
    });
    let rates = prop::collection::vec((1_i64..5000, 0_i64..10_000, 0_i64..500), 1..5).prop_map(|steps| {
        let last = steps.len() - 1;
        let mut bound = 0;
        let tier = |(index, (width, rate, fee)): (usize, (i64, i64, i64))| {
            bound += width;
            let up_to = if index == last { "null".to_owned() } else { format!("\"{bound}\"") };
            format!(r#"{{"up_to":{up_to},"rate":"{}","flat_fee":"{fee}"}}"#, Decimal::new(rate, 2))
        };
        let tiers: Vec<String> = steps.into_iter().enumerate().map(tier).collect();
        model(&format!(r#"{{"type":"graduated_percentage","tiers":[{}]}}"#, tiers.join(",")))
    });
    let package = (1_i64..500, 0_i64..100, any::<bool>()).prop_map(|(size, free, up)| {
        let rounding = if up { "up" } else { "down" };
        model(&format!(
            r#"{{"type":"package","package_size":"{}","package_price":"1.5","free_units":"{free}","rounding":"{rounding}"}}"#,
            Decimal::new(size, 1)
        ))
    });
    let packages = prop::collection::vec((1_i64..100, 1_i64..50, 0_i64..100), 1..5).prop_map(|steps| {
        let tier = |(size, packages, price)| {
            format!(r#"{{"package_size":"{size}","packages":"{packages}","package_price":"{price}"}}"#)
        };
        let tiers: Vec<String> = steps.into_iter().map(tier).collect();
        model(&format!(r#"{{"type":"graduated_packages","tiers":[{}]}}"#, tiers.join(",")))
    });
    prop_oneof![
        tiers,
        rates,
        package,
        packages,
        Just(model(r#"{"type":"flat","amount":"3"}"#)),
        Just(model(r#"{"type":"per_unit","unit_price":"0.0004"}"#)),
        Just(model(r#"{"type":"percentage","rate":"2.9","fixed_fee":"0.3","free_amount":"100"}"#)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    #[test]
    fn more_usage_never_costs_less(model in rising_models(), one in quantities(), more in quantities()) {
        let less = rate(&model, one).unwrap().exact_amount;
        prop_assert!(rate(&model, one + more).unwrap().exact_amount >= less);
    }

    #[test]
    fn tiers_add_up_to_the_amount(model in rising_models(), quantity in quantities()) {
        let rated = rate(&model, quantity).unwrap();
        let sum: Exact = rated.tiers.iter().map(|tier| &tier.amount).sum();
        prop_assert_eq!(sum, rated.exact_amount);
        for tier in rated.tiers {
            prop_assert_eq!(tier.quantity * tier.unit_price + tier.flat_fee, tier.amount);
        }
    }

    /// RULES 28: however usage is cut into bills, they add up to one bill, and so do their explanations.
    #[test]
    fn progressive_increments_sum_to_the_total(
        model in rising_models(),
        parts in prop::collection::vec(quantities(), 1..8),
        free in quantities(),
        maximum in prop::option::of(0_i64..100_000),
        discount in 0_i64..=100,
    ) {
        let terms = Terms {
            free_quantity: free,
            discount_percent: discount.into(),
            maximum: maximum.map(|minor| Money::from_minor(minor, Currency::USD)),
            minimum: None,
        };
        let (mut exactly, mut in_cents) = (Before::default(), Before { billed: Some(Exact::ZERO), ..Before::default() });
        let (mut exact, mut billed, mut explained) = (Exact::ZERO, Money::zero(Currency::USD), Exact::ZERO);
        for part in &parts {
            let bill = charges(&model, &terms, exactly.clone(), *part).unwrap().buckets.remove(0);
            exact += &bill.exact_amount;
            explained += &bill.tiers.iter().map(|tier| &tier.amount).sum();
            let bill = charges(&model, &terms, in_cents.clone(), *part).unwrap().buckets.remove(0);
            billed = billed.checked_add(bill.amount).unwrap();
            let quantity = Some(exactly.quantity.unwrap_or_default() + Exact::from(*part));
            exactly = Before { quantity: quantity.clone(), billed: Some(exact.clone()) };
            in_cents = Before { quantity, billed: Some(billed.to_decimal().into()) };
        }
        let total: Decimal = parts.iter().sum();
        let whole = charges(&model, &terms, Before::default(), total).unwrap().buckets.remove(0);
        prop_assert_eq!(&exact, &whole.exact_amount);
        // Bills in cents lag behind by no more than the last one's rounding.
        prop_assert!((Exact::from(billed.to_decimal()) - exact).abs() <= decimal("0.005").into());
        if total > Decimal::ZERO && parts[0] > Decimal::ZERO {
            prop_assert_eq!(explained, whole.tiers.iter().map(|tier| &tier.amount).sum());
        }
    }

    /// The same for what was there for a part of the period, and for the events that a percentage looks at.
    #[test]
    fn an_increment_and_what_was_billed_before_are_the_price_of_the_whole(
        model in rising_models(),
        earlier in quantities(),
        parts in prop::collection::vec((quantities(), 0_i64..=100), 1..6),
    ) {
        let before = Before { quantity: Some(earlier.into()), billed: None };
        let terms = Terms::default();
        let units = |part: &(Decimal, i64)| {
            let prorated = Exact::from(part.0) * Exact::from(Decimal::new(part.1, 2));
            ProratedUnits { quantity: part.0.into(), prorated }
        };
        let first = ProratedUnits { quantity: earlier.into(), prorated: earlier.into() };
        let (new, all) = if model.is_proratable() {
            let new: Vec<ProratedUnits> = parts.iter().map(units).collect();
            (Measured::Prorated(new.clone()), Measured::Prorated([vec![first], new].concat()))
        } else {
            let new: Vec<Exact> = parts.iter().map(|part| part.0.into()).collect();
            let first = (!earlier.is_zero()).then(|| Exact::from(earlier));
            (Measured::Events(new.clone()), Measured::Events(first.into_iter().chain(new).collect()))
        };
        let bill = |before, measured| {
            let bucket = Bucket { model: &model, before, measured };
            charge(&[bucket], &terms, Currency::USD).unwrap().buckets.remove(0).exact_amount
        };
        let billed = rate(&model, earlier).unwrap().exact_amount;
        prop_assert_eq!(bill(before, new) + billed, bill(Before::default(), all));
    }

    #[test]
    fn a_part_that_is_not_prorated_costs_what_its_units_cost(
        model in rising_models(),
        parts in prop::collection::vec(quantities(), 1..6),
    ) {
        let whole = |quantity: &Decimal| ProratedUnits { quantity: (*quantity).into(), prorated: (*quantity).into() };
        let measured = Measured::Prorated(parts.iter().map(whole).collect());
        let rated = rate_measured(&model, &measured).map(|rated| rated.exact_amount);
        if model.is_proratable() {
            prop_assert_eq!(rated, rate(&model, parts.iter().sum::<Decimal>()).map(|rated| rated.exact_amount));
        } else {
            prop_assert_eq!(rated, Err(RatingError::NotProratable));
        }
    }
}
