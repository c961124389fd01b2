//! Plans as they arrive, and how they are checked.

use std::collections::HashSet;

use accrue_core::{
    calendar::Interval,
    decimal::Number,
    money::{Currency, Money},
};
use accrue_platform::{
    body::Change,
    check::{Check, Metadata},
    problem::Problem,
};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{
    NAME_MAX,
    price_request::{PriceRequest, check_prices},
    refuse_archived,
};
use crate::catalog::{
    AMOUNT_MAX,
    model::{
        FEATURES_MAX, NewPlan, PRICES_MAX, PlanChange, PlanFeature, PlanTerms, TRIAL_DAYS_MAX, TermsChange,
        check_grant, check_interval,
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
    /// A period that comes to less, without tax and what is paid once, is topped up to this; a short period to its part.
    #[schema(value_type = Option<String>, example = "100.00")]
    minimum_commitment: Option<Number>,
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
    /// Null for none.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "100.00")]
    minimum_commitment: Change<Number>,
    /// All features of the new version, at most 100.
    #[schema(max_items = 100)]
    features: Option<Vec<PlanFeature>>,
}

/// Identifiers and codes of metrics and of features.
type References<'a> = (Vec<&'a str>, Vec<&'a str>);

impl CreatePlan {
    pub(super) fn references(&self) -> References<'_> {
        references(&self.prices, &self.features)
    }

    pub(super) fn check(self, named: &Named) -> Result<NewPlan, Problem> {
        let Self { code, name, currency, interval, trial_days, prices, features, metadata, .. } = self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        let currency = check.currency("/currency", &currency);
        check.invalid("/interval", check_interval(interval));
        check_trial(&mut check, trial_days);
        let prices = check_prices(&mut check, prices, currency, named);
        let minimum_commitment =
            self.minimum_commitment.and_then(|least| check_commitment(&mut check, least, currency));
        let features = check_features(&mut check, features, named);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let currency = currency.expect("checked above");
        let name = name.unwrap_or_else(|| code.clone());
        let terms = PlanTerms { interval, trial_days, prices, minimum_commitment, features };
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
        let Self { interval, trial_days, prices, minimum_commitment, features } = self;
        let mut check = Check::new();
        let is_named = [interval.is_some(), trial_days.is_some(), prices.is_some(), features.is_some()];
        if !is_named.contains(&true) && minimum_commitment == Change::Keep {
            let detail = "name what changes: interval, trial_days, prices, minimum_commitment or features";
            check.refuse("", "required", detail);
        }
        check.invalid("/interval", interval.map(check_interval).unwrap_or_default());
        check_trial(&mut check, trial_days.unwrap_or_default());
        let prices = prices.map(|prices| check_prices(&mut check, prices, Some(currency), named));
        let minimum_commitment = minimum_commitment
            .try_map(|least| check_commitment(&mut check, least, Some(currency)).ok_or(()))
            .unwrap_or_default();
        let features = features.map(|features| check_features(&mut check, features, named));
        check.finish()?;
        Ok(TermsChange { interval, trial_days, prices, minimum_commitment, features })
    }
}

fn references<'a>(prices: &'a [PriceRequest], features: &'a [PlanFeature]) -> References<'a> {
    let metrics = prices.iter().take(PRICES_MAX).filter_map(PriceRequest::metric);
    let features = features.iter().take(FEATURES_MAX).map(|feature| feature.feature.as_str());
    (metrics.collect(), features.collect())
}

fn check_trial(check: &mut Check, days: u16) {
    if days > TRIAL_DAYS_MAX {
        check.refuse("/trial_days", "out_of_range", format!("a trial lasts at most {TRIAL_DAYS_MAX} days"));
    }
}

/// Digits of money can be checked only if the currency is known.
fn check_commitment(check: &mut Check, least: Number, currency: Option<Currency>) -> Option<Money> {
    const POINTER: &str = "/minimum_commitment";

    if least.0 <= Decimal::ZERO || least.0 > AMOUNT_MAX.into() {
        check.refuse(POINTER, "out_of_range", format!("is more than 0, and at most {AMOUNT_MAX}"));
        return None;
    }
    let exact = Money::exact(least.0, currency?);
    exact.map_err(|error| check.refuse(POINTER, "invalid_amount", error.to_string())).ok()
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
        let pointer = format!("{under}/feature");
        refuse_archived(check, pointer, "feature", &feature.code, feature.archived_at);
        if !codes.insert(feature.id) {
            check.refuse(format!("{under}/feature"), "duplicate", "the plan grants this feature already");
        }
        match check_grant(feature.kind, &value) {
            Ok(value) => checked.push(PlanFeature { feature: feature.code.clone(), value }),
            Err(mistakes) => check.invalid(&under, mistakes),
        }
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

    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::model::{Feature, FeatureKind, FeatureValue, LateEvents, Metric, TaxTable, Timing};

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
            late_events: LateEvents::default(),
            splits: BTreeSet::new(),
            metadata: Metadata::new(),
            created_at: now(),
            archived_at: None,
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
            archived_at: None,
        };
        let features = vec![feature("sso", FeatureKind::Switch), feature("seats", FeatureKind::Limit)];
        Named { metrics: vec![metric], features, taxes: TaxTable::default() }
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
        assert_eq!(plan.terms.features[0].value, FeatureValue::switch(true));
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
            ["/prices/0/tax_code unknown"]
        );
        assert_eq!(
            mistakes(r#""currency":"USD","minimum_commitments":"100""#),
            ["/minimum_commitments unknown_field"]
        );
    }

    #[test]
    fn what_is_paid_once_is_paid_whole_and_in_advance() {
        let once = r#"{"code":"setup","kind":"one_time","timing":"arrears","prorate":true,
            "model":{"type":"per_unit","unit_price":"1"}}"#;
        assert_eq!(
            mistakes(&format!(r#""currency":"USD","prices":[{once}]"#)),
            [
                "/prices/0/timing unsupported",
                "/prices/0/model/type unsupported",
                "/prices/0/prorate not_proratable"
            ]
        );
        let hidden = r#"{"code":"c","kind":"commitment","model":{"type":"flat","amount":"1"}}"#;
        let mistakes = mistakes(&format!(r#""currency":"USD","prices":[{hidden}]"#));
        assert!(mistakes[0].starts_with("/prices/0/kind"), "{mistakes:?}");
    }

    #[test]
    fn a_commitment_is_an_amount_of_the_currency() {
        let of = |amount: &str| mistakes(&format!(r#""currency":"USD","minimum_commitment":{amount}"#));
        assert_eq!(of("0"), ["/minimum_commitment out_of_range"]);
        assert_eq!(of("\"-1\""), ["/minimum_commitment out_of_range"]);
        assert_eq!(of("\"1.001\""), ["/minimum_commitment invalid_amount"]);
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
        let change = parse::<CreatePlanVersion>(r#"{"minimum_commitment":null}"#).unwrap();
        let change = change.check(Currency::USD, &named()).unwrap();
        assert_eq!(change.minimum_commitment, Change::Clear);
    }
}
