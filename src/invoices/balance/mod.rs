//! What a customer has with us, or owes us, beside invoices: entry by entry. It pays the next invoice, or is asked for with
//! it (RULES 31, 34).

mod body;
mod events;
mod http;
mod model;
pub mod service;
mod store;

pub(super) use http::routes;
pub use model::BalanceKind;
pub(super) use model::applied;
