//! Price models as they arrive: every field may be missing or wrong, and every mistake is reported.

use std::mem::take;

use rust_decimal::Decimal;
use serde::Deserialize;

use super::{Model, PackageRounding, PackageTier, RateTier, Tier};
use crate::{
    decimal::Number,
    invalid::Invalid,
    money::{Currency, Money},
    read,
};

/// More tiers than anybody needs.
pub const TIERS_MAX: usize = 100;

/// A price model that nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PriceModelInput)]
pub struct RawModel {
    /// Which model; it decides which of the other fields are needed.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// `flat`: what it costs, in major units.
    pub amount: Option<Number>,
    /// `per_unit`: major units for one.
    pub unit_price: Option<Number>,
    /// The tiers, in ascending order.
    #[serde(default, deserialize_with = "read::optional_list::<_, _, TIERS_MAX>")]
    pub tiers: Option<Vec<RawTier>>,
    /// `graduated`, `volume`, `graduated_percentage`: whether the first flat fee is due at zero usage (default true).
    pub flat_fee_at_zero: Option<bool>,
    /// `package`: units in one.
    pub package_size: Option<Number>,
    /// `package`: major units for one.
    pub package_price: Option<Number>,
    /// `package`: units that cost nothing.
    pub free_units: Option<Number>,
    /// `package`: whether one that was begun is paid.
    pub rounding: Option<PackageRounding>,
    /// `percentage`: 2.9 for 2.9 %.
    pub rate: Option<Number>,
    /// `percentage`: major units per paid event.
    pub fixed_fee: Option<Number>,
    /// `percentage`: how many events are free.
    pub free_events: Option<u64>,
    /// `percentage`: how much money flows freely.
    pub free_amount: Option<Number>,
    /// `percentage`: what a paid event costs at least.
    pub min_per_event: Option<Number>,
    /// `percentage`: what a paid event costs at most.
    pub max_per_event: Option<Number>,
    /// `dynamic`: by what the events' amounts are multiplied (default 1).
    pub multiplier: Option<Number>,
}

/// The kinds of price models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[schema(as = PriceModelKind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Flat,
    PerUnit,
    Graduated,
    Volume,
    Package,
    Percentage,
    GraduatedPercentage,
    GraduatedPackages,
    VolumePackages,
    Dynamic,
}

/// A tier that nobody has checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[schema(as = PriceTierInput)]
#[serde(deny_unknown_fields)]
pub struct RawTier {
    /// The inclusive upper bound, null for the last tier.
    pub up_to: Option<Number>,
    /// `graduated`, `volume`: major units for one.
    pub unit_price: Option<Number>,
    /// Major units for entering the tier (default 0).
    pub flat_fee: Option<Number>,
    /// `graduated_percentage`: 3 for 3 %.
    pub rate: Option<Number>,
    /// `…_packages`: units in one package.
    pub package_size: Option<Number>,
    /// `…_packages`: how many packages; null for as many as needed.
    pub packages: Option<Number>,
    /// `…_packages`: major units for one package.
    pub package_price: Option<Number>,
}

/// Mistakes found in a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|mistake| format!("{} {}", mistake.pointer, mistake.detail)).collect::<Vec<_>>().join("; "))]
pub struct InvalidModel(pub Vec<Invalid>);

impl RawModel {
    /// The model, or every mistake in it. A flat amount is money: it has no more digits than the currency.
    pub fn check(self, currency: Currency) -> Result<Model, Vec<Invalid>> {
        let mut found = Vec::new();
        if let Some(amount) = self.amount
            && let Err(error) = Money::exact(amount.0, currency)
        {
            found.push(Invalid::new("/amount", "invalid_amount", error.to_string()));
        }
        match Model::try_from(self) {
            Ok(model) if found.is_empty() => Ok(model),
            Ok(_) => Err(found),
            Err(InvalidModel(more)) => {
                found.extend(more);
                Err(found)
            }
        }
    }

