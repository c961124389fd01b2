//! The ledger keeps the books: balanced, immutable entries, posted in the transaction of their fact. It
//! decides nothing.

mod model;
pub mod service;

pub use model::{Account, Posting};
