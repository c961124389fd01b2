//! Credit notes take back what an invoice charged, line by line with its tax. Their credit pays the customer's next
//! invoices. They move no money: what is to be given back, payments give.

mod body;
mod events;
mod model;
mod postings;
pub mod service;
mod store;
mod verify;

pub use body::{CreditNoteBody, CreditPreview};
pub use model::{
    Credit, CreditError, CreditKind, CreditLine, CreditNote, CreditReason, LineError, RefundProgress, Share,
    Wanted,
};
pub(super) use store::corrected;
pub(super) use verify::verify;