    fn fields(&self) -> [(&'static str, bool); 15] {
        [
            ("amount", self.amount.is_some()),
            ("unit_price", self.unit_price.is_some()),
            ("tiers", self.tiers.is_some()),
            ("flat_fee_at_zero", self.flat_fee_at_zero.is_some()),
            ("package_size", self.package_size.is_some()),
            ("package_price", self.package_price.is_some()),
            ("free_units", self.free_units.is_some()),
            ("rounding", self.rounding.is_some()),
            ("rate", self.rate.is_some()),
            ("fixed_fee", self.fixed_fee.is_some()),
            ("free_events", self.free_events.is_some()),
            ("free_amount", self.free_amount.is_some()),
            ("min_per_event", self.min_per_event.is_some()),
            ("max_per_event", self.max_per_event.is_some()),
            ("multiplier", self.multiplier.is_some()),
        ]
    }
}

impl RawTier {
    fn fields(&self) -> [(&'static str, bool); 7] {
        [
            ("up_to", self.up_to.is_some()),
            ("unit_price", self.unit_price.is_some()),
            ("flat_fee", self.flat_fee.is_some()),
            ("rate", self.rate.is_some()),
            ("package_size", self.package_size.is_some()),
            ("packages", self.packages.is_some()),
            ("package_price", self.package_price.is_some()),
        ]
    }
}

impl TryFrom<RawModel> for Model {
    type Error = InvalidModel;

    fn try_from(mut raw: RawModel) -> Result<Self, InvalidModel> {
        let mut check = Check::default();
        let model = match raw.kind {
            Kind::Flat => Model::Flat { amount: check.needed(raw.amount.take(), "/amount") },
            Kind::PerUnit => {
                Model::PerUnit { unit_price: check.needed(raw.unit_price.take(), "/unit_price") }
            }
            Kind::Graduated => {
                Model::Graduated { tiers: check.tiers(&mut raw), flat_fee_at_zero: at_zero(&mut raw) }
            }
            Kind::Volume => {
                Model::Volume { tiers: check.tiers(&mut raw), flat_fee_at_zero: at_zero(&mut raw) }
            }
            Kind::Package => Model::Package {
                package_size: check.size(raw.package_size.take(), "/package_size"),
                package_price: check.needed(raw.package_price.take(), "/package_price"),
                free_units: check.optional(raw.free_units.take(), "/free_units").unwrap_or_default(),
                rounding: raw.rounding.take().unwrap_or_default(),
            },
            Kind::Percentage => check.percentage(&mut raw),
            Kind::GraduatedPercentage => Model::GraduatedPercentage {
                tiers: check.rate_tiers(&mut raw),
                flat_fee_at_zero: at_zero(&mut raw),
            },
            Kind::GraduatedPackages => Model::GraduatedPackages { tiers: check.package_tiers(&mut raw) },
            Kind::VolumePackages => Model::VolumePackages { tiers: check.package_tiers(&mut raw) },
            Kind::Dynamic => {
                let multiplier = check.optional(raw.multiplier.take(), "/multiplier");
                Model::Dynamic { multiplier: multiplier.unwrap_or(Number(Decimal::ONE)) }
            }
        };
        check.nothing_left("", &raw.fields());
        if check.0.is_empty() { Ok(model) } else { Err(InvalidModel(check.0)) }
    }
}

fn at_zero(raw: &mut RawModel) -> bool {
    raw.flat_fee_at_zero.take().unwrap_or(true)
}

/// The mistakes found so far.
#[derive(Default)]
struct Check(Vec<Invalid>);

impl Check {
    fn report(&mut self, pointer: &str, code: &'static str, detail: &str) {
        self.0.push(Invalid::new(pointer, code, detail));
    }

    fn optional(&mut self, field: Option<Number>, pointer: &str) -> Option<Number> {
        if field.is_some_and(|number| number.0 < Decimal::ZERO) {
            self.report(pointer, "negative", "must not be negative");
        }
        field
    }

    fn needed(&mut self, field: Option<Number>, pointer: &str) -> Number {
        if field.is_none() {
            self.report(pointer, "required", "is needed for this model");
        }
        self.optional(field, pointer).unwrap_or_default()
    }

    /// A number to divide by.
    fn size(&mut self, field: Option<Number>, pointer: &str) -> Number {
        if field.is_some_and(|number| number.0.is_zero()) {
            self.report(pointer, "not_positive", "must be greater than zero");
        }
        self.needed(field, pointer)
    }

