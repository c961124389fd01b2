//! Worked examples of invoice arithmetic, and the properties that hold for all of it.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{
    Billed, Commitment, Coupon, CreditNoteError, Input, LineInput, Reduction, Tax, TaxRounding, Totals,
    Wanted, allocate, calculate,
};
use crate::money::{Currency, Money};

fn usd(text: &str) -> Money {
    Money::parse(text, Currency::USD).unwrap()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn tax(rate: &str) -> Tax {
    Tax { code: rate.into(), rate: number(rate), inclusive: false }
}

fn line(id: &str, amount: &str, rates: &[&str]) -> LineInput {
    LineInput { id: id.into(), amount: number(amount), taxes: rates.iter().map(|rate| tax(rate)).collect() }
}

fn invoice(lines: Vec<LineInput>) -> Input {
    Input::of(Currency::USD, lines)
}

/// The same lines with amounts that contain their taxes.
fn gross(mut lines: Vec<LineInput>) -> Vec<LineInput> {
    lines.iter_mut().flat_map(|line| &mut line.taxes).for_each(|tax| tax.inclusive = true);
    lines
}

fn taxes(totals: &Totals) -> Vec<String> {
    totals.lines.iter().map(|line| line.tax.to_string()).collect()
}

fn discounts(totals: &Totals) -> Vec<String> {
    totals.lines.iter().map(|line| line.discount.to_string()).collect()
}

#[test]
fn tax_is_rounded_once_per_rate_and_spread_by_largest_remainder() {
    // Three lines of 0.33 at 20 %: 0.066 each, 0.198 together.
    let lines = ["a", "b", "c"].map(|id| line(id, "0.33", &["20"])).to_vec();
    let totals = calculate(&invoice(lines)).unwrap();
    assert_eq!(totals.tax_total, usd("0.20"));
    assert_eq!(taxes(&totals), ["0.07", "0.07", "0.06"]);
}

#[test]
fn the_three_tax_roundings_differ_by_cents() {
    let lines = vec![line("a", "0.33", &["20"]), line("b", "0.33", &["20"]), line("c", "0.12", &["5"])];
    let total =
        |tax_rounding| calculate(&Input { tax_rounding, ..invoice(lines.clone()) }).unwrap().tax_total;
    // Exactly 0.066 + 0.066 + 0.006 = 0.138.
    assert_eq!(total(TaxRounding::Rate), usd("0.14")); // 0.13 + 0.01
    assert_eq!(total(TaxRounding::Invoice), usd("0.14"));
    assert_eq!(total(TaxRounding::Line), usd("0.15")); // 0.07 + 0.07 + 0.01

    let lines = vec![line("a", "0.12", &["10"]), line("b", "0.12", &["5"])];
    let total =
        |tax_rounding| calculate(&Input { tax_rounding, ..invoice(lines.clone()) }).unwrap().tax_total;
    assert_eq!(total(TaxRounding::Invoice), usd("0.02")); // 0.012 + 0.006
    assert_eq!(total(TaxRounding::Line), usd("0.02"));
}

#[test]
fn a_line_may_bear_several_taxes() {
    let totals =
        calculate(&invoice(vec![line("a", "10.00", &["5", "9.975"]), line("b", "1.00", &[])])).unwrap();
    assert_eq!(totals.tax_total, usd("1.50"));
    let per_tax: Vec<_> = totals.taxes.iter().map(|tax| (tax.taxable, tax.amount)).collect();
    assert_eq!(per_tax, [(usd("10.00"), usd("0.50")), (usd("10.00"), usd("1.00"))]);
    assert_eq!((totals.taxable, totals.total), (usd("11.00"), usd("12.50")));
}

#[test]
fn inclusive_taxes_are_taken_out_and_the_remainder_goes_to_the_largest_line() {
    let lines = vec![line("a", "0.50", &["20"]), line("b", "0.51", &["20"]), line("c", "1.00", &[])];
    let totals = calculate(&invoice(gross(lines))).unwrap();
    // 1.01 ÷ 1.2 = 0.841…; the lines alone give 0.42 and 0.43.
    let nets: Vec<String> = totals.lines.iter().map(|line| line.taxable.to_string()).collect();
    assert_eq!(nets, ["0.42", "0.42", "1.00"]);
    assert_eq!((totals.taxable, totals.tax_total, totals.total), (usd("1.84"), usd("0.17"), usd("2.01")));
}

#[test]
fn lines_that_contain_their_tax_and_lines_that_do_not_stand_on_one_invoice() {
    let lines = vec![line("net", "100.00", &["19"]), line("free", "7.00", &[])];
    let lines = [gross(vec![line("gross", "119.00", &["19"])]), lines].concat();
    for tax_rounding in [TaxRounding::Rate, TaxRounding::Invoice, TaxRounding::Line] {
        let totals = calculate(&Input { tax_rounding, ..invoice(lines.clone()) }).unwrap();
        let nets: Vec<String> = totals.lines.iter().map(|line| line.taxable.to_string()).collect();
        assert_eq!(nets, ["100.00", "100.00", "7.00"]);
        assert_eq!(taxes(&totals), ["19.00", "19.00", "0.00"]);
        let per_tax: Vec<_> = totals.taxes.iter().map(|tax| (tax.tax.inclusive, tax.taxable)).collect();
        assert_eq!(per_tax, [(true, usd("100.00")), (false, usd("100.00"))]);
        assert_eq!((totals.subtotal, totals.total), (usd("226.00"), usd("245.00")));
    }
}

#[test]
fn many_small_lines_that_contain_their_tax_are_neither_negative_nor_all_tax() {
    let nets = |count: usize, amount: &str, rate: &str| {
        let lines = (0..count).map(|id| line(&id.to_string(), amount, &[rate])).collect();
        let totals = calculate(&invoice(gross(lines))).unwrap();
        let minor = |line: &super::Line| (line.taxable.minor(), line.tax.minor());
        (totals.taxable.to_string(), totals.lines.iter().map(minor).collect::<Vec<_>>())
    };
    // 0.03 ÷ 1.2 = 0.025 each, 2.50 together: the lines alone give 3.00.
    let (sum, lines) = nets(100, "0.03", "20");
    assert_eq!((sum.as_str(), lines[0], lines[16], lines[17]), ("2.50", (0, 3), (1, 2), (3, 0)));
    let (sum, lines) = nets(200, "0.99", "19");
    assert_eq!(sum, "166.39");
    assert!(lines.iter().all(|(net, tax)| *net >= 0 && *tax >= 0));
}

#[test]
fn the_order_of_a_lines_rates_changes_nothing() {
    let total = |one: [&str; 2], other: [&str; 2]| {
        let lines = vec![line("a", "10.01", &one), line("b", "10.01", &other)];
        calculate(&invoice(gross(lines))).unwrap().tax_total
    };
    assert_eq!(total(["5", "9.975"], ["9.975", "5"]), usd("2.61"));
    assert_eq!(total(["5", "9.975"], ["5", "9.975"]), usd("2.61"));
}

#[test]
fn what_a_negative_total_gives_back_pays_a_debt_first() {
    let of = |balance: &str| {
        let input = Input { customer_balance: usd(balance), ..invoice(vec![line("a", "-10.00", &[])]) };
        let totals = calculate(&input).unwrap();
        [totals.balance_applied, totals.amount_due, totals.credited_to_balance].map(|money| money.to_string())
    };
    assert_eq!(of("-5"), ["-5.00", "0.00", "5.00"]);
    assert_eq!(of("-15"), ["-15.00", "5.00", "0.00"]);
    assert_eq!(of("5"), ["0.00", "0.00", "10.00"]);
}

#[test]
fn a_line_tells_its_exact_amount_and_its_taxes_before_rounding() {
    let totals = calculate(&invoice(vec![line("a", "0.334", &["20"]), line("b", "0.33", &["20"])])).unwrap();
    let told: Vec<String> = totals
        .lines
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line.exact_amount, line.amount, line.taxes[0].exact, line.taxes[0].amount)
        })
        .collect();
    assert_eq!(told, ["0.334 0.33 0.066 0.07", "0.33 0.33 0.066 0.06"]);
}

