//! What a credit note is, and what of an invoice it takes back. Pure.

use std::collections::HashMap;

use accrue_core::{
    arithmetic::Overflow,
    exact::Exact,
    id::{CreditNoteId, CustomerId, InvoiceId, InvoiceLineId, TenantId, TestClockId},
    invoice::{Billed, CreditNoteError, Wanted as Asked, allocate},
    money::{Currency, Money, MoneyError},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

use crate::{
    customers::Exemption,
    invoices::model::{Invoice, InvoiceStatus, Line, MoveError, TaxCopy, TaxRow},
};

/// What is taken back of an invoice. Immutable, but for what becomes of its credit or refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditNote {
    pub tenant_id: TenantId,
    pub id: CreditNoteId,
    pub invoice_id: InvoiceId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub number: String,
    pub kind: CreditKind,
    pub reason: CreditReason,
    /// Why the service itself made it: one cause makes one credit note of an invoice.
    pub cause: Option<String>,
    pub memo: Option<String>,
    pub credit: Credit,
    /// What of it can still pay invoices.
    pub credit_left: Money,
    /// Of a refund: how far it is.
    pub refund_status: Option<RefundProgress>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// The lines and sums that are taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    pub currency: Currency,
    pub lines: Vec<CreditLine>,
    pub subtotal: Money,
    /// The invoice's: what was charged without tax is given back without.
    pub exemption: Exemption,
    pub taxes: Vec<TaxRow>,
    pub tax_total: Money,
    pub total: Money,
}

/// What is taken back of one line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditLine {
    pub invoice_line_id: InvoiceLineId,
    pub description: String,
    /// If it was asked for by quantity, or is for usage that was not.
    pub quantity: Option<Decimal>,
    /// Without tax.
    pub amount: Money,
    /// Σ taxes.
    pub tax: Money,
    /// Of each of the line's taxes what goes with it.
    pub taxes: Vec<TaxRow>,
    /// Of a usage correction: what it takes back of the line's amount, before discounts and with inclusive taxes.
    pub corrected: Option<Money>,
}

/// Where the money of a credit note goes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// It pays the customer's next invoices.
    Credit,
    /// It goes back the way it came.
    Refund,
    /// It lowers what is left to pay of the invoice itself.
    Offset,
}

/// Why something is taken back.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CreditReason {
    Duplicate,
    Fraudulent,
    OrderCanceled,
    OrderChanged,
    Unsatisfactory,
    #[default]
    Other,
    /// Less was used than was billed: given by the service itself.
    UsageCorrection,
    /// What was billed in advance is not used, after a change, in a pause or after the end: given by the service itself.
    Unused,
}

/// How far a refund is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RefundProgress {
    Pending,
    Succeeded,
    /// The gateway refused it: it is credit instead.
    Failed,
}

/// How much of an invoice is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that is left.
    Rest,
    /// So much without tax, spread over the lines by what is left of them.
    Net(Money),
    /// So much with tax, spread over the lines by what is left of them.
    Gross(Money),
    /// These lines.
    Lines(Vec<(InvoiceLineId, Share)>),
}

/// How much of a line is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Rest,
    /// Without tax.
    Net(Money),
    Quantity(Decimal),
    /// So much of the line's amount, before discounts and with inclusive taxes, for which so much less was used.
    Correction {
        amount: Money,
        quantity: Option<Decimal>,
    },
}

/// Why an invoice cannot be credited so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    #[error("an invoice that is {0} cannot have such a credit note")]
    State(InvoiceStatus),
    #[error("only {left} is left to credit")]
    TooMuch { left: Money },
    #[error("there is nothing to credit")]
    Nothing,
    #[error("{total} with its tax is more than the {due} that is left to pay")]
    MoreThanDue { total: Money, due: Money },
    #[error("line {0}: {1}")]
    Line(usize, LineError),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Why a line cannot be credited so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("is no line of the invoice that charges anything")]
    Unknown,
    #[error("is named twice")]
    Repeated,
    #[error("only {left} of this line is left to credit")]
    TooMuch { left: Money },
    #[error("only {left} of this line's quantity is left to credit")]
    TooMany { left: Decimal },
}

