//! Webhooks tell the tenants' own servers what happened: endpoints, deliveries, the log of events. They make
//! no events of billing, and do not know what the events mean.

mod belongings;
mod body;
mod events;
mod http;
mod jobs;
mod known;
mod lanes;
mod model;
mod send;
mod service;
mod store;

pub use belongings::BELONGINGS;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS};
pub use known::TYPES;
