//! Test clocks let the time of some customers be moved by hand. They move it and have everything done that
//! falls due on the way; they do not know what that is.

mod advance;
mod body;
mod deletion;
mod http;
mod jobs;
mod model;
pub mod service;
mod store;

pub use http::routes;
pub use jobs::{JOBS, SWEEPS};
pub use model::TestClock;
