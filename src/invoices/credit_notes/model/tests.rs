use accrue_core::id::InvoiceLineId;
use proptest::prelude::*;

use super::*;
use crate::invoices::samples::{open_invoice, usd, vat};

/// An open invoice of these lines, each with its net and its tax in cents.
fn invoice(lines: &[(i64, i64)]) -> Invoice {
    let mut invoice = open_invoice("1.19");
    let template = invoice.lines[0].clone();
    let cents = |minor| Money::from_minor(minor, Currency::USD);
    invoice.lines = lines
        .iter()
        .zip(0_u128..)
        .map(|((net, tax), at)| Line {
            id: InvoiceLineId(uuid::Uuid::from_u128(at)),
            quantity: 3.into(),
            amount: cents(*net),
            taxable: cents(*net),
            tax: cents(*tax),
            taxes: vec![vat(cents(*net), cents(*tax))],
            ..template.clone()
        })
        .collect();
    let sum = |of: fn(&Line) -> Money| Money::sum(Currency::USD, invoice.lines.iter().map(of)).unwrap();
    let (subtotal, tax_total) = (sum(|line| line.amount), sum(|line| line.tax));
    invoice.subtotal = subtotal;
    invoice.tax_total = tax_total;
    invoice.total = subtotal.checked_add(tax_total).unwrap();
    invoice
}

fn line(at: u128) -> InvoiceLineId {
    InvoiceLineId(uuid::Uuid::from_u128(at))
}

fn given(invoice: &Invoice, before: &[CreditLine], wanted: &Wanted) -> Result<Credit, CreditError> {
    credit(invoice, before, CreditKind::Credit, wanted)
}

#[test]
fn a_line_in_the_customers_favour_is_taken_off_the_others() {
    let invoice = invoice(&[(1000, 200), (500, 100), (-300, -60)]);
    let all = given(&invoice, &[], &Wanted::Rest).unwrap();
    let parts: Vec<_> = all.lines.iter().map(|line| (line.amount.minor(), line.tax.minor())).collect();
    assert_eq!(parts, [(800, 160), (400, 80)]);
    assert_eq!(all.total, invoice.total);
    let favour = Wanted::Lines(vec![(line(2), Share::Rest)]);
    assert_eq!(given(&invoice, &[], &favour), Err(CreditError::Line(0, LineError::Unknown)));
}

#[test]
fn a_tax_that_only_a_line_in_the_customers_favour_has_goes_back_with_the_others() {
    // What was charged at 20 % is credited on an invoice of 10 %.
    let mut invoice = invoice(&[(10_000, 1_000), (-5_000, -1_000)]);
    invoice.lines[1].taxes[0].tax.rate = 20.into();
    let mut before: Vec<CreditLine> = Vec::new();
    for wanted in [Wanted::Net(usd("16.67")), Wanted::Gross(usd("16.67")), Wanted::Rest] {
        before.extend(given(&invoice, &before, &wanted).unwrap().lines);
    }
    let sums = Invoice::sums_of(before.iter().flat_map(|line| &line.taxes));
    let told: Vec<_> = sums.iter().map(|row| (row.base_minor, row.amount_minor)).collect();
    assert_eq!(told, [(10_000, 1_000), (-5_000, -1_000)]);
    assert_eq!(before.iter().map(|line| line.amount.minor()).sum::<i64>(), 5_000);
}

#[test]
fn a_line_that_contains_its_tax_is_credited_without_it() {
    let mut invoice = invoice(&[(10_000, 1_900)]);
    invoice.lines[0].amount = usd("119.00");
    let correction = |amount| Share::Correction { amount: usd(amount), quantity: None };
    let corrected = |share, before: &[CreditLine]| {
        let credit = given(&invoice, before, &Wanted::Lines(vec![(line(0), share)])).unwrap();
        (credit.subtotal.to_string(), credit.tax_total.to_string(), credit.lines)
    };
    assert_eq!(left_of_lines(&invoice, &[]).unwrap()[&line(0)], usd("119.00"));
    let (net, tax, first) = corrected(correction("39.67"), &[]);
    assert_eq!((net.as_str(), tax.as_str()), ("33.34", "6.33"));
    assert_eq!(left_of_lines(&invoice, &first).unwrap()[&line(0)], usd("79.33"));
    let (net, tax, second) = corrected(correction("79.33"), &first);
    assert_eq!((net.as_str(), tax.as_str()), ("66.66", "12.67"));
    let all = [first, second].concat();
    assert_eq!(given(&invoice, &all, &Wanted::Rest), Err(CreditError::Nothing));
}

