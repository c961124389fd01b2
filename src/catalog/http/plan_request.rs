//! Plans as they arrive, and how they are checked.

use std::collections::{BTreeMap, HashSet};

use accrue_core::{
    calendar::Interval,
    decimal::Number,
    invalid::Invalid,
    money::{Currency, Money},
    price::{InvalidModel, Model, RawModel},
    usage::{Filter, VALUES_MAX},
};
use accrue_platform::{
    check::{Check, Metadata},
    problem::Problem,
};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{NAME_MAX, features::metric_id};
use crate::catalog::{
    model::{
        FEATURES_MAX, NewPlan, NewPrice, PRICE_FILTERS_MAX, PRICES_MAX, PROPERTIES_MAX, PlanChange,
        PlanFeature, PlanTerms, PriceFilter, PriceKind, TRIAL_DAYS_MAX, TermsChange, Timing, check_grant,
        check_interval, check_model, check_price, check_proration,
    },
    service::Named,
};

/// A plan to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatePlan {
    /// Your name for it, for programs.
    #[schema(example = "pro")]
    code: String,
    /// For people; the code unless given.
    #[schema(example = "Pro")]
    name: Option<String>,
    /// All its prices are in this currency, for ever.
    #[schema(value_type = Currency)]
    currency: String,
    interval: Interval,
    /// Fixed and seat prices cost nothing for so long; usage is billed (at most 730).
    #[serde(default)]
    #[schema(example = 14, maximum = 730)]
    trial_days: u16,
    /// At most 50.
    #[serde(default)]
    #[schema(max_items = 50)]
    prices: Vec<PriceRequest>,
    /// At most 100.
    #[serde(default)]
    #[schema(max_items = 100)]
    features: Vec<PlanFeature>,
    #[serde(default)]
    metadata: Metadata,
}

/// What to change of a plan; what is not named stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdatePlan {
    name: Option<String>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

/// What the new version says otherwise. At least one of them.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatePlanVersion {
    interval: Option<Interval>,
    /// Fixed and seat prices cost nothing for so long (at most 730).
    #[schema(maximum = 730)]
    trial_days: Option<u16>,
    /// All prices of the new version, at most 50.
    #[schema(max_items = 50)]
    prices: Option<Vec<PriceRequest>>,
    /// All features of the new version, at most 100.
    #[schema(max_items = 100)]
    features: Option<Vec<PlanFeature>>,
}

/// A price of a plan to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PriceRequest {
    /// Your name for it, unique in the plan.
    #[schema(example = "base")]
    code: String,
    /// As invoices print it; the code unless given.
    #[schema(example = "Base fee")]
    name: Option<String>,
    kind: PriceKind,
    /// `advance` unless given for fixed and seat prices, always `arrears` for usage.
    timing: Option<Timing>,
    /// Of a usage price: the identifier or code of the metric that is measured.
    #[schema(example = "tokens")]
    metric: Option<String>,
    /// A fixed price is `flat`. Of usage, it is the model of what no filter matches.
    model: RawModel,
    /// Of usage: models for events with certain properties, at most 50. The most specific one wins, of equals the
    /// first.
    #[schema(max_items = 50)]
    filters: Option<Vec<PriceFilterRequest>>,
    /// Of usage: properties by whose values it is priced apart, each in a line of its own; at most 5.
    #[schema(max_items = 5, example = json!(["model"]))]
    group_by: Option<Vec<String>>,
    /// Of usage: a period is topped up to this, in a line of its own. Trials are not.
    #[schema(value_type = Option<String>, example = "10.00")]
    minimum_amount: Option<Number>,
    /// Of usage: a period costs at most this.
    #[schema(value_type = Option<String>, example = "500.00")]
    maximum_amount: Option<Number>,
    /// Of usage: units that cost nothing, the first of each period.
    free_quantity: Option<Number>,
    /// Of fees: whether a short period costs less (default true). Of usage of a recurring metric: whether it is
    /// weighed by the days it was there (default false).
    prorate: Option<bool>,
}

