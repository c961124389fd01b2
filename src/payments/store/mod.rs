//! Payment methods, payments with their attempts, and refunds in the database.

pub(super) mod methods;
pub(super) mod payments;
pub(super) mod refunds;

use accrue_core::money::{Currency, Money};
use sea_orm::DbErr;

fn currency(code: &str) -> Result<Currency, DbErr> {
    code.parse().map_err(|_| DbErr::Type(format!("stored currency `{code}`")))
}

fn money(minor: i64, code: &str) -> Result<Money, DbErr> {
    Ok(Money::from_minor(minor, currency(code)?))
}
