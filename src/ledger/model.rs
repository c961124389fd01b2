//! Accounts and postings.

use accrue_core::{id::CustomerId, money::Money};

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
