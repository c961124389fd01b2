//! An entry of a customer's balance, and what it writes into the books. Pure.

use accrue_core::{
    id::{BalanceEntryId, CustomerId, InvoiceId, TenantId, TestClockId},
    money::{Money, MoneyError},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use crate::{
    invoices::model::Invoice,
    ledger::{Account, Posting},
};

/// Why a balance changed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum BalanceKind {
    /// Somebody changed it by hand.
    Adjustment,
    /// It paid a part of an invoice, or an invoice asked for what was owed.
    InvoiceApplied,
    /// An invoice came to less than nothing (RULES 34).
    InvoiceCredited,
    /// An invoice is void: what it did is undone.
    InvoiceVoided,
}

/// A change of what a customer has with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceEntry {
    pub tenant_id: TenantId,
    pub id: BalanceEntryId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub kind: BalanceKind,
    /// Positive for the customer, negative for us.
    pub amount: Money,
    /// What the customer has with us after it; negative for a debt.
    pub balance_after: Money,
    pub invoice_id: Option<InvoiceId>,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl BalanceEntry {
    /// What the books say of it. What an invoice came to is told by the invoice's own posting, but for what goes between it
    /// and the balance.
    pub(super) fn posting(&self, number: &str) -> Result<Posting, MoneyError> {
        let credit = (Account::CustomerCredit(self.customer_id), self.amount.checked_neg()?);
        let (fact, description, other) = match self.kind {
            BalanceKind::Adjustment => {
                ("balance.adjusted", "Balance adjusted".to_owned(), Account::BalanceAdjustments)
            }
            BalanceKind::InvoiceApplied => {
                ("invoice.balance_applied", format!("Invoice {number} met by balance"), self.receivable())
            }
            BalanceKind::InvoiceCredited => {
                ("invoice.balance_credited", format!("Invoice {number} left to balance"), self.receivable())
            }
            BalanceKind::InvoiceVoided => {
                let description = format!("Invoice {number} voided: its balance is back");
                ("invoice.balance_returned", description, self.receivable())
            }
        };
        let object_id = self.invoice_id.map_or(self.id.to_string(), |invoice| invoice.to_string());
        Ok(Posting { fact, object_id, description, entries: vec![credit, (other, self.amount)] })
    }

    fn receivable(&self) -> Account {
        Account::Receivable(self.customer_id)
    }
}

/// What of a balance meets an invoice of which credit notes have paid what they can: at most what is left of it, and a debt
/// whole (RULES 31). What came to less than nothing is itself for the balance.
pub(in crate::invoices) fn applied(balance: Money, invoice: &Invoice) -> Money {
    let left = invoice.amount_due();
    match invoice.balance_credited.is_zero() {
        false => Money::zero(left.currency()),
        true if balance.minor() < left.minor() => balance,
        true => left,
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::money::Currency;
    use sea_orm::Iterable;

    use super::*;
    use crate::invoices::samples::{open_invoice, usd};

    #[test]
    fn a_balance_pays_what_is_left_and_a_debt_is_asked_for_whole() {
        for (balance, left, expected) in [
            ("5.00", "8.00", "5.00"),
            ("9.00", "8.00", "8.00"),
            ("-3.00", "8.00", "-3.00"),
            ("-3.00", "0", "-3.00"),
            ("3.00", "0", "0"),
        ] {
            let mut invoice = open_invoice("10.00");
            invoice.credits_applied = usd("10.00").checked_sub(usd(left)).unwrap();
            assert_eq!(applied(usd(balance), &invoice), usd(expected), "{balance} of {left}");
            invoice.balance_credited = usd("1.00");
            assert_eq!(applied(usd(balance), &invoice), usd("0"));
        }
    }

    #[test]
    fn every_entry_balances_in_the_books_and_credit_is_what_we_owe() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let customer = CustomerId::new(now);
        for kind in BalanceKind::iter() {
            let entry = BalanceEntry {
                tenant_id: TenantId::new(now),
                id: BalanceEntryId::new(now),
                customer_id: customer,
                test_clock_id: None,
                kind,
                amount: usd("7.00"),
                balance_after: usd("7.00"),
                invoice_id: (kind != BalanceKind::Adjustment).then(|| InvoiceId::new(now)),
                description: None,
                metadata: Metadata::new(),
                created_at: now,
            };
            let posting = entry.posting("INV-000001").unwrap();
            let sum = Money::sum(Currency::USD, posting.entries.iter().map(|(_, amount)| *amount));
            assert_eq!(sum, Ok(usd("0")), "{kind:?}");
            assert!(posting.entries.contains(&(Account::CustomerCredit(customer), usd("-7.00"))));
        }
    }
}
