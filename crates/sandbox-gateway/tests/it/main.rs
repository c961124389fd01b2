//! The gateway, tried from outside.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it stands on")]

mod durability;
mod idempotency;
mod ledger;
mod lookups;
mod steps;
mod support;
mod tokens;