/// A line that charges something, and what was taken back of it.
struct Charged<'a> {
    line: &'a Line,
    billed: Billed,
    /// The taxes that `billed` has, in the same order.
    taxes: Vec<TaxCopy>,
    credited: Billed,
    /// Of the credits that were asked for by quantity.
    quantity: Decimal,
    /// What usage corrections took back of the line's amount.
    corrected: Money,
}

/// What a credit note takes back of an invoice, after others took back `before`.
pub(super) fn credit(
    invoice: &Invoice,
    before: &[CreditLine],
    kind: CreditKind,
    wanted: &Wanted,
) -> Result<Credit, CreditError> {
    let allowed = match (kind, invoice.status) {
        (CreditKind::Credit, InvoiceStatus::Open | InvoiceStatus::Paid)
        | (CreditKind::Refund, InvoiceStatus::Paid)
        | (CreditKind::Offset, InvoiceStatus::Open) => true,
        (CreditKind::Credit | CreditKind::Refund | CreditKind::Offset, _) => false,
    };
    if !allowed {
        return Err(CreditError::State(invoice.status));
    }
    let charged = charged(invoice, before)?;
    let lines = match wanted {
        Wanted::Rest => charged.iter().map(Charged::rest).collect::<Result<Vec<_>, _>>()?,
        Wanted::Net(amount) => spread(&charged, *amount, Charged::net_left, Asked::Net)?,
        Wanted::Gross(amount) => spread(&charged, *amount, Charged::gross_left, Asked::Gross)?,
        Wanted::Lines(wanted) => of_lines(&charged, wanted)?,
    };
    let credit = summed(invoice, lines)?;
    let due = invoice.amount_due();
    if kind == CreditKind::Offset && credit.total.minor() > due.minor() {
        return Err(CreditError::MoreThanDue { total: credit.total, due });
    }
    Ok(credit)
}

/// What is left to correct of each line that charges something, in the terms of its amount.
pub(super) fn left_of_lines(
    invoice: &Invoice,
    before: &[CreditLine],
) -> Result<HashMap<InvoiceLineId, Money>, CreditError> {
    let left = |line: &Charged<'_>| part_of(line.line.amount, line.net_left()?, line.line.taxable);
    charged(invoice, before)?.iter().map(|line| Ok((line.line.id, left(line)?))).collect()
}

/// The lines that charge something. Lines in the customer's favour are taken off them, net and taxes, by largest
/// remainder: so together they are exactly what the invoice came to.
fn charged<'a>(invoice: &'a Invoice, before: &[CreditLine]) -> Result<Vec<Charged<'a>>, CreditError> {
    let (charges, favours): (Vec<&Line>, Vec<&Line>) =
        invoice.lines.iter().partition(|line| line.amount.minor() > 0);
    let mut credited = charges.iter().map(|line| Charged::of(line)).collect::<Vec<_>>();
    let favour = Money::sum(invoice.currency, favours.iter().map(|line| line.taxable))?;
    let nets = allocate(favour, &weights(charges.iter().map(|line| line.taxable)))?;
    for (line, net) in credited.iter_mut().zip(nets) {
        line.billed.net = line.billed.net.checked_add(net)?;
    }
    for favour in Invoice::sums_of(favours.iter().flat_map(|line| &line.taxes)) {
        take_off(&mut credited, &favour)?;
    }
    for line in &mut credited {
        line.note(before.iter().filter(|credit| credit.invoice_line_id == line.line.id))?;
    }
    Ok(credited)
}

