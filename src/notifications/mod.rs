//! Notifications tell customers by mail what happened to them. They decide nothing: each mail follows from
//! one event, and a mail never delays or undoes what it tells of.

mod belongings;
mod body;
mod compose;
mod http;
mod jobs;
mod model;
pub mod render;
mod service;
mod store;
mod told;

pub use belongings::BELONGINGS;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS};
pub use model::{Email, EmailStatus};
pub use service::of_customer;
