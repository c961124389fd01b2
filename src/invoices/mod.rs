//! Invoices are what is owed: they close periods, rate usage, make lines, take numbers, and say what was
//! paid. They take no money.

pub mod balance;
mod belongings;
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
mod past;
mod postings;
mod progress;
mod rating;
mod reissue;
#[cfg(test)]
mod samples;
pub mod service;
mod store;
mod unbilled;
mod unused;
mod usage;
mod verify;

pub use belongings::{BELONGINGS, LOCK};
pub use body::InvoiceBody;
pub use cycle::Billed;
pub use documents::DocumentError;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS, SWEEPS};
pub use model::{Bucket, Invoice, InvoiceStatus, Line, MoveError, PartyCopy, Reason, TaxCopy, TaxRow};
pub use unused::UnusedOf;

pub use crate::subscriptions::Collection;
