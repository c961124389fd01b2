//! Accounts and postings.

use std::collections::BTreeMap;

use accrue_core::{
    id::{CustomerId, LedgerAccountId, LedgerEntryId, LedgerTransactionId},
    money::{Currency, Money},
};
use chrono::{DateTime, Utc};

/// An account of the books, per currency.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// What a customer owes us.
    Receivable(CustomerId),
    Revenue,
    /// Tax that we collected and owe.
    TaxPayable,
    /// Money at a gateway, by its name.
    GatewayCash(String),
    /// What we owe a customer.
    CustomerCredit(CustomerId),
    /// Money given back.
    Refunds,
    /// What will not be paid any more.
    BadDebt,
    /// What balances were changed by, by hand.
    BalanceAdjustments,
}

impl Account {
    /// Stored: never change one, add a new one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Receivable(_) => "receivable",
            Self::Revenue => "revenue",
            Self::TaxPayable => "tax_payable",
            Self::GatewayCash(_) => "gateway_cash",
            Self::CustomerCredit(_) => "customer_credit",
            Self::Refunds => "refunds",
            Self::BadDebt => "bad_debt",
            Self::BalanceAdjustments => "balance_adjustments",
        }
    }

    /// Whose account it is: a customer's identifier, a gateway's name, or nobody's.
    pub(super) fn owner(&self) -> String {
        match self {
            Self::Receivable(customer) | Self::CustomerCredit(customer) => customer.to_string(),
            Self::GatewayCash(gateway) => gateway.clone(),
            Self::Revenue | Self::TaxPayable | Self::Refunds | Self::BadDebt | Self::BalanceAdjustments => {
                String::new()
            }
        }
    }

    pub(super) fn from_parts(code: &str, owner: &str) -> Option<Self> {
        match code {
            "receivable" => owner.parse().ok().map(Self::Receivable),
            "revenue" => Some(Self::Revenue),
            "tax_payable" => Some(Self::TaxPayable),
            "gateway_cash" => Some(Self::GatewayCash(owner.to_owned())),
            "customer_credit" => owner.parse().ok().map(Self::CustomerCredit),
            "refunds" => Some(Self::Refunds),
            "bad_debt" => Some(Self::BadDebt),
            "balance_adjustments" => Some(Self::BalanceAdjustments),
            _ => None,
        }
    }
}

/// One fact, with entries that add up to zero. A debit is positive, a credit negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// `invoice.finalized`, `payment.captured`, …: with the object, the key that makes it unique.
    pub fact: &'static str,
    pub object_id: String,
    pub description: String,
    pub entries: Vec<(Account, Money)>,
}

impl Posting {
    /// Do the entries add up to zero in each currency?
    pub(super) fn is_balanced(&self) -> bool {
        let mut sums = BTreeMap::<Currency, i128>::new();
        for (_, amount) in &self.entries {
            *sums.entry(amount.currency()).or_default() += i128::from(amount.minor());
        }
        sums.values().all(|sum| *sum == 0)
    }
}

/// An account that was posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenAccount {
    pub id: LedgerAccountId,
    pub account: Account,
    pub currency: Currency,
    pub created_at: DateTime<Utc>,
}

/// An entry with the fact that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: LedgerEntryId,
    pub account_id: LedgerAccountId,
    pub account: Account,
    pub transaction_id: LedgerTransactionId,
    pub fact: String,
    pub object_id: String,
    pub description: String,
    pub amount: Money,
    pub created_at: DateTime<Utc>,
}

/// All accounts of one code in one currency, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrialBalanceRow {
    pub code: String,
    /// Of all debits; not negative.
    pub debit: Money,
    /// Of all credits; not negative.
    pub credit: Money,
}

/// Where the books do not balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The entries of a transaction do not add up to zero, but to this.
    Transaction(LedgerTransactionId, Money),
    /// All entries of a currency do not add up to zero, but to this.
    Total(Money),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transaction(id, sum) => write!(f, "{id} adds up to {sum} {}, not to zero", sum.currency()),
            Self::Total(sum) => write!(f, "all entries in {} add up to {sum}, not to zero", sum.currency()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(entries: &[(i64, Currency)]) -> Posting {
        let entry =
            |(minor, currency): &(i64, Currency)| (Account::Revenue, Money::from_minor(*minor, *currency));
        Posting {
            fact: "invoice.finalized",
            object_id: "inv_1".to_owned(),
            description: String::new(),
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_posting_balances_in_each_currency_alone() {
        let (euro, dollar) = (Currency::EUR, Currency::USD);
        assert!(posting(&[]).is_balanced());
        assert!(posting(&[(500, euro), (-300, euro), (-200, euro), (7, dollar), (-7, dollar)]).is_balanced());
        assert!(!posting(&[(500, euro), (-499, euro)]).is_balanced());
        assert!(!posting(&[(500, euro), (-500, dollar)]).is_balanced());
        assert!(!posting(&[(i64::MAX, euro), (i64::MAX, euro), (2, euro)]).is_balanced());
    }

    #[test]
    fn accounts_survive_the_database() {
        let customer = CustomerId::new("2026-01-01T00:00:00Z".parse().unwrap());
        for account in [
            Account::Receivable(customer),
            Account::Revenue,
            Account::TaxPayable,
            Account::GatewayCash("sandbox".to_owned()),
            Account::CustomerCredit(customer),
            Account::Refunds,
            Account::BadDebt,
            Account::BalanceAdjustments,
        ] {
            assert_eq!(Account::from_parts(account.code(), &account.owner()), Some(account));
        }
        assert_eq!(Account::from_parts("receivable", "acme"), None);
        assert_eq!(Account::from_parts("petty_cash", ""), None);
    }
}
