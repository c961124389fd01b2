//! What can be sold, and the rules for it.

mod draft;
mod granted;
mod rules;

use std::collections::BTreeSet;

use accrue_core::{
    calendar::Interval,
    exact::Exact,
    id::{FeatureId, MetricId, PlanId, PlanVersionId, PriceId, TaxId, TenantId},
    money::{Currency, Money},
    price::{Model, rate},
    usage::{self, Filter, Split},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

pub(super) use draft::*;
pub use granted::{FeatureValue, PlanFeature};
pub(super) use rules::*;

/// How usage events become a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub tenant_id: TenantId,
    pub id: MetricId,
    pub code: String,
    pub name: String,
    /// The events it counts.
    pub event_name: String,
    /// Which of them count, and how they become one quantity.
    pub rules: usage::Metric,
    pub late_events: LateEvents,
    /// Properties by which its usage is told apart by prices, or because somebody asked for it, set by set: its hours are
    /// kept as finely.
    pub splits: BTreeSet<Vec<String>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// From then on nothing new may name it; it goes on counting for what does.
    pub archived_at: Option<DateTime<Utc>>,
}

impl Metric {
    /// Has its usage told apart by the values of these properties from now on; `false` if it is told apart in too many
    /// ways already.
    pub(super) fn tell_apart(&mut self, by: Vec<String>) -> bool {
        // Of these no hours are kept.
        if by.is_empty() || !self.rules.aggregation.is_mergeable(false) || self.splits.contains(&by) {
            return true;
        }
        self.splits.len() < SPLITS_MAX && self.splits.insert(by)
    }

    /// The same for sets of properties by which somebody will ask for its usage, whether or not a price tells it apart so.
    pub(super) fn group_by(&mut self, sets: Vec<Vec<String>>) -> Result<(), NotGrouped> {
        if !sets.is_empty() && !self.rules.aggregation.is_mergeable(false) {
            return Err(NotGrouped::NoHours);
        }
        for by in sets {
            let is_known = self.splits.contains(&by);
            if !is_known && (self.splits.len() >= GROUPINGS_MAX || !self.tell_apart(by)) {
                return Err(NotGrouped::TooMany(self.code.clone()));
            }
        }
        Ok(())
    }
}

/// Why usage is not told apart as somebody wants.
#[derive(Debug, thiserror::Error)]
pub enum NotGrouped {
    #[error(
        "the usage of {0} would be told apart in more than {GROUPINGS_MAX} ways, those of its prices included: a set of \
         several properties serves questions for each of them"
    )]
    TooMany(String),
    #[error("what is unique is counted event by event: no hours of it are kept, so none can be kept apart")]
    NoHours,
}

/// What happens to an event that comes when its period was billed (RULES 18).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum LateEvents {
    /// The next invoice has a line that adds it.
    #[default]
    NextInvoice,
    /// It is not taken.
    Reject,
    /// An open invoice of which nothing is paid is replaced by another one; what else is wrong is put right at once by a
    /// credit note, or by an invoice of what is missing.
    Reissue,
}

/// Something that a plan gives the right to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub tenant_id: TenantId,
    pub id: FeatureId,
    pub code: String,
    pub name: String,
    pub kind: FeatureKind,
    /// Of a metered feature: what is counted against its limit.
    pub metric_id: Option<MetricId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// From then on no other plan may grant it; it stays granted by those that do.
    pub archived_at: Option<DateTime<Utc>>,
}

/// How a feature is granted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// On or off.
    Switch,
    /// A number that the seller's product enforces: seats, projects.
    Limit,
    /// An amount of usage for each period.
    Metered,
    /// Settings that the seller's product reads.
    Config,
}

/// A tax that is added to invoices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tax {
    pub tenant_id: TenantId,
    pub id: TaxId,
    pub code: String,
    pub name: String,
    /// 20 for 20 %.
    pub rate: Decimal,
    /// Whether amounts contain it; else it comes on top.
    pub inclusive: bool,
    /// Whose tax it is: a country, a state.
    pub jurisdiction: Option<String>,
    /// The prices of these codes have it.
    pub tax_codes: BTreeSet<String>,
    /// Whether the prices have it whose own code, if they have one, no tax names.
    pub is_default: bool,
    /// When prices had it for the first time: since then invoices may hold it.
    pub first_applied_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// From then on no price has it.
    pub archived_at: Option<DateTime<Utc>>,
}

