//! Subscriptions say who has which plan since when. They make no invoices.

mod model;
pub mod service;

pub use model::{Access, Collection, Status, Subscription, Turn};
