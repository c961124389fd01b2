//! Is what customers have with us, by the books, what is left of their credit notes, and their balance?

use accrue_core::{
    id::{CustomerId, TenantId},
    money::{Money, MoneyError},
};
use sea_orm::ConnectionTrait;

use crate::{
    invoices,
    ledger::{self, Account},
    payments,
};

/// What is wrong with the credit of a tenant's customers, one sentence each; nothing if all is well (RULES 51).
pub async fn verify(db: &impl ConnectionTrait, tenant: TenantId) -> anyhow::Result<Vec<String>> {
    let whose = |account: &Account| match account {
        Account::CustomerCredit(customer) => Some(*customer),
        _ => None,
    };
    let left = invoices::credit_notes::service::credit_left(db, tenant).await?;
    // What came for a void invoice is the customer's until it has gone back.
    let void = invoices::service::void_ids(db, tenant).await?;
    let unowed = payments::service::taken_for(db, tenant, &void).await?;
    let balances = invoices::balance::service::balances(db, tenant).await?;
    // What we owe is a credit in the books.
    let owed = left
        .into_iter()
        .chain(unowed)
        .chain(balances)
        .map(|(customer, amount)| Ok((customer, amount.checked_neg()?)));
    let owed = owed.collect::<Result<Vec<(CustomerId, Money)>, MoneyError>>()?;
    let mut findings = Vec::new();
    for (customer, owed, booked) in ledger::service::unlike(db, tenant, whose, owed).await? {
        let (amount, booked, currency) = (owed.checked_neg()?, booked.checked_neg()?, owed.currency());
        findings.push(format!(
            "{customer} has {amount} {currency} with us by credit notes, refunds and balance, but {booked} by the books"
        ));
    }
    Ok(findings)
}
