//! What happens to entitlements when subscriptions change.

use accrue_core::id::CustomerId;
use accrue_platform::outbox::Event;
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::service::{self, EntitlementError};
use crate::app::{Job, JobContext, JobError, JobRunner, Listener, enqueue, job_runner};

/// Brings a customer's entitlements up to date. Running twice changes nothing the second time.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefreshEntitlements {
    pub customer: CustomerId,
}

impl Job for RefreshEntitlements {
    const NAME: &'static str = "entitlements.refresh";

    #[instrument(name = "job.entitlements.refresh", skip_all, fields(customer.id = %self.customer))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tx = context.begin().await?;
        service::refresh(&tx, context.now, context.tenant, self.customer, context.test_clock).await?;
        context.commit(tx).await
    }
}

/// What this capability does in the background.
pub const JOBS: &[JobRunner] = &[job_runner::<RefreshEntitlements>()];

/// Everything that happens to a subscription may change what its customer may use. A new customer has
/// nothing until there is a subscription.
/// Everything that entitlements hear of.
pub const LISTENERS: &[Listener] = &[LISTENER];

const LISTENER: Listener = Listener { name: "entitlements", hear: |tx, event| Box::pin(hear(tx, event)) };

async fn hear(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    let Some(customer) = event.customer_id.filter(|_| event.kind.starts_with("subscription.")) else {
        return Ok(());
    };
    let job = RefreshEntitlements { customer };
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, event.id, &job).await
}

impl From<EntitlementError> for JobError {
    fn from(error: EntitlementError) -> Self {
        Self::Retry(error.into())
    }
}
