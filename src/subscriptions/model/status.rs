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
    /// Somebody stopped it for a while: it costs no fees, and gives no access.
    Paused,
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
    Paused,
    Resumed,
    Canceled,
}

impl Status {
    /// Its name in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
        }
    }

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
            | (Self::PastDue, Event::PaymentRecovered)
            | (Self::Paused, Event::Resumed) => Some(Self::Active),
            (Self::Active | Self::PastDue, Event::Paused) => Some(Self::Paused),
            (
                Self::Pending | Self::Trialing | Self::Active | Self::PastDue | Self::Paused,
                Event::Canceled,
            ) => Some(Self::Canceled),
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
        Active --Paused--> Paused
        Active --Canceled--> Canceled
        PastDue --PaymentRecovered--> Active
        PastDue --Paused--> Paused
        PastDue --Canceled--> Canceled
        Paused --Resumed--> Active
        Paused --Canceled--> Canceled
        ");
    }
}
