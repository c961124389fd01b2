//! The catalogue is what is sold: metrics, features, taxes, plans with their versions and prices. It does
//! not know who bought what.

mod model;
pub mod service;

pub use model::{
    Feature, FeatureKind, FeatureValue, Metric, PlanFeature, PlanVersion, Price, PriceKind, Tax, Timing,
};
