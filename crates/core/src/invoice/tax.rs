//! Taxes: exclusive or inclusive, rounded per rate, per invoice or per line (RULES 32).

use std::{collections::HashMap, hash::Hash};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    Input, InvoiceError, Line,
    split::{allocate, spread, weights},
};
use crate::{
    arithmetic::{self, Overflow, percent_of},
    exact::Exact,
    money::{Currency, Money, MoneyError},
};

/// A tax on a line. Two taxes are the same if code, rate and kind are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Tax {
    /// The tenant's name for it.
    pub code: String,
    /// 20 for 20 %.
    pub rate: Decimal,
    /// Whether the line's amount contains it; else it comes on top. All taxes of a line are of one kind.
    pub inclusive: bool,
}

/// Where taxes are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxRounding {
    /// Once per rate, as EN 16931 wants it.
    #[default]
    Rate,
    /// Once, after all rates were summed exactly.
    Invoice,
    /// Once per line.
    Line,
}

/// What one tax adds to one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTax {
    pub tax: Tax,
    /// The rate of the line's net, not rounded: `amount` differs from it by what rounding and the remainders of the
    /// split gave the line or took from it.
    pub exact: Exact,
    pub amount: Money,
}

/// What one tax adds to the invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaxTotal {
    pub tax: Tax,
    /// Σ of the lines it applies to, after discounts, without taxes.
    pub taxable: Money,
    pub amount: Money,
}

/// Fills in the taxes of lines whose `taxable` is what discounts left, and sums them up.
pub(super) fn apply(lines: &mut [Line], input: &Input) -> Result<Vec<TaxTotal>, InvoiceError> {
    let currency = input.currency;
    let is_gross = |line: &&mut Line| line.taxes.iter().any(|part| part.tax.inclusive);
    let (mut gross, mut net): (Vec<_>, Vec<_>) = lines.iter_mut().partition(is_gross);
    match input.tax_rounding {
        TaxRounding::Rate => {
            per_rate(&mut net, currency)?;
            for (_, mut group) in grouped(gross.into_iter().map(|line| (sorted(rates_of(line)), line))) {
                extract(&mut group, currency)?;
            }
        }
        TaxRounding::Invoice => {
            per_invoice(&mut net, currency)?;
            extract(&mut gross, currency)?;
        }
        TaxRounding::Line => {
            per_line(&mut net, currency)?;
            gross.into_iter().try_for_each(|line| extract(&mut [line], currency))?;
        }
    }
    for line in lines.iter_mut() {
        let net = Exact::from(line.taxable.to_decimal());
        line.taxes.iter_mut().for_each(|part| part.exact = percent_of(part.tax.rate, &net));
    }
    totals(lines, currency)
}

fn per_rate(lines: &mut [&mut Line], currency: Currency) -> Result<(), InvoiceError> {
    let parts = lines.iter_mut().flat_map(|line| {
        let base = line.taxable;
        line.taxes.iter_mut().map(move |part| (part.tax.clone(), (base, part)))
    });
    for (tax, parts) in grouped(parts) {
        let base = Money::sum(currency, parts.iter().map(|(base, _)| *base))?;
        let whole = Money::round(percent_of(tax.rate, base.to_decimal()), currency)?;
        let exact: Vec<Exact> =
            parts.iter().map(|(base, _)| percent_of(tax.rate, base.to_decimal())).collect();
        let amounts = spread(whole, &exact)?;
        for ((_, part), amount) in parts.into_iter().zip(amounts) {
            part.amount = amount;
        }
    }
    lines.iter_mut().try_for_each(|line| {
        line.tax = Money::sum(currency, line.taxes.iter().map(|part| part.amount))?;
        Ok(())
    })
}

fn per_invoice(lines: &mut [&mut Line], currency: Currency) -> Result<(), InvoiceError> {
    let exact = lines.iter().map(|line| exact_tax(line)).collect::<Result<Vec<_>, _>>()?;
    let whole = Money::round(exact.iter().sum::<Exact>(), currency)?;
    for (line, tax) in lines.iter_mut().zip(spread(whole, &exact)?) {
        set_tax(line, tax)?;
    }
    Ok(())
}

