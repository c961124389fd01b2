//! Corrections have billed usage looked at again when more, or less, turns out to have been used (RULES 18). They make
//! nothing: invoices and credit notes are a part of `invoices`, which does not know what is being paid.

mod jobs;

pub use jobs::{JOBS, SWEEPS};
