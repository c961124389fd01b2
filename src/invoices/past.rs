//! A subscription as it was: in each of its phases, with the plan that it had in it. What is billed, or looked at, of an
//! earlier time is taken from here, and never from what the subscription has now.

use accrue_core::{
    calendar::Period,
    id::{MetricId, PriceId},
};
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;

use super::{cycle, rating::Due, service::InvoiceError};
use crate::{
    catalog::{self, PlanVersion, Price},
    subscriptions::{self, Subscription},
};

/// One phase.
pub(super) struct Stretch {
    pub from: DateTime<Utc>,
    /// None of the present one.
    pub until: Option<DateTime<Utc>>,
    pub subscription: Subscription,
    pub plan: PlanVersion,
}

/// All phases, the oldest first.
pub(super) struct Past(Vec<Stretch>);

impl Past {
    pub(super) async fn of(
        db: &impl ConnectionTrait,
        subscription: &Subscription,
    ) -> Result<Self, InvoiceError> {
        let mut all = Vec::new();
        for (from, until, subscription) in subscriptions::service::phases(db, subscription).await? {
            let id = subscription.plan_version_id;
            let plan = catalog::service::get_plan_version(db, subscription.tenant_id, id).await?;
            all.push(Stretch { from, until, subscription, plan });
        }
        Ok(Self(all))
    }

    /// The phase that holds an instant: the first one also before it, the present one also after its end.
    pub(super) fn at(&self, at: DateTime<Utc>) -> &Stretch {
        let holds = |stretch: &&Stretch| stretch.from <= at;
        self.0.iter().rfind(holds).unwrap_or(&self.0[0])
    }

    /// What a usage price costs, as it was when a period, or a part of one, was closed: a part before a change that did
    /// not end the period has no minimum.
    pub(super) fn due<'a>(
        &self,
        stretch: &Stretch,
        price: &'a Price,
        period: Period,
    ) -> Result<Due<'a>, InvoiceError> {
        let due = cycle::due_of(&stretch.subscription, price, period)?;
        let next = self.0.iter().find(|next| stretch.until == Some(next.from) && next.from == period.end);
        let grid = |subscription: &Subscription| (subscription.anchor_at, subscription.interval);
        let goes_on = next.is_some_and(|next| {
            period.end < due.full.end && grid(&next.subscription) == grid(&stretch.subscription)
        });
        Ok(Due { has_no_minimum: due.has_no_minimum || goes_on, ..due })
    }

    /// The phases that bill usage of a period, each with its part of it.
    pub(super) fn within(&self, period: Period) -> impl Iterator<Item = (&Stretch, Period)> {
        self.0.iter().filter_map(move |stretch| {
            let start = stretch.from.max(period.start);
            let end = stretch.until.map_or(period.end, |until| until.min(period.end));
            (start < end && stretch.subscription.counts_usage()).then_some((stretch, Period { start, end }))
        })
    }

    /// The plans that it had, the present one last.
    pub(super) fn plans(&self) -> Vec<&PlanVersion> {
        self.0.iter().map(|stretch| &stretch.plan).collect()
    }

    pub(super) fn price(&self, id: PriceId) -> Option<&Price> {
        self.0.iter().flat_map(|stretch| &stretch.plan.prices).find(|price| price.id == id)
    }

    pub(super) fn prices(&self) -> impl Iterator<Item = &Price> {
        self.0.iter().flat_map(|stretch| &stretch.plan.prices)
    }

    /// Whether any of its plans has a price on one of these metrics.
    pub(super) fn meters(&self, metric: impl Fn(MetricId) -> bool) -> bool {
        self.prices().filter_map(|price| price.metric_id).any(metric)
    }
}
