//! What the catalogue refuses to sell. Every mistake points at its place in the object that is checked.

use accrue_core::{
    calendar::{Interval, Unit},
    invalid::Invalid,
    price::Model,
    usage::{self, Aggregation},
};
use rust_decimal::Decimal;

use super::{AMOUNT_MAX, FeatureKind, FeatureValue, PriceKind, Timing, is_billable};

/// How many prices a plan may have.
pub(in crate::catalog) const PRICES_MAX: usize = 50;
/// How many features a plan may grant.
pub(in crate::catalog) const FEATURES_MAX: usize = 100;
/// How many taxes a price may have.
pub(in crate::catalog) const TAXES_PER_LINE_MAX: usize = 10;
/// How many codes a tax may name.
pub(in crate::catalog) const TAX_CODES_MAX: usize = 50;
/// The longest trial.
pub(in crate::catalog) const TRIAL_DAYS_MAX: u16 = 730;

/// How many models of its own a price may have for some of the usage.
pub(in crate::catalog) const PRICE_FILTERS_MAX: usize = 50;
/// How many properties a price may look at, to filter or to group.
pub(in crate::catalog) const PROPERTIES_MAX: usize = 5;

/// In how many ways the prices of a tenant may tell a metric's usage apart: each event is added to an hour for each.
pub(in crate::catalog) const SPLITS_MAX: usize = 16;

/// Of these, how many there may be when somebody asks for one more: the others are left to prices.
pub(in crate::catalog) const GROUPINGS_MAX: usize = 8;

/// A count with a property is a sum that somebody mistook (pointers are those of a metric).
pub(in crate::catalog) fn check_property(aggregation: Aggregation, property: Option<&str>) -> Vec<Invalid> {
    if aggregation.needs_property() || property.is_none() {
        return Vec::new();
    }
    vec![Invalid::new("/property", "unexpected", "a count looks at no property")]
}

/// What a price's kind allows (pointers are those of a price).
pub(in crate::catalog) fn check_price(kind: PriceKind, timing: Timing, has_metric: bool) -> Vec<Invalid> {
    let mut found = Vec::new();
    match (kind, has_metric) {
        (PriceKind::Usage, false) => {
            found.push(Invalid::new("/metric", "required", "is needed for a usage price"));
        }
        (PriceKind::Fixed | PriceKind::Seat | PriceKind::OneTime | PriceKind::Commitment, true) => {
            found.push(Invalid::new("/metric", "unexpected", "only a usage price has one"));
        }
        _ => {}
    }
    let refused = match (kind, timing) {
        (PriceKind::Usage, Timing::Advance) => {
            Some("usage is known only after its period: invoice it in arrears")
        }
        (PriceKind::OneTime, Timing::Arrears) => {
            Some("what is paid once is invoiced when the subscription begins, in advance")
        }
        _ => None,
    };
    found.extend(refused.map(|detail| Invalid::new("/timing", "unsupported", detail)));
    found
}

/// What a price's kind allows of models (pointers are those of a model).
///
/// A fixed or one-time price is `flat`, because its quantity is always one. Models that take the events' values for money need
/// such values. Those that look at each event need each to be of one period: no sum that is carried on.
pub(in crate::catalog) fn check_model(
    kind: PriceKind,
    model: &Model,
    metric: Option<&usage::Metric>,
) -> Vec<Invalid> {
    let is_sum = |metric: &usage::Metric| metric.aggregation == Aggregation::Sum && !metric.recurring;
    let refused = match model {
        Model::Percentage { .. } | Model::GraduatedPercentage { .. } | Model::Dynamic { .. }
            if kind != PriceKind::Usage =>
        {
            Some("only a usage price prices the money in events")
        }
        Model::Percentage { .. } if metric.is_some_and(|metric| !is_sum(metric)) => {
            Some("prices each event, so its metric is a sum that is not recurring")
        }
        Model::GraduatedPercentage { .. } | Model::Dynamic { .. }
            if metric.is_some_and(|metric| !metric.aggregation.needs_number()) =>
        {
            Some("prices the money in events, so its metric has a number")
        }
        Model::PerUnit { .. }
        | Model::Graduated { .. }
        | Model::Volume { .. }
        | Model::Package { .. }
        | Model::GraduatedPackages { .. }
        | Model::VolumePackages { .. }
            if matches!(kind, PriceKind::Fixed | PriceKind::OneTime) =>
        {
            Some("a fixed or one-time price is flat")
        }
        _ => None,
    };
    let refused = refused.map(|detail| Invalid::new("/type", "unsupported", detail));
    let is_too_much = kind != PriceKind::Usage && !is_billable(model, Decimal::ONE);
    let too_much = || Invalid::new("", "out_of_range", format!("one costs more than {AMOUNT_MAX}"));
    refused.or_else(|| is_too_much.then(too_much)).into_iter().collect()
}

