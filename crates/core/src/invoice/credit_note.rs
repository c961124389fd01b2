//! Credit notes: what part of a line's taxes goes with a part of its amount (RULES 30 and 33).

use crate::money::{Money, MoneyError};

/// What a line charged, or what credit notes took of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// Without taxes, after discounts.
    pub net: Money,
    /// Each of the line's taxes, always in the same order.
    pub taxes: Vec<Money>,
    /// What each of them was taken on.
    pub bases: Vec<Money>,
}

/// How a credit is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Without taxes.
    Net(Money),
    /// Taxes included.
    Gross(Money),
}

/// Why a line cannot be credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditNoteError {
    #[error("only {left} is left to credit")]
    Exceeds {
        /// What may still be credited, in the terms that were asked in.
        left: Money,
    },
    #[error("the amount to credit must not be negative")]
    Negative,
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Billed {
    /// The net amount and all taxes.
    pub fn gross(&self) -> Result<Money, MoneyError> {
        self.taxes.iter().try_fold(self.net, |sum, tax| sum.checked_add(*tax))
    }

    /// The part of this line that a credit note gives back, after others gave back `credited`.
    ///
    /// Everything credited so far is split anew each time and the difference given, so that however many credit
    /// notes a line gets, together they are exactly the line.
    pub fn credit(&self, credited: &Self, wanted: Wanted) -> Result<Self, CreditNoteError> {
        let (whole, before, now) = match wanted {
            Wanted::Net(amount) => (self.net, credited.net, amount),
            Wanted::Gross(amount) => (self.gross()?, credited.gross()?, amount),
        };
        let left = whole.checked_sub(before)?;
        if now.is_negative() {
            return Err(CreditNoteError::Negative);
        }
        if now.minor() > left.minor() {
            return Err(CreditNoteError::Exceeds { left });
        }
        let reached = before.checked_add(now)?;
        let taxes = self.taxes.iter().zip(&credited.taxes).map(|(tax, before)| {
            let part = share(*tax, reached, whole)?;
            // Notes asked for in net and in gross may be mixed: never give back more than there was, or take.
            let (least, most) = if tax.is_negative() {
                (tax.minor(), before.minor().max(tax.minor()))
            } else {
                (before.minor().min(tax.minor()), tax.minor())
            };
            Money::from_minor(part.minor().clamp(least, most), tax.currency()).checked_sub(*before)
        });
        let taxes = taxes.collect::<Result<Vec<_>, _>>()?;
        let net = match wanted {
            Wanted::Net(amount) => amount,
            Wanted::Gross(amount) => taxes.iter().try_fold(amount, |rest, tax| rest.checked_sub(*tax))?,
        };
        let bases = self.bases.iter().zip(&credited.bases).map(|(base, before)| {
            // The rule: a tax is taken on the line. Another base is that of lines that were taken off it.
            if *base == self.net && *before == credited.net {
                return Ok(net);
            }
            share(*base, reached, whole)?.checked_sub(*before)
        });
        let bases = bases.collect::<Result<Vec<_>, MoneyError>>()?;
        Ok(Self { net, taxes, bases })
    }
}

/// `amount` × `part` ÷ `whole`, half away from zero.
fn share(amount: Money, part: Money, whole: Money) -> Result<Money, MoneyError> {
    if part == whole {
        return Ok(amount);
    }
    let product = i128::from(amount.minor()) * i128::from(part.minor());
    let whole = i128::from(whole.minor());
    let rounded = (product.abs() * 2 + whole.abs()) / (whole.abs() * 2) * product.signum() * whole.signum();
    let minor = i64::try_from(rounded).map_err(|_| MoneyError::Overflow)?;
    Ok(Money::from_minor(minor, amount.currency()))
}
