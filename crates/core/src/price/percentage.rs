//! Percentages of money that flows, event by event (RULES 26).

use rust_decimal::Decimal;

use super::TierCharge;
use crate::{
    arithmetic::{Overflow, add, div, mul, sub},
    decimal::Number,
};

/// What an event costs, and what is free.
#[derive(Clone, Copy, Default)]
pub(super) struct Percentage {
    /// 2.9 for 2.9 %.
    pub(super) rate: Decimal,
    pub(super) fixed_fee: Decimal,
    pub(super) free_events: Option<u64>,
    pub(super) free_amount: Option<Decimal>,
    pub(super) min_per_event: Option<Decimal>,
    pub(super) max_per_event: Option<Decimal>,
}

impl Percentage {
    /// One charge for all events: its quantity is the money the rate applied to, its flat fee the fixed fees after
    /// minimum and maximum.
    pub(super) fn charge(&self, events: &[Decimal]) -> Result<TierCharge, Overflow> {
        let rate = div(self.rate, Decimal::ONE_HUNDRED)?;
        // Nothing free is no limit on what else is free: zero is the same as unset.
        let mut free = Free {
            events: self.free_events.filter(|count| *count > 0),
            amount: self.free_amount.filter(|amount| !amount.is_zero()),
        };
        let (mut rated, mut amount) = (Decimal::ZERO, Decimal::ZERO);
        for value in events {
            // Money that flows back gives back the rate, but no fee.
            if value.is_sign_negative() && !value.is_zero() {
                rated = add(rated, *value)?;
                amount = add(amount, mul(*value, rate)?)?;
                continue;
            }
            let Some(paid) = free.take(*value)? else { continue };
            rated = add(rated, paid)?;
            amount = add(amount, self.bounded(add(mul(paid, rate)?, self.fixed_fee)?))?;
        }
        let flat_fee = sub(amount, mul(rated, rate)?)?;
        Ok(TierCharge {
            up_to: None,
            quantity: Number(rated),
            unit_price: Number(rate),
            flat_fee: Number(flat_fee),
            amount: Number(amount),
        })
    }

    fn bounded(&self, amount: Decimal) -> Decimal {
        let amount = self.min_per_event.map_or(amount, |min| amount.max(min));
        self.max_per_event.map_or(amount, |max| amount.min(max))
    }
}

/// What is still free. Events are free while both the count and the amount last.
struct Free {
    events: Option<u64>,
    amount: Option<Decimal>,
}

impl Free {
    /// The part of an event's value that the rate applies to; none for a free event.
    fn take(&mut self, value: Decimal) -> Result<Option<Decimal>, Overflow> {
        if self.events == Some(0) || (self.events.is_none() && self.amount.is_none()) {
            return Ok(Some(value));
        }
        self.events = self.events.map(|left| left - 1);
        let Some(left) = self.amount else { return Ok(None) };
        if value <= left {
            self.amount = Some(sub(left, value)?);
            return Ok(None);
        }
        // The event that crosses the free amount ends it, and with it the free events.
        *self = Self { events: None, amount: None };
        Ok(Some(sub(value, left)?))
    }
}