    fn nothing_left(&mut self, under: &str, fields: &[(&'static str, bool)]) {
        for (name, _) in fields.iter().filter(|(_, given)| *given) {
            self.report(&format!("{under}/{name}"), "unexpected", "does not belong to this model");
        }
    }

    fn percentage(&mut self, raw: &mut RawModel) -> Model {
        let min_per_event = self.optional(raw.min_per_event.take(), "/min_per_event");
        let max_per_event = self.optional(raw.max_per_event.take(), "/max_per_event");
        if min_per_event.zip(max_per_event).is_some_and(|(min, max)| min > max) {
            self.report("/max_per_event", "below_minimum", "must not be below min_per_event");
        }
        Model::Percentage {
            rate: self.needed(raw.rate.take(), "/rate"),
            fixed_fee: self.optional(raw.fixed_fee.take(), "/fixed_fee").unwrap_or_default(),
            free_events: raw.free_events.take(),
            free_amount: self.optional(raw.free_amount.take(), "/free_amount"),
            min_per_event,
            max_per_event,
        }
    }

    fn tiers(&mut self, raw: &mut RawModel) -> Vec<Tier> {
        self.each_tier(raw, |check, mut tier, under| {
            let flat_fee = check.optional(tier.flat_fee.take(), &format!("{under}/flat_fee"));
            // A tier may cost a flat fee alone, but not nothing by omission.
            let unit_price = match (tier.unit_price.take(), flat_fee) {
                (None, Some(_)) => Number::default(),
                (price, _) => check.needed(price, &format!("{under}/unit_price")),
            };
            let up_to = tier.up_to.take();
            check.nothing_left(under, &tier.fields());
            Tier { up_to, unit_price, flat_fee: flat_fee.unwrap_or_default() }
        })
    }

    fn rate_tiers(&mut self, raw: &mut RawModel) -> Vec<RateTier> {
        self.each_tier(raw, |check, mut tier, under| {
            let rate = check.needed(tier.rate.take(), &format!("{under}/rate"));
            let flat_fee = check.optional(tier.flat_fee.take(), &format!("{under}/flat_fee"));
            let up_to = tier.up_to.take();
            check.nothing_left(under, &tier.fields());
            RateTier { up_to, rate, flat_fee: flat_fee.unwrap_or_default() }
        })
    }

    /// Tiers by inclusive upper bounds: ascending, and the last one open.
    fn each_tier<T>(
        &mut self,
        raw: &mut RawModel,
        mut read: impl FnMut(&mut Self, RawTier, &str) -> T,
    ) -> Vec<T> {
        let tiers = self.some_tiers(raw);
        let last = tiers.len().saturating_sub(1);
        let mut below = Number::default();
        let mut found = Vec::with_capacity(tiers.len());
        for (index, tier) in tiers.into_iter().enumerate() {
            let under = format!("/tiers/{index}");
            let pointer = format!("{under}/up_to");
            match tier.up_to {
                None if index < last => {
                    self.report(&pointer, "required", "only the last tier may be without a bound");
                }
                Some(_) if index == last => {
                    self.report(&pointer, "last_tier_must_be_open", "must be null in the last tier");
                }
                Some(bound) if bound <= below => {
                    self.report(&pointer, "not_ascending", "must be greater than the bound before");
                }
                _ => {}
            }
            below = tier.up_to.unwrap_or(below);
            found.push(read(self, tier, &under));
        }
        found
    }

    fn package_tiers(&mut self, raw: &mut RawModel) -> Vec<PackageTier> {
        let tiers = self.some_tiers(raw);
        let last = tiers.len().saturating_sub(1);
        let mut found = Vec::with_capacity(tiers.len());
        for (index, mut tier) in tiers.into_iter().enumerate() {
            let under = format!("/tiers/{index}");
            let packages = tier.packages.take();
            match packages {
                None if index < last => {
                    self.report(
                        &format!("{under}/packages"),
                        "required",
                        "only the last tier may be without",
                    );
                }
                Some(count) if count.0 <= Decimal::ZERO || !count.0.is_integer() => {
                    self.report(
                        &format!("{under}/packages"),
                        "not_positive",
                        "must be a whole number above zero",
                    );
                }
                _ => {}
            }
            found.push(PackageTier {
                package_size: self.size(tier.package_size.take(), &format!("{under}/package_size")),
                packages,
                package_price: self.needed(tier.package_price.take(), &format!("{under}/package_price")),
            });
            self.nothing_left(&under, &tier.fields());
        }
        found
    }

    fn some_tiers(&mut self, raw: &mut RawModel) -> Vec<RawTier> {
        let tiers = take(&mut raw.tiers).unwrap_or_default();
        if tiers.is_empty() {
            self.report("/tiers", "required", "at least one tier is needed");
        }
        if tiers.len() > TIERS_MAX {
            self.report("/tiers", "too_many", "must have at most 100 tiers");
        }
        tiers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(json: &str) -> Vec<String> {
        let raw: RawModel = serde_json::from_str(json).unwrap();
        let found = raw.check(Currency::USD).unwrap_err();
        found.into_iter().map(|mistake| format!("{} {}", mistake.pointer, mistake.code)).collect()
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        assert_eq!(mistakes(r#"{"type":"flat"}"#), ["/amount required"]);
        assert_eq!(mistakes(r#"{"type":"flat","amount":"1.234"}"#), ["/amount invalid_amount"]);
        assert_eq!(mistakes(r#"{"type":"per_unit","unit_price":"-1"}"#), ["/unit_price negative"]);
        assert_eq!(mistakes(r#"{"type":"graduated","tiers":[]}"#), ["/tiers required"]);
        assert_eq!(
            mistakes(
                r#"{"type":"volume","tiers":[{"up_to":"10","unit_price":"1"},{"up_to":"10"},
                    {"up_to":"9","unit_price":"1"}]}"#
            ),
            [
                "/tiers/1/up_to not_ascending",
                "/tiers/1/unit_price required",
                "/tiers/2/up_to last_tier_must_be_open"
            ]
        );
        assert_eq!(
            mistakes(r#"{"type":"package","package_size":"0"}"#),
            ["/package_size not_positive", "/package_price required"]
        );
        assert_eq!(
            mistakes(r#"{"type":"percentage","rate":"1","min_per_event":"2","max_per_event":"1"}"#),
            ["/max_per_event below_minimum"]
        );
        assert_eq!(
            mistakes(r#"{"type":"graduated_packages","tiers":[{"package_size":"5","packages":"1.5"}]}"#),
            ["/tiers/0/packages not_positive", "/tiers/0/package_price required"]
        );
    }

    #[test]
    fn a_field_of_another_model_is_a_mistake_and_not_ignored() {
        assert_eq!(mistakes(r#"{"type":"flat","amount":"1","unit_price":"2"}"#), ["/unit_price unexpected"]);
        assert_eq!(
            mistakes(r#"{"type":"graduated","tiers":[{"up_to":null,"unit_price":"1","rate":"2"}]}"#),
            ["/tiers/0/rate unexpected"]
        );
    }

    #[test]
    fn a_stored_model_is_read_back_as_it_was() {
        for json in [
            r#"{"type":"flat","amount":"10.00"}"#,
            r#"{"type":"graduated","tiers":[{"up_to":"10","unit_price":1,"flat_fee":"0"},{"up_to":null,"unit_price":"0.1"}]}"#,
            r#"{"type":"package","package_size":"100","package_price":"5","free_units":"50","rounding":"down"}"#,
            r#"{"type":"percentage","rate":"2.9","fixed_fee":"0.30","free_events":3,"free_amount":"250","min_per_event":null,"max_per_event":null}"#,
            r#"{"type":"graduated_percentage","tiers":[{"up_to":"1000","rate":"3","flat_fee":"0"},{"up_to":null,"rate":"2"}]}"#,
            r#"{"type":"volume_packages","tiers":[{"package_size":"100","packages":"10","package_price":"1"}]}"#,
            r#"{"type":"dynamic","multiplier":"1"}"#,
        ] {
            let raw: RawModel = serde_json::from_str(json).unwrap();
            let model = raw.check(Currency::USD).unwrap();
            let stored = serde_json::to_string(&model).unwrap();
            assert_eq!(serde_json::from_str::<Model>(&stored).unwrap(), model, "{stored}");
        }
    }
}
