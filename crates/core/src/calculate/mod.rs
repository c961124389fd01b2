//! The calculators: questions about the rules, answered by the functions that bill (one per kind of question).
//!
//! They own the shapes of questions and answers, and the limits that keep every question cheap. They own no rule.

mod amount;
mod credits;
mod invoice;
mod periods;
mod proration;
mod usage;

use std::fmt::Display;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::{
    calendar,
    decimal::Number,
    invalid::Invalid,
    money::{Currency, Money},
};

pub use amount::{AmountAnswer, AmountQuestion, ProratedQuestion, amount};
pub use credits::{
    CreditsAnswer, CreditsQuestion, GrantQuestion, RecurrenceQuestion, RolloverQuestion, UsedQuestion,
    credits,
};
pub use invoice::{
    CouponKind, CouponQuestion, CreditNoteQuestion, InvoiceAnswer, InvoiceQuestion, LineAnswer, LineQuestion,
    WalletQuestion, invoice,
};
pub use periods::{PeriodsAnswer, PeriodsQuestion, periods};
pub use proration::{NewPriceQuestion, OldPriceQuestion, ProrationAnswer, ProrationQuestion, proration};
pub use usage::{EventQuestion, GroupAnswer, UsageAnswer, UsageQuestion, usage};

/// Whoever makes more mistakes than this has made one mistake many times.
const MISTAKES_MAX: usize = 100;

/// The mistakes in a question, collected so that all are reported at once.
#[derive(Default)]
struct Check(Vec<Invalid>);

impl Check {
    fn report(&mut self, pointer: &str, code: &'static str, detail: impl Display) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(Invalid::new(pointer, code, detail.to_string()));
        }
    }

    /// Ends the checking: from here on the question is sound.
    fn finish(self) -> Result<(), Vec<Invalid>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    /// The value of a nested check, or its default beside the reported mistakes.
    fn nested<T>(&mut self, pointer: &str, checked: Result<T, Vec<Invalid>>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(found) => {
                let room = MISTAKES_MAX - self.0.len();
                self.0.extend(found.into_iter().take(room).map(|mistake| mistake.under(pointer)));
                None
            }
        }
    }

    /// Keeps the work bounded.
    fn at_most(&mut self, pointer: &str, count: usize, max: usize) {
        if count > max {
            self.report(pointer, "too_many", format_args!("at most {max} are allowed"));
        }
    }

    fn not_negative(&mut self, pointer: &str, number: Option<Number>) -> Decimal {
        let number = number.unwrap_or_default().0;
        if number < Decimal::ZERO {
            self.report(pointer, "negative", "must not be negative");
        }
        number
    }

    fn percent(&mut self, pointer: &str, number: Option<Number>) -> Decimal {
        let percent = self.not_negative(pointer, number);
        if percent > Decimal::ONE_HUNDRED {
            self.report(pointer, "out_of_range", "must not be above 100");
        }
        percent
    }

    /// Money has no more digits than its currency.
    fn money(&mut self, pointer: &str, amount: Number, currency: Currency) -> Money {
        Money::exact(amount.0, currency).unwrap_or_else(|error| {
            self.report(pointer, "invalid_amount", error);
            Money::zero(currency)
        })
    }

    /// An amount of money that is not negative.
    fn price(&mut self, pointer: &str, amount: Number, currency: Currency) -> Money {
        self.not_negative(pointer, Some(amount));
        self.money(pointer, amount, currency)
    }

    fn instant(&mut self, pointer: &str, at: DateTime<Utc>) {
        if let Err(error) = calendar::in_range(at) {
            self.report(pointer, "out_of_range", error);
        }
    }

    fn optional_instant(&mut self, pointer: &str, at: Option<DateTime<Utc>>) {
        if let Some(at) = at {
            self.instant(pointer, at);
        }
    }
}

/// One mistake that ends a calculation: numbers that are each sound but together too large, for instance.
fn failed(pointer: &str, code: &'static str, error: impl Display) -> Vec<Invalid> {
    vec![Invalid::new(pointer, code, error.to_string())]
}

/// Numbers that are each sound, but whose result is not: the pointer says where to begin.
fn too_large(pointer: &str, error: impl Display) -> Vec<Invalid> {
    failed(pointer, "too_large", error)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
