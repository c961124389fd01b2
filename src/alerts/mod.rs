//! Alerts tell when usage reaches a threshold: a quantity, an amount, a part of a limit. They bill nothing and
//! forbid nothing.
//!
//! The transaction that moves usage enqueues a job where an alert watches (`metering/watching.rs`). The job compares
//! and tells; the database says that it tells once in a period.

mod belongings;
mod body;
mod checking;
mod events;
mod http;
mod jobs;
mod model;
mod reading;
pub mod service;
mod store;

pub use belongings::BELONGINGS;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS, SWEEPS};