/// Events that are priced by another model.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PriceFilterRequest {
    /// All these properties must be there, each with one of its values; none means any.
    #[schema(example = json!({"region": ["eu"]}))]
    r#where: BTreeMap<String, Vec<String>>,
    model: RawModel,
}

/// Identifiers and codes of metrics and of features.
type References<'a> = (Vec<&'a str>, Vec<&'a str>);

impl CreatePlan {
    pub(super) fn references(&self) -> References<'_> {
        references(&self.prices, &self.features)
    }

    pub(super) fn check(self, named: &Named) -> Result<NewPlan, Problem> {
        let Self { code, name, currency, interval, trial_days, prices, features, metadata } = self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        let currency = check.currency("/currency", &currency);
        check.invalid("/interval", check_interval(interval));
        check_trial(&mut check, trial_days);
        let prices = check_prices(&mut check, prices, currency, named);
        let features = check_features(&mut check, features, named);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let currency = currency.expect("checked above");
        let name = name.unwrap_or_else(|| code.clone());
        let terms = PlanTerms { interval, trial_days, prices, features };
        Ok(NewPlan { code, name, currency, terms, metadata })
    }
}

impl UpdatePlan {
    pub(super) fn check(self) -> Result<PlanChange, Problem> {
        let Self { name, metadata } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(PlanChange { name, metadata })
    }
}

impl CreatePlanVersion {
    pub(super) fn references(&self) -> References<'_> {
        references(self.prices.as_deref().unwrap_or_default(), self.features.as_deref().unwrap_or_default())
    }

    pub(super) fn check(self, currency: Currency, named: &Named) -> Result<TermsChange, Problem> {
        let Self { interval, trial_days, prices, features } = self;
        let mut check = Check::new();
        if interval.is_none() && trial_days.is_none() && prices.is_none() && features.is_none() {
            check.refuse("", "required", "name what changes: interval, trial_days, prices or features");
        }
        check.invalid("/interval", interval.map(check_interval).unwrap_or_default());
        check_trial(&mut check, trial_days.unwrap_or_default());
        let prices = prices.map(|prices| check_prices(&mut check, prices, Some(currency), named));
        let features = features.map(|features| check_features(&mut check, features, named));
        check.finish()?;
        Ok(TermsChange { interval, trial_days, prices, features })
    }
}

fn references<'a>(prices: &'a [PriceRequest], features: &'a [PlanFeature]) -> References<'a> {
    let metrics = prices.iter().take(PRICES_MAX).filter_map(|price| price.metric.as_deref());
    let features = features.iter().take(FEATURES_MAX).map(|feature| feature.feature.as_str());
    (metrics.collect(), features.collect())
}

fn check_trial(check: &mut Check, days: u16) {
    if days > TRIAL_DAYS_MAX {
        check.refuse("/trial_days", "out_of_range", format!("a trial lasts at most {TRIAL_DAYS_MAX} days"));
    }
}

/// The prices without the bad ones. Digits of money can be checked only if the currency is known.
fn check_prices(
    check: &mut Check,
    prices: Vec<PriceRequest>,
    currency: Option<Currency>,
    named: &Named,
) -> Vec<NewPrice> {
    if prices.len() > PRICES_MAX {
        check.refuse("/prices", "too_many", format!("a plan has at most {PRICES_MAX} prices"));
    }
    let mut codes = HashSet::new();
    let mut checked = Vec::new();
    for (index, price) in prices.into_iter().take(PRICES_MAX).enumerate() {
        let under = format!("/prices/{index}");
        if !codes.insert(price.code.clone()) {
            check.refuse(format!("{under}/code"), "duplicate", "another price of the plan has this code");
        }
        checked.extend(check_one_price(check, &under, price, currency, named));
    }
    checked
}

