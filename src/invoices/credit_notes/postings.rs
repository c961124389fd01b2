//! What credit notes write into the books. Pure.

use accrue_core::money::{Money, MoneyError};

use super::model::{CreditKind, CreditNote};
use crate::{
    invoices::{model::Invoice, postings::posting},
    ledger::{Account, Posting},
};

/// Revenue and tax are taken back; the customer owes less, or has it with us.
pub(super) fn created(note: &CreditNote) -> Result<Posting, MoneyError> {
    let whose = match note.kind {
        CreditKind::Offset => Account::Receivable(note.customer_id),
        CreditKind::Credit | CreditKind::Refund => Account::CustomerCredit(note.customer_id),
    };
    let entries = vec![
        (Account::Revenue, note.credit.subtotal),
        (Account::TaxPayable, note.credit.tax_total),
        (whose, note.credit.total.checked_neg()?),
    ];
    Ok(Posting {
        fact: "credit_note.created",
        object_id: note.id.to_string(),
        description: format!("Credit note {}", note.number),
        entries,
    })
}

/// What the customer has with us pays a part of an invoice.
pub(super) fn applied(invoice: &Invoice) -> Result<Posting, MoneyError> {
    let entries = between(invoice, invoice.credits_applied)?;
    Ok(posting("invoice.credits_applied", "paid by credit", invoice, entries))
}

/// The exact opposite of [`applied`].
pub(super) fn returned(invoice: &Invoice) -> Result<Posting, MoneyError> {
    let entries = between(invoice, invoice.credits_applied.checked_neg()?)?;
    Ok(posting("invoice.credits_returned", "voided: its credit is back", invoice, entries))
}

fn between(invoice: &Invoice, amount: Money) -> Result<Vec<(Account, Money)>, MoneyError> {
    let customer = invoice.customer_id;
    Ok(vec![
        (Account::CustomerCredit(customer), amount),
        (Account::Receivable(customer), amount.checked_neg()?),
    ])
}

#[cfg(test)]
mod tests {
    use accrue_core::money::Currency;

    use super::*;
    use crate::invoices::samples::{open_invoice, usd};

    #[test]
    fn what_paid_an_invoice_and_came_back_leaves_nothing_in_the_books() {
        let mut invoice = open_invoice("119.00");
        invoice.credits_applied = usd("30.00");
        let (applied, returned) = (applied(&invoice).unwrap(), returned(&invoice).unwrap());
        for (one, other) in applied.entries.iter().zip(&returned.entries) {
            assert_eq!((&one.0, one.1), (&other.0, other.1.checked_neg().unwrap()));
        }
        let receivable = Account::Receivable(invoice.customer_id);
        assert!(applied.entries.contains(&(receivable, usd("-30.00"))));
        let sum = Money::sum(Currency::USD, applied.entries.iter().map(|(_, amount)| *amount));
        assert_eq!(sum, Ok(usd("0")));
    }
}
