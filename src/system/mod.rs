//! What operators and confused clients need: health, metrics, pages that explain problems, the right
//! answer to addresses that do not exist.

mod http;

pub use http::{not_routed, routes};
