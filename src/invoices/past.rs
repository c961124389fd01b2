//! A subscription as it was: in each of its phases, with the plan that it had in it. What is billed, or looked at, of an
//! earlier time is taken from here, and never from what the subscription has now.

use accrue_core::{
    calendar::{CalendarError, Period},
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

impl Stretch {
    /// Whether it follows another one without a new grid of periods.
    fn goes_on_after(&self, before: &Self) -> bool {
        let grid = |of: &Self| (of.subscription.anchor_at, of.subscription.interval);
        before.until == Some(self.from) && grid(self) == grid(before)
    }
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
        &self.0[self.place_at(at)]
    }

    fn place_at(&self, at: DateTime<Utc>) -> usize {
        self.0.iter().rposition(|stretch| stretch.from <= at).unwrap_or_default()
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
        let next = self.0.iter().find(|next| next.from == period.end && next.goes_on_after(stretch));
        let goes_on = next.is_some() && period.end < due.full.end;
        Ok(Due { has_no_minimum: due.has_no_minimum || goes_on, ..due })
    }

    /// The whole period that a part of usage is of, if it is billed to its end, and the phase that it ended in: changes
    /// within a period split its usage, and not what it costs at least. None of a trial, or of one that ended in a pause
    /// without usage: they have no minimum.
    pub(super) fn closed(&self, part: Period) -> Result<Option<(&Stretch, Period)>, CalendarError> {
        let (mut first, mut last) = (self.place_at(part.start), self.place_at(part.start));
        let then = &self.0[first].subscription;
        let full = then.full(part)?;
        let floor =
            then.trial_end_at.filter(|end| *end <= part.start).unwrap_or(then.start_at).max(full.start);
        let mut whole = part;
        while first > 0 && floor < whole.start && self.0[first].from == whole.start {
            if !self.0[first].goes_on_after(&self.0[first - 1]) {
                break;
            }
            first -= 1;
            whole.start = self.0[first].from.max(floor);
        }
        while let Some(next) = self.0.get(last + 1).filter(|next| next.from == whole.end) {
            if full.end <= whole.end || !next.goes_on_after(&self.0[last]) {
                break;
            }
            last += 1;
            let ends_at = next.until.or(next.subscription.ended_at).unwrap_or(full.end);
            whole.end = ends_at.min(full.end);
        }
        let present = &self.0[self.0.len() - 1].subscription;
        let is_running = present.next_due_at.is_some() && present.period.start <= whole.start;
        let stretch = &self.0[last];
        let has_minimum = stretch.subscription.counts_usage() && !then.is_trial(part);
        Ok((has_minimum && !is_running).then_some((stretch, whole)))
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

    /// A price of any of its plans, or what one of them costs at least.
    pub(super) fn price(&self, id: PriceId) -> Option<&Price> {
        self.prices().find(|price| price.id == id)
    }

    /// The prices of its plans, and what each costs at least.
    pub(super) fn prices(&self) -> impl Iterator<Item = &Price> {
        self.0.iter().flat_map(|stretch| stretch.plan.prices.iter().chain(&stretch.plan.commitment))
    }

    /// Whether any of its plans has a price on one of these metrics.
    pub(super) fn meters(&self, metric: impl Fn(MetricId) -> bool) -> bool {
        self.prices().filter_map(|price| price.metric_id).any(metric)
    }
}
