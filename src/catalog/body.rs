//! The catalogue's objects as the API and the events show them.

use std::collections::BTreeSet;

use accrue_core::{
    calendar::Interval,
    decimal::Number,
    id::{FeatureId, MetricId, PlanId, PlanVersionId, PriceId, TaxId},
    money::{Currency, Money},
    price::Model,
    usage::{Aggregation, Conversion, Filter, MetricFilter, Rounding},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{
    archiving::Removed,
    model::{
        Feature, FeatureKind, LateEvents, Metric, PlanFeature, PlanVersion, Price, PriceFilter, PriceKind,
        Tax, Timing,
    },
};

/// How usage events become a quantity.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MetricBody {
    pub id: MetricId,
    #[schema(example = "metric")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "tokens")]
    pub code: String,
    #[schema(example = "Tokens")]
    pub name: String,
    /// The events it counts.
    #[schema(example = "completion.finished")]
    pub event_name: String,
    pub aggregation: Aggregation,
    /// Which property of an event holds the number, or the value that is unique; null for `count`.
    #[schema(example = "tokens")]
    pub property: Option<String>,
    /// Whether what is there at a period's end is there at the next one's start.
    pub recurring: bool,
    /// An event counts if it matches all of them.
    pub filters: Vec<MetricFilter>,
    /// From measured units to priced ones.
    pub conversion: Option<Conversion>,
    /// Of the aggregate, before its conversion.
    pub rounding: Option<Rounding>,
    /// What happens to an event that comes when its period was billed.
    pub late_events: LateEvents,
    /// Sets of properties by which its hours are kept apart: those that were asked for, and those of its prices.
    #[schema(example = json!([["model"]]))]
    pub group_by: BTreeSet<Vec<String>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since then nothing new may name it. It goes on for what has it.
    pub archived_at: Option<DateTime<Utc>>,
}

impl MetricBody {
    pub fn of(metric: Metric, livemode: bool) -> Self {
        let Metric {
            id,
            code,
            name,
            event_name,
            rules,
            late_events,
            metadata,
            created_at,
            archived_at,
            tenant_id: _,
            splits: group_by,
        } = metric;
        Self {
            id,
            object: "metric",
            livemode,
            code,
            name,
            event_name,
            aggregation: rules.aggregation,
            property: rules.property,
            recurring: rules.recurring,
            filters: rules.filters,
            conversion: rules.conversion,
            rounding: rules.rounding,
            late_events,
            group_by,
            metadata,
            created_at,
            archived_at,
        }
    }
}

/// Something that a plan gives the right to use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FeatureBody {
    pub id: FeatureId,
    #[schema(example = "feature")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "seats")]
    pub code: String,
    #[schema(example = "Seats")]
    pub name: String,
    pub kind: FeatureKind,
    /// Of a metered feature: what is counted against its limit.
    pub metric: Option<MetricId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since then nothing new may name it. It goes on for what has it.
    pub archived_at: Option<DateTime<Utc>>,
}

impl FeatureBody {
    pub fn of(feature: Feature, livemode: bool) -> Self {
        let Feature {
            id,
            code,
            name,
            kind,
            metric_id: metric,
            metadata,
            created_at,
            archived_at,
            tenant_id: _,
        } = feature;
        Self { id, object: "feature", livemode, code, name, kind, metric, metadata, created_at, archived_at }
    }
}

/// A tax that is added to invoices.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TaxBody {
    pub id: TaxId,
    #[schema(example = "tax")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "vat_de")]
    pub code: String,
    #[schema(example = "VAT")]
    pub name: String,
    /// 20 for 20 %.
    pub rate: Number,
    /// Whether amounts contain it; else it comes on top.
    pub inclusive: bool,
    /// Whose tax it is.
    #[schema(example = "DE")]
    pub jurisdiction: Option<String>,
    /// The prices with these `tax_code`s have it.
    #[schema(example = json!(["software"]))]
    pub tax_codes: BTreeSet<String>,
    /// Whether the prices have it whose `tax_code`, if they have one, no tax names.
    pub default: bool,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since then nothing new may name it. It goes on for what has it.
    pub archived_at: Option<DateTime<Utc>>,
}

impl TaxBody {
    pub fn of(tax: Tax, livemode: bool) -> Self {
        Self {
            id: tax.id,
            object: "tax",
            livemode,
            code: tax.code,
            name: tax.name,
            rate: Number(tax.rate),
            inclusive: tax.inclusive,
            jurisdiction: tax.jurisdiction,
            tax_codes: tax.tax_codes,
            default: tax.is_default,
            metadata: tax.metadata,
            created_at: tax.created_at,
            archived_at: tax.archived_at,
        }
    }
}

