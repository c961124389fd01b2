//! Making credit notes, where invoices and payments meet: an offset waits for no payment that is under way, and a
//! refund gives back what a payment took. The notes themselves are a part of `invoices`.

mod http;
mod service;
mod verify;

pub use http::routes;
pub use verify::verify;
