//! Issuers are the legal entities in whose name invoices are issued, beside the account itself. They own what documents say
//! of them, their series of numbers and their logos; they do not know whom they bill.

mod body;
mod http;
mod model;
mod png;
pub mod service;
mod store;

pub use body::{Origin, Resolved, SettingsBody};
pub use http::routes;
pub use model::Issuer;