/// What became of something that was to be deleted.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Removed)]
pub(super) struct RemovedBody {
    #[schema(example = "plan_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    pub id: String,
    #[schema(example = "plan")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "pro")]
    pub code: String,
    /// Is it gone? Else it is used, and archived instead.
    pub deleted: bool,
    /// Since when it is archived, if it is not gone.
    pub archived_at: Option<DateTime<Utc>>,
}

impl RemovedBody {
    pub fn of(removed: Removed, object: &'static str, livemode: bool) -> Self {
        let Removed { id, code, archived_at } = removed;
        Self { id, object, livemode, code, deleted: archived_at.is_none(), archived_at }
    }
}

/// A plan, in one of its versions.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PlanBody {
    pub id: PlanId,
    #[schema(example = "plan")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "pro")]
    pub code: String,
    #[schema(example = "Pro")]
    pub name: String,
    /// Counts the versions, from 1. Subscriptions stay on theirs.
    #[schema(example = 1)]
    pub version: i32,
    pub version_id: PlanVersionId,
    pub currency: Currency,
    pub interval: Interval,
    #[schema(example = 14)]
    pub trial_days: u16,
    pub prices: Vec<PriceBody>,
    /// A period is topped up to this, in a line of its own.
    pub minimum_commitment: Option<Money>,
    pub features: Vec<PlanFeature>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since then nothing new may name it. It goes on for what has it.
    pub archived_at: Option<DateTime<Utc>>,
}

impl PlanBody {
    pub fn of(plan: PlanVersion, livemode: bool) -> Self {
        let minimum_commitment = plan.minimum_commitment();
        let PlanVersion {
            plan_id: id,
            id: version_id,
            code,
            name,
            version,
            currency,
            interval,
            trial_days,
            prices,
            features,
            metadata,
            created_at,
            archived_at,
            tenant_id: _,
            commitment: _,
        } = plan;
        Self {
            id,
            object: "plan",
            livemode,
            code,
            name,
            version,
            version_id,
            currency,
            interval,
            trial_days,
            prices: prices.into_iter().map(|price| PriceBody::of(price, currency)).collect(),
            minimum_commitment,
            features,
            metadata,
            created_at,
            archived_at,
        }
    }
}

/// One component of what a plan costs.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PriceBody {
    pub id: PriceId,
    #[schema(example = "price")]
    pub object: &'static str,
    #[schema(example = "base")]
    pub code: String,
    #[schema(example = "Base fee")]
    pub name: String,
    pub kind: PriceKind,
    pub timing: Timing,
    /// Of a usage price: what is measured.
    pub metric: Option<MetricId>,
    /// Of usage that no filter matches.
    #[schema(value_type = Model)]
    pub model: ShownModel,
    /// Usage with a model of its own. The most specific filter that matches wins, of equals the first.
    pub filters: Vec<PriceFilterBody>,
    /// Properties by whose values usage is priced apart, each in a line of its own.
    pub group_by: Vec<String>,
    /// A period is topped up to this, in a line of its own.
    pub minimum_amount: Option<Money>,
    /// A period costs at most this.
    pub maximum_amount: Option<Money>,
    /// Units that cost nothing, the first of each period.
    pub free_quantity: Number,
    /// Of fees: whether a short period costs less. Of stateful usage: whether it is weighed by its days.
    pub prorate: bool,
    /// It has the taxes that name this code; the defaults if there is none.
    #[schema(example = "software")]
    pub tax_code: Option<String>,
}

/// Usage that is priced by another model.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PriceFilter)]
pub struct PriceFilterBody {
    /// All these properties must be there, each with one of its values; none means any.
    pub r#where: Filter,
    #[schema(value_type = Model)]
    pub model: ShownModel,
}

impl PriceBody {
    fn of(price: Price, currency: Currency) -> Self {
        let model = |model| ShownModel { model, currency };
        let filter =
            |filter: PriceFilter| PriceFilterBody { r#where: filter.r#where, model: model(filter.model) };
        Self {
            id: price.id,
            object: "price",
            code: price.code,
            name: price.name,
            kind: price.kind,
            timing: price.timing,
            metric: price.metric_id,
            model: model(price.model),
            filters: price.filters.into_iter().map(filter).collect(),
            group_by: price.group_by,
            minimum_amount: price.minimum_amount,
            maximum_amount: price.maximum_amount,
            free_quantity: Number(price.free_quantity),
            prorate: price.prorate,
            tax_code: price.tax_code,
        }
    }
}

/// A model as it is shown: a flat amount is money, with the digits of its currency. Prices of units are numbers.
#[derive(Clone, Debug)]
pub struct ShownModel {
    model: Model,
    currency: Currency,
}

impl Serialize for ShownModel {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        enum Shown {
            Flat { amount: Money },
        }

        match &self.model {
            Model::Flat { amount } => match Money::exact(amount.0, self.currency) {
                Ok(amount) => Shown::Flat { amount }.serialize(to),
                Err(_) => self.model.serialize(to),
            },
            model => model.serialize(to),
        }
    }
}
