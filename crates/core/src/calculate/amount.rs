//! What does a quantity cost?

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Check, too_large};
use crate::{
    arithmetic::Overflow,
    decimal::Number,
    exact::Exact,
    invalid::Invalid,
    money::{Currency, Money},
    price::{self, Before, Bucket, Measured, Model, ProratedUnits, RatingError, RawModel, Terms, TierCharge},
    read,
    usage::Conversion,
};

const EVENTS_MAX: usize = 10_000;

/// A quantity, or events, and the price they have. Give one of `quantity`, `events` and `prorated_events`.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmountQuestion {
    pub currency: Currency,
    pub model: RawModel,
    /// Units on top of `already_rated_quantity`. Negative units price as 0.
    pub quantity: Option<Number>,
    /// The value of each event, in order: `percentage` prices each, the other models their sum.
    #[serde(default, deserialize_with = "read::optional_list::<_, _, EVENTS_MAX>")]
    #[schema(max_items = 10_000)]
    pub events: Option<Vec<Number>>,
    /// Units of a stateful metric, with what proration leaves of each.
    #[serde(default, deserialize_with = "read::optional_list::<_, _, EVENTS_MAX>")]
    #[schema(max_items = 10_000)]
    pub prorated_events: Option<Vec<ProratedQuestion>>,
    /// The full units that decide the tier, if `quantity` is prorated.
    pub tier_quantity: Option<Number>,
    /// From measured units to priced ones.
    pub conversion: Option<Conversion>,
    /// Taken off before the cap: 20 for 20 %.
    pub discount_percent: Option<Number>,
    /// Units of the period that were billed before, in measured units. To `percentage` they are one event.
    pub already_rated_quantity: Option<Number>,
    /// What was billed for them (default: their price).
    pub already_billed: Option<Number>,
    /// Topped up in a line of its own.
    pub minimum_amount: Option<Number>,
    /// The period never costs more.
    pub maximum_amount: Option<Number>,
}

/// Units that were there for a part of the period. Full units decide the tier, prorated ones the amount.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProratedUnits)]
pub struct ProratedQuestion {
    /// Full units; negative where units were taken away.
    pub quantity: Number,
    /// The same units weighed by the time they were there.
    pub prorated: Number,
}

/// What it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AmountAnswer {
    /// Not rounded, without the true-up.
    pub exact_amount: Exact,
    /// Rounded once, without the true-up.
    pub amount: Money,
    /// What is missing to the minimum.
    pub true_up: Money,
    pub currency: Currency,
    /// How it came about, before discount and cap.
    pub tiers: Vec<TierCharge>,
}

/// Prices a quantity as an invoice line would.
pub fn amount(question: &AmountQuestion) -> Result<AmountAnswer, Vec<Invalid>> {
    let currency = question.currency;
    let mut check = Check::default();
    let terms = terms(question, &mut check);
    let before = check.not_negative("/already_rated_quantity", question.already_rated_quantity);
    check.not_negative("/already_billed", question.already_billed);
    check_measured(question, &mut check);
    if let Some(Err(mistake)) = question.conversion.map(|conversion| conversion.check()) {
        check.nested::<()>("/conversion", Err(vec![mistake]));
    }
    let model = check.nested("/model", question.model.clone().check(currency));
    check.finish()?;
    let model = model.expect("every mistake was reported");

    let pointer = question.measured_at();
    let before = Exact::from(before);
    let measured = measured(question, &model, &before).map_err(|error| too_large(pointer, error))?;
    let was_rated = !before.is_zero();
    let before = Before {
        quantity: was_rated
            .then(|| question.rounded(&before))
            .transpose()
            .map_err(|error| too_large("/already_rated_quantity", error))?,
        billed: question.already_billed.map(Exact::from),
    };
    let bucket = Bucket { model: &model, before, measured };
    let mut charges = price::charge(&[bucket], &terms, currency).map_err(|error| match error {
        RatingError::NotProratable => super::failed("/model/type", "not_proratable", error),
        RatingError::Overflow(_) | RatingError::Money(_) => too_large(pointer, error),
    })?;
    let charge = charges.buckets.remove(0);
    Ok(AmountAnswer {
        exact_amount: charge.exact_amount,
        amount: charge.amount,
        true_up: charges.true_up,
        currency,
        tiers: charge.tiers,
    })
}

