//! What invoices write into the books: the facts that make, undo and give up a claim. Pure.

use accrue_core::money::{Money, MoneyError};

use super::model::Invoice;
use crate::ledger::{Account, Posting};

/// The customer owes the total; it is revenue, and tax that we owe. Less than nothing is owed to the customer, until it is a
/// part of the balance.
pub(super) fn finalized(invoice: &Invoice) -> Result<Posting, MoneyError> {
    let entries = vec![
        (Account::Receivable(invoice.customer_id), invoice.signed_total()),
        (Account::Revenue, invoice.net().checked_neg()?),
        (Account::TaxPayable, invoice.tax_total.checked_neg()?),
    ];
    Ok(posting("invoice.finalized", "finalized", invoice, entries))
}

/// The exact opposite of [`finalized`].
pub(super) fn voided(invoice: &Invoice) -> Result<Posting, MoneyError> {
    let entries = vec![
        (Account::Receivable(invoice.customer_id), invoice.signed_total().checked_neg()?),
        (Account::Revenue, invoice.net()),
        (Account::TaxPayable, invoice.tax_total),
    ];
    Ok(posting("invoice.voided", "voided", invoice, entries))
}

/// What was left to pay is a loss. The tax stays owed: getting it back is for the tax return.
pub(super) fn written_off(invoice: &Invoice) -> Result<Posting, MoneyError> {
    let due = invoice.amount_due();
    let entries =
        vec![(Account::BadDebt, due), (Account::Receivable(invoice.customer_id), due.checked_neg()?)];
    Ok(posting("invoice.uncollectible", "uncollectible", invoice, entries))
}

/// `amount` of a loss came in after all: it is a claim again, for the posting of the money to meet.
pub(super) fn recovered(invoice: &Invoice, amount: Money) -> Result<Posting, MoneyError> {
    let entries =
        vec![(Account::Receivable(invoice.customer_id), amount), (Account::BadDebt, amount.checked_neg()?)];
    // It may happen several times, each time with more paid than before.
    let paid = invoice.amount_paid.minor();
    let posting = posting("invoice.recovered", "recovered", invoice, entries);
    Ok(Posting { object_id: format!("{}:{paid}", posting.object_id), ..posting })
}

/// What happened to an invoice, as the books have it.
pub(super) fn posting(
    fact: &'static str,
    what: &str,
    invoice: &Invoice,
    entries: Vec<(Account, Money)>,
) -> Posting {
    let number = invoice.number.as_deref().unwrap_or("without a number");
    Posting {
        fact,
        object_id: invoice.id.to_string(),
        description: format!("Invoice {number} {what}"),
        entries,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use accrue_core::money::Currency;

    use super::*;
    use crate::invoices::samples::{open_invoice, usd};

    fn balances<const N: usize>(postings: [Posting; N]) -> HashMap<Account, i64> {
        let mut balances = HashMap::new();
        for (account, amount) in postings.into_iter().flat_map(|posting| posting.entries) {
            *balances.entry(account).or_default() += amount.minor();
        }
        balances
    }

    #[test]
    fn every_posting_adds_up_to_zero() {
        let invoice = open_invoice("119.00");
        let postings = [
            finalized(&invoice).unwrap(),
            voided(&invoice).unwrap(),
            written_off(&invoice).unwrap(),
            recovered(&invoice, usd("7.00")).unwrap(),
        ];
        for posting in postings {
            let sum = Money::sum(Currency::USD, posting.entries.iter().map(|(_, amount)| *amount));
            assert_eq!(sum, Ok(usd("0")), "{}", posting.fact);
            assert!(!posting.entries.is_empty());
        }
    }

    #[test]
    fn a_voided_invoice_leaves_nothing_in_the_books() {
        let invoice = open_invoice("119.00");
        let balances = balances([finalized(&invoice).unwrap(), voided(&invoice).unwrap()]);
        assert!(balances.values().all(|balance| *balance == 0), "{balances:?}");
    }

    #[test]
    fn what_comes_to_less_than_nothing_is_owed_to_the_customer() {
        let mut invoice = open_invoice("119.00");
        let customer = invoice.customer_id;
        let negative = |amount: Money| amount.checked_neg().unwrap();
        (invoice.balance_credited, invoice.total) = (invoice.total, usd("0"));
        invoice.tax_total = negative(invoice.tax_total);
        let booked = balances([finalized(&invoice).unwrap()]);
        // The entry of the balance then moves it from what is owed to what the customer has with us.
        assert_eq!(booked[&Account::Receivable(customer)], -11_900);
        assert_eq!((booked[&Account::Revenue], booked[&Account::TaxPayable]), (10_000, 1_900));
        let undone = balances([finalized(&invoice).unwrap(), voided(&invoice).unwrap()]);
        assert!(undone.values().all(|balance| *balance == 0), "{undone:?}");
    }

    #[test]
    fn what_was_given_up_is_a_loss_until_it_is_paid() {
        let invoice = open_invoice("119.00");
        let receivable = Account::Receivable(invoice.customer_id);
        let given_up = balances([finalized(&invoice).unwrap(), written_off(&invoice).unwrap()]);
        assert_eq!((given_up[&receivable], given_up[&Account::BadDebt]), (0, 11_900));

        let recovered = recovered(&invoice, usd("119.00")).unwrap();
        let claimed = balances([finalized(&invoice).unwrap(), written_off(&invoice).unwrap(), recovered]);
        assert_eq!((claimed[&receivable], claimed[&Account::BadDebt]), (11_900, 0));
    }
}
