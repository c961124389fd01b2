//! The rules of billing, pure: no IO, no database, no reading of clocks.
//!
//! Rules are numbered in `docs/billing-rules.md`; code cites them as `RULES 14`.

pub mod arithmetic;
pub mod calculate;
pub mod calendar;
pub mod clock;
pub mod credits;
pub mod decimal;
pub mod exact;
pub mod id;
pub mod invalid;
pub mod invoice;
pub mod money;
pub mod price;
pub mod proration;
pub mod read;
pub mod tax_id;
pub mod usage;

#[cfg(test)]
#[path = "../tests/support/long.rs"]
mod long;
