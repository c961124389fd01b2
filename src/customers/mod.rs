//! Customers are who is billed, where, in which currency and zone. They hold no money and no plan.

mod model;
pub mod service;

pub use model::{Address, Customer};
