//! The life of a subscription, verb by verb: what somebody asks of it is done and billed in one transaction, and a preview
//! is the same transaction that is undone (decision 0049). Terms and turns are subscriptions', amounts are invoices'.

mod body;
mod http;
mod service;
mod unused;

pub use http::routes;
