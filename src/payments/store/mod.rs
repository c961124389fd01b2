//! Payment methods, payments with their attempts, and refunds in the database.

pub(super) mod methods;
pub(super) mod payments;
pub(super) mod refunds;

use accrue_core::money::Money;
use accrue_platform::column::currency;
use sea_orm::DbErr;

fn money(minor: i64, code: &str) -> Result<Money, DbErr> {
    Ok(Money::from_minor(minor, currency(code)?))
}