/// Whether stateful usage may be weighed by its days (pointers are those of a price).
pub(in crate::catalog) fn check_proration<'a>(
    metric: Option<&usage::Metric>,
    models: impl IntoIterator<Item = &'a Model>,
) -> Vec<Invalid> {
    let is_stateful = |metric: &usage::Metric| metric.recurring && metric.aggregation.is_proratable();
    let refused = if metric.is_some_and(|metric| !is_stateful(metric)) {
        Some("only a recurring sum or unique_count can be prorated")
    } else if models.into_iter().any(|model| !model.is_proratable()) {
        Some("usage of packages and percentages cannot be prorated")
    } else {
        None
    };
    refused.map(|detail| Invalid::new("/prorate", "not_proratable", detail)).into_iter().collect()
}

/// How long a billing interval may be: ten years.
pub(in crate::catalog) fn check_interval(interval: Interval) -> Vec<Invalid> {
    let most = match interval.unit {
        Unit::Day => 3660,
        Unit::Week => 520,
        Unit::Month => 120,
        Unit::Quarter => 40,
        Unit::Year => 10,
    };
    if interval.count.get() <= most {
        return Vec::new();
    }
    vec![Invalid::new(
        "/count",
        "out_of_range",
        format!("an interval lasts at most ten years: {most} of these"),
    )]
}

/// How long a config may be, in bytes without white space: it goes to others with everything that a customer may use.
pub(in crate::catalog) const CONFIG_MAX: usize = 4096;
/// So many digits every reader of JSON holds exactly.
const CONFIG_DIGITS_MAX: usize = 15;

/// A feature's value as it is granted, if it can be granted like that (pointers are those of a plan's feature).
pub(in crate::catalog) fn check_grant(
    kind: FeatureKind,
    value: &FeatureValue,
) -> Result<FeatureValue, Vec<Invalid>> {
    let refuse = |code, detail: String| Err(vec![Invalid::new("/value", code, detail)]);
    match kind {
        FeatureKind::Switch => match value.as_switch() {
            Some(on) => Ok(FeatureValue::switch(on)),
            None => refuse("malformed", "a switch is true or false".into()),
        },
        FeatureKind::Limit | FeatureKind::Metered => match value.as_amount() {
            Some(amount) if amount.0.is_sign_negative() => refuse("negative", "must not be negative".into()),
            Some(amount) => Ok(FeatureValue::amount(amount)),
            None => refuse("malformed", "a limit is a number".into()),
        },
        FeatureKind::Config => match compact(value.as_json()) {
            None => {
                let detail = format!(
                    "numbers in a config have at most {CONFIG_DIGITS_MAX} digits and no exponent: write others as texts"
                );
                refuse("not_exact", detail)
            }
            // Readers of JSON refuse half of a pair of surrogates, which is well formed otherwise.
            Some(json) if serde_json::from_str::<serde_json::Value>(&json).is_err() => refuse(
                "malformed",
                "a config is JSON that every reader takes: is a text in it not Unicode?".into(),
            ),
            Some(json) if json == "null" => {
                refuse("malformed", "null says nothing: leave the feature out".into())
            }
            Some(json) if json.len() > CONFIG_MAX => {
                let detail = format!("a config has at most {CONFIG_MAX} bytes without its white space");
                refuse("too_long", detail)
            }
            Some(json) => Ok(FeatureValue::json(json)),
        },
    }
}