impl Tax {
    /// Whether some price may have it.
    pub(in crate::catalog) fn applies(&self) -> bool {
        self.archived_at.is_none() && (self.is_default || !self.tax_codes.is_empty())
    }
}

/// The taxes that prices have at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaxTable {
    /// In the order in which they are printed: the oldest first.
    pub(super) taxes: Vec<Tax>,
}

impl TaxTable {
    /// The taxes of a price with this code: those that name it; the defaults if none does.
    pub fn of(&self, tax_code: Option<&str>) -> Vec<&Tax> {
        let coded: Vec<&Tax> = self
            .taxes
            .iter()
            .filter(|tax| tax_code.is_some_and(|code| tax.tax_codes.contains(code)))
            .collect();
        if coded.is_empty() { self.taxes.iter().filter(|tax| tax.is_default).collect() } else { coded }
    }

    /// Whether a tax names this code.
    pub(super) fn knows(&self, tax_code: &str) -> bool {
        self.taxes.iter().any(|tax| tax.tax_codes.contains(tax_code))
    }

    /// Whether a tax may stand beside the others. A price that has both would be printed with an amount that contains
    /// one of them and not the other.
    pub(super) fn check(&self, tax: &Tax) -> Result<(), TaxConflict> {
        let others = || self.taxes.iter().filter(|other| other.id != tax.id);
        let defaults = tax.is_default.then(|| others().filter(|other| other.is_default).collect());
        let of_code = |code| others().filter(|other| other.tax_codes.contains(code)).collect();
        let met: Vec<Vec<&Tax>> = defaults.into_iter().chain(tax.tax_codes.iter().map(of_code)).collect();
        if let Some(other) = met.iter().flatten().find(|other| other.inclusive != tax.inclusive) {
            return Err(TaxConflict::Mixed(other.code.clone()));
        }
        let is_full = met.iter().any(|others| others.len() >= TAXES_PER_LINE_MAX);
        if is_full { Err(TaxConflict::TooMany) } else { Ok(()) }
    }
}

/// Why two taxes cannot be on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaxConflict {
    #[error(
        "a price would have this tax and {0}, of which one is inclusive and one is not: all taxes of a price are of one kind"
    )]
    Mixed(String),
    #[error("a price would have more than {TAXES_PER_LINE_MAX} taxes")]
    TooMany,
}

/// One version of a plan: what subscribers of it pay and get. Never changed once made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    pub tenant_id: TenantId,
    pub plan_id: PlanId,
    pub id: PlanVersionId,
    /// The plan's code and name.
    pub code: String,
    pub name: String,
    pub version: i32,
    pub currency: Currency,
    pub interval: Interval,
    pub trial_days: u16,
    pub prices: Vec<Price>,
    /// What a period costs at least, with all its prices together: a price of the kind [`PriceKind::Commitment`].
    pub commitment: Option<Price>,
    pub features: Vec<PlanFeature>,
    /// The plan's notes, birth and archiving, not the version's. An archived plan is not sold; who has it keeps it.
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

/// One component of what a plan costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub id: PriceId,
    pub code: String,
    pub name: String,
    pub kind: PriceKind,
    pub timing: Timing,
    /// Of a usage price: what is measured.
    pub metric_id: Option<MetricId>,
    /// Of usage that no filter matches.
    pub model: Model,
    /// Usage with a model of its own, in the order of age (RULES 23).
    pub filters: Vec<PriceFilter>,
    /// Properties by whose values usage is priced apart.
    pub group_by: Vec<String>,
    /// What a period costs at least.
    pub minimum_amount: Option<Money>,
    /// What a period costs at most.
    pub maximum_amount: Option<Money>,
    /// Units that cost nothing, the first of each period.
    pub free_quantity: Decimal,
    /// Of fees: whether a short period costs less. Of stateful usage: whether it is weighed by its days.
    pub prorate: bool,
    /// Decides its taxes: those that name it; the defaults if there is none.
    pub tax_code: Option<String>,
}