/// Takes a tax of lines in the customer's favour off those that have it. What these have not enough of, since the tax was
/// another one when it was charged, is taken off all.
fn take_off(charged: &mut [Charged<'_>], favour: &TaxRow) -> Result<(), CreditError> {
    let Some(currency) = charged.first().map(|line| line.billed.net.currency()) else { return Ok(()) };
    let place = |line: &Charged<'_>| line.taxes.iter().position(|tax| tax.is(&favour.tax));
    let bases = |line: &Charged<'_>| place(line).map_or(Money::zero(currency), |at| line.billed.bases[at]);
    let taxes = |line: &Charged<'_>| place(line).map_or(Money::zero(currency), |at| line.billed.taxes[at]);
    let base = Money::from_minor(favour.base_minor, currency);
    let amount = Money::from_minor(favour.amount_minor, currency);
    let is_enough = |there: Money, off: Money| !there.checked_add(off).is_ok_and(Money::is_negative);
    let is_there = is_enough(Money::sum(currency, charged.iter().map(bases))?, base)
        && is_enough(Money::sum(currency, charged.iter().map(taxes))?, amount)
        && charged.iter().any(|line| place(line).is_some());
    let of_all = |line: &Charged<'_>| line.line.taxable;
    let (by_base, by_tax) = if is_there {
        (weights(charged.iter().map(bases)), weights(charged.iter().map(taxes)))
    } else {
        (weights(charged.iter().map(of_all)), weights(charged.iter().map(of_all)))
    };
    let unless_nothing = |by: Vec<i128>| {
        if by.iter().all(|weight| *weight == 0) { weights(charged.iter().map(of_all)) } else { by }
    };
    let (by_base, by_tax) = (unless_nothing(by_base), unless_nothing(by_tax));
    let parts = allocate(base, &by_base)?.into_iter().zip(allocate(amount, &by_tax)?);
    for (line, (base, amount)) in charged.iter_mut().zip(parts) {
        let at = match place(line) {
            Some(at) => at,
            None if base.is_zero() && amount.is_zero() => continue,
            None => line.add(favour.tax.clone(), Money::zero(currency), Money::zero(currency)),
        };
        line.billed.bases[at] = line.billed.bases[at].checked_add(base)?;
        line.billed.taxes[at] = line.billed.taxes[at].checked_add(amount)?;
    }
    Ok(())
}

fn weights(amounts: impl Iterator<Item = Money>) -> Vec<i128> {
    amounts.map(|amount| i128::from(amount.minor().max(0))).collect()
}

/// `amount` × `part` ÷ `whole`; `part` itself if there is no whole.
fn part_of(amount: Money, part: Money, whole: Money) -> Result<Money, CreditError> {
    if whole.is_zero() || amount == whole {
        return Ok(part);
    }
    let exact = Exact::from(amount.to_decimal()) * Exact::from(part.to_decimal());
    Ok(Money::round(exact.divide(&whole.to_decimal().into())?.to_decimal()?, amount.currency())?)
}

/// Spreads an amount over the lines by what is left of them (RULES 30).
fn spread<'a>(
    charged: &[Charged<'a>],
    amount: Money,
    left: fn(&Charged<'a>) -> Result<Money, MoneyError>,
    asked: fn(Money) -> Asked,
) -> Result<Vec<CreditLine>, CreditError> {
    let lefts = charged.iter().map(left).collect::<Result<Vec<_>, _>>()?;
    let all = Money::sum(amount.currency(), lefts.iter().copied())?;
    if amount.minor() > all.minor() {
        return Err(CreditError::TooMuch { left: all });
    }
    let weights: Vec<i128> = lefts.iter().map(|left| i128::from(left.minor())).collect();
    let parts = allocate(amount, &weights)?;
    let some = charged.iter().zip(parts).filter(|(_, part)| !part.is_zero());
    some.map(|(line, part)| line.take(asked(part), None)).collect()
}

fn of_lines(
    charged: &[Charged<'_>],
    wanted: &[(InvoiceLineId, Share)],
) -> Result<Vec<CreditLine>, CreditError> {
    let mut lines: Vec<CreditLine> = Vec::with_capacity(wanted.len());
    for (at, (id, share)) in wanted.iter().enumerate() {
        let of_line = |why| CreditError::Line(at, why);
        let line = charged.iter().find(|line| line.line.id == *id);
        let line = line.ok_or(of_line(LineError::Unknown))?;
        if lines.iter().any(|before| before.invoice_line_id == *id) {
            return Err(of_line(LineError::Repeated));
        }
        let taken = match share {
            Share::Rest => line.rest(),
            Share::Net(amount) => line.take(Asked::Net(*amount), None),
            Share::Correction { amount, quantity } => line.take_corrected(*amount, *quantity),
            Share::Quantity(quantity) => line.take_quantity(*quantity).map_err(|error| match error {
                CreditError::Line(_, why) => of_line(why),
                error => error,
            }),
        };
        lines.push(taken.map_err(|error| match error {
            CreditError::TooMuch { left } => of_line(LineError::TooMuch { left }),
            error => error,
        })?);
    }
    Ok(lines)
}

impl<'a> Charged<'a> {
    fn of(line: &'a Line) -> Self {
        let zero = Money::zero(line.amount.currency());
        let nothing = || Billed { net: zero, taxes: Vec::new(), bases: Vec::new() };
        let (billed, credited) = (Billed { net: line.taxable, ..nothing() }, nothing());
        let mut charged =
            Self { line, billed, taxes: Vec::new(), credited, quantity: Decimal::ZERO, corrected: zero };
        for row in &line.taxes {
            let money = |minor| Money::from_minor(minor, zero.currency());
            charged.add(row.tax.clone(), money(row.base_minor), money(row.amount_minor));
        }
        charged
    }

    /// It has one tax more: its place among them.
    fn add(&mut self, tax: TaxCopy, base: Money, amount: Money) -> usize {
        let zero = Money::zero(amount.currency());
        self.taxes.push(tax);
        self.billed.bases.push(base);
        self.billed.taxes.push(amount);
        self.credited.bases.push(zero);
        self.credited.taxes.push(zero);
        self.taxes.len() - 1
    }

    /// What credit notes took of it before.
    fn note<'b>(&mut self, before: impl Iterator<Item = &'b CreditLine>) -> Result<(), CreditError> {
        for credit in before {
            self.credited.net = self.credited.net.checked_add(credit.amount)?;
            self.quantity += credit.quantity.unwrap_or_default();
            self.corrected =
                credit.corrected.map_or(Ok(self.corrected), |more| self.corrected.checked_add(more))?;
            for row in &credit.taxes {
                let known = self.taxes.iter().position(|tax| tax.is(&row.tax));
                let at = known.expect("a credit note takes back the taxes that its line has");
                let money = |minor| Money::from_minor(minor, credit.amount.currency());
                let Billed { taxes, bases, .. } = &mut self.credited;
                taxes[at] = taxes[at].checked_add(money(row.amount_minor))?;
                bases[at] = bases[at].checked_add(money(row.base_minor))?;
            }
        }
        Ok(())
    }

    fn net_left(&self) -> Result<Money, MoneyError> {
        self.billed.net.checked_sub(self.credited.net)
    }

    fn gross_left(&self) -> Result<Money, MoneyError> {
        self.billed.gross()?.checked_sub(self.credited.gross()?)
    }

    fn rest(&self) -> Result<CreditLine, CreditError> {
        self.take(Asked::Gross(self.gross_left()?), None)
    }

    /// So many of the units that were billed. Counted from the first credited one on, so that all of them together
    /// are the whole line.
    fn take_quantity(&self, quantity: Decimal) -> Result<CreditLine, CreditError> {
        let all = self.line.quantity;
        let left = all - self.quantity;
        if quantity > left {
            return Err(CreditError::Line(0, LineError::TooMany { left: left.max(Decimal::ZERO) }));
        }
        let up_to = |reached: Decimal| {
            let part =
                (Exact::from(self.billed.net.to_decimal()) * Exact::from(reached)).divide(&all.into())?;
            Ok::<_, CreditError>(Money::round(part.to_decimal()?, self.billed.net.currency())?)
        };
        let amount = up_to(self.quantity + quantity)?.checked_sub(up_to(self.quantity)?)?;
        self.take(Asked::Net(amount), Some(quantity))
    }

    /// So much of the line's amount, of which discounts and inclusive taxes left a part. Counted from the first
    /// corrected cent on, too.
    fn take_corrected(&self, amount: Money, quantity: Option<Decimal>) -> Result<CreditLine, CreditError> {
        let up_to = |reached: Money| part_of(self.line.taxable, reached, self.line.amount);
        let net = up_to(self.corrected.checked_add(amount)?)?.checked_sub(up_to(self.corrected)?)?;
        let left = self.net_left()?;
        // Of what is not taxed and not discounted no more is asked for than is left; else cents may be missing to it.
        let net =
            if net.minor() > left.minor() && self.line.taxable != self.line.amount { left } else { net };
        Ok(CreditLine { corrected: Some(amount), ..self.take(Asked::Net(net), quantity)? })
    }

    fn take(&self, asked: Asked, quantity: Option<Decimal>) -> Result<CreditLine, CreditError> {
        let taken = self.billed.credit(&self.credited, asked).map_err(|error| match error {
            CreditNoteError::Exceeds { left } => CreditError::TooMuch { left },
            CreditNoteError::Negative => CreditError::Nothing,
            CreditNoteError::Money(error) => error.into(),
        })?;
        let tax = Money::sum(taken.net.currency(), taken.taxes.iter().copied())?;
        let sums = taken.taxes.iter().zip(&taken.bases).zip(&self.taxes);
        let taxes = sums.map(|((amount, base), tax)| TaxRow {
            tax: tax.clone(),
            base_minor: base.minor(),
            amount_minor: amount.minor(),
        });
        Ok(CreditLine {
            invoice_line_id: self.line.id,
            description: self.line.description.clone(),
            quantity,
            amount: taken.net,
            tax,
            taxes: taxes.collect(),
            corrected: None,
        })
    }
}

/// The sums of what is taken back, without the lines of which nothing is.
fn summed(invoice: &Invoice, mut lines: Vec<CreditLine>) -> Result<Credit, CreditError> {
    lines.retain(|line| !line.amount.is_zero() || line.taxes.iter().any(|tax| tax.amount_minor != 0));
    let currency = invoice.currency;
    let subtotal = Money::sum(currency, lines.iter().map(|line| line.amount))?;
    let tax_total = Money::sum(currency, lines.iter().map(|line| line.tax))?;
    let total = subtotal.checked_add(tax_total)?;
    if total.minor() <= 0 {
        return Err(CreditError::Nothing);
    }
    let taxes = Invoice::sums_of(lines.iter().flat_map(|line| &line.taxes));
    Ok(Credit { currency, lines, subtotal, exemption: invoice.exemption, taxes, tax_total, total })
}

impl CreditNote {
    /// A part of its credit pays an invoice.
    pub(super) fn spend(&mut self, amount: Money) -> Result<(), MoneyError> {
        self.credit_left = self.credit_left.checked_sub(amount)?;
        Ok(())
    }

    /// What it had paid is its credit again: that invoice was a mistake.
    pub(super) fn regain(&mut self, amount: Money) -> Result<(), MoneyError> {
        self.credit_left = self.credit_left.checked_add(amount)?;
        Ok(())
    }

    /// What became of its refund; `false` if that was known before. What cannot go back is credit.
    pub(super) fn refunded(&mut self, succeeded: bool) -> bool {
        if self.refund_status != Some(RefundProgress::Pending) {
            return false;
        }
        self.refund_status = Some(if succeeded { RefundProgress::Succeeded } else { RefundProgress::Failed });
        if !succeeded {
            self.credit_left = self.credit.total;
        }
        true
    }
}

#[cfg(test)]
mod tests;
