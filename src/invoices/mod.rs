//! Invoices are what is owed: they close periods, rate usage, make lines, take numbers, and say what was
//! paid. They take no money.

mod body;
pub mod credit_notes;
mod cycle;
mod documents;
mod draft;
mod event;
mod events;
mod explain;
mod giving_back;
mod http;
mod jobs;
mod late;
mod model;
mod postings;
mod progress;
mod rating;
mod reissue;
#[cfg(test)]
mod samples;
pub mod service;
mod store;
mod unbilled;
mod usage;
mod verify;

pub use body::InvoiceBody;
pub use documents::DocumentError;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS, SWEEPS};
pub use model::{Bucket, Invoice, InvoiceStatus, Line, MoveError, PartyCopy, Reason, TaxCopy, TaxRow};

pub use crate::subscriptions::Collection;
