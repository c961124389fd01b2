//! What quantity do events make?

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{Check, failed, too_large};
use crate::{
    calendar::Period,
    decimal::{DecimalError, Number},
    exact::Exact,
    invalid::Invalid,
    read,
    usage::{
        BucketUsage, Buckets, Filter, Fold, Metric, Properties, Property, RawMetric, Sample, Scope, Split,
        UsageError,
    },
};

const EVENTS_MAX: usize = 10_000;
const GROUP_KEYS_MAX: usize = 5;
/// The answer repeats each key for every group.
const GROUP_KEY_LENGTH_MAX: usize = 100;
const EXCLUDES_MAX: usize = 20;
/// Every event is compared with them.
const EXCLUDED_VALUES_MAX: usize = 1_000;

/// Events and the metric that looks at them.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageQuestion {
    pub metric: RawMetric,
    pub period: Period,
    /// The nominal period, by whose length prorated and weighted quantities are divided (default: `period`).
    pub full_period: Option<Period>,
    /// An IANA name: where days begin (default: UTC).
    #[schema(value_type = Option<String>, example = "Europe/Berlin")]
    pub timezone: Option<Tz>,
    /// What was there before the first event.
    pub initial_value: Option<Number>,
    /// Properties by whose values the quantity is split.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, GROUP_KEYS_MAX>")]
    #[schema(max_items = 5)]
    pub group_by: Vec<String>,
    /// Events that match one of these do not count: all its properties must be there, each with one of its values.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, EXCLUDES_MAX>")]
    #[schema(max_items = 20)]
    pub exclude: Vec<Filter>,
    /// Whether the quantity is weighed by the local days it was there.
    #[serde(default, deserialize_with = "read::or_default")]
    pub prorated: bool,
    #[serde(deserialize_with = "read::list::<_, _, EVENTS_MAX>")]
    #[schema(max_items = 10_000)]
    pub events: Vec<EventQuestion>,
}

/// Something that happened. Of repeated identifiers the first counts.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuestion {
    pub id: String,
    pub timestamp: DateTime<Utc>,
    /// Numbers are read exactly as written.
    #[serde(default, deserialize_with = "read::or_default")]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub properties: Properties,
}

/// The aggregate, negative too, rounded as the metric says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UsageAnswer {
    pub quantity: Exact,
    /// By the values of the group's properties, sorted. Empty without `group_by`.
    pub groups: Vec<GroupAnswer>,
}

/// The aggregate of the events that share these values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GroupAnswer {
    /// Null where events lack the property.
    pub key: BTreeMap<String, Option<String>>,
    pub quantity: Exact,
}

/// Aggregates events as a bill would.
pub fn usage(question: &UsageQuestion) -> Result<UsageAnswer, Vec<Invalid>> {
    let mut check = Check::default();
    check_lists(question, &mut check);
    let metric = check.nested("/metric", question.metric.clone().check());
    if question.prorated && !question.metric.aggregation.is_proratable() {
        check.report("/prorated", "not_proratable", "only sums and unique counts can be prorated");
    }
    let full_at = if question.full_period.is_some() { "/full_period" } else { "/period" };
    let full = question.full_period.unwrap_or(question.period);
    if (full.end - full.start).num_microseconds() == Some(0) {
        check.report(full_at, "too_short", "must last a microsecond at least");
    }
    check.finish()?;
    let metric = metric.expect("every mistake was reported");
    aggregate(question, &metric)
}

fn check_lists(question: &UsageQuestion, check: &mut Check) {
    check.at_most("/events", question.events.len(), EVENTS_MAX);
    for (index, event) in question.events.iter().enumerate() {
        check.instant(&format!("/events/{index}/timestamp"), event.timestamp);
    }
    check.at_most("/group_by", question.group_by.len(), GROUP_KEYS_MAX);
    for (index, key) in question.group_by.iter().enumerate() {
        if !(1..=GROUP_KEY_LENGTH_MAX).contains(&key.len()) {
            let detail = format_args!("must have 1 to {GROUP_KEY_LENGTH_MAX} bytes");
            check.report(&format!("/group_by/{index}"), "out_of_range", detail);
        }
    }
    check.at_most("/exclude", question.exclude.len(), EXCLUDES_MAX);
    for (index, filter) in question.exclude.iter().enumerate() {
        if filter.0.is_empty() {
            check.report(
                &format!("/exclude/{index}"),
                "required",
                "names no property, and would exclude all",
            );
        }
    }
    let values = question.exclude.iter().flat_map(|filter| filter.0.values()).map(Vec::len).sum();
    check.at_most("/exclude", values, EXCLUDED_VALUES_MAX);
}

/// A number of the metric's that is too long to be counted exactly: it must not be passed over like a text.
fn is_too_long(metric: &Metric, properties: &Properties) -> bool {
    let counts = metric.aggregation.needs_number() && metric.matches(properties);
    counts && metric.property_of(properties).map(Property::parse) == Some(Err(DecimalError::TooLong))
}

fn aggregate(question: &UsageQuestion, metric: &Metric) -> Result<UsageAnswer, Vec<Invalid>> {
    let scope = Scope {
        aggregation: metric.aggregation,
        recurring: metric.recurring,
        prorated: question.prorated,
        period: question.period,
        full: question.full_period.unwrap_or(question.period),
        zone: question.timezone.unwrap_or(Tz::UTC),
    };
    let split = Split { filters: &[], group_by: &question.group_by, by_event: false };
    let mut whole = Fold::try_new(scope, question.initial_value.unwrap_or_default().0).map_err(mistake)?;
    let mut groups = Buckets::try_new(metric, split, scope).map_err(mistake)?;
    let (mut seen, mut check) = (HashSet::new(), Check::default());
    for (arrival, event) in (0..).zip(&question.events) {
        let excluded = |filter: &Filter| filter.matches(&event.properties);
        if !seen.insert(&event.id) || question.exclude.iter().any(excluded) || !scope.covers(event.timestamp)
        {
            continue;
        }
        if let Some(sample) = Sample::of(metric, event.timestamp, arrival, &event.properties) {
            whole.push(sample);
            if !question.group_by.is_empty() {
                groups.push(event.timestamp, arrival, &event.properties);
            }
        } else if is_too_long(metric, &event.properties) {
            let name = metric.property.as_deref().unwrap_or_default().replace('~', "~0").replace('/', "~1");
            let pointer = format!("/events/{arrival}/properties/{name}");
            check.report(&pointer, "too_large", DecimalError::TooLong);
        }
    }
    check.finish()?;
    let told = |quantity: Exact| match quantity.check() {
        Ok(()) => Ok(quantity),
        Err(error) => Err(too_large("/events", error)),
    };
    let quantity = whole.quantity().map_err(|error| too_large("/events", error))?;
    let quantity = told(metric.round(quantity))?;
    let group = |bucket: BucketUsage| -> Result<GroupAnswer, Vec<Invalid>> {
        let key = question.group_by.iter().cloned().zip(bucket.key.group).collect();
        Ok(GroupAnswer { key, quantity: told(bucket.quantity)? })
    };
    let groups = groups.finish().map_err(mistake)?.into_iter().map(group).collect::<Result<_, _>>()?;
    Ok(UsageAnswer { quantity, groups })
}

fn mistake(error: UsageError) -> Vec<Invalid> {
    match error {
        UsageError::NotProratable => failed("/prorated", "not_proratable", error),
        UsageError::ScopeMismatch | UsageError::NeedsEvents | UsageError::Overflow(_) => {
            too_large("/events", error)
        }
    }
}
