//! When an alert triggers, and when it has recovered.

use accrue_core::{
    calendar::Period,
    decimal::Number,
    exact::Exact,
    id::{CustomerId, MetricId, SubscriptionId, TenantId, TestClockId, UsageAlertId},
    money::{Currency, Money, MoneyError},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

/// A threshold of what a customer uses of a metric in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub tenant_id: TenantId,
    pub id: UsageAlertId,
    /// None if it holds for every customer.
    pub customer_id: Option<CustomerId>,
    /// The alert for every customer whose state for this one it keeps.
    pub template_id: Option<UsageAlertId>,
    pub test_clock_id: Option<TestClockId>,
    pub metric_id: MetricId,
    pub name: String,
    pub kind: Kind,
    pub threshold: Decimal,
    /// Of an amount.
    pub currency: Option<Currency>,
    pub is_active: bool,
    /// Whether it was told that it triggered, and not yet that it recovered.
    pub is_triggered: bool,
    pub last_trigger: Option<Trigger>,
    /// When the period ends in which it was looked at.
    pub review_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// What is compared with the threshold.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[schema(as = UsageAlertKind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// How much of the metric was used.
    Quantity,
    /// What that comes to by the prices of the subscription that bills it, before discounts and tax.
    Amount,
    /// How much of what a metered feature grants, in percent.
    PercentOfLimit,
}

/// How an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = UsageAlertStatus)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its threshold; or it has recovered, and waits for the next period.
    Ok,
    /// Usage has reached the threshold.
    Triggered,
    /// Nobody looks.
    Inactive,
}

/// That usage reached the threshold, and perhaps fell below it again. Stored as it is: names are never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The one that bills the metric, if one does.
    pub subscription: Option<SubscriptionId>,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub threshold: Number,
    pub value: Option<Number>,
    pub at: DateTime<Utc>,
    pub recovered_at: Option<DateTime<Utc>>,
    pub recovered_value: Option<Number>,
}

/// What was used in the period that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub subscription: Option<SubscriptionId>,
    pub period: Period,
    pub measured: Measured,
}

/// It, as an alert's kind wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    Quantity(Decimal),
    Amount(Money),
    OfLimit { used: Decimal, limit: Decimal },
}

impl Measured {
    /// Whether a threshold of this currency says something about it.
    fn is_in(&self, currency: Option<Currency>) -> bool {
        match self {
            Self::Amount(amount) => Some(amount.currency()) == currency,
            Self::Quantity(_) | Self::OfLimit { .. } => true,
        }
    }

    /// Whether it is at least the threshold. Exact: nothing is divided.
    fn reaches(&self, threshold: Decimal) -> bool {
        match self {
            Self::Quantity(quantity) => *quantity >= threshold,
            Self::Amount(amount) => amount.to_decimal() >= threshold,
            // Of nothing, anything is too much.
            Self::OfLimit { used, limit } if limit.is_zero() => *used > Decimal::ZERO,
            Self::OfLimit { used, limit } => {
                Exact::from(*used) * Exact::from(Decimal::ONE_HUNDRED)
                    >= Exact::from(threshold) * Exact::from(*limit)
            }
        }
    }

    /// What it is in the unit of the threshold; nothing if that cannot be said, as of a part of nothing.
    fn value(&self) -> Option<Number> {
        let value = match self {
            Self::Quantity(quantity) => *quantity,
            Self::Amount(amount) => amount.to_decimal(),
            Self::OfLimit { used, limit } => {
                let percent = Exact::from(*used) * Exact::from(Decimal::ONE_HUNDRED);
                percent.divide(&Exact::from(*limit)).and_then(|percent| percent.to_decimal()).ok()?
            }
        };
        Some(Number(value))
    }
}

/// What follows from a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Unless it has triggered in this period before, which the database knows.
    Triggers(Trigger),
    Recovers,
    Nothing,
}

impl Alert {
    pub fn status(&self) -> Status {
        match (self.is_active, self.is_triggered) {
            (false, _) => Status::Inactive,
            (true, true) => Status::Triggered,
            (true, false) => Status::Ok,
        }
    }

    /// What follows from what was used; there is no reading where the threshold means nothing, as no plan grants a
    /// limit.
    ///
    /// In a period it triggers once for each threshold that it was given: what recovered is quiet until the next one.
    pub fn step(&self, reading: Option<&Reading>, now: DateTime<Utc>) -> Step {
        let told = reading.filter(|reading| reading.measured.is_in(self.currency));
        let reached = told.filter(|reading| reading.measured.reaches(self.threshold));
        match reached {
            Some(reading) if self.has_triggered_in(reading.period) => Step::Nothing,
            Some(reading) => Step::Triggers(Trigger {
                subscription: reading.subscription,
                start: reading.period.start,
                end: reading.period.end,
                threshold: Number(self.threshold),
                value: reading.measured.value(),
                at: now,
                recovered_at: None,
                recovered_value: None,
            }),
            None if self.is_triggered => Step::Recovers,
            None => Step::Nothing,
        }
    }

    /// What an alert for every customer is for one of them, before anything was told. It is not stored before.
    pub fn of_customer(
        &self,
        now: DateTime<Utc>,
        customer: CustomerId,
        test_clock: Option<TestClockId>,
    ) -> Self {
        Self {
            id: UsageAlertId::new(now),
            customer_id: Some(customer),
            template_id: Some(self.id),
            test_clock_id: test_clock,
            created_at: now,
            ..self.clone()
        }
    }

    /// Whether it is for one customer what an alert for every customer says, and nothing was told yet.
    pub fn is_quiet_copy(&self) -> bool {
        self.template_id.is_some() && self.last_trigger.is_none()
    }

    /// Whether its last time was in this period, by the threshold that it has now.
    fn has_triggered_in(&self, period: Period) -> bool {
        let last = self.last_trigger.as_ref();
        last.is_some_and(|last| last.start == period.start && last.threshold.0 == self.threshold)
    }

    pub fn trigger(&mut self, trigger: Trigger) {
        self.is_triggered = true;
        self.last_trigger = Some(trigger);
    }

    pub fn recover(&mut self, reading: Option<&Reading>, now: DateTime<Utc>) {
        self.is_triggered = false;
        if let Some(last) = &mut self.last_trigger {
            last.recovered_at = Some(now);
            last.recovered_value = reading.and_then(|reading| reading.measured.value());
        }
    }

    /// A number as its kind is written: an amount with all digits of its currency.
    pub fn written(&self, number: Number) -> String {
        let amount = |currency| Money::exact(number.0, currency).ok();
        match self.currency.and_then(amount) {
            Some(amount) => amount.to_string(),
            None => number.0.normalize().to_string(),
        }
    }
}

/// Why a number is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    #[error("is more than 0: at 0 it would trigger before anything is used")]
    NotPositive,
    #[error("an amount needs the customer's currency: give the customer one, or a subscription, first")]
    NoCurrency,
    #[error(transparent)]
    Amount(#[from] MoneyError),
}

impl Kind {
    /// The currency of a threshold, if it is an amount, once the threshold has been found to be good.
    pub fn currency_of(
        self,
        threshold: Decimal,
        customers: Option<Currency>,
    ) -> Result<Option<Currency>, ThresholdError> {
        if threshold <= Decimal::ZERO {
            return Err(ThresholdError::NotPositive);
        }
        if self != Self::Amount {
            return Ok(None);
        }
        let currency = customers.ok_or(ThresholdError::NoCurrency)?;
        Money::exact(threshold, currency)?;
        Ok(Some(currency))
    }
}

#[cfg(test)]
mod tests;
