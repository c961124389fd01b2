//! Archives are usage events that left the database: a file for each month of a tenant. They say when a month may leave,
//! write its file, and have its events taken out. What is true of usage from then on is metering's.

mod file;
mod jobs;
mod model;
pub mod service;
mod writing;

pub use jobs::{JOBS, SWEEPS};
pub use model::{Hold, Written};
pub use writing::{check, tidy, write};
