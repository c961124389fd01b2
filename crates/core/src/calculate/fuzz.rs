//! Whatever is asked, the calculators answer or say what is wrong. They never panic.

use proptest::{prelude::*, sample::select};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{amount, credits, invoice, periods, proration, usage};
use crate::invalid::Invalid;

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.5",
    "2.5",
    "7",
    "10",
    "100",
    "250.005",
    "-0.01",
    "99.995",
    "1000000",
    "0.0000000000000000000000000001",
    "9999999999999999999999999999",
    "-9999999999999999999999999999",
    "92233720368547758.07",
    "92233720368547758.08",
    "1.234567890123456789012345678",
];
const INSTANTS: &[&str] = &[
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1582-10-15T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2011-12-30T10:00:00Z",
    "2016-12-31T23:59:60Z",
    "2024-02-29T00:00:00.000001Z",
    "2026-01-01T00:00:00Z",
    "2026-01-31T12:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-03-29T01:00:00Z",
    "2026-11-01T05:30:00Z",
    "2100-02-28T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "+10000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "+262142-12-31T23:59:59Z",
    "-262143-01-01T00:00:00Z",
];
const ZONES: &[&str] =
    &["UTC", "America/New_York", "Pacific/Apia", "Asia/Beirut", "Pacific/Kiritimati", "Etc/GMT+12"];

fn number() -> impl Strategy<Value = Value> {
    select(NUMBERS).prop_map(|text| json!(text))
}

fn instant() -> impl Strategy<Value = Value> {
    select(INSTANTS).prop_map(|text| json!(text))
}

fn zone() -> impl Strategy<Value = Value> {
    select(ZONES).prop_map(|text| json!(text))
}

fn currency() -> impl Strategy<Value = Value> {
    select(&["USD", "JPY", "KWD", "CLF"][..]).prop_map(|text| json!(text))
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(words).prop_map(|text| json!(text))
}

fn some(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop::option::weighted(0.6, value).prop_map(|value| value.unwrap_or(Value::Null)).boxed()
}

fn list(item: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop::collection::vec(item, 0..5).prop_map(Value::Array).boxed()
}

/// An object of these fields. A field without a value is left out.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let with_names = move |values: Vec<Value>| {
        let given = names.iter().zip(values).filter(|(_, value)| !value.is_null());
        Value::Object(given.map(|(name, value)| ((*name).to_owned(), value)).collect())
    };
    values.prop_map(with_names).boxed()
}

fn period() -> BoxedStrategy<Value> {
    object(vec![("start", instant().boxed()), ("end", instant().boxed())])
}

fn interval() -> BoxedStrategy<Value> {
    let count = select(&[1_u32, 2, 5, 12, 1000, u32::MAX][..]).prop_map(|count| json!(count));
    object(vec![
        ("unit", word(&["day", "week", "month", "quarter", "year"]).boxed()),
        ("count", count.boxed()),
    ])
}

