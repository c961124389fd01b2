//! Prices of a plan as they arrive, and how they are checked.

use std::collections::{BTreeMap, HashSet};

use accrue_core::{
    decimal::Number,
    invalid::Invalid,
    money::{Currency, Money},
    price::{InvalidModel, Model, RawModel},
    usage::{Filter, VALUES_MAX},
};
use accrue_platform::check::Check;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{NAME_MAX, features::metric_id};
use crate::catalog::{
    AMOUNT_MAX,
    model::{
        NewPrice, PRICE_FILTERS_MAX, PRICES_MAX, PROPERTIES_MAX, PriceFilter, PriceKind, Timing, check_model,
        check_price, check_proration,
    },
    service::Named,
};

/// A price of a plan to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceRequest {
    /// Your name for it, unique in the plan.
    #[schema(example = "base")]
    code: String,
    /// As invoices print it; the code unless given.
    #[schema(example = "Base fee")]
    name: Option<String>,
    kind: PriceKind,
    /// `advance` unless given for fixed and seat prices, always `arrears` for usage, always `advance` for what is paid
    /// once.
    timing: Option<Timing>,
    /// Of a usage price: the identifier or code of the metric that is measured. All prices on a metric together tell
    /// its usage apart, by what they filter and group by, in at most 16 ways.
    #[schema(example = "tokens")]
    metric: Option<String>,
    /// A fixed or one-time price is `flat`. Of usage, it is the model of what no filter matches.
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
    /// weighed by the days it was there (default false). What is paid once is always paid whole.
    prorate: Option<bool>,
    /// It has the taxes whose `tax_codes` name this; the default taxes if there is none.
    #[schema(example = "software")]
    tax_code: Option<String>,
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

impl PriceRequest {
    /// The identifier or code of its metric.
    pub(super) fn metric(&self) -> Option<&str> {
        self.metric.as_deref()
    }

    fn refuse_terms_of_usage(&self, check: &mut Check, under: &str) {
        let given = [
            ("filters", self.filters.is_some()),
            ("group_by", self.group_by.is_some()),
            ("minimum_amount", self.minimum_amount.is_some()),
            ("maximum_amount", self.maximum_amount.is_some()),
            ("free_quantity", self.free_quantity.is_some()),
        ];
        for (field, _) in given.iter().filter(|(_, is_given)| *is_given && self.kind != PriceKind::Usage) {
            check.refuse(format!("{under}/{field}"), "unexpected", "only a usage price has it");
        }
    }
}

/// The prices without the bad ones. Digits of money can be checked only if the currency is known.
pub(super) fn check_prices(
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
        price.refuse_terms_of_usage(check, &under);
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
    let rules = metric.as_deref().and_then(|reference| named.metric(reference)).map(|metric| &metric.rules);
    let mut read = |pointer: String, model| {
        let model = read_model(model, currency).map_err(|mistakes| check.invalid(&pointer, mistakes)).ok()?;
        check.invalid(&pointer, check_model(kind, &model, rules));
        Some(model)
    };
    let model = read(format!("{under}/model"), model);
    let filters = price.filters.unwrap_or_default().into_iter().enumerate();
    let filters: Vec<(Filter, Option<Model>)> = filters
        .map(|(at, filter)| {
            (Filter(filter.r#where), read(format!("{under}/filters/{at}/model"), filter.model))
        })
        .collect();
    check_filters(check, under, filters.iter().map(|(filter, _)| filter));
    let group_by = price.group_by.unwrap_or_default();
    check_group_by(check, &format!("{under}/group_by"), &group_by);
    let bounds = [("minimum_amount", price.minimum_amount), ("maximum_amount", price.maximum_amount)];
    let [minimum_amount, maximum_amount] = check_bounds(check, under, bounds, currency);
    if price.free_quantity.is_some_and(|free| free.0 < Decimal::ZERO) {
        check.refuse(format!("{under}/free_quantity"), "negative", "must not be negative");
    }
    if price.tax_code.as_deref().is_some_and(|code| !named.taxes.knows(code)) {
        let detail =
            "no tax names this code: make one that does first, with the rate 0 for what is not taxed";
        check.refuse(format!("{under}/tax_code"), "unknown", detail);
    }
    let filters = filters.into_iter().map(|(r#where, model)| Some(PriceFilter { r#where, model: model? }));
    let (filters, model) = (filters.collect::<Option<Vec<_>>>()?, model?);
    let is_usage = kind == PriceKind::Usage;
    if kind == PriceKind::OneTime && price.prorate == Some(true) {
        check.refuse(format!("{under}/prorate"), "not_proratable", "what is paid once is never prorated");
    }
    let prorate = price.prorate.unwrap_or(matches!(kind, PriceKind::Fixed | PriceKind::Seat));
    if is_usage && prorate {
        let models = filters.iter().map(|filter| &filter.model).chain([&model]);
        check.invalid(under, check_proration(rules, models));
    }
    Some(NewPrice {
        name: name.unwrap_or_else(|| code.clone()),
        code,
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
        tax_code: price.tax_code,
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

/// Properties by which usage is told apart.
pub(super) fn check_group_by(check: &mut Check, under: &str, group_by: &[String]) {
    if group_by.len() > PROPERTIES_MAX {
        let detail = format!("usage is told apart by at most {PROPERTIES_MAX} properties at once");
        check.refuse(under, "too_many", detail);
    }
    let mut seen = HashSet::new();
    for (index, property) in group_by.iter().take(PROPERTIES_MAX).enumerate() {
        let pointer = format!("{under}/{index}");
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
        if amount > AMOUNT_MAX.into() {
            let detail = format!("is more than {AMOUNT_MAX}, the most that is billed at once");
            check.refuse(format!("{under}/{field}"), "out_of_range", detail);
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
