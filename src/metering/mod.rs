//! Metering is what was used: it takes events in, once each, and answers how much of a metric a customer
//! used in a period. It knows no prices and no subscriptions.

pub mod archive;
mod awaiting;
mod belongings;
mod body;
mod building;
mod correct;
mod deeds;
mod events;
mod http;
mod import;
mod intake;
mod jobs;
mod lanes;
mod memory;
mod model;
pub mod partitions;
mod reading;
pub mod service;
mod store;
mod taking;
mod tracking;
mod unbilled;
mod unmatched;
mod watching;

pub use belongings::BELONGINGS;
pub use building::Building;
pub use http::routes;
pub use import::{Imported, Importer, Line, Refused};
pub use intake::{Grouping, Intake};
pub use jobs::{JOBS, LISTENERS, SWEEPS, UPKEEP};
pub use model::{Archive, Closing, Contents, Grain, Hold, Month, NoMonth, Payer, Unmatched, UsageEvent};
pub use unbilled::Counted;
pub use watching::{UsageMoved, Watched, Watcher};
