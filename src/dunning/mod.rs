//! Dunning is what happens after an automatic payment failed, and when: retries, access, the end. It takes
//! no money itself and writes no mails.

mod belongings;
mod body;
mod events;
mod http;
mod jobs;
mod model;
mod service;
mod store;

pub use belongings::{BELONGINGS, LOCK};
pub use body::DunningBody;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS, SWEEPS};
pub use model::{Dunning, DunningStatus, Failure};