impl AmountQuestion {
    /// Where what was measured stands.
    fn measured_at(&self) -> &'static str {
        match (&self.events, &self.prorated_events) {
            (Some(_), _) => "/events",
            (_, Some(_)) => "/prorated_events",
            (None, None) => "/quantity",
        }
    }

    /// Measured units in priced ones, rounded as the conversion says.
    fn rounded(&self, quantity: &Exact) -> Result<Exact, Overflow> {
        self.conversion.map_or_else(|| Ok(quantity.clone()), |conversion| conversion.apply(quantity))
    }

    /// Measured units in priced ones, not rounded.
    fn exact(&self, quantity: Number) -> Result<Exact, Overflow> {
        let quantity = Exact::from(quantity);
        self.conversion.map_or_else(|| Ok(quantity.clone()), |conversion| conversion.exact(&quantity))
    }
}

fn terms(question: &AmountQuestion, check: &mut Check) -> Terms {
    let currency = question.currency;
    let minimum = question.minimum_amount.map(|amount| check.price("/minimum_amount", amount, currency));
    let maximum = question.maximum_amount.map(|amount| check.price("/maximum_amount", amount, currency));
    if minimum.zip(maximum).is_some_and(|(minimum, maximum)| minimum.minor() > maximum.minor()) {
        check.report("/maximum_amount", "below_minimum", "must not be below minimum_amount");
    }
    Terms {
        free_quantity: Decimal::ZERO,
        discount_percent: check.percent("/discount_percent", question.discount_percent),
        minimum,
        maximum,
    }
}

fn check_measured(question: &AmountQuestion, check: &mut Check) {
    let given = [question.quantity.is_some(), question.events.is_some(), question.prorated_events.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => check.report("/quantity", "required", "give quantity, events or prorated_events"),
        1 => {}
        _ => check.report("/quantity", "exclusive", "give only one of quantity, events and prorated_events"),
    }
    if question.tier_quantity.is_some() && question.quantity.is_none() {
        check.report("/tier_quantity", "exclusive", "belongs to quantity");
    }
    check.at_most("/events", question.events.as_ref().map_or(0, Vec::len), EVENTS_MAX);
    check.at_most("/prorated_events", question.prorated_events.as_ref().map_or(0, Vec::len), EVENTS_MAX);
}

/// What is asked for, in priced units.
///
/// Units are converted together with the ones before them, because rounding them apart would bill more. Prorated
/// units are converted without rounding: a part of a unit is what they are about.
fn measured(question: &AmountQuestion, model: &Model, before: &Exact) -> Result<Measured, Overflow> {
    let on_top = |quantity: Exact| {
        Ok(Measured::Units(question.rounded(&(before + quantity))? - question.rounded(before)?))
    };
    let part = |full: Number, prorated: Number| {
        Ok(ProratedUnits { quantity: question.exact(full)?, prorated: question.exact(prorated)? })
    };
    if let Some(parts) = &question.prorated_events {
        let parts = parts.iter().map(|units| part(units.quantity, units.prorated));
        return parts.collect::<Result<_, _>>().map(Measured::Prorated);
    }
    if let Some(events) = &question.events {
        let values = events.iter().copied().map(Exact::from);
        return match model {
            Model::Percentage { .. } => {
                let values = values.map(|value| question.rounded(&value));
                values.collect::<Result<_, _>>().map(Measured::Events)
            }
            _ => on_top(values.sum()),
        };
    }
    let quantity = question.quantity.unwrap_or_default();
    match question.tier_quantity {
        Some(full) => Ok(Measured::Prorated(vec![part(full, quantity)?])),
        None => on_top(quantity.into()),
    }
}