/// JSON that is well formed, without white space; `None` if readers would take different numbers from it.
fn compact(json: &str) -> Option<String> {
    let mut written = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped, mut digits) = (false, false, 0);
    for letter in json.chars() {
        if in_text {
            in_text = is_escaped || letter != '"';
            is_escaped = letter == '\\' && !is_escaped;
            written.push(letter);
            continue;
        }
        in_text = letter == '"';
        match letter {
            '0'..='9' => digits += 1,
            '.' | '-' => {}
            'e' | 'E' if digits > 0 => return None,
            _ => digits = 0,
        }
        if digits > CONFIG_DIGITS_MAX {
            return None;
        }
        if !letter.is_ascii_whitespace() {
            written.push(letter);
        }
    }
    Some(written)
}

/// Whether a metered feature has a metric, and no other one has.
pub(in crate::catalog) fn check_feature(kind: FeatureKind, has_metric: bool) -> Vec<Invalid> {
    let refused = match (kind, has_metric) {
        (FeatureKind::Metered, false) => Some(("required", "is needed for a metered feature")),
        (FeatureKind::Switch | FeatureKind::Limit | FeatureKind::Config, true) => {
            Some(("unexpected", "only a metered feature has one"))
        }
        _ => None,
    };
    refused.map(|(code, detail)| Invalid::new("/metric", code, detail)).into_iter().collect()
}

/// A tax rate in percent.
pub(in crate::catalog) fn check_rate(rate: Decimal) -> Vec<Invalid> {
    if (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&rate) {
        return Vec::new();
    }
    vec![Invalid::new("/rate", "out_of_range", "is a percentage from 0 to 100")]
}

#[cfg(test)]
mod tests {
    use accrue_core::{money::Currency, price::RawModel, usage::RawMetric};

    use super::*;

    fn codes(found: Vec<Invalid>) -> Vec<String> {
        found.into_iter().map(|mistake| format!("{} {}", mistake.pointer, mistake.code)).collect()
    }

    fn metric(json: &str) -> usage::Metric {
        serde_json::from_str::<RawMetric>(json).unwrap().check().unwrap()
    }

    fn model(json: &str) -> Model {
        let raw: RawModel = serde_json::from_str(json).unwrap();
        raw.check(Currency::USD).unwrap()
    }

    #[test]
    fn a_count_refuses_a_property() {
        assert_eq!(codes(check_property(Aggregation::Count, Some("tokens"))), ["/property unexpected"]);
        assert!(check_property(Aggregation::Sum, Some("tokens")).is_empty());
        assert!(check_property(Aggregation::Count, None).is_empty());
    }