fn model() -> BoxedStrategy<Value> {
    let tier = |price: &'static str| {
        let up_to = some(number());
        object(vec![("up_to", up_to), (price, number().boxed()), ("flat_fee", some(number()))])
    };
    let package = || {
        object(vec![
            ("package_size", number().boxed()),
            ("packages", some(number())),
            ("package_price", number().boxed()),
        ])
    };
    let open = |tiers: BoxedStrategy<Value>| {
        // Bounds in ascending order and an open end, as often as not.
        (tiers, any::<bool>()).prop_map(|(mut tiers, mend)| {
            if let (true, Some(tiers)) = (mend, tiers.as_array_mut()) {
                let last = tiers.len().saturating_sub(1);
                for (index, tier) in tiers.iter_mut().enumerate() {
                    tier["up_to"] = if index == last { Value::Null } else { json!((index + 1).to_string()) };
                }
            }
            tiers
        })
    };
    let of = |kind: &'static str, mut fields: Vec<(&'static str, BoxedStrategy<Value>)>| {
        fields.push(("type", Just(json!(kind)).boxed()));
        object(fields)
    };
    prop_oneof![
        of("flat", vec![("amount", number().boxed())]),
        of("per_unit", vec![("unit_price", number().boxed())]),
        of("graduated", vec![("tiers", open(list(tier("unit_price"))).boxed())]),
        of("volume", vec![("tiers", open(list(tier("unit_price"))).boxed())]),
        of("graduated_percentage", vec![("tiers", open(list(tier("rate"))).boxed())]),
        of("graduated_packages", vec![("tiers", list(package()))]),
        of("volume_packages", vec![("tiers", list(package()))]),
        of("dynamic", vec![("multiplier", some(number()))]),
        of(
            "package",
            vec![
                ("package_size", number().boxed()),
                ("package_price", number().boxed()),
                ("free_units", some(number())),
                ("rounding", some(word(&["up", "down"]))),
            ],
        ),
        of(
            "percentage",
            vec![
                ("rate", number().boxed()),
                ("fixed_fee", some(number())),
                ("free_events", some(Just(json!(2)))),
                ("free_amount", some(number())),
                ("min_per_event", some(number())),
                ("max_per_event", some(number())),
            ],
        ),
    ]
    .boxed()
}

/// Asks, if the question can be read at all. A refusal names at least one mistake.
fn ask<Q: DeserializeOwned, A>(question: &Value, answer: impl Fn(&Q) -> Result<A, Vec<Invalid>>) {
    if let Ok(question) = serde_json::from_str(&question.to_string())
        && let Err(mistakes) = answer(&question)
    {
        assert!(!mistakes.is_empty());
    }
}

fn amounts() -> BoxedStrategy<Value> {
    let prorated = object(vec![("quantity", number().boxed()), ("prorated", number().boxed())]);
    let conversion = object(vec![
        ("operation", word(&["multiply", "divide"]).boxed()),
        ("factor", number().boxed()),
        ("rounding", some(word(&["none", "up", "down", "nearest"]))),
    ]);
    let measured = prop_oneof![
        number().prop_map(|quantity| json!({"quantity": quantity})),
        (number(), number()).prop_map(|(one, other)| json!({"quantity": one, "tier_quantity": other})),
        list(number()).prop_map(|events| json!({"events": events})),
        list(prorated).prop_map(|parts| json!({"prorated_events": parts})),
    ];
    let rest = object(vec![
        ("currency", currency().boxed()),
        ("model", model()),
        ("conversion", some(conversion)),
        ("discount_percent", some(number())),
        ("already_rated_quantity", some(number())),
        ("already_billed", some(number())),
        ("minimum_amount", some(number())),
        ("maximum_amount", some(number())),
    ]);
    (rest, measured)
        .prop_map(|(mut rest, measured)| {
            rest.as_object_mut().unwrap().extend(measured.as_object().unwrap().clone());
            rest
        })
        .boxed()
}

fn usages() -> BoxedStrategy<Value> {
    let value =
        prop_oneof![number(), Just(Value::Null), Just(json!(true)), Just(json!([1])), Just(json!(1.5e10))];
    let properties = object(vec![("n", value.boxed()), ("operation", some(word(&["add", "remove"])))]);
    let event = object(vec![
        ("id", word(&["1", "2", "3", "4"]).boxed()),
        ("timestamp", instant().boxed()),
        ("properties", properties),
    ]);
    let aggregation =
        word(&["count", "sum", "max", "min", "average", "latest", "unique_count", "weighted_sum"]);
    let precision = select(&[-16, -15, -2, 0, 3, 15][..]).prop_map(|digits| json!(digits));
    let rounding =
        object(vec![("mode", word(&["round", "ceil", "floor"]).boxed()), ("precision", precision.boxed())]);
    let metric = object(vec![
        ("aggregation", aggregation.boxed()),
        ("property", Just(json!("n")).boxed()),
        ("recurring", any::<bool>().prop_map(Value::Bool).boxed()),
        ("rounding", some(rounding)),
    ]);
    object(vec![
        ("metric", metric),
        ("period", period()),
        ("full_period", some(period())),
        ("timezone", zone().boxed()),
        ("initial_value", some(number())),
        ("group_by", some(Just(json!(["n", "operation"])))),
        ("prorated", any::<bool>().prop_map(Value::Bool).boxed()),
        ("events", list(event)),
    ])
}