#[test]
fn units_that_are_credited_one_by_one_are_the_whole_line() {
    let invoice = invoice(&[(1000, 190)]);
    let mut before = Vec::new();
    let mut amounts = Vec::new();
    for _ in 0..3 {
        let one = Wanted::Lines(vec![(line(0), Share::Quantity(1.into()))]);
        let credit = given(&invoice, &before, &one).unwrap();
        amounts.push((credit.subtotal.to_string(), credit.tax_total.to_string()));
        before.extend(credit.lines);
    }
    let told = |net: &str, tax: &str| (net.to_owned(), tax.to_owned());
    assert_eq!(amounts, [told("3.33", "0.63"), told("3.34", "0.64"), told("3.33", "0.63")]);
    let one_more = Wanted::Lines(vec![(line(0), Share::Quantity(1.into()))]);
    let refused = LineError::TooMany { left: Decimal::ZERO };
    assert_eq!(given(&invoice, &before, &one_more), Err(CreditError::Line(0, refused)));
    assert_eq!(given(&invoice, &before, &Wanted::Rest), Err(CreditError::Nothing));
}

#[test]
fn an_amount_is_spread_over_what_is_left_of_the_lines() {
    let invoice = invoice(&[(1000, 200), (500, 100)]);
    let first = given(&invoice, &[], &Wanted::Lines(vec![(line(0), Share::Net(usd("5.00")))])).unwrap();
    let second = given(&invoice, &first.lines, &Wanted::Net(usd("0.01"))).unwrap();
    assert_eq!((second.lines.len(), second.total), (1, usd("0.01")));
    let too_much = given(&invoice, &first.lines, &Wanted::Net(usd("10.01")));
    assert_eq!(too_much, Err(CreditError::TooMuch { left: usd("10.00") }));
    let too_much = given(&invoice, &first.lines, &Wanted::Gross(usd("12.01")));
    assert_eq!(too_much, Err(CreditError::TooMuch { left: usd("12.00") }));
    assert_eq!(given(&invoice, &first.lines, &Wanted::Gross(usd("12.00"))).unwrap().subtotal, usd("10.00"));
}

#[test]
fn an_offset_is_never_more_than_what_is_left_to_pay() {
    let mut invoice = invoice(&[(1000, 200)]);
    invoice.pay(usd("11.00"), invoice.created_at).unwrap();
    let offset = |wanted| credit(&invoice, &[], CreditKind::Offset, &wanted);
    let refused = CreditError::MoreThanDue { total: usd("12.00"), due: usd("1.00") };
    assert_eq!(offset(Wanted::Rest), Err(refused));
    assert_eq!(offset(Wanted::Gross(usd("1.00"))).unwrap().total, usd("1.00"));
}

#[test]
fn each_kind_needs_an_invoice_in_its_state() {
    use InvoiceStatus::{Draft, Open, Paid, Uncollectible, Void};

    let allowed = |kind| {
        [Draft, Open, Paid, Void, Uncollectible].into_iter().filter(move |status| {
            let invoice = Invoice { status: *status, ..invoice(&[(1000, 200)]) };
            credit(&invoice, &[], kind, &Wanted::Rest) != Err(CreditError::State(*status))
        })
    };
    assert_eq!(allowed(CreditKind::Credit).collect::<Vec<_>>(), [Open, Paid]);
    assert_eq!(allowed(CreditKind::Refund).collect::<Vec<_>>(), [Paid]);
    assert_eq!(allowed(CreditKind::Offset).collect::<Vec<_>>(), [Open]);
}

proptest! {
    #[test]
    fn any_credit_notes_of_an_invoice_add_up_to_it_exactly(
        lines in prop::collection::vec((-500_i64..5000, 0_i64..30), 1..6),
        steps in prop::collection::vec((any::<bool>(), 1_i64..4000), 0..12),
    ) {
        let lines: Vec<(i64, i64)> = lines.into_iter().map(|(net, rate)| (net, net * rate / 100)).collect();
        let invoice = invoice(&lines);
        let sums = [invoice.subtotal, invoice.tax_total];
        prop_assume!(invoice.total.minor() > 0 && sums.iter().all(|sum| !sum.is_negative()));
        // What one rate makes: taxes in the customer's favour are no more than the others.
        let mut before: Vec<CreditLine> = Vec::new();
        let mut total = Money::zero(Currency::USD);
        let rest = std::iter::once(Wanted::Rest);
        let steps = steps.into_iter().map(|(net, minor)| {
            let amount = Money::from_minor(minor, Currency::USD);
            if net { Wanted::Net(amount) } else { Wanted::Gross(amount) }
        });
        for wanted in steps.chain(rest) {
            if let Ok(credit) = given(&invoice, &before, &wanted) {
                prop_assert!(credit.lines.iter().all(|line| !line.amount.is_negative() && !line.tax.is_negative()));
                total = total.checked_add(credit.total).unwrap();
                before.extend(credit.lines);
            }
        }
        prop_assert_eq!(total, invoice.total);
        let tax = Money::sum(Currency::USD, before.iter().map(|line| line.tax)).unwrap();
        prop_assert_eq!(tax, invoice.tax_total);
    }
}
