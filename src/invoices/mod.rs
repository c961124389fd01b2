//! Invoices are what is owed: they close periods, rate usage, make lines, take numbers, and say what was
//! paid. They take no money.

mod model;
pub mod service;

pub use model::{Invoice, InvoiceStatus, Line, Reason};