fn invoices() -> BoxedStrategy<Value> {
    let line = object(vec![
        ("id", word(&["a", "b", "c", "d", "e", "f", "g", "h"]).boxed()),
        ("amount", number().boxed()),
        ("tax_rates", some(list(word(&["20", "5.5", "0", "100", "9.975"])))),
    ]);
    let coupon = prop_oneof![
        number().prop_map(|amount| json!({"type": "amount", "amount": amount})),
        number().prop_map(|percent| json!({"type": "percent", "percent": percent})),
    ];
    object(vec![
        ("currency", currency().boxed()),
        ("tax_rounding", some(word(&["rate", "invoice", "line"]))),
        ("tax_inclusive", any::<bool>().prop_map(Value::Bool).boxed()),
        ("lines", list(line)),
        ("coupons", list(coupon)),
        ("credit_notes", list(object(vec![("available", number().boxed())]))),
        ("customer_balance", some(number())),
        ("wallets", list(object(vec![("balance", number().boxed())]))),
        ("minimum_commitment", some(number())),
    ])
}

fn burns() -> BoxedStrategy<Value> {
    let recurrence = object(vec![("interval", interval()), ("anchor", instant().boxed())]);
    let rollover = object(vec![("min", some(number())), ("max", number().boxed())]);
    let grant = object(vec![
        ("id", word(&["a", "b", "c", "d", "e", "f", "g", "h"]).boxed()),
        ("amount", number().boxed()),
        ("effective_at", instant().boxed()),
        ("expires_at", some(instant())),
        ("voided_at", some(instant())),
        ("recurrence", some(recurrence)),
        ("rollover", some(rollover)),
    ]);
    let used = object(vec![("timestamp", instant().boxed()), ("amount", number().boxed())]);
    object(vec![
        ("start", instant().boxed()),
        ("at", instant().boxed()),
        ("grants", list(grant)),
        ("usage", list(used)),
        ("resets", list(instant())),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    #[test]
    fn no_amount_makes_it_panic(question in amounts()) {
        ask(&question, amount);
    }

    #[test]
    fn no_usage_makes_it_panic(question in usages()) {
        ask(&question, usage);
    }

    #[test]
    fn no_periods_make_it_panic(question in object(vec![
        ("interval", interval()),
        ("alignment", some(prop_oneof![
            word(&["anniversary", "calendar"]),
            (1..32).prop_map(|day| json!({"day_of_month": day})),
        ])),
        ("anchor", instant().boxed()),
        ("timezone", zone().boxed()),
        ("start", some(instant())),
        ("ends_at", some(instant())),
        ("count", some(Just(json!(3)))),
        ("containing", some(instant())),
    ])) {
        ask(&question, periods);
    }

    #[test]
    fn no_proration_makes_it_panic(question in object(vec![
        ("currency", currency().boxed()),
        ("basis", some(word(&["day", "second", "none"]))),
        ("timezone", zone().boxed()),
        ("period", period()),
        ("full_period", some(period())),
        ("change_at", instant().boxed()),
        ("old", some(object(vec![
            ("amount", number().boxed()), ("quantity", some(number())), ("already_credited", some(number())),
        ]))),
        ("new", some(object(vec![("amount", number().boxed()), ("quantity", some(number()))]))),
    ])) {
        ask(&question, proration);
    }

    #[test]
    fn no_invoice_makes_it_panic(question in invoices()) {
        ask(&question, invoice);
    }

    #[test]
    fn no_credits_make_it_panic(question in burns()) {
        ask(&question, credits);
    }
}
