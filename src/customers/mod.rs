//! Customers are who is billed, where, in which currency and zone. They hold no money and no plan, but
//! they know who pays for whom.

mod belongings;
mod body;
mod events;
pub mod family;
mod http;
pub mod import;
mod model;
mod request;
pub mod service;
mod store;

pub use belongings::{BELONGINGS, LOCK};
pub use body::CustomerBody;
pub use http::routes;
pub use model::{Address, Contact, Customer, Exemption};
