//! The catalogue is what is sold: metrics, features, taxes, plans with their versions and prices. It does
//! not know who bought what.

mod archiving;
mod body;
mod events;
mod http;
mod model;
mod naming;
pub mod service;
mod store;

pub use body::{FeatureBody, MetricBody, PlanBody, PriceBody, TaxBody};
pub use http::routes;
pub use model::{
    AMOUNT_MAX, Feature, FeatureKind, FeatureValue, LateEvents, Metric, PlanFeature, PlanVersion, Price,
    PriceFilter, PriceKind, Tax, TaxTable, Timing,
};
