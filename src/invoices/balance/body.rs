//! An entry of a balance as the API and events show it.

use accrue_core::{
    id::{BalanceEntryId, CustomerId, InvoiceId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{BalanceEntry, BalanceKind};

/// A change of what a customer has with us.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BalanceEntry)]
pub(super) struct BalanceEntryBody {
    pub id: BalanceEntryId,
    #[schema(example = "balance_entry")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    pub kind: BalanceKind,
    pub currency: Currency,
    /// Positive for the customer, negative for you.
    pub amount: Money,
    /// What the customer had with you after it; negative for a debt.
    pub balance_after: Money,
    /// The invoice that took or gave it.
    pub invoice: Option<InvoiceId>,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl BalanceEntryBody {
    /// `livemode` is the tenant's.
    pub fn new(entry: BalanceEntry, livemode: bool) -> Self {
        let BalanceEntry {
            tenant_id: _,
            id,
            customer_id,
            test_clock_id: _,
            kind,
            amount,
            balance_after,
            invoice_id,
            description,
            metadata,
            created_at,
        } = entry;
        Self {
            id,
            object: "balance_entry",
            livemode,
            customer: customer_id,
            kind,
            currency: amount.currency(),
            amount,
            balance_after,
            invoice: invoice_id,
            description,
            metadata,
            created_at,
        }
    }
}
