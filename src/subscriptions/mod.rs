//! Subscriptions say who has which plan since when, and when the next turn of their billing cycle is due.
//! They make no invoices.

mod belongings;
mod body;
mod events;
mod http;
pub mod import;
mod jobs;
mod model;
pub mod service;
mod store;

pub use belongings::{BELONGINGS, LOCK};
pub use body::SubscriptionBody;
pub use http::{CreateSubscription, in_body, routes};
pub use jobs::{JOBS, SWEEPS};
pub use model::{
    Access, Anchor, CancelReason, Collection, Outcome, Part, Phase, Status, Subscription, Turn, Unused,
    UsageInPause, Wanted, When,
};