#[test]
fn an_amount_is_rounded_once_and_first() {
    let totals = calculate(&invoice(vec![line("a", "1.005", &[]), line("b", "1.005", &[])])).unwrap();
    assert_eq!(totals.subtotal, usd("2.02"));
}

#[test]
fn coupons_apply_in_order_and_percentages_compound() {
    let percent = |percent: i64| Coupon { reduction: Reduction::Percent(percent.into()), lines: None };
    let amount = |text| Coupon { reduction: Reduction::Amount(usd(text)), lines: None };
    let total = |coupons| {
        let input = Input { coupons, ..invoice(vec![line("a", "100.00", &["20"])]) };
        let totals = calculate(&input).unwrap();
        (totals.discount_total.to_string(), totals.total.to_string())
    };
    assert_eq!(total(vec![percent(10), percent(10)]), ("19.00".into(), "97.20".into()));
    assert_eq!(total(vec![amount("20"), percent(10)]), ("28.00".into(), "86.40".into()));
    assert_eq!(total(vec![percent(10), amount("20")]), ("30.00".into(), "84.00".into()));
    assert_eq!(total(vec![amount("500")]), ("100.00".into(), "0.00".into()));
}

#[test]
fn a_discount_is_split_over_its_lines_without_losing_a_cent() {
    let lines = ["a", "b", "c"].map(|id| line(id, "10.00", &[])).to_vec();
    let coupon = Coupon { reduction: Reduction::Amount(usd("10.00")), lines: None };
    let totals = calculate(&Input { coupons: vec![coupon], ..invoice(lines.clone()) }).unwrap();
    assert_eq!(discounts(&totals), ["3.34", "3.33", "3.33"]);

    let named = Coupon { reduction: Reduction::Amount(usd("15.00")), lines: Some(vec!["b".into()]) };
    let totals = calculate(&Input { coupons: vec![named], ..invoice(lines) }).unwrap();
    assert_eq!(discounts(&totals), ["0.00", "10.00", "0.00"]);
}

