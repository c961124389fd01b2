//! Where a subscription is in its life, and what moves it.

use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

/// Where a subscription is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It starts in the future.
    Pending,
    Trialing,
    Active,
    /// An invoice of it could not be collected.
    PastDue,
    Canceled,
}

/// What happens to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Event {
    TrialStarted,
    /// The first period that costs something began.
    Started,
    TrialEnded,
    PaymentFailed,
    PaymentRecovered,
    Canceled,
}

impl Status {
    /// The whole life of a subscription; every arrow is in the snapshot below.
    ///
    /// `None` where there is no arrow. That is no mistake of anybody: a canceled subscription's last invoice
    /// may fail to be paid, and a subscription that is past due renews; they stay what they are.
    pub fn on(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Pending, Event::TrialStarted) => Some(Self::Trialing),
            (Self::Active, Event::PaymentFailed) => Some(Self::PastDue),
            (Self::Pending, Event::Started)
            | (Self::Trialing, Event::TrialEnded)
            | (Self::PastDue, Event::PaymentRecovered) => Some(Self::Active),
            (Self::Pending | Self::Trialing | Self::Active | Self::PastDue, Event::Canceled) => {
                Some(Self::Canceled)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use sea_orm::Iterable;

    use super::*;

    #[test]
    fn the_transition_table() {
        let mut table = String::new();
        for from in Status::iter() {
            for by in Event::iter() {
                if let Some(to) = from.on(by) {
                    writeln!(table, "{from:?} --{by:?}--> {to:?}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table, @"
        Pending --TrialStarted--> Trialing
        Pending --Started--> Active
        Pending --Canceled--> Canceled
        Trialing --TrialEnded--> Active
        Trialing --Canceled--> Canceled
        Active --PaymentFailed--> PastDue
        Active --Canceled--> Canceled
        PastDue --PaymentRecovered--> Active
        PastDue --Canceled--> Canceled
        ");
    }
}
