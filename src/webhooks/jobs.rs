//! Deliveries and replays, and the ear that starts them.

use std::time::Duration;

use accrue_core::id::{DeliveryId, EventId, TestClockId, WebhookEndpointId};
use accrue_platform::{
    outbox::{self, EventFilter},
    page::PageQuery,
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::{
    body::EventBody,
    lanes,
    model::Delivery,
    send,
    service::{self, WebhookError},
};
use crate::{
    app::{Job, JobContext, JobError, JobRunner, Listener, Share, enqueue, job_runner},
    auth,
};

/// What webhooks do in the background.
pub const JOBS: &[JobRunner] = &[job_runner::<Deliver>(), job_runner::<Replay>()];

/// Everything that webhooks hear of.
pub const LISTENERS: &[Listener] = &[LISTENER];

/// Starts the deliveries of every event.
const LISTENER: Listener =
    Listener { name: "webhooks", hear: |tx, event| Box::pin(service::announce(tx, event)) };

/// One attempt at a delivery. A retry of it is another job, so that a repeated one does nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deliver {
    pub delivery: DeliveryId,
    pub endpoint: WebhookEndpointId,
    /// Which attempt it is, from 1 on.
    pub position: i32,
}

impl Deliver {
    /// The attempt that a pending delivery waits for.
    pub fn next(delivery: &Delivery) -> Self {
        Self { delivery: delivery.id, endpoint: delivery.endpoint_id, position: delivery.next_position() }
    }

    /// To be made when it is due: by a test clock if it is the first attempt for somebody who hangs on one.
    pub async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        test_clock: Option<TestClockId>,
    ) -> Result<(), DbErr> {
        let at = delivery.next_attempt_at.expect("it is pending");
        let key = format!("{}:{}", self.delivery, self.position);
        enqueue(tx, delivery.tenant_id, test_clock, at, key, self).await
    }

    /// To be made now by the real time, although the same attempt may be waiting for its time.
    pub async fn enqueue_now(
        &self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        wall: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let key = format!("{}:{}:now", self.delivery, self.position);
        enqueue(tx, delivery.tenant_id, None, wall, key, self).await
    }
}

impl Job for Deliver {
    const NAME: &'static str = "webhooks.deliver";
    const SHARE: Share = Share::Half;

    #[instrument(name = "job.webhooks.deliver", skip_all, fields(webhook_delivery.id = %self.delivery))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let app = &context.app;
        if context.test_clock.is_some() && service::is_failing(app.db.reader(), context.tenant, self).await? {
            let tx = context.begin().await?;
            service::go_by_the_wall_clock(&tx, app.now(), context.tenant, self).await?;
            return context.commit(tx).await;
        }
        let Some(_place) = lanes::enter(self.endpoint, app.config.workers / 4).await else {
            return Err(self.later(context).await);
        };
        let db = app.db.reader();
        let Some((delivery, endpoint)) = service::find_due(db, context.tenant, self).await? else {
            return Ok(());
        };
        if !endpoint.is_enabled() {
            let tx = context.begin().await?;
            service::cancel_delivery(&tx, context.tenant, self).await?;
            return context.commit(tx).await;
        }
        let tenant = auth::service::get_tenant(db, context.tenant)
            .await
            .map_err(|error| JobError::Retry(error.into()))?;
        let event = outbox::find(db, context.tenant, delivery.event_id).await?;
        let event = event.ok_or_else(|| DbErr::RecordNotFound(delivery.event_id.to_string()))?;

        let body = EventBody::of(event, tenant.livemode).to_bytes();
        let attempt = send::attempt(app, &endpoint, delivery.event_id, body)
            .await
            .map_err(|error| JobError::GiveUp(error.into()))?;

        let tx = context.begin().await?;
        service::record_attempt(&tx, app.now(), &tenant, &endpoint, self, &attempt).await?;
        context.commit(tx).await
    }
}

impl Deliver {
    /// The endpoint is slow: its other deliveries make room for those of others.
    async fn later(&self, context: &JobContext) -> JobError {
        if context.test_clock.is_some() {
            // Later does not come while the clock stands still.
            tokio::time::sleep(Duration::from_millis(100)).await;
            return JobError::NotBefore(context.now);
        }
        let spread_ms = i64::try_from(self.delivery.0.as_u128() % 10_000).expect("it is small");
        JobError::NotBefore(context.now + TimeDelta::milliseconds(5_000 + spread_ms))
    }
}

/// Tells an endpoint of what it missed, page by page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Replay {
    pub endpoint: WebhookEndpointId,
    /// The last event that was looked at.
    pub after: EventId,
}

const REPLAYED_AT_A_TIME: u64 = 100;

impl Replay {
    pub async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        tenant: accrue_core::id::TenantId,
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        enqueue(tx, tenant, None, now, format!("{}:{}", self.endpoint, self.after), self).await
    }
}

impl Job for Replay {
    const NAME: &'static str = "webhooks.replay";

    #[instrument(name = "job.webhooks.replay", skip_all, fields(webhook_endpoint.id = %self.endpoint))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let db = context.app.db.reader();
        let page = PageQuery {
            limit: Some(REPLAYED_AT_A_TIME),
            ending_before: Some(self.after.to_string()),
            ..PageQuery::default()
        };
        let events = outbox::list(db, context.tenant, EventFilter::default(), &page).await;
        let mut events = events.map_err(|error| JobError::Retry(error.into()))?;
        events.reverse();

        let tx = context.begin().await?;
        let Some(endpoint) = service::find_enabled_for_update(&tx, context.tenant, self.endpoint).await?
        else {
            return Ok(());
        };
        // What was not told yet is about to be told anyway.
        for event in events.iter().filter(|event| event.sequence.is_some()) {
            service::replay(&tx, context.now, &endpoint, event).await?;
        }
        if let Some(last) = events.last() {
            let next = Self { after: last.id, ..self.clone() };
            next.enqueue(&tx, context.tenant, context.now).await?;
        }
        context.commit(tx).await
    }
}

impl From<WebhookError> for JobError {
    fn from(error: WebhookError) -> Self {
        Self::Retry(error.into())
    }
}
