//! Entitlements say what a customer may use now: what the running plans grant, as far as payment allows it.
//! They enforce nothing themselves, and decide neither plans nor payments.
//!
//! A customer with several subscriptions has what all of them grant together: a switch is on if one of them
//! turns it on; limits and metered amounts add up; of configs one counts. A subscription grants from its start to its end, trials
//! and unpaid ones included. Its access decides how (RULES 49): `full` and `grace` grant everything,
//! `restricted` nothing (the features stay, switched off, at zero or null).

mod belongings;
mod body;
mod events;
mod http;
mod jobs;
mod model;
pub mod service;
mod store;

pub use belongings::BELONGINGS;
pub use body::{EntitlementBody, EntitlementsBody};
pub use http::routes;
pub use jobs::{JOBS, LISTENERS};
pub use model::{Entitlement, Grant, Reason, Source, Verdict};