#[test]
fn coupons_and_notes_of_another_currency_do_not_apply() {
    let euros = Money::from_minor(500, Currency::EUR);
    let input = Input {
        coupons: vec![Coupon { reduction: Reduction::Amount(euros), lines: None }],
        credit_notes: vec![euros],
        ..invoice(vec![line("a", "10.00", &[])])
    };
    let totals = calculate(&input).unwrap();
    assert_eq!((totals.discount_total, totals.amount_due), (usd("0"), usd("10.00")));
}

#[test]
fn credit_notes_pay_before_the_balance_and_the_balance_before_wallets() {
    let input = Input {
        credit_notes: vec![usd("10.00"), usd("15.00")],
        customer_balance: usd("20.00"),
        wallets: vec![usd("30.00"), usd("100.00")],
        ..invoice(vec![line("a", "100.00", &["20"])])
    };
    let totals = calculate(&input).unwrap();
    assert_eq!(totals.by_credit_note, [usd("10.00"), usd("15.00")]);
    assert_eq!(totals.balance_applied, usd("20.00"));
    assert_eq!(totals.by_wallet, [usd("30.00"), usd("45.00")]);
    assert_eq!(totals.amount_due, usd("0"));
}

#[test]
fn a_debt_adds_to_the_amount_due() {
    let input = Input { customer_balance: usd("-7.00"), ..invoice(vec![line("a", "10.00", &[])]) };
    let totals = calculate(&input).unwrap();
    assert_eq!((totals.balance_applied, totals.amount_due), (usd("-7.00"), usd("17.00")));
}

#[test]
fn a_negative_total_becomes_customer_balance() {
    let lines = vec![line("old", "-30.00", &["20"]), line("new", "10.00", &["20"])];
    let totals = calculate(&Input { customer_balance: usd("5.00"), ..invoice(lines) }).unwrap();
    assert_eq!(taxes(&totals), ["-6.00", "2.00"]);
    assert_eq!((totals.total, totals.credited_to_balance), (usd("0"), usd("24.00")));
    assert_eq!((totals.balance_applied, totals.amount_due), (usd("0"), usd("0")));
}

#[test]
fn charges_and_credits_that_cancel_out_keep_their_own_taxes() {
    let lines = vec![line("old", "-10.00", &["20"]), line("new", "10.01", &["20"])];
    let totals = calculate(&invoice(lines)).unwrap();
    assert_eq!(taxes(&totals), ["-2.00", "2.00"]);
}

#[test]
fn a_minimum_commitment_is_topped_up_before_coupons() {
    let input = Input {
        minimum_commitment: Some(Commitment { amount: usd("100.00"), taxes: vec![tax("20")] }),
        coupons: vec![Coupon { reduction: Reduction::Percent(number("10")), lines: None }],
        ..invoice(vec![line("a", "60.00", &["20"])])
    };
    let totals = calculate(&input).unwrap();
    assert_eq!(totals.lines[1].id, "minimum_commitment");
    assert_eq!(totals.lines[1].amount, usd("40.00"));
    assert_eq!(totals.total, usd("108.00"));
}

