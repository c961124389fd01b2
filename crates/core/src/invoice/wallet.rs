//! The order in which wallets pay (RULES 31).

use chrono::{DateTime, Utc};

/// Sorts wallets into the order in which they pay: priority, earliest expiry, granted before purchased, oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalletRank {
    /// A lower number pays first.
    priority: i64,
    never_expires: bool,
    expires_at: Option<DateTime<Utc>>,
    purchased: bool,
    created_at: DateTime<Utc>,
}

impl WalletRank {
    /// A wallet's place. One that never expires comes after those that do.
    pub fn new(
        priority: i64,
        expires_at: Option<DateTime<Utc>>,
        purchased: bool,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self { priority, never_expires: expires_at.is_none(), expires_at, purchased, created_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_pay_by_priority_then_expiry_then_granted_then_age() {
        let at = |day: u32| format!("2026-01-{day:02}T00:00:00Z").parse().unwrap();
        let sorted = [
            WalletRank::new(0, None, true, at(9)),
            WalletRank::new(1, Some(at(20)), true, at(9)),
            WalletRank::new(1, Some(at(21)), false, at(9)),
            WalletRank::new(1, None, false, at(2)),
            WalletRank::new(1, None, true, at(1)),
            WalletRank::new(1, None, true, at(3)),
        ];
        let mut ranks = sorted;
        ranks.reverse();
        ranks.sort();
        assert_eq!(ranks, sorted);
    }
}