fn check_one_price(
    check: &mut Check,
    under: &str,
    price: PriceRequest,
    currency: Option<Currency>,
    named: &Named,
) -> Option<NewPrice> {
    let PriceRequest { code, name, kind, timing, metric, model, .. } = price;
    let timing = timing.unwrap_or_else(|| kind.usual_timing());
    check.code(&format!("{under}/code"), &code);
    check.optional_text(&format!("{under}/name"), name.as_deref(), NAME_MAX);
    check.invalid(under, check_price(kind, timing, metric.is_some()));
    let metric_id = metric_id(check, &format!("{under}/metric"), metric.as_deref(), named);
    let metric = metric.as_deref().and_then(|reference| named.metric(reference));
    let mut read = |model, pointer: String| match read_model(model, currency) {
        Ok(model) => {
            check.invalid(&pointer, check_model(kind, &model, metric.map(|metric| &metric.rules)));
            Some(model)
        }
        Err(mistakes) => {
            check.invalid(&pointer, mistakes);
            None
        }
    };
    let model = read(model, format!("{under}/model"));
    let filters = price.filters.unwrap_or_default();
    let filters: Vec<_> = filters
        .into_iter()
        .enumerate()
        .map(|(index, PriceFilterRequest { r#where, model })| {
            (Filter(r#where), read(model, format!("{under}/filters/{index}/model")))
        })
        .collect();
    check_filters(check, under, filters.iter().map(|(filter, _)| filter));
    let group_by = price.group_by.unwrap_or_default();
    check_group_by(check, under, &group_by);
    let [minimum_amount, maximum_amount] = check_bounds(
        check,
        under,
        [("minimum_amount", price.minimum_amount), ("maximum_amount", price.maximum_amount)],
        currency,
    );
    if price.free_quantity.is_some_and(|free| free.0 < Decimal::ZERO) {
        check.refuse(format!("{under}/free_quantity"), "negative", "must not be negative");
    }
    let is_usage = kind == PriceKind::Usage;
    for (field, is_given) in [
        ("filters", !filters.is_empty()),
        ("group_by", !group_by.is_empty()),
        ("minimum_amount", price.minimum_amount.is_some()),
        ("maximum_amount", price.maximum_amount.is_some()),
        ("free_quantity", price.free_quantity.is_some()),
    ] {
        if is_given && !is_usage {
            check.refuse(format!("{under}/{field}"), "unexpected", "only a usage price has it");
        }
    }
    let filters = filters.into_iter().map(|(r#where, model)| Some(PriceFilter { r#where, model: model? }));
    let filters: Vec<PriceFilter> = filters.collect::<Option<_>>()?;
    let model = model?;
    let prorate = price.prorate.unwrap_or(!is_usage);
    if is_usage && prorate {
        let models = filters.iter().map(|filter| &filter.model).chain([&model]);
        check.invalid(under, check_proration(metric.map(|metric| &metric.rules), models));
    }
    let name = name.unwrap_or_else(|| code.clone());
    Some(NewPrice {
        code,
        name,
        kind,
        timing,
        metric_id,
        model,
        filters,
        group_by,
        minimum_amount,
        maximum_amount,
        free_quantity: price.free_quantity.unwrap_or_default().0,
        prorate,
    })
}

/// A filter that looks at nothing would take everything, and of two equal ones the second gets nothing.
fn check_filters<'a>(check: &mut Check, under: &str, filters: impl ExactSizeIterator<Item = &'a Filter>) {
    if filters.len() > PRICE_FILTERS_MAX {
        let detail = format!("a price has at most {PRICE_FILTERS_MAX} filters");
        check.refuse(format!("{under}/filters"), "too_many", detail);
    }
    let mut seen = HashSet::new();
    for (index, filter) in filters.take(PRICE_FILTERS_MAX).enumerate() {
        let pointer = format!("{under}/filters/{index}/where");
        if filter.0.is_empty() {
            check.refuse(pointer.as_str(), "required", "names at least one property");
        }
        if filter.0.len() > PROPERTIES_MAX || filter.0.values().any(|values| values.len() > VALUES_MAX) {
            let detail =
                format!("at most {PROPERTIES_MAX} properties with {VALUES_MAX} values each are allowed");
            check.refuse(pointer.as_str(), "too_many", detail);
        }
        let texts = filter.0.iter().flat_map(|(property, values)| values.iter().chain([property]));
        if texts.into_iter().any(|text| text.chars().count() > NAME_MAX) {
            let detail = format!("properties and values have at most {NAME_MAX} characters");
            check.refuse(pointer.as_str(), "too_long", detail);
        }
        if !seen.insert(filter) {
            check.refuse(pointer, "duplicate", "another filter of the price is the same");
        }
    }
}

fn check_group_by(check: &mut Check, under: &str, group_by: &[String]) {
    if group_by.len() > PROPERTIES_MAX {
        let detail = format!("a price is grouped by at most {PROPERTIES_MAX} properties");
        check.refuse(format!("{under}/group_by"), "too_many", detail);
    }
    let mut seen = HashSet::new();
    for (index, property) in group_by.iter().take(PROPERTIES_MAX).enumerate() {
        let pointer = format!("{under}/group_by/{index}");
        check.text(&pointer, property, NAME_MAX);
        if !seen.insert(property) {
            check.refuse(pointer, "duplicate", "is named twice");
        }
    }
}

/// The least and the most that a period costs. Digits of money can be checked only if the currency is known.
fn check_bounds(
    check: &mut Check,
    under: &str,
    bounds: [(&str, Option<Number>); 2],
    currency: Option<Currency>,
) -> [Option<Money>; 2] {
    let amounts = bounds.map(|(field, amount)| {
        let amount = amount?.0;
        if amount < Decimal::ZERO {
            check.refuse(format!("{under}/{field}"), "negative", "must not be negative");
        }
        let exact = Money::exact(amount, currency?);
        exact
            .map_err(|error| check.refuse(format!("{under}/{field}"), "invalid_amount", error.to_string()))
            .ok()
    });
    if let [Some(minimum), Some(maximum)] = amounts
        && minimum.minor() > maximum.minor()
    {
        let detail = "must not be below minimum_amount";
        check.refuse(format!("{under}/maximum_amount"), "below_minimum", detail);
    }
    amounts
}

fn read_model(model: RawModel, currency: Option<Currency>) -> Result<Model, Vec<Invalid>> {
    match currency {
        Some(currency) => model.check(currency),
        None => Model::try_from(model).map_err(|InvalidModel(mistakes)| mistakes),
    }
}

/// The features by their codes, however they were named.
fn check_features(check: &mut Check, features: Vec<PlanFeature>, named: &Named) -> Vec<PlanFeature> {
    if features.len() > FEATURES_MAX {
        check.refuse("/features", "too_many", format!("a plan has at most {FEATURES_MAX} features"));
    }
    let mut codes = HashSet::new();
    let mut checked = Vec::new();
    for (index, PlanFeature { feature: reference, value }) in
        features.into_iter().take(FEATURES_MAX).enumerate()
    {
        let under = format!("/features/{index}");
        let Some(feature) = named.feature(&reference) else {
            let detail = "is neither the identifier nor the code of a feature";
            check.refuse(format!("{under}/feature"), "unknown", detail);
            continue;
        };
        if !codes.insert(feature.id) {
            check.refuse(format!("{under}/feature"), "duplicate", "the plan grants this feature already");
        }
        check.invalid(&under, check_grant(feature.kind, value));
        checked.push(PlanFeature { feature: feature.code.clone(), value });
    }
    checked
}

#[cfg(test)]
mod tests {
    use accrue_core::{
        id::{FeatureId, MetricId, TenantId},
        usage::RawMetric,
    };
    use accrue_platform::body::parse;
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::catalog::model::{Feature, FeatureKind, FeatureValue, Metric};

    fn now() -> DateTime<Utc> {
        "2026-01-31T10:00:00Z".parse().unwrap()
    }

    fn named() -> Named {
        let tenant_id = TenantId::new(now());
        let metric = Metric {
            tenant_id,
            id: MetricId::new(now()),
            code: "tokens".into(),
            name: "Tokens".into(),
            event_name: "completion".into(),
            rules: serde_json::from_str::<RawMetric>(r#"{"aggregation":"count"}"#).unwrap().check().unwrap(),
            metadata: Metadata::new(),
            created_at: now(),
        };
        let feature = |code: &str, kind| Feature {
            tenant_id,
            id: FeatureId::new(now()),
            code: code.into(),
            name: code.into(),
            kind,
            metric_id: None,
            metadata: Metadata::new(),
            created_at: now(),
        };
        let features = vec![feature("sso", FeatureKind::Switch), feature("seats", FeatureKind::Limit)];
        Named { metrics: vec![metric], features }
    }

    fn mistakes(fields: &str) -> Vec<String> {
        let json = format!(r#"{{"code":"pro","interval":{{"unit":"month","count":1}},{fields}}}"#);
        let checked = parse::<CreatePlan>(&json).and_then(|plan| plan.check(&named()));
        let problem = checked.unwrap_err();
        problem.errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect()
    }

    #[test]
    fn a_plan_becomes_what_is_sold() {
        let named = named();
        let json = format!(
            r#"{{"code":"pro","currency":"USD","interval":{{"unit":"month","count":1}},"trial_days":14,
            "prices":[
                {{"code":"base","name":"Base","kind":"fixed","model":{{"type":"flat","amount":10.5}}}},
                {{"code":"seats","kind":"seat","timing":"arrears","model":{{"type":"per_unit","unit_price":"5"}}}},
                {{"code":"tokens","kind":"usage","metric":"tokens","model":{{"type":"graduated","tiers":[
                    {{"up_to":"1000","unit_price":"0"}},{{"up_to":null,"unit_price":"0.002"}}]}}}}],
            "features":[{{"feature":"{}","value":true}},{{"feature":"seats","value":10}}]}}"#,
            named.features[0].id
        );
        let plan = parse::<CreatePlan>(&json).unwrap();
        assert_eq!(plan.references().0, ["tokens"]);
        let plan = plan.check(&named).unwrap();

        assert_eq!((plan.name.as_str(), plan.terms.trial_days), ("pro", 14));
        let timings: Vec<_> = plan.terms.prices.iter().map(|price| price.timing).collect();
        assert_eq!(timings, [Timing::Advance, Timing::Arrears, Timing::Arrears]);
        assert_eq!(plan.terms.prices[2].metric_id, Some(named.metrics[0].id));
        let granted: Vec<_> = plan.terms.features.iter().map(|feature| feature.feature.as_str()).collect();
        assert_eq!(granted, ["sso", "seats"]);
        assert_eq!(plan.terms.features[0].value, FeatureValue::Switch(true));
    }

    #[test]
    fn a_plan_may_cost_nothing() {
        let json = r#"{"code":"free","currency":"USD","interval":{"unit":"month","count":1}}"#;
        let plan = parse::<CreatePlan>(json).unwrap().check(&named()).unwrap();
        assert!(plan.terms.prices.is_empty());
    }

    #[test]
    fn every_mistake_in_a_price_is_reported_with_its_place() {
        assert_eq!(
            mistakes(
                r#""currency":"USD","prices":[
                {"code":"base","kind":"fixed","model":{"type":"flat","amount":"1.234"}},
                {"code":"base","kind":"seat","metric":"tokens","model":{"type":"per_unit","unit_price":"1"}},
                {"code":"a b","kind":"usage","timing":"advance","metric":"nothing",
                    "model":{"type":"graduated","tiers":[{"up_to":"1","unit_price":"-1"}]}},
                {"code":"fee","kind":"usage","metric":"tokens","model":{"type":"percentage","rate":"3"}}]"#
            ),
            [
                "/prices/0/model/amount invalid_amount",
                "/prices/1/code duplicate",
                "/prices/1/metric unexpected",
                "/prices/2/code malformed",
                "/prices/2/timing unsupported",
                "/prices/2/metric unknown",
                "/prices/2/model/tiers/0/up_to last_tier_must_be_open",
                "/prices/2/model/tiers/0/unit_price negative",
                "/prices/3/model/type unsupported",
            ]
        );
    }

    #[test]
    fn every_mistake_in_the_terms_of_usage_is_reported_with_its_place() {
        assert_eq!(
            mistakes(
                r#""currency":"USD","prices":[
                {"code":"base","kind":"fixed","minimum_amount":"1","group_by":["x"],
                    "model":{"type":"flat","amount":"1"}},
                {"code":"tokens","kind":"usage","metric":"tokens","prorate":true,"group_by":["a","","a"],
                    "minimum_amount":"2.00","maximum_amount":"1.999","free_quantity":"-1",
                    "model":{"type":"per_unit","unit_price":"1"},
                    "filters":[{"where":{},"model":{"type":"flat"}},
                        {"where":{"region":["eu"]},"model":{"type":"dynamic"}},
                        {"where":{"region":["eu"]},"model":{"type":"flat","amount":"1"}}]}]"#
            ),
            [
                "/prices/0/group_by unexpected",
                "/prices/0/minimum_amount unexpected",
                "/prices/1/filters/0/model/amount required",
                "/prices/1/filters/1/model/type unsupported",
                "/prices/1/filters/0/where required",
                "/prices/1/filters/2/where duplicate",
                "/prices/1/group_by/1 blank",
                "/prices/1/group_by/2 duplicate",
                "/prices/1/maximum_amount invalid_amount",
                "/prices/1/free_quantity negative",
            ]
        );
    }

    #[test]
    fn an_unknown_currency_hides_no_other_mistake() {
        assert_eq!(
            mistakes(r#""currency":"XXX","prices":[{"code":"b","kind":"fixed","model":{"type":"flat"}}]"#),
            ["/currency unknown", "/prices/0/model/amount required"]
        );
    }

    #[test]
    fn every_mistake_in_a_feature_is_reported_with_its_place() {
        assert_eq!(
            mistakes(
                r#""currency":"USD","trial_days":731,"features":[{"feature":"sso","value":"1"},
                {"feature":"sso","value":true},{"feature":"none","value":1},{"feature":"seats","value":-1}]"#
            ),
            [
                "/trial_days out_of_range",
                "/features/0/value malformed",
                "/features/1/feature duplicate",
                "/features/2/feature unknown",
                "/features/3/value negative",
            ]
        );
    }

    #[test]
    fn fields_that_are_not_known_are_refused_where_they_stand() {
        assert_eq!(
            mistakes(
                r#""currency":"USD","prices":[{"code":"b","kind":"fixed","tax_code":"1",
                "model":{"type":"flat","amount":"1"}}]"#
            ),
            ["/prices/0/tax_code unknown_field"]
        );
        assert_eq!(
            mistakes(r#""currency":"USD","minimum_commitment":"100""#),
            ["/minimum_commitment unknown_field"]
        );
    }

    #[test]
    fn a_plan_has_at_most_50_prices() {
        let prices: Vec<String> = (0..51)
            .map(|n| format!(r#"{{"code":"p{n}","kind":"fixed","model":{{"type":"flat","amount":"1"}}}}"#))
            .collect();
        assert_eq!(
            mistakes(&format!(r#""currency":"USD","prices":[{}]"#, prices.join(","))),
            ["/prices too_many"]
        );
    }

    #[test]
    fn a_version_that_changes_nothing_is_refused() {
        let problem = parse::<CreatePlanVersion>("{}").unwrap().check(Currency::USD, &named()).unwrap_err();
        assert_eq!(problem.errors[0].code, "required");
        let change = parse::<CreatePlanVersion>(r#"{"trial_days":0}"#).unwrap();
        let change = change.check(Currency::USD, &named()).unwrap();
        assert_eq!(change, TermsChange { trial_days: Some(0), ..TermsChange::default() });
    }
}
