//! What operators and confused clients need: health, metrics, pages that explain problems, the right
//! answer to addresses that do not exist.

mod addresses;
mod http;

pub use addresses::Addresses;
pub use http::{not_routed, routes};