#[test]
fn sums_that_do_not_fit_are_an_error() {
    let huge = "92233720368547758.07";
    assert!(calculate(&invoice(vec![line("a", huge, &[]), line("b", "0.01", &[])])).is_err());
    assert!(calculate(&invoice(vec![line("a", huge, &["20"])])).is_err());
    assert!(calculate(&invoice(vec![line("a", "9999999999999999999999999999", &[])])).is_err());
}

#[test]
fn credit_notes_of_one_line_add_up_to_it_exactly() {
    // The second tax was not taken on all of it.
    let bases = vec![usd("10.00"), usd("7.01")];
    let line = Billed { net: usd("10.00"), taxes: vec![usd("1.99"), usd("0.05")], bases };
    let zeros = vec![usd("0"), usd("0")];
    let mut credited = Billed { net: usd("0"), taxes: zeros.clone(), bases: zeros };
    for part in ["3.33", "3.33", "3.34"] {
        let note = line.credit(&credited, Wanted::Net(usd(part))).unwrap();
        credited.net = credited.net.checked_add(note.net).unwrap();
        for (sum, tax) in credited.taxes.iter_mut().zip(note.taxes) {
            *sum = sum.checked_add(tax).unwrap();
        }
        for (sum, base) in credited.bases.iter_mut().zip(note.bases) {
            *sum = sum.checked_add(base).unwrap();
        }
    }
    assert_eq!(credited, line);
    let more = line.credit(&credited, Wanted::Gross(usd("0.01")));
    assert_eq!(more, Err(CreditNoteError::Exceeds { left: usd("0") }));
}

fn rates() -> impl Strategy<Value = Vec<Tax>> {
    let rate = prop_oneof![Just("20"), Just("5.5"), Just("9.975"), Just("0")];
    prop::collection::vec(rate.prop_map(tax), 0..3)
}

fn inputs(smallest: i64) -> impl Strategy<Value = Input> {
    let rounding = prop_oneof![Just(TaxRounding::Rate), Just(TaxRounding::Invoice), Just(TaxRounding::Line)];
    let lines = prop::collection::vec(((smallest..1_000_000), rates()), 1..12);
    let reduction = prop_oneof![
        (0_i64..=100).prop_map(|percent| Reduction::Percent(percent.into())),
        (0_i64..100_000).prop_map(|minor| Reduction::Amount(Money::from_minor(minor, Currency::USD))),
    ];
    let coupon = (reduction, prop::option::of(0_usize..12))
        .prop_map(|(reduction, line)| Coupon { reduction, lines: line.map(|line| vec![line.to_string()]) });
    let sources = || {
        prop::collection::vec(
            (0_i64..200_000).prop_map(|minor| Money::from_minor(minor, Currency::USD)),
            0..4,
        )
    };
    (
        rounding,
        prop::collection::vec(any::<bool>(), 12),
        lines,
        prop::collection::vec(coupon, 0..4),
        sources(),
        sources(),
        -50_000_i64..50_000,
        prop::option::of(0_i64..200_000),
    )
        .prop_map(
            |(tax_rounding, gross_lines, lines, coupons, credit_notes, wallets, balance, commitment)| {
                let lines = (0..).zip(lines).map(|(id, (amount, taxes)): (usize, _)| LineInput {
                    id: id.to_string(),
                    amount: Decimal::new(amount, 3),
                    taxes,
                });
                let (contain, do_not): (Vec<_>, Vec<_>) =
                    lines.zip(gross_lines).partition(|(_, contains)| *contains);
                let [contain, do_not] =
                    [contain, do_not].map(|lines| lines.into_iter().map(|(line, _)| line).collect());
                Input {
                    currency: Currency::USD,
                    tax_rounding,
                    lines: [gross(contain), do_not].concat(),
                    coupons,
                    credit_notes,
                    customer_balance: Money::from_minor(balance, Currency::USD),
                    wallets,
                    minimum_commitment: commitment.map(|minor| Commitment {
                        amount: Money::from_minor(minor, Currency::USD),
                        taxes: vec![tax("7")],
                    }),
                }
            },
        )
}

