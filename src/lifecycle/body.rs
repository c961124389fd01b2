//! What a verb would do.

use serde::Serialize;

use crate::{
    invoices::{InvoiceBody, credit_notes::CreditNoteBody},
    subscriptions::SubscriptionBody,
};

/// What a verb would do if it were sent now: nothing is written, and no number is taken.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SubscriptionPreview)]
pub(super) struct PreviewBody {
    #[schema(example = "subscription_preview")]
    pub object: &'static str,
    pub livemode: bool,
    /// As it would be.
    pub subscription: SubscriptionBody,
    /// Those that it would make now, the oldest first. Their identifiers and numbers will be others.
    pub invoices: Vec<InvoiceBody>,
    /// Whether it would make more of them: only those of the first hundred periods are shown.
    pub has_more: bool,
    /// What it would give back now.
    pub credit_notes: Vec<CreditNoteBody>,
}
