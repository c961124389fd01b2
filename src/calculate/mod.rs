//! The calculators answer questions about the rules of billing over HTTP, by the very code that bills. They own
//! the endpoints and their worked examples. They read and write nothing, and own no rule: those are in
//! `accrue_core`.

mod examples;
mod http;

pub use http::routes;
