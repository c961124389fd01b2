//! Worked examples of exact arithmetic, and the properties that hold for all of it.

use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::decimal::parse;

fn exact(text: &str) -> Exact {
    parse(text).unwrap().into()
}

fn quotient(a: &str, b: &str) -> Exact {
    exact(a).divide(&exact(b)).unwrap()
}

#[test]
fn a_third_times_three_is_one() {
    assert_eq!(quotient("1", "3") * exact("3"), Exact::ONE);
    assert_eq!((quotient("1", "3") * exact("3")).to_string(), "1");
    assert_eq!((quotient("10003", "3") * exact("0.015")).to_string(), "50.015");
    assert!(exact("1").divide(&Exact::ZERO).is_err());
}

#[test]
fn what_is_told_has_28_significant_digits() {
    assert_eq!(quotient("10", "3").to_string(), "3.333333333333333333333333333");
    assert_eq!(quotient("-20", "3").to_string(), "-6.666666666666666666666666667");
    assert_eq!(quotient("1", "30").to_string(), "0.03333333333333333333333333333");
    assert_eq!(quotient("2", "3000000").to_string(), "0.0000006666666666666666666666666667");
    let tiny = exact("0.0000000000000000000000000001") * exact("0.1");
    assert_eq!(tiny.to_string(), "0.00000000000000000000000000001");
    let largest = exact("9999999999999999999999999999");
    assert_eq!((&largest + exact("0.4")).check(), Ok(()));
    assert_eq!((&largest + exact("0.5")).check(), Err(Overflow));
    assert_eq!((&largest * exact("10")).check(), Err(Overflow));
}

#[test]
fn what_is_kept_is_a_decimal() {
    assert_eq!(quotient("1", "30").to_decimal(), Ok(parse("0.0333333333333333333333333333").unwrap()));
    assert_eq!(quotient("20", "3").to_decimal(), Ok(parse("6.666666666666666666666666667").unwrap()));
    assert_eq!(quotient("1", "3000000000000000000000000000").to_decimal(), Ok(parse("3e-28").unwrap()));
    assert_eq!((exact("9999999999999999999999999999") * exact("2")).to_decimal(), Err(Overflow));
}

#[test]
fn rounding_sees_every_digit() {
    let half = quotient("10003", "3") * exact("0.015");
    assert_eq!(half.round(2, Toward::Nearest).to_string(), "50.02");
    assert_eq!((-half).round(2, Toward::Nearest).to_string(), "-50.02");
    assert_eq!(quotient("-10", "3").round(0, Toward::Infinity).to_string(), "-3");
    assert_eq!(quotient("-10", "3").round(0, Toward::MinusInfinity).to_string(), "-4");
    assert_eq!(exact("150").round(-2, Toward::Nearest).to_string(), "200");
    assert_eq!(exact("101").round(-1, Toward::Infinity).to_string(), "110");
}

#[test]
fn what_was_written_can_be_read_again() {
    for text in ["-0.5", "0.03333333333333333333333333333", "6.666666666666666666666666667"] {
        let read: Exact = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(read.to_string(), text);
    }
    assert!(serde_json::from_str::<Exact>("\"1.2.3\"").is_err());
}

#[test]
fn a_sum_of_thousands_of_unlike_fractions_stays_short() {
    let parts = || (10_001..13_000).map(|divisor| Exact::ONE.divide(&Exact::from(divisor)).unwrap());
    let sum: Exact = parts().sum();
    let Held::Cut(fraction) = &sum.0 else { panic!("it was cut") };
    assert!(fraction.denom().bits() <= DIVISOR_BITS_MAX);
    // What was cut off is not told: it all cancels out.
    let nothing = parts().fold(sum, |sum, part| sum - part);
    assert_eq!((nothing.to_string(), nothing.is_zero()), ("0".to_owned(), true));
    let half = nothing + exact("0.005");
    assert_eq!(
        (half.round(2, Toward::Nearest).to_string(), half.to_string()),
        ("0.01".into(), "0.005".into())
    );
}

#[test]
fn what_is_kept_with_every_digit_is_read_as_it_was() {
    #[derive(Serialize)]
    struct Kept(#[serde(serialize_with = "every_digit::serialize")] Exact);
    let kept = |number: &Exact| serde_json::to_value(Kept(number.clone())).unwrap();
    let long = exact("12345678901234567890.12345678") * exact("0.98765432109876543210987654");
    assert_eq!(kept(&long), "12193263113702179522.6185032248437741703718945638259412");
    assert_eq!(serde_json::from_value::<Exact>(kept(&long)).unwrap(), long);
    let large = exact("9999999999999999999999999999") * exact("1000");
    assert_eq!(kept(&large), "9999999999999999999999999999000");
    assert_eq!(kept(&exact("-0.5")), "-0.5");
    assert_eq!(kept(&quotient("1", "3")), "0.3333333333333333333333333333");
}

fn numbers() -> impl Strategy<Value = Decimal> {
    (-10_i128.pow(28) + 1..10_i128.pow(28), 0_u32..28, 0_u32..=28)
        .prop_map(|(digits, fewer, scale)| Decimal::from_i128_with_scale(digits / 10_i128.pow(fewer), scale))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    #[test]
    fn decimals_and_fractions_say_the_same((a, b) in (numbers(), numbers())) {
        let slow = |number: Decimal| Exact(Held::Fraction(Box::new(Exact::from(number).to_fraction())));
        let (fast, slow) = ((Exact::from(a), Exact::from(b)), (slow(a), slow(b)));
        prop_assert_eq!(&fast.0 + &fast.1, &slow.0 + &slow.1);
        prop_assert_eq!(&fast.0 - &fast.1, &slow.0 - &slow.1);
        prop_assert_eq!(&fast.0 * &fast.1, &slow.0 * &slow.1);
        prop_assert_eq!(fast.0.cmp(&fast.1), slow.0.cmp(&slow.1));
        prop_assert_eq!(fast.0.to_string(), slow.0.to_string());
        prop_assert_eq!(fast.0.round(2, Toward::Nearest), slow.0.round(2, Toward::Nearest));
        if !b.is_zero() {
            let (fast, slow) = (fast.0.divide(&fast.1).unwrap(), slow.0.divide(&slow.1).unwrap());
            prop_assert_eq!(&fast * Exact::from(b), Exact::from(a));
            prop_assert_eq!(fast, slow);
        }
    }

    #[test]
    fn what_is_told_is_the_nearest_of_28_digits((a, b) in (numbers(), numbers())) {
        prop_assume!(!b.is_zero());
        let number = Exact::from(a).divide(&b.into()).unwrap();
        let told: Exact = serde_json::from_value(number.to_string().into()).unwrap();
        let off = (told - &number).abs();
        prop_assert!(&off * Exact::from(2) <= number.clone().abs() * parse("1e-27").map(Exact::from).unwrap());
        if let Ok(kept) = number.to_decimal() {
            prop_assert!(kept.normalize().mantissa().unsigned_abs() < LIMIT);
        }
    }
}
