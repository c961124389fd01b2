//! Do invoices agree with the books, with their lines, and with the rule that numbers have no gaps?

use std::collections::BTreeMap;

use accrue_core::{id::TenantId, money::Money};
use sea_orm::ConnectionTrait;

use super::{service::InvoiceError, store};
use crate::ledger::{self, Account};

/// What is wrong with a tenant's invoices, one sentence each; nothing if all is well (P6, P7, RULES 51).
pub async fn verify(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<String>, InvoiceError> {
    let mut findings = Vec::new();
    for (customer, owed) in store::owed(db, tenant).await? {
        let account = Account::Receivable(customer);
        let booked = ledger::service::balance(db, tenant, &account, Money::zero(owed.currency())).await?;
        if booked != owed {
            let currency = owed.currency();
            findings.push(format!(
                "{customer} owes {owed} {currency} by open invoices, but {booked} by the books"
            ));
        }
    }
    for invoice in store::unlike_their_lines(db, tenant).await? {
        findings.push(format!("the sums of {invoice} are not those of its lines"));
    }
    findings.extend(gaps(&store::numbers(db, tenant).await?));
    Ok(findings)
}

/// The series whose numbers are not 1, 2, 3, … to the last.
fn gaps(numbers: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut series: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for number in numbers {
        match number.rsplit_once('-').map(|(prefix, position)| (prefix, position.parse())) {
            Some((prefix, Ok(position))) => series.entry(prefix).or_default().push(position),
            _ => findings.push(format!("{number} is not an invoice number")),
        }
    }
    for (prefix, mut positions) in series {
        positions.sort_unstable();
        let expected = 1..;
        if let Some((_, missing)) =
            positions.iter().zip(expected).find(|(found, expected)| *found != expected)
        {
            findings.push(format!(
                "the numbers {prefix}-… are not gapless: {prefix}-{missing:06} is out of order"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps_of(numbers: &[&str]) -> Vec<String> {
        gaps(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn each_series_counts_from_one_without_a_gap() {
        assert!(gaps_of(&["INV-000002", "INV-000001", "A-000001", "INV-1000000"]).len() == 1);
        assert!(gaps_of(&["INV-000002", "A-000001", "INV-000001"]).is_empty());
        assert!(gaps_of(&[]).is_empty());
    }

    #[test]
    fn a_missing_first_repeated_or_strange_number_is_found() {
        for numbers in
            [["INV-000002", "INV-000003"], ["INV-000001", "INV-000003"], ["INV-000001", "INV-000001"]]
        {
            assert_eq!(gaps_of(&numbers).len(), 1, "{numbers:?}");
        }
        assert_eq!(gaps_of(&["X"]), ["X is not an invoice number"]);
    }
}