fn sum<'a>(amounts: impl Iterator<Item = &'a Money>) -> Money {
    Money::sum(Currency::USD, amounts.copied()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    /// RULES 30 to 34, whatever is billed.
    #[test]
    fn parts_always_add_up_to_wholes(input in inputs(-200_000)) {
        let totals = calculate(&input).unwrap();
        prop_assert_eq!(sum(totals.lines.iter().map(|line| &line.tax)), totals.tax_total);
        prop_assert_eq!(sum(totals.taxes.iter().map(|tax| &tax.amount)), totals.tax_total);
        prop_assert_eq!(sum(totals.by_coupon.iter()), totals.discount_total);
        prop_assert_eq!(sum(totals.by_wallet.iter()), totals.wallets_applied);
        for line in &totals.lines {
            prop_assert_eq!(sum(line.taxes.iter().map(|part| &part.amount)), line.tax);
            let billed = line.taxable.checked_add(line.discount).unwrap();
            let is_inside = line.taxes.iter().any(|part| part.tax.inclusive);
            let tax_inside = if is_inside { line.tax } else { Money::zero(Currency::USD) };
            prop_assert_eq!(billed.checked_add(tax_inside).unwrap(), line.amount);
        }
        let applied = totals.credit_notes_applied.minor() + totals.balance_applied.minor() + totals.wallets_applied.minor();
        // What a negative total gives back pays a debt first.
        let given_back = (-totals.taxable.minor() - totals.tax_total.minor()).max(0);
        let paid_back = given_back - totals.credited_to_balance.minor();
        prop_assert_eq!(totals.amount_due.minor() + applied + paid_back, totals.total.minor());
        prop_assert!(totals.credited_to_balance.is_zero() || totals.amount_due.is_zero());
        prop_assert_eq!(sum(totals.by_credit_note.iter()), totals.credit_notes_applied);
        let least = input.minimum_commitment.as_ref().map_or(i64::MIN, |commitment| commitment.amount.minor());
        prop_assert!(totals.subtotal.minor() >= least);
        prop_assert!(!totals.amount_due.is_negative() && !totals.total.is_negative());
    }

    #[test]
    fn no_line_falls_below_zero(input in inputs(0)) {
        let totals = calculate(&input).unwrap();
        for line in &totals.lines {
            prop_assert!(!line.taxable.is_negative() && !line.discount.is_negative() && !line.tax.is_negative());
        }
        prop_assert!(totals.discount_total.minor() <= totals.subtotal.minor());
    }

    #[test]
    fn allocation_neither_makes_nor_loses_money_and_strays_less_than_a_cent(
        minor in any::<i64>(),
        weights in prop::collection::vec(0_i128..1_000_000, 1..40),
    ) {
        let total: i128 = weights.iter().sum();
        prop_assume!(total > 0);
        let parts = allocate(Money::from_minor(minor, Currency::EUR), &weights).unwrap();
        let sum: i128 = parts.iter().map(|part| i128::from(part.minor())).sum();
        prop_assert_eq!(sum, i128::from(minor));
        for (part, weight) in parts.iter().zip(&weights) {
            let stray = i128::from(part.minor()) * total - i128::from(minor) * weight;
            prop_assert!(stray.abs() < total);
        }
    }

    /// RULES 33: all credit notes of one line add up to it exactly, whatever their number.
    #[test]
    fn any_number_of_credit_notes_gives_back_the_line(
        net in 1_i64..100_000,
        taxes in prop::collection::vec(0_i64..30_000, 0..3),
        cuts in prop::collection::vec((any::<bool>(), 1_i64..20_000), 0..12),
    ) {
        let money = |minor| Money::from_minor(minor, Currency::USD);
        let taxes: Vec<Money> = taxes.into_iter().map(money).collect();
        let none = vec![money(0); taxes.len()];
        let line = Billed { net: money(net), bases: vec![money(net); taxes.len()], taxes };
        let mut credited = Billed { net: money(0), taxes: none.clone(), bases: none };
        let last = [(true, i64::MAX)];
        for (gross, wanted) in cuts.into_iter().chain(last) {
            let left = |whole: Money, part: Money| whole.checked_sub(part).unwrap().minor();
            let wanted = if gross {
                Wanted::Gross(money(wanted.min(left(line.gross().unwrap(), credited.gross().unwrap()))))
            } else {
                Wanted::Net(money(wanted.min(left(line.net, credited.net))))
            };
            let note = line.credit(&credited, wanted).unwrap();
            prop_assert!(note.taxes.iter().all(|tax| !tax.is_negative()) && !note.net.is_negative());
            credited.net = credited.net.checked_add(note.net).unwrap();
            for (sum, tax) in credited.taxes.iter_mut().zip(note.taxes) {
                *sum = sum.checked_add(tax).unwrap();
            }
            for (sum, base) in credited.bases.iter_mut().zip(note.bases) {
                *sum = sum.checked_add(base).unwrap();
            }
        }
        prop_assert_eq!(credited, line);
    }
}
