//! Notifications write emails to customers about what happened, and send each at least once. They decide
//! nothing about money, and do not send what the customer's own systems need: webhooks do.

mod body;
mod compose;
mod http;
mod jobs;
mod model;
mod render;
mod service;
mod store;
mod told;

pub use http::routes;
pub use jobs::{JOBS, LISTENER};
