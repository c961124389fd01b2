//! Do invoices agree with the books, with their lines, and with the rule that numbers have no gaps?

use std::collections::BTreeMap;

use accrue_core::id::TenantId;
use accrue_platform::counter;
use sea_orm::ConnectionTrait;

use super::{
    balance, credit_notes,
    service::{InvoiceError, NUMBERS},
    store,
};
use crate::ledger::{self, Account};

/// What is wrong with a tenant's invoices, one sentence each; nothing if all is well (P6, P7, RULES 51).
pub async fn verify(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<String>, InvoiceError> {
    let mut findings = Vec::new();
    let whose = |account: &Account| match account {
        Account::Receivable(customer) => Some(*customer),
        _ => None,
    };
    let owed = store::owed(db, tenant).await?;
    for (customer, owed, booked) in ledger::service::unlike(db, tenant, whose, owed).await? {
        let currency = owed.currency();
        findings
            .push(format!("{customer} owes {owed} {currency} by open invoices, but {booked} by the books"));
    }
    for invoice in store::unlike_their_lines(db, tenant).await? {
        findings.push(format!("the sums of {invoice} are not those of its lines"));
    }
    for invoice in store::unlike_the_replaced(db, tenant).await? {
        findings.push(format!("{invoice} and the one that it replaces, or is replaced by, do not agree"));
    }
    let mut numbers = store::numbers(db, tenant).await?;
    numbers.extend(store::removed_numbers(db, tenant, "invoice").await?);
    findings.extend(of_numbers("invoice", &numbers, &counter::given(db, tenant, NUMBERS).await?));
    findings.extend(balance::service::verify(db, tenant).await?);
    findings.extend(credit_notes::verify(db, tenant).await?);
    Ok(findings)
}

/// What is wrong with the numbers that were given to a kind of documents.
pub(super) fn of_numbers(what: &str, numbers: &[String], given: &[(String, i64)]) -> Vec<String> {
    let mut findings = gaps(what, numbers);
    findings.extend(unlike_the_counters(what, numbers, given));
    findings
}

/// The series whose numbers are not 1, 2, 3, … to the last.
fn gaps(what: &str, numbers: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut series: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for number in numbers {
        match number.rsplit_once('-').map(|(prefix, position)| (prefix, position.parse())) {
            Some((prefix, Ok(position))) => series.entry(prefix).or_default().push(position),
            _ => findings.push(format!("{number} is no number of any {what}")),
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

/// The series whose last number is not the last that was given.
fn unlike_the_counters(what: &str, numbers: &[String], given: &[(String, i64)]) -> Vec<String> {
    let last_of = |prefix: &str| {
        let positions = numbers.iter().filter_map(|number| number.strip_prefix(prefix)?.strip_prefix('-'));
        positions.filter_map(|position| position.parse::<i64>().ok()).max().unwrap_or_default()
    };
    let last = given.iter().map(|(prefix, given)| (prefix, *given, last_of(prefix)));
    let unlike = last.filter(|(_, given, last)| given != last);
    unlike
        .map(|(prefix, given, last)| {
            format!(
                "the last number given is {prefix}-{given:06}, but the last {what} has {prefix}-{last:06}"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps_of(numbers: &[&str]) -> Vec<String> {
        gaps("invoice", &numbers.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn each_series_counts_from_one_without_a_gap() {
        assert!(gaps_of(&["INV-000002", "INV-000001", "A-000001", "INV-1000000"]).len() == 1);
        assert!(gaps_of(&["INV-000002", "A-000001", "INV-000001"]).is_empty());
        assert!(gaps_of(&[]).is_empty());
    }

    #[test]
    fn a_missing_last_number_is_found() {
        let numbers = ["INV-000001", "INV-000002", "A-B-000001"].map(str::to_owned);
        let unlike = |given: &[(&str, i64)]| {
            let given: Vec<_> = given.iter().map(|(prefix, last)| ((*prefix).to_owned(), *last)).collect();
            unlike_the_counters("invoice", &numbers, &given)
        };
        assert!(unlike(&[("A-B", 1), ("INV", 2)]).is_empty());
        let missing = unlike(&[("INV", 3), ("X", 1)]);
        assert_eq!(missing[0], "the last number given is INV-000003, but the last invoice has INV-000002");
        assert_eq!(missing.len(), 2);
    }

    #[test]
    fn a_missing_first_repeated_or_strange_number_is_found() {
        for numbers in
            [["INV-000002", "INV-000003"], ["INV-000001", "INV-000003"], ["INV-000001", "INV-000001"]]
        {
            assert_eq!(gaps_of(&numbers).len(), 1, "{numbers:?}");
        }
        assert_eq!(gaps_of(&["X"]), ["X is no number of any invoice"]);
    }
}
