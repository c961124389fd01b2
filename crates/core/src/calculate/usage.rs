//! What quantity do events make?

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{Check, failed, too_large, utc};
use crate::{
    calendar::Period,
    decimal::Number,
    invalid::Invalid,
    usage::{
        BucketUsage, Buckets, Filter, Fold, Metric, Properties, RawMetric, Sample, Scope, Split, UsageError,
    },
};

const EVENTS_MAX: usize = 10_000;
const GROUP_KEYS_MAX: usize = 10;
const EXCLUDES_MAX: usize = 20;

/// Events and the metric that looks at them.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageQuestion {
    pub metric: RawMetric,
    pub period: Period,
    /// The nominal period, by whose length prorated and weighted quantities are divided (default: `period`).
    pub full_period: Option<Period>,
    /// An IANA name: where days begin.
    #[serde(default = "utc")]
    #[schema(value_type = String, example = "Europe/Berlin")]
    pub timezone: Tz,
    /// What was there before the first event.
    pub initial_value: Option<Number>,
    /// Properties by whose values the quantity is split.
    #[serde(default)]
    pub group_by: Vec<String>,
    /// Events that match one of these do not count.
    #[serde(default)]
    pub exclude: Vec<Filter>,
    /// Whether the quantity is weighed by the local days it was there.
    #[serde(default)]
    pub prorated: bool,
    pub events: Vec<EventQuestion>,
}

/// Something that happened. Of repeated identifiers the first counts.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuestion {
    pub id: String,
    pub timestamp: DateTime<Utc>,
    /// Numbers are read exactly as written.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub properties: Properties,
}

/// The aggregate, negative too, rounded as the metric says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UsageAnswer {
    pub quantity: Number,
    /// By the values of the group's properties, sorted. Empty without `group_by`.
    pub groups: Vec<GroupAnswer>,
    /// How many events counted.
    pub counted: usize,
}

/// The aggregate of the events that share these values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GroupAnswer {
    /// Null where events lack the property.
    pub key: BTreeMap<String, Option<String>>,
    pub quantity: Number,
}

/// Aggregates events as a bill would.
pub fn usage(question: &UsageQuestion) -> Result<UsageAnswer, Vec<Invalid>> {
    let mut check = Check::default();
    check.at_most("/events", question.events.len(), EVENTS_MAX);
    check.at_most("/group_by", question.group_by.len(), GROUP_KEYS_MAX);
    check.at_most("/exclude", question.exclude.len(), EXCLUDES_MAX);
    let metric = check.nested("/metric", question.metric.clone().check());
    if question.prorated && !question.metric.aggregation.is_proratable() {
        check.report("/prorated", "not_proratable", "only sums and unique counts can be prorated");
    }
    check.finish()?;
    let metric = metric.expect("every mistake was reported");
    aggregate(question, &metric)
}

fn aggregate(question: &UsageQuestion, metric: &Metric) -> Result<UsageAnswer, Vec<Invalid>> {
    let scope = Scope {
        aggregation: metric.aggregation,
        recurring: metric.recurring,
        prorated: question.prorated,
        period: question.period,
        full: question.full_period.unwrap_or(question.period),
        zone: question.timezone,
    };
    let split = Split { filters: &[], group_by: &question.group_by, by_event: false };
    let mut whole = Fold::try_new(scope, question.initial_value.unwrap_or_default().0).map_err(mistake)?;
    let mut groups = Buckets::try_new(metric, split, scope).map_err(mistake)?;
    let mut seen = HashSet::new();
    let mut counted = 0;
    for (arrival, event) in (0..).zip(&question.events) {
        let excluded = |filter: &Filter| filter.matches(&event.properties);
        if !seen.insert(&event.id) || question.exclude.iter().any(excluded) || !scope.covers(event.timestamp)
        {
            continue;
        }
        if let Some(sample) = Sample::of(metric, event.timestamp, arrival, &event.properties) {
            counted += 1;
            whole.push(sample).map_err(too_large)?;
            if !question.group_by.is_empty() {
                groups.push(event.timestamp, arrival, &event.properties).map_err(mistake)?;
            }
        }
    }
    let quantity = whole.quantity().and_then(|quantity| metric.round(quantity)).map_err(too_large)?;
    let group = |bucket: BucketUsage| GroupAnswer {
        key: question.group_by.iter().cloned().zip(bucket.key.group).collect(),
        quantity: Number(bucket.quantity),
    };
    let groups = groups.finish().map_err(mistake)?.into_iter().map(group).collect();
    Ok(UsageAnswer { quantity: Number(quantity), groups, counted })
}

fn mistake(error: UsageError) -> Vec<Invalid> {
    match error {
        UsageError::NotProratable => failed("/prorated", "not_proratable", error),
        UsageError::ScopeMismatch | UsageError::NeedsEvents | UsageError::Overflow(_) => too_large(error),
    }
}
