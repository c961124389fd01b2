//! Is what customers have with us, by the books, what is left of their credit notes?

use std::collections::BTreeMap;

use accrue_core::{
    id::{CustomerId, TenantId},
    money::{Currency, Money},
};
use sea_orm::ConnectionTrait;

use crate::{
    invoices,
    ledger::{self, Account},
    payments,
};

/// What is wrong with the credit of a tenant's customers, one sentence each; nothing if all is well (RULES 51).
pub async fn verify(db: &impl ConnectionTrait, tenant: TenantId) -> anyhow::Result<Vec<String>> {
    let mut expected: BTreeMap<(CustomerId, Currency), Money> = BTreeMap::new();
    let left = invoices::credit_notes::service::credit_left(db, tenant).await?;
    // What came for a void invoice is the customer's until it has gone back.
    let void = invoices::service::void_ids(db, tenant).await?;
    let unowed = payments::service::taken_for(db, tenant, &void).await?;
    for (customer, amount) in left.into_iter().chain(unowed) {
        let sum = expected.entry((customer, amount.currency())).or_insert(Money::zero(amount.currency()));
        *sum = sum.checked_add(amount)?;
    }
    let mut findings = Vec::new();
    for ((customer, currency), amount) in expected {
        let account = Account::CustomerCredit(customer);
        let booked =
            ledger::service::balance(db, tenant, &account, Money::zero(currency)).await?.checked_neg()?;
        if booked != amount {
            findings.push(format!(
                "{customer} has {amount} {currency} with us by credit notes and refunds, but {booked} by the books"
            ));
        }
    }
    Ok(findings)
}
