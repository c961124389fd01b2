//! Percentages of money that flows, event by event (RULES 26).

use rust_decimal::Decimal;

use super::TierCharge;
use crate::{arithmetic::percent_of, exact::Exact};

/// What an event costs, and what is free.
#[derive(Default)]
pub(super) struct Percentage {
    /// 2.9 for 2.9 %.
    pub(super) rate: Decimal,
    pub(super) fixed_fee: Exact,
    pub(super) free_events: Option<u64>,
    pub(super) free_amount: Option<Exact>,
    pub(super) min_per_event: Option<Exact>,
    pub(super) max_per_event: Option<Exact>,
}

impl Percentage {
    /// One charge for all events: its quantity is the money the rate applied to, its flat fee the fixed fees after
    /// minimum and maximum.
    pub(super) fn charge(&self, events: &[Exact]) -> TierCharge {
        let rate = percent_of(self.rate, Decimal::ONE);
        // Nothing free is no limit on what else is free: zero is the same as unset.
        let mut free = Free {
            events: self.free_events.filter(|count| *count > 0),
            amount: self.free_amount.clone().filter(|amount| !amount.is_zero()),
        };
        let (mut rated, mut amount) = (Exact::ZERO, Exact::ZERO);
        for value in events {
            // Money that flows back gives back the rate, but no fee.
            if value.is_negative() {
                rated += value;
                amount += &(value * &rate);
                continue;
            }
            let Some(paid) = free.take(value) else { continue };
            amount += &self.bounded(&paid * &rate + &self.fixed_fee);
            rated += &paid;
        }
        let flat_fee = &amount - &rated * &rate;
        TierCharge { up_to: None, quantity: rated, unit_price: rate, flat_fee, amount }
    }

    fn bounded(&self, amount: Exact) -> Exact {
        let amount = self.min_per_event.clone().map_or(amount.clone(), |min| amount.max(min));
        self.max_per_event.clone().map_or(amount.clone(), |max| amount.min(max))
    }
}

/// What is still free. Events are free while both the count and the amount last.
struct Free {
    events: Option<u64>,
    amount: Option<Exact>,
}

impl Free {
    /// The part of an event's value that the rate applies to; none for a free event.
    fn take(&mut self, value: &Exact) -> Option<Exact> {
        if self.events == Some(0) || (self.events.is_none() && self.amount.is_none()) {
            return Some(value.clone());
        }
        self.events = self.events.map(|left| left - 1);
        let left = self.amount.take()?;
        if *value <= left {
            self.amount = Some(left - value);
            return None;
        }
        // The event that crosses the free amount ends it, and with it the free events.
        self.events = None;
        Some(value - left)
    }
}
