//! The ledger keeps the books: balanced, immutable entries, posted in the transaction of their fact. It
//! decides nothing.

mod belongings;
mod http;
mod model;
pub mod service;
mod store;

pub use belongings::{BELONGINGS, forget};
pub use http::routes;
pub use model::{Account, Finding, Posting};
