//! Invoices, credit notes and receipts as PDF. Owns how a document looks and how its numbers and dates
//! are written; computes no amount, and reads no clock, file or environment.

mod invoice;
mod locale;
mod print;
mod render;

pub use invoice::{Detail, Invoice, Kind, Line, Party, Period, Reference, TaxTotal};
pub use locale::Locale;
pub use render::{RenderError, Renderer, invoice_pdf};
