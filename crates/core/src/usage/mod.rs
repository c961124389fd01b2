//! Usage owns what turns events into a quantity: properties, filters, aggregations. It stores no events and knows
//! no prices.

mod buckets;
mod fold;
mod metric;
mod partial;
mod property;

pub use buckets::{BucketUsage, Buckets, Split};
pub use fold::{Fold, Held, Moment, Sample, Scope, UsageError, Value};
pub use metric::{
    Aggregation, Conversion, ConversionOperation, ConversionRounding, FILTERS_MAX, Metric, MetricFilter,
    Operation, RawMetric, Rounding, RoundingMode, VALUES_MAX,
};
pub use partial::Partial;
pub use property::{BucketKey, Filter, Properties, Property, best_match};

#[cfg(test)]
mod tests;