/// Usage that a price prices by another model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceFilter {
    pub r#where: Filter,
    pub model: Model,
}

/// What a price may come to in a period, in major units: all that a tenant ever bills is far below what the books hold.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// Whether so much of what a model prices can be billed.
fn is_billable(model: &Model, quantity: Decimal) -> bool {
    rate(model, quantity).is_ok_and(|rated| rated.exact_amount <= Exact::from(AMOUNT_MAX))
}

impl Price {
    /// Whether so much of it can be billed.
    pub fn is_billable(&self, quantity: Decimal) -> bool {
        is_billable(&self.model, quantity)
    }

    /// The filter's model, or the price's own.
    pub fn model_of(&self, filter: Option<usize>) -> &Model {
        filter.and_then(|at| self.filters.get(at)).map_or(&self.model, |filter| &filter.model)
    }

    /// Whether one of its models looks at each event.
    pub fn prices_events(&self) -> bool {
        self.model.prices_events() || self.filters.iter().any(|filter| filter.model.prices_events())
    }

    /// The properties by whose values it tells usage apart that can be summed up; none if it looks at each event.
    pub fn splits_by(&self) -> Vec<String> {
        if self.prices_events() || self.prorate {
            return Vec::new();
        }
        let filters: Vec<Filter> = self.filters.iter().map(|filter| filter.r#where.clone()).collect();
        Split { filters: &filters, group_by: &self.group_by, by_event: false }.properties()
    }
}

/// What a price's quantity is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PriceKind {
    /// Always one.
    Fixed,
    /// What the subscription's `quantities` say.
    Seat,
    /// What the metric measured in the period.
    Usage,
    /// Always one, once: when the subscription begins to cost something.
    OneTime,
    /// What is missing to a plan's minimum. Nobody asks for such a price: it comes with the minimum.
    #[serde(skip)]
    Commitment,
}

/// When a price is invoiced: before its period, or after.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    Advance,
    Arrears,
}

impl PlanVersion {
    /// One of its prices, or its commitment.
    pub fn price(&self, id: PriceId) -> Option<&Price> {
        self.prices.iter().chain(&self.commitment).find(|price| price.id == id)
    }

    /// What a period costs at least.
    pub fn minimum_commitment(&self) -> Option<Money> {
        self.commitment.as_ref().and_then(|price| price.minimum_amount)
    }

    /// What it says, for the next version to start from.
    pub(super) fn terms(&self) -> PlanTerms {
        PlanTerms {
            interval: self.interval,
            trial_days: self.trial_days,
            prices: self.prices.iter().cloned().map(NewPrice::from).collect(),
            minimum_commitment: self.minimum_commitment(),
            features: self.features.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::usage::RawMetric;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn usage_is_told_apart_in_at_most_16_ways_and_not_at_all_if_it_cannot_be_summed_up() {
        let metric = |rules: &str| Metric {
            tenant_id: TenantId(Uuid::nil()),
            id: MetricId(Uuid::nil()),
            code: "n".into(),
            name: "N".into(),
            event_name: "call".into(),
            rules: serde_json::from_str::<RawMetric>(rules).unwrap().check().unwrap(),
            late_events: LateEvents::default(),
            splits: BTreeSet::new(),
            metadata: Metadata::new(),
            created_at: DateTime::UNIX_EPOCH,
            archived_at: None,
        };
        let mut sum = metric(r#"{"aggregation":"sum","property":"n"}"#);
        let ways: Vec<_> = (0..17).map(|way| sum.tell_apart(vec![way.to_string()])).collect();
        assert_eq!(ways, [vec![true; 16], vec![false]].concat());
        assert!(sum.tell_apart(vec!["3".into()]) && sum.tell_apart(Vec::new()));
        assert_eq!(sum.splits.len(), 16);
        let mut unique = metric(r#"{"aggregation":"unique_count","property":"n"}"#);
        assert!(unique.tell_apart(vec!["0".into()]) && unique.splits.is_empty());
    }
}