fn per_line(lines: &mut [&mut Line], currency: Currency) -> Result<(), InvoiceError> {
    lines.iter_mut().try_for_each(|line| set_tax(line, Money::round(exact_tax(line)?, currency)?))
}

/// Takes the taxes out of gross amounts: net = gross ÷ (1 + Σ rates), rounded once for the group, the remainder
/// to its largest line. What that cannot take, because its net would be less than nothing or more than its gross
/// (RULES 30), goes to the next largest.
fn extract(lines: &mut [&mut Line], currency: Currency) -> Result<(), InvoiceError> {
    let net = |line: &Line| {
        let percent = Exact::from(Decimal::ONE_HUNDRED);
        (Exact::from(line.taxable.to_decimal()) * &percent).divide(&(percent + Exact::from(rate_of(line)?)))
    };
    let exact = lines.iter().map(|line| net(line)).collect::<Result<Vec<_>, Overflow>>()?;
    let whole = Money::round(exact.iter().sum::<Exact>(), currency)?;
    let mut nets =
        exact.iter().map(|net| Money::round(net, currency)).collect::<Result<Vec<_>, MoneyError>>()?;

    let mut missing = whole.checked_sub(Money::sum(currency, nets.iter().copied())?)?;
    let taxed = |index: &usize| lines[*index].taxes.iter().any(|part| !part.tax.rate.is_zero());
    let mut largest_first: Vec<usize> = (0..lines.len()).filter(taxed).collect();
    largest_first.sort_by_key(|index| std::cmp::Reverse(lines[*index].taxable.minor().unsigned_abs()));
    for index in largest_first {
        let gross = lines[index].taxable.minor();
        let wanted = nets[index].checked_add(missing)?;
        let net = Money::from_minor(wanted.minor().clamp(gross.min(0), gross.max(0)), currency);
        (nets[index], missing) = (net, wanted.checked_sub(net)?);
    }
    for (line, net) in lines.iter_mut().zip(nets) {
        let tax = line.taxable.checked_sub(net)?;
        line.taxable = net;
        set_tax(line, tax)?;
    }
    Ok(())
}

/// Gives a line its tax, split over its rates.
fn set_tax(line: &mut Line, tax: Money) -> Result<(), InvoiceError> {
    let amounts = allocate(tax, &weights(rates_of(line))?)?;
    for (part, amount) in line.taxes.iter_mut().zip(amounts) {
        part.amount = amount;
    }
    line.tax = tax;
    Ok(())
}

fn exact_tax(line: &Line) -> Result<Exact, Overflow> {
    Ok(percent_of(rate_of(line)?, line.taxable.to_decimal()))
}

fn rate_of(line: &Line) -> Result<Decimal, Overflow> {
    arithmetic::sum(rates_of(line))
}

fn rates_of(line: &Line) -> Vec<Decimal> {
    line.taxes.iter().map(|part| part.tax.rate).collect()
}

fn sorted(mut rates: Vec<Decimal>) -> Vec<Decimal> {
    rates.sort_unstable();
    rates
}

fn totals(lines: &[Line], currency: Currency) -> Result<Vec<TaxTotal>, InvoiceError> {
    let parts = lines.iter().flat_map(|line| line.taxes.iter().map(move |part| (&part.tax, (line, part))));
    let total = |(tax, parts): (&Tax, Vec<(&Line, &LineTax)>)| {
        let taxable = Money::sum(currency, parts.iter().map(|(line, _)| line.taxable))?;
        let amount = Money::sum(currency, parts.iter().map(|(_, part)| part.amount))?;
        Ok(TaxTotal { tax: tax.clone(), taxable, amount })
    };
    grouped(parts).into_iter().map(total).collect()
}

/// Puts what has the same key together, in order of first appearance.
fn grouped<K: Clone + Eq + Hash, V>(items: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut places = HashMap::new();
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in items {
        let place = *places.entry(key.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[place].1.push(value);
    }
    groups
}