    #[test]
    fn only_stateful_usage_is_prorated_and_never_in_packages() {
        let per_unit = model(r#"{"type":"per_unit","unit_price":"1"}"#);
        let package = model(r#"{"type":"package","package_size":"10","package_price":"1"}"#);
        let seats = metric(r#"{"aggregation":"unique_count","property":"user","recurring":true}"#);
        let calls = metric(r#"{"aggregation":"sum","property":"n"}"#);
        assert!(check_proration(Some(&seats), [&per_unit]).is_empty());
        assert_eq!(codes(check_proration(Some(&seats), [&per_unit, &package])), ["/prorate not_proratable"]);
        assert_eq!(codes(check_proration(Some(&calls), [&per_unit])), ["/prorate not_proratable"]);
    }

    #[test]
    fn usage_has_a_metric_and_is_never_invoiced_in_advance() {
        use PriceKind::*;

        assert_eq!(
            codes(check_price(Usage, Timing::Advance, false)),
            ["/metric required", "/timing unsupported"]
        );
        assert_eq!(codes(check_price(Fixed, Timing::Arrears, true)), ["/metric unexpected"]);
        assert_eq!(codes(check_price(OneTime, Timing::Arrears, false)), ["/timing unsupported"]);
        for kind in [Fixed, Seat, Usage, OneTime] {
            assert!(check_price(kind, kind.usual_timing(), kind == Usage).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn a_fixed_price_is_flat_and_money_in_events_is_priced_where_there_is_some() {
        let flat = model(r#"{"type":"flat","amount":"10"}"#);
        let per_unit = model(r#"{"type":"per_unit","unit_price":"1"}"#);
        let percentage = model(r#"{"type":"percentage","rate":"3"}"#);
        let dynamic = model(r#"{"type":"dynamic"}"#);
        let (count, sum) = (r#"{"aggregation":"count"}"#, r#"{"aggregation":"sum","property":"n"}"#);
        let carried = r#"{"aggregation":"sum","property":"n","recurring":true}"#;
        let of = |kind, model, metered: Option<&str>| {
            codes(check_model(kind, model, metered.map(metric).as_ref()))
        };
        assert!(of(PriceKind::Fixed, &flat, None).is_empty());
        assert_eq!(of(PriceKind::Fixed, &per_unit, None), ["/type unsupported"]);
        assert_eq!(of(PriceKind::OneTime, &per_unit, None), ["/type unsupported"]);
        assert!(of(PriceKind::OneTime, &flat, None).is_empty());
        assert!(of(PriceKind::Seat, &per_unit, None).is_empty());
        for money in [&percentage, &dynamic] {
            assert_eq!(of(PriceKind::Seat, money, None), ["/type unsupported"]);
            assert_eq!(of(PriceKind::Usage, money, Some(count)), ["/type unsupported"]);
            assert!(of(PriceKind::Usage, money, Some(sum)).is_empty());
        }
        assert_eq!(of(PriceKind::Usage, &percentage, Some(carried)), ["/type unsupported"]);
        assert!(of(PriceKind::Usage, &dynamic, Some(carried)).is_empty());
    }

    #[test]
    fn an_interval_lasts_at_most_ten_years() {
        let every = |count: u32, unit| Interval { unit, count: count.try_into().unwrap() };
        assert!(check_interval(every(120, Unit::Month)).is_empty());
        assert_eq!(codes(check_interval(every(11, Unit::Year))), ["/count out_of_range"]);
    }

    fn granted(kind: FeatureKind, json: &str) -> String {
        let value = serde_json::from_str(json).unwrap();
        match check_grant(kind, &value) {
            Ok(value) => value.as_json().to_owned(),
            Err(mistakes) => codes(mistakes).join(", "),
        }
    }

    #[test]
    fn a_switch_is_on_or_off_and_a_limit_is_a_number() {
        use FeatureKind::*;

        assert_eq!(granted(Switch, "false"), "false");
        assert_eq!(granted(Limit, "0"), "0");
        assert_eq!(granted(Metered, "\"1.50\""), "\"1.5\"");
        for (kind, json) in
            [(Switch, "1"), (Switch, "\"true\""), (Limit, "true"), (Limit, "{}"), (Limit, "null")]
        {
            assert_eq!(granted(kind, json), "/value malformed", "{kind:?} {json}");
        }
        assert_eq!(granted(Metered, "-1"), "/value negative");
    }

    #[test]
    fn a_config_is_any_json_of_some_length_with_numbers_that_everybody_reads_alike() {
        let config = |json: &str| granted(FeatureKind::Config, json);
        assert_eq!(config("true"), "true");
        assert_eq!(config("\"10\""), "\"10\"");
        assert_eq!(
            config("{ \"a b\" : [1, -0.5,\n true ], \"c\": \"x \\\" 1e5\" }"),
            "{\"a b\":[1,-0.5,true],\"c\":\"x \\\" 1e5\"}"
        );
        assert_eq!(config("[123456789012345,123456789.012345]"), "[123456789012345,123456789.012345]");
        for json in ["1234567890123456", "[0.1234567890123456]", "1e400", "[1E2]"] {
            assert_eq!(config(json), "/value not_exact", "{json}");
        }
        assert_eq!(config(" null "), "/value malformed");
        let long = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert_eq!(config(&long(CONFIG_MAX)), long(CONFIG_MAX));
        assert_eq!(config(&long(CONFIG_MAX + 1)), "/value too_long");
    }

    #[test]
    fn only_a_metered_feature_has_a_metric() {
        assert_eq!(codes(check_feature(FeatureKind::Metered, false)), ["/metric required"]);
        for kind in [FeatureKind::Limit, FeatureKind::Config] {
            assert_eq!(codes(check_feature(kind, true)), ["/metric unexpected"]);
        }
        assert!(check_feature(FeatureKind::Switch, false).is_empty());
    }

    #[test]
    fn a_tax_rate_is_a_percentage() {
        let rate = |text: &str| check_rate(text.parse().unwrap()).is_empty();
        assert!(rate("0") && rate("8.875") && rate("100"));
        assert!(!rate("-1") && !rate("100.1"));
    }
}
