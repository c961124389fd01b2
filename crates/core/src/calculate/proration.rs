//! What does a change in mid-period credit and charge?

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Check, failed, too_large};
use crate::{
    calendar::Period,
    decimal::Number,
    exact::Exact,
    invalid::Invalid,
    money::{Currency, Money},
    proration::{self, Basis, Fraction, ProrationError},
    read,
};

/// A change of price or quantity within a period.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProrationQuestion {
    pub currency: Currency,
    #[serde(default, deserialize_with = "read::or_default")]
    pub basis: Basis,
    /// An IANA name: where days begin (default: UTC).
    #[schema(value_type = Option<String>, example = "Asia/Tokyo")]
    pub timezone: Option<Tz>,
    pub period: Period,
    /// Within the period. By days, the local day of the change is unused.
    pub change_at: DateTime<Utc>,
    /// The nominal period, if `period` is a short one.
    pub full_period: Option<Period>,
    /// What was billed in advance for `period`.
    pub old: Option<OldPriceQuestion>,
    /// What takes its place.
    pub new: Option<NewPriceQuestion>,
}

/// A price that was billed in advance.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OldPriceQuestion {
    /// Per unit for the full period.
    pub amount: Number,
    /// Default 1.
    pub quantity: Option<Number>,
    /// What earlier changes already gave back of the line.
    pub already_credited: Option<Number>,
}

/// A price that starts with the change.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPriceQuestion {
    /// Per unit for the full period.
    pub amount: Number,
    /// Default 1.
    pub quantity: Option<Number>,
}

/// The lines of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProrationAnswer {
    /// Zero or negative.
    pub credit: Money,
    pub charge: Money,
    /// The sum of the two rounded lines.
    pub net: Money,
    /// The part of the full period that is left, in days or seconds, not reduced.
    pub fraction: Fraction,
}

/// Prorates as a change of a subscription would.
pub fn proration(question: &ProrationQuestion) -> Result<ProrationAnswer, Vec<Invalid>> {
    let currency = question.currency;
    let mut check = Check::default();
    let old = question.old.as_ref().map(|old| {
        let credited = old.already_credited.unwrap_or_default();
        let credited = check.price("/old/already_credited", credited, currency);
        (full_price(&mut check, "/old", old.amount, old.quantity), credited)
    });
    let new = question.new.as_ref().map(|new| full_price(&mut check, "/new", new.amount, new.quantity));
    check.finish()?;

    let full = question.full_period.unwrap_or(question.period);
    let left = |at| {
        proration::remaining(question.basis, question.period, full, at, question.timezone.unwrap_or(Tz::UTC))
    };
    let full_at = if question.full_period.is_some() { "/full_period" } else { "/period" };
    let mistake = |pointer| mistake(full_at, pointer);
    let fraction = left(question.change_at).map_err(mistake(""))?;
    let credit = match old {
        Some((price, credited)) => {
            let mistake = mistake("/old/amount");
            // What the line charged: of a short period, its own part.
            let billed = proration::charge(&price, left(question.period.start).map_err(&mistake)?, currency);
            proration::credit(price, fraction, billed.map_err(&mistake)?, credited).map_err(&mistake)?
        }
        None => Money::zero(currency),
    };
    let charge = match new {
        Some(price) => proration::charge(price, fraction, currency).map_err(mistake("/new/amount"))?,
        None => Money::zero(currency),
    };
    let net = credit.checked_add(charge).map_err(|error| too_large("/new/amount", error))?;
    Ok(ProrationAnswer { credit, charge, net, fraction })
}

/// The exact price of a full period.
fn full_price(check: &mut Check, under: &str, amount: Number, quantity: Option<Number>) -> Exact {
    let amount = check.not_negative(&format!("{under}/amount"), Some(amount));
    let quantity =
        check.not_negative(&format!("{under}/quantity"), Some(quantity.unwrap_or(Number(Decimal::ONE))));
    Exact::from(amount) * Exact::from(quantity)
}

/// A mistake in the question: in the full period, which stands at `full_at`, or in the amount at `pointer`.
fn mistake(full_at: &'static str, pointer: &'static str) -> impl Fn(ProrationError) -> Vec<Invalid> {
    move |error| match error {
        ProrationError::OutsideOfPeriod => failed("/change_at", "outside_of_period", error),
        ProrationError::TooShort => failed(full_at, "too_short", error),
        ProrationError::Overflow(_) | ProrationError::Money(_) => too_large(pointer, error),
    }
}
