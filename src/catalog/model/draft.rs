//! What is to be made or changed, checked, before it has an identifier.

use std::collections::BTreeSet;

use accrue_core::{
    calendar::Interval,
    decimal::Number,
    id::{MetricId, PriceId},
    money::{Currency, Money},
    price::Model,
    usage,
};
use accrue_platform::{body::Change, check::Metadata};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{FeatureKind, LateEvents, PlanFeature, Price, PriceFilter, PriceKind, Tax, Timing};

/// A metric to be made, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct NewMetric {
    pub code: String,
    pub name: String,
    pub event_name: String,
    pub rules: usage::Metric,
    pub late_events: LateEvents,
    /// Sets of properties by which its usage is told apart, whether or not a price does.
    pub group_by: Vec<Vec<String>>,
    pub metadata: Metadata,
}

/// What a metric may be changed to; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct MetricChange {
    pub name: Option<String>,
    pub late_events: Option<LateEvents>,
    /// Sets of properties by which its usage is told apart, too.
    pub group_by: Vec<Vec<String>>,
    pub metadata: Option<Metadata>,
}

/// A feature to be made, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct NewFeature {
    pub code: String,
    pub name: String,
    pub kind: FeatureKind,
    pub metric_id: Option<MetricId>,
    pub metadata: Metadata,
}

/// What a feature may be changed to; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct FeatureChange {
    pub name: Option<String>,
    pub metadata: Option<Metadata>,
}

/// A tax to be made, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct NewTax {
    pub code: String,
    pub name: String,
    pub rate: Decimal,
    pub inclusive: bool,
    pub jurisdiction: Option<String>,
    pub tax_codes: BTreeSet<String>,
    pub is_default: bool,
    pub metadata: Metadata,
}

/// What a tax may be changed to; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct TaxChange {
    pub name: Option<String>,
    pub rate: Option<Decimal>,
    pub jurisdiction: Change<String>,
    pub tax_codes: Option<BTreeSet<String>>,
    pub is_default: Option<bool>,
    pub metadata: Option<Metadata>,
}

impl TaxChange {
    /// `now` is when prices have it, if they do.
    pub(in crate::catalog) fn apply(self, tax: &mut Tax, now: DateTime<Utc>) {
        let Self { name, rate, jurisdiction, tax_codes, is_default, metadata } = self;
        tax.name = name.unwrap_or_else(|| tax.name.clone());
        tax.rate = rate.unwrap_or(tax.rate);
        jurisdiction.apply(&mut tax.jurisdiction);
        tax.tax_codes = tax_codes.unwrap_or_else(|| tax.tax_codes.clone());
        tax.is_default = is_default.unwrap_or(tax.is_default);
        tax.metadata = metadata.unwrap_or_else(|| tax.metadata.clone());
        if tax.applies() {
            tax.first_applied_at.get_or_insert(now);
        }
    }
}

/// A plan to be made, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct NewPlan {
    pub code: String,
    pub name: String,
    pub currency: Currency,
    pub terms: PlanTerms,
    pub metadata: Metadata,
}

/// What may change of a plan without a new version; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct PlanChange {
    pub name: Option<String>,
    pub metadata: Option<Metadata>,
}

/// What a version of a plan fixes for its subscribers. The currency is the plan's own and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct PlanTerms {
    pub interval: Interval,
    pub trial_days: u16,
    pub prices: Vec<NewPrice>,
    pub minimum_commitment: Option<Money>,
    pub features: Vec<PlanFeature>,
}

/// What another version shall say otherwise; what is not named stays as it is in the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct TermsChange {
    pub interval: Option<Interval>,
    pub trial_days: Option<u16>,
    pub prices: Option<Vec<NewPrice>>,
    pub minimum_commitment: Change<Money>,
    pub features: Option<Vec<PlanFeature>>,
}

impl PlanTerms {
    pub(in crate::catalog) fn changed(mut self, change: TermsChange) -> Self {
        change.minimum_commitment.apply(&mut self.minimum_commitment);
        Self {
            minimum_commitment: self.minimum_commitment,
            interval: change.interval.unwrap_or(self.interval),
            trial_days: change.trial_days.unwrap_or(self.trial_days),
            prices: change.prices.unwrap_or(self.prices),
            features: change.features.unwrap_or(self.features),
        }
    }
}

/// A price that has no identifier yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) struct NewPrice {
    pub code: String,
    pub name: String,
    pub kind: PriceKind,
    pub timing: Timing,
    pub metric_id: Option<MetricId>,
    pub model: Model,
    pub filters: Vec<PriceFilter>,
    pub group_by: Vec<String>,
    pub minimum_amount: Option<Money>,
    pub maximum_amount: Option<Money>,
    pub free_quantity: Decimal,
    pub prorate: bool,
    pub tax_code: Option<String>,
}

impl NewPrice {
    /// What is missing to a plan's minimum: prorated with the period, with the default taxes (RULES 27).
    pub(in crate::catalog) fn commitment(least: Money) -> Self {
        Self {
            code: "minimum_commitment".to_owned(),
            name: "Minimum commitment".to_owned(),
            kind: PriceKind::Commitment,
            timing: Timing::Arrears,
            metric_id: None,
            model: Model::Flat { amount: Number(least.to_decimal()) },
            filters: Vec::new(),
            group_by: Vec::new(),
            minimum_amount: Some(least),
            maximum_amount: None,
            free_quantity: Decimal::ZERO,
            prorate: true,
            tax_code: None,
        }
    }

    pub(in crate::catalog) fn with_id(self, id: PriceId) -> Price {
        Price {
            id,
            code: self.code,
            name: self.name,
            kind: self.kind,
            timing: self.timing,
            metric_id: self.metric_id,
            model: self.model,
            filters: self.filters,
            group_by: self.group_by,
            minimum_amount: self.minimum_amount,
            maximum_amount: self.maximum_amount,
            free_quantity: self.free_quantity,
            prorate: self.prorate,
            tax_code: self.tax_code,
        }
    }
}

impl From<Price> for NewPrice {
    fn from(price: Price) -> Self {
        Self {
            code: price.code,
            name: price.name,
            kind: price.kind,
            timing: price.timing,
            metric_id: price.metric_id,
            model: price.model,
            filters: price.filters,
            group_by: price.group_by,
            minimum_amount: price.minimum_amount,
            maximum_amount: price.maximum_amount,
            free_quantity: price.free_quantity,
            prorate: price.prorate,
            tax_code: price.tax_code,
        }
    }
}

impl PriceKind {
    /// What is known beforehand is invoiced beforehand.
    pub(in crate::catalog) fn usual_timing(self) -> Timing {
        match self {
            Self::Fixed | Self::Seat | Self::OneTime => Timing::Advance,
            Self::Usage | Self::Commitment => Timing::Arrears,
        }
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::calendar::Unit;

    use super::{super::FeatureValue, *};

    #[test]
    fn a_new_version_keeps_what_is_not_named() {
        let terms = PlanTerms {
            interval: Interval::every(Unit::Month),
            trial_days: 14,
            prices: Vec::new(),
            minimum_commitment: None,
            features: vec![PlanFeature { feature: "sso".into(), value: FeatureValue::switch(true) }],
        };
        let next = terms.clone().changed(TermsChange { trial_days: Some(0), ..TermsChange::default() });
        assert_eq!(next, PlanTerms { trial_days: 0, ..terms.clone() });
        let bare =
            terms.clone().changed(TermsChange { features: Some(Vec::new()), ..TermsChange::default() });
        assert_eq!(bare, PlanTerms { features: Vec::new(), ..terms });
    }
}
