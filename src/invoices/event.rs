//! What came of a usage event: which metrics count it, and which line of which invoice it landed on, or why none.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{InvoiceId, InvoiceLineId, MetricId, PriceId, SubscriptionId, UsageEventId},
    usage::{BucketKey, Filter, Properties, Sample, Value},
};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{model::Bucket, rating, service::InvoiceError, store};
use crate::{
    catalog::{self, Metric, Price},
    metering::UsageEvent,
    subscriptions::{self, Subscription},
};

/// What came of a usage event.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct EventExplanation {
    #[schema(example = "usage_event_explanation")]
    object: &'static str,
    livemode: bool,
    id: UsageEventId,
    event_id: String,
    /// Whether it is on an invoice.
    billed: bool,
    /// Why it is on none: `no_metric` if no metric has its name, else the outcome that came closest.
    reason: Option<EventOutcome>,
    /// Of each metric that has its name, and of each price that meters the metric.
    outcomes: Vec<OutcomeBody>,
}

/// What came of an event for a metric and a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventOutcome {
    /// It is on an invoice.
    Billed,
    /// Its period is not invoiced yet, or it came after that, and the next invoice corrects it.
    NotInvoicedYet,
    /// It was taken back. If it is on an invoice, that line is told, and a later `usage_adjustment`, or a credit note, takes
    /// it off.
    Voided,
    /// The subscription's plan has no price on the metric.
    NoPrice,
    /// The customer had no subscription at its time.
    NoSubscription,
    /// It waits for its customer, who does not exist yet.
    UnknownCustomer,
    /// It has no property, or no number, that the metric needs.
    PropertyMissing,
    /// The metric's filters do not match it.
    FilteredOut,
    /// No metric counts events of its name.
    NoMetric,
}

/// What came of an event for a metric and a price.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageEventOutcome)]
struct OutcomeBody {
    metric: MetricId,
    /// The metric's code.
    #[schema(example = "tokens")]
    metric_code: String,
    outcome: EventOutcome,
    /// The number that the metric takes from it; null for counts.
    value: Option<Number>,
    subscription: Option<SubscriptionId>,
    price: Option<PriceId>,
    /// The filter of the price that it falls in.
    filter: Option<Filter>,
    /// The group of the price's usage that it falls in.
    group: BTreeMap<String, Option<String>>,
    /// The invoice, its line, and the period that the line bills.
    invoice: Option<InvoiceId>,
    line: Option<InvoiceLineId>,
    /// `usage`; or `usage_adjustment` if its period was billed before it came.
    #[schema(example = "usage")]
    line_kind: Option<String>,
    period: Option<Period>,
}

/// Follows an event to its invoice.
pub(super) async fn explain(
    db: &impl ConnectionTrait,
    livemode: bool,
    event: UsageEvent,
) -> Result<EventExplanation, InvoiceError> {
    let metrics = catalog::service::all_metrics(db, event.tenant_id).await?;
    let properties = event.properties();
    let mut outcomes = Vec::new();
    for metric in metrics.iter().filter(|metric| metric.event_name == event.event_name) {
        outcomes.extend(of_metric(db, &event, &properties, metric).await?);
    }
    let best = outcomes.iter().map(|outcome| outcome.outcome).min().unwrap_or(EventOutcome::NoMetric);
    let billed = best == EventOutcome::Billed;
    Ok(EventExplanation {
        object: "usage_event_explanation",
        livemode,
        id: event.id,
        event_id: event.event_id,
        billed,
        reason: (!billed).then_some(best),
        outcomes,
    })
}

async fn of_metric(
    db: &impl ConnectionTrait,
    event: &UsageEvent,
    properties: &Properties,
    metric: &Metric,
) -> Result<Vec<OutcomeBody>, InvoiceError> {
    let nowhere = |outcome| OutcomeBody {
        metric: metric.id,
        metric_code: metric.code.clone(),
        outcome,
        value: None,
        subscription: None,
        price: None,
        filter: None,
        group: BTreeMap::new(),
        invoice: None,
        line: None,
        line_kind: None,
        period: None,
    };
    let Some(sample) = Sample::of(&metric.rules, event.timestamp, event.id.0.as_u128(), properties) else {
        let matches = metric.rules.matches(properties);
        let why = if matches { EventOutcome::PropertyMissing } else { EventOutcome::FilteredOut };
        return Ok(vec![nowhere(why)]);
    };
    let value = match sample.value {
        Value::Number(number) => Some(Number(number)),
        Value::Event | Value::Unique(..) => None,
    };
    let Some(customer) = event.payer.customer() else {
        return Ok(vec![OutcomeBody { value, ..nowhere(EventOutcome::UnknownCustomer) }]);
    };
    let (tenant, at) = (event.tenant_id, event.timestamp);
    let covering = subscriptions::service::as_of(db, tenant, customer, at).await?;
    if covering.is_empty() {
        return Ok(vec![OutcomeBody { value, ..nowhere(EventOutcome::NoSubscription) }]);
    }
    let mut outcomes = Vec::new();
    for subscription in &covering {
        let plan = catalog::service::get_plan_version(db, tenant, subscription.plan_version_id).await?;
        for price in plan.prices.iter().filter(|price| price.metric_id == Some(metric.id)) {
            let bucket = bucket(price, properties);
            let place = place(db, event, subscription, price, &bucket).await?;
            let outcome = match &place {
                _ if event.voided_at.is_some() => EventOutcome::Voided,
                Some(_) => EventOutcome::Billed,
                None => EventOutcome::NotInvoicedYet,
            };
            outcomes.push(OutcomeBody {
                value,
                subscription: Some(subscription.id),
                price: Some(price.id),
                filter: bucket.filter,
                group: bucket.group,
                invoice: place.as_ref().map(|place| place.invoice),
                line: place.as_ref().map(|place| place.line),
                period: place.as_ref().map(|place| place.period),
                line_kind: place.map(|place| place.kind),
                ..nowhere(outcome)
            });
        }
    }
    if outcomes.is_empty() {
        let subscription = covering.first().map(|subscription| subscription.id);
        outcomes.push(OutcomeBody { value, subscription, ..nowhere(EventOutcome::NoPrice) });
    }
    Ok(outcomes)
}

fn bucket(price: &Price, properties: &Properties) -> Bucket {
    let filters: Vec<Filter> = price.filters.iter().map(|filter| filter.r#where.clone()).collect();
    rating::bucket_of(price, &BucketKey::of(&filters, &price.group_by, properties))
}

/// The first line that was made while the event was there.
async fn place(
    db: &impl ConnectionTrait,
    event: &UsageEvent,
    subscription: &Subscription,
    price: &Price,
    bucket: &Bucket,
) -> Result<Option<store::Place>, InvoiceError> {
    let places = store::places(db, subscription, price.id, bucket, event.timestamp).await?;
    let first = places.into_iter().find(|place| event.received_at <= place.created_at);
    Ok(first.filter(|place| event.voided_at.is_none_or(|voided_at| place.created_at < voided_at)))
}
